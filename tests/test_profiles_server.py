"""The daemon negotiates by a profile: contexts, roles, extended negotiation, and rereading."""

import signal
import struct
import subprocess
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import small
from harness.peer import Peer
from harness.processes import PATIENCE, free_port
from harness.receivers import OURS, argv, assert_no_traceback

EXPLICIT, IMPLICIT, BIG = wire.EXPLICIT, wire.IMPLICIT, wire.BIG
ROLE, EXTENDED = 0x54, 0x56

PLAIN, AS_SCU, AS_SCP, AS_BOTH = CLASSES = ("1.2.1", "1.2.2", "1.2.3", "1.2.4")
ROLES = f"""
[[TransferSyntaxes]]
[T]
TransferSyntax1 = LocalEndianExplicit
TransferSyntax2 = LittleEndianImplicit
[[PresentationContexts]]
[C]
PresentationContext1 = {PLAIN}\\T
PresentationContext2 = {AS_SCU}\\T
PresentationContext3 = {AS_SCP}\\T
PresentationContext4 = {AS_BOTH}\\T
[D]
PresentationContext1 = {PLAIN}\\T
PresentationContext2 = {PLAIN}\\T
[[SCPSCURoleSelection]]
[R]
Role1 = {AS_SCU}\\SCU
Role2 = {AS_SCP}\\SCP
Role3 = {AS_BOTH}\\BOTH
[[ExtendedNegotiation]]
[E]
ExtendedNegotiation1 = {PLAIN}\\0102
ExtendedNegotiation2 = {AS_SCP}\\03
[[Profiles]]
[P]
PresentationContexts = C
SCPSCURoleSelection = R
ExtendedNegotiation = E
[Twice]
PresentationContexts = D
"""


def one_class(sop_class: str) -> str:
    """Return a file whose profile P takes one class only."""
    return (
        "[[TransferSyntaxes]]\n[T]\nTransferSyntax1 = LittleEndianExplicit\n"
        f"[[PresentationContexts]]\n[C]\nPresentationContext1 = {sop_class}\\T\n"
        "[[Profiles]]\n[P]\nPresentationContexts = C\n"
    )


def sub_item(kind: int, sop_class: str, rest: bytes) -> bytes:
    """Return a role selection or extended negotiation item."""
    return wire.item(kind, struct.pack(">H", len(sop_class)) + sop_class.encode() + rest)


def proposed(scu: int, scp: int) -> bytes:
    """Return the same role proposal for every class."""
    return b"".join(sub_item(ROLE, uid, bytes((scu, scp))) for uid in CLASSES)


def contexts(*syntaxes: str, classes: tuple[str, ...] = CLASSES) -> tuple[wire.Context, ...]:
    """Return a context for every class."""
    return tuple((2 * number + 1, uid, syntaxes) for number, uid in enumerate(classes))


