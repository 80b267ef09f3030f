"""Keep the fuzz targets of the protocol machine and of the commands alive."""

import random

import pytest
from fuzz import fuzz_command, fuzz_connection
from fuzz.conversations import Breeder
from harness import machine
from harness.machine import Failure, Part

from dcmstore import pdu
from dcmstore.connection import Command, Connection
from dcmstore.errors import PeerError


@pytest.mark.parametrize("index", range(4))
def test_seeds(index: int) -> None:
    """They are valid: nothing fails, and they get somewhere."""
    seed = fuzz_connection.seeds()[index]
    fuzz_connection.fuzz_one(seed)
    found = fuzz_connection.run(seed[0], [seed[1:]])
    assert not any(isinstance(seen, Failure) for seen in found)
    assert index == 3 or any(isinstance(seen, Command) for seen in found)


@pytest.mark.parametrize("index", range(10))
def test_conversations_made_at_random(index: int) -> None:
    for number in range(200):
        breeder = Breeder(1000 * index + number)
        how = breeder.chance.randrange(256)
        sent = breeder.to_requestor() if how & 1 else breeder.to_acceptor()
        fuzz_connection.fuzz_one(bytes((how,)) + sent)


def test_conversations_reach_everything() -> None:
    """What is made at random is neither all valid nor all rubbish."""
    conditions: set[str] = set()
    kinds: set[type] = set()
    complete = 0
    for number in range(1500):
        how = number & 0xFF
        breeder = Breeder(number)
        sent = breeder.to_requestor() if how & 1 else breeder.to_acceptor()
        for seen in fuzz_connection.run(how, [sent]):
            kinds.add(type(seen))
            if isinstance(seen, Failure):
                conditions.add(seen.condition)
            complete += isinstance(seen, Part) and seen.last
    assert {Command, Part, Failure, pdu.Abort, pdu.ReleaseRequest, pdu.AssociateReject} <= kinds
    assert complete > 100
    assert {
        *("0006:0101", "0006:0203", "0006:0206", "0006:020b", "0006:020c", "0006:020d"),
        *("0006:0303", "0006:0308", "0006:0309", "0006:0310", "0006:0321", "0006:0322"),
    } <= conditions


def test_random_bytes() -> None:
    chance = random.Random(7)
    fuzz_connection.fuzz_one(b"")
    for _ in range(300):
        fuzz_connection.fuzz_one(chance.randbytes(chance.randrange(1, 90)))


@pytest.mark.parametrize("fault", [IndexError("raised"), AssertionError("raised")])
def test_the_target_notices_other_exceptions(
    monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def broken(*_: object) -> None:
        raise fault

    monkeypatch.setattr("dcmstore.command.decode", broken)
    with pytest.raises(type(fault), match="raised"):
        fuzz_connection.fuzz_one(fuzz_connection.seeds()[0])


def test_the_target_notices_that_cuts_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    original = machine.put

    def forgetful(connection: Connection, data: bytes) -> int:
        return original(connection, data if len(data) > 7 else bytes(len(data)))

    monkeypatch.setattr(machine, "put", forgetful)
    with pytest.raises(AssertionError):
        fuzz_connection.fuzz_one(fuzz_connection.seeds()[0])


@pytest.mark.parametrize("index", range(6))
def test_commands(index: int) -> None:
    seed = fuzz_command.seeds()[index]
    fuzz_command.fuzz_one(seed)
    chance = random.Random(index)
    for _ in range(500):
        data = bytearray(seed)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data) + 1)
            match chance.randrange(4):
                case 0:
                    data[at : at + 1] = chance.randbytes(1)
                case 1:
                    del data[at : at + chance.randint(1, 12)]
                case 2:
                    data[at:at] = chance.choice(fuzz_command.seeds())
                case 3:
                    data[at : at + 4] = chance.choice((bytes(4), b"\xff" * 4, b"\2\0\0\0"))
        fuzz_command.fuzz_one(bytes(data))


def test_commands_of_random_bytes() -> None:
    chance = random.Random(7)
    for _ in range(500):
        fuzz_command.fuzz_one(chance.randbytes(chance.randrange(120)))


@pytest.mark.parametrize("fault", [PeerError("0006:0999", "new"), ValueError("raised")])
def test_the_command_target_can_fail(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    def broken(data: bytes) -> object:
        raise fault

    monkeypatch.setattr(fuzz_command, "decode", broken)
    with pytest.raises((AssertionError, ValueError)):
        fuzz_command.fuzz_one(b"")
