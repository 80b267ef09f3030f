"""Keep the fuzz target of the PDUs alive: its seeds, and some hundred inputs bred from them."""

import random

import pytest
from fuzz import fuzz_pdu


def breed(seed: bytes, chance: random.Random) -> bytes:
    """Return a copy of the seed with some bytes changed, cut out or doubled."""
    data = bytearray(seed)
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(len(data) + 1)
        span = data[at : at + chance.randint(1, 12)]
        match chance.randrange(4):
            case 0:
                data[at : at + len(span)] = chance.randbytes(len(span))
            case 1:
                del data[at : at + len(span)]
            case 2:
                data[at:at] = span
            case 3:
                data[at : at + 1] = bytes((chance.choice((0, 1, 127, 255)),))
    return bytes(data)


@pytest.mark.parametrize("index", range(7))
def test_target_on_bred_inputs(index: int) -> None:
    seed = fuzz_pdu.seeds()[index]
    fuzz_pdu.fuzz_one(seed)
    chance = random.Random(index)
    for _ in range(150):
        fuzz_pdu.fuzz_one(breed(seed, chance))


def test_target_on_random_inputs() -> None:
    chance = random.Random(7)
    fuzz_pdu.fuzz_one(b"")
    for _ in range(300):
        fuzz_pdu.fuzz_one(bytes((chance.randrange(9),)) + chance.randbytes(chance.randrange(90)))


def test_the_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would notice a decoder that lets another exception out, or that is not stable."""

    def broken(pdu_type: int, body: bytes) -> object:
        raise IndexError

    monkeypatch.setattr(fuzz_pdu, "decode", broken)
    with pytest.raises(IndexError):
        fuzz_pdu.fuzz_one(b"\5" + bytes(4))