TAKEN, NO_REASON, NO_CLASS, NO_SYNTAX = 0, 2, 3, 4
# Name: contexts, what stands behind them; results of the contexts; items in the answer.
NEGOTIATIONS: dict[str, tuple[tuple[wire.Context, ...], bytes, list[int], list[bytes]]] = {
    "no roles": (
        contexts(IMPLICIT, EXPLICIT),
        b"",
        [TAKEN, TAKEN, NO_REASON, TAKEN],
        [sub_item(EXTENDED, PLAIN, b"\1\2")],
    ),
    "both roles": (
        contexts(EXPLICIT),
        proposed(1, 1),
        [TAKEN] * 4,
        [
            sub_item(ROLE, AS_SCU, b"\1\0"),
            sub_item(ROLE, AS_SCP, b"\0\1"),
            sub_item(ROLE, AS_BOTH, b"\1\1"),
            sub_item(EXTENDED, PLAIN, b"\1\2"),
            sub_item(EXTENDED, AS_SCP, b"\3"),
        ],
    ),
    "as SCU": (
        contexts(EXPLICIT),
        proposed(1, 0),
        [TAKEN] * 4,
        [
            sub_item(ROLE, AS_SCU, b"\1\0"),
            sub_item(ROLE, AS_SCP, b"\0\0"),
            sub_item(ROLE, AS_BOTH, b"\1\0"),
            sub_item(EXTENDED, PLAIN, b"\1\2"),
            sub_item(EXTENDED, AS_SCP, b"\3"),
        ],
    ),
    "as SCP": (
        contexts(EXPLICIT),
        proposed(0, 1),
        [TAKEN] * 4,
        [
            sub_item(ROLE, AS_SCU, b"\0\0"),
            sub_item(ROLE, AS_SCP, b"\0\1"),
            sub_item(ROLE, AS_BOTH, b"\0\1"),
            sub_item(EXTENDED, PLAIN, b"\1\2"),
            sub_item(EXTENDED, AS_SCP, b"\3"),
        ],
    ),
    "neither role": (
        contexts(EXPLICIT),
        proposed(0, 0),
        [TAKEN] * 4,
        [
            sub_item(ROLE, AS_SCU, b"\1\0"),
            sub_item(ROLE, AS_SCP, b"\0\1"),
            sub_item(ROLE, AS_BOTH, b"\1\1"),
            sub_item(EXTENDED, PLAIN, b"\1\2"),
            sub_item(EXTENDED, AS_SCP, b"\3"),
        ],
    ),
    "no common syntax": (contexts(BIG), proposed(1, 1), [NO_SYNTAX] * 4, []),
    "no common syntax and no roles": (contexts(BIG), b"", [NO_SYNTAX] * 4, []),
    "not listed, nor is verification": (
        contexts(EXPLICIT, classes=("1.2.9", wire.VERIFICATION, wire.CT)),
        sub_item(ROLE, "1.2.9", b"\1\1"),
        [NO_CLASS] * 3,
        [],
    ),
    "two contexts of a class": (
        ((1, AS_BOTH, (EXPLICIT,)), (3, AS_BOTH, (IMPLICIT,)), (5, AS_BOTH, (BIG,))),
        sub_item(ROLE, AS_BOTH, b"\1\0") + sub_item(ROLE, AS_BOTH, b"\0\1"),
        [TAKEN, TAKEN, NO_SYNTAX],
        [sub_item(ROLE, AS_BOTH, b"\1\0")] * 2,
    ),
    "in another order": (
        contexts(EXPLICIT, classes=(AS_BOTH, AS_SCP, PLAIN)),
        sub_item(ROLE, AS_SCP, b"\1\1") + sub_item(ROLE, AS_BOTH, b"\1\1"),
        [TAKEN] * 3,
        [
            sub_item(ROLE, AS_BOTH, b"\1\1"),
            sub_item(ROLE, AS_SCP, b"\0\1"),
            sub_item(EXTENDED, PLAIN, b"\1\2"),
            sub_item(EXTENDED, AS_SCP, b"\3"),
        ],
    ),
    "a role without its context": (
        contexts(EXPLICIT, classes=(PLAIN,)),
        sub_item(ROLE, AS_BOTH, b"\1\1"),
        [TAKEN],
        [sub_item(EXTENDED, PLAIN, b"\1\2")],
    ),
    "the peer's information does not matter": (
        contexts(EXPLICIT, classes=(PLAIN, AS_SCU)),
        sub_item(EXTENDED, PLAIN, b"\xff") + sub_item(EXTENDED, AS_SCU, b"\xff"),
        [TAKEN] * 2,
        [sub_item(EXTENDED, PLAIN, b"\1\2")],
    ),
}


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.cfg"
    path.write_text(ROLES)
    return path


def test_roles_and_extended_negotiation(
    flavour: str, start_receiver: StartReceiver, profile: Path
) -> None:
    receiver = start_receiver(flavour, "--fork", "-ta", "1", "-xf", str(profile), " p ")
    for name, (wanted, extra, results, items) in NEGOTIATIONS.items():
        with Peer.connect(receiver.port) as peer:
            reply = peer.associate(*wanted, extra=extra)
            peer.release()
        assert [result for _, result, _ in reply.contexts] == results, name
        for (_, result, syntax), (_, _, syntaxes) in zip(reply.contexts, wanted, strict=True):
            # The first of the profile's list, whatever the peer's order.
            best = EXPLICIT if EXPLICIT in syntaxes else IMPLICIT
            assert syntax == (best if result == TAKEN else IMPLICIT), name
        got = [wire.item(*item) for item in reply.user_items if item[0] in (ROLE, EXTENDED)]
        assert got == items, name


ROLE_REFUSED = (
    "E: ASSOC: SCP/SCU role selection failed, Default role (i.e. SCU) proposed"
    " but only SCP role configured for acceptance"
)
NO_ROLE = (
    "W: setting accepted SCP/SCU role to NONE, i.e. both role fields are 0"
    " in SCP/SCU role selection sub-item"
)


def test_refused_roles_are_told(flavour: str, start_receiver: StartReceiver, profile: Path) -> None:
    """Once for each context; the reference says of (0, 0) proposed, too, that it is odd."""
    receiver = start_receiver(flavour, "-v", "-ta", "1", "-xf", str(profile), "p")
    told = {}
    for name, (wanted, extra, _, _) in NEGOTIATIONS.items():
        mark = receiver.mark()
        with Peer.connect(receiver.port) as peer:
            peer.associate(*wanted, extra=extra)
            peer.release()
        receiver.wait_for_log("Association Release", since=mark)
        found = [line for line in receiver.log(mark).splitlines() if line[0] in "EW"]
        told[name] = [line for line in found if "DULFSM" not in line]
    said = {name: lines for name, lines in told.items() if lines}
    assert said == {"no roles": [ROLE_REFUSED], "as SCU": [NO_ROLE], "as SCP": [NO_ROLE]}


def test_whatever_is_listed_is_stored(
    flavour: str, start_receiver: StartReceiver, profile: Path
) -> None:
    receiver = start_receiver(flavour, "--fork", "-ta", "1", "-xf", str(profile), "P")
    thing = small(sop_class=PLAIN)
    with Peer.connect(receiver.port) as peer:
        peer.associate((1, PLAIN, (EXPLICIT,)))
        assert peer.store(thing) == 0
        peer.release()
    assert receiver.names() == [f"UNKNOWN.{thing.sop_instance}"]


BROKEN = {
    "no file": (None, "P"),
    "empty file": ("", "P"),
    "bad class": (one_class("CT Image Storage"), "P"),
    "no such profile": (ROLES, "Q r"),
    "a class twice": (ROLES, "Twice"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_faults_are_fatal_and_come_before_those_of_later_options(
    tmp_path: Path, reference: str, case: str
) -> None:
    text, name = BROKEN[case]
    path = tmp_path / "broken.cfg"
    if text is not None:
        path.write_text(text)
    found = []
    for flavour in (OURS, reference):
        for later in ((), ("+te", "+B", "-od", "/nonexistent")):
            done = subprocess.run(
                [*argv(flavour), "-xf", str(path), name, *later, str(free_port())],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            assert_no_traceback(done.stderr)
            assert done.returncode == 1
            found.append([line for line in done.stderr.splitlines() if line.startswith("F: ")])
    assert found[0], "nothing is said"
    assert found == [found[0]] * 4


def test_hangup_rereads_the_profile(start_receiver: StartReceiver, tmp_path: Path) -> None:
    path = tmp_path / "profile.cfg"
    path.write_text(one_class(wire.CT))
    receiver = start_receiver(OURS, "--fork", "-v", "-ta", "1", "-xf", str(path), "P")
    both = ((1, wire.CT, (EXPLICIT,)), (3, wire.MR, (EXPLICIT,)))

    def results(peer: Peer) -> list[int]:
        return [result for _, result, _ in peer.associate(*both).contexts]

    with Peer.connect(receiver.port) as old:
        assert results(old) == [TAKEN, NO_CLASS]
        path.write_text(one_class(wire.MR))
        receiver.send_signal(signal.SIGHUP)
        # The log says nothing of a reload; a status that was asked for later is logged later.
        receiver.send_signal(signal.SIGUSR1)
        receiver.wait_for_log("status: ")
        with Peer.connect(receiver.port) as new:
            assert results(new) == [NO_CLASS, TAKEN]
            new.release()
        assert old.store(small()) == 0, "an association keeps what it was promised"
        old.release()
    path.write_text("[[TransferSyntaxes]]\n")
    mark = receiver.mark()
    receiver.send_signal(signal.SIGHUP)
    receiver.wait_for_log(
        "E: cannot read config file: cannot find section [[PRESENTATIONCONTEXTS]] in config file; "
        "still working as before",
        since=mark,
    )
    with Peer.connect(receiver.port) as peer:
        assert results(peer) == [NO_CLASS, TAKEN]
        peer.release()
