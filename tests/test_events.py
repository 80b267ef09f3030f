"""Commands after objects and studies, and the end of a study: when, in which order, with what."""

import os
import re
import signal
import socket
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import Object, new_uid, small
from harness.peer import Peer
from harness.processes import children_of, wait_until
from harness.receivers import OURS, Receiver

from storescpd.events import host_name

SUCCESS, OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000
QUICK = ("-v", "-ta", "1")
BY_STUDY = ("-su", "S")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """The file that commands write to."""
    return tmp_path / "notes"


def lines(notes: Path) -> list[str]:
    """Return what was noted so far."""
    return notes.read_text().splitlines() if notes.exists() else []


def wait_for_lines(notes: Path, count: int) -> list[str]:
    """Wait for so many lines, and return them."""
    wait_until(lambda: len(lines(notes)) >= count, f"{count} lines: {lines(notes)}")
    found = lines(notes)
    assert len(found) == count, found
    return found


def note(notes: Path, text: str) -> str:
    """Return a command that adds a line."""
    return f"echo '{text}' >> {notes}"


def send(receiver: Receiver, *things: Object, calling: bytes = b"WIRE") -> list[int]:
    """Send objects in one association, and return the statuses."""
    with Peer.connect(receiver.port) as peer:
        peer.associate(calling=calling)
        statuses = [peer.store(thing, number) for number, thing in enumerate(things, 1)]
        peer.release()
    return statuses


def first_label(name: str) -> str:
    return name.partition(".")[0]


# After each object


@pytest.mark.parametrize("process", ["--single-process", "--fork"])
def test_a_command_after_each_object(
    flavour: str, start_receiver: StartReceiver, notes: Path, process: str
) -> None:
    command = f"echo p=#p f=#f a=#a c=#c r=#r >> {notes}"
    receiver = start_receiver(flavour, *QUICK, process, "-xs", "-xcr", command)
    things = [small(), small(wire.MR)]
    assert send(receiver, *things) == [SUCCESS] * 2
    host = first_label(socket.getnameinfo(("127.0.0.1", 0), 0)[0])
    assert wait_for_lines(notes, 2) == [
        f"p={receiver.folder} f={prefix}.{thing.sop_instance} a=WIRE c=STORESCP r={host}"
        for prefix, thing in zip(("CT", "MR"), things, strict=True)
    ]


@pytest.mark.parametrize("mode", [(), ("+B",)], ids=["normal", "bit-preserving"])
def test_without_host_lookup(
    flavour: str, start_receiver: StartReceiver, notes: Path, mode: tuple[str, ...]
) -> None:
    receiver = start_receiver(flavour, *mode, "-dhl", "-xs", "-xcr", f"echo #r >> {notes}")
    assert send(receiver, small()) == [SUCCESS]
    assert wait_for_lines(notes, 1) == ["127.0.0.1"]


def test_whatever_the_status_was(flavour: str, start_receiver: StartReceiver, notes: Path) -> None:
    receiver = start_receiver(flavour, *QUICK, "-xs", "-xcr", note(notes, "#f"))
    things = [
        small(data_instance="1.2.3"),
        small(leave_out=(0x00080016,)),
        small()._replace(data=b""),
    ]
    expected = [MISMATCH, CANNOT_UNDERSTAND, OUT_OF_RESOURCES]
    assert send(receiver, *things) == expected
    assert wait_for_lines(notes, 3) == [f"CT.{thing.sop_instance}" for thing in things]


def test_not_after_an_abort(flavour: str, start_receiver: StartReceiver, notes: Path) -> None:
    receiver = start_receiver(flavour, *QUICK, "-xs", "-xcr", note(notes, "#f"))
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        thing = small()
        peer.send_command(wire.store_rq(thing.sop_class, thing.sop_instance))
        peer.send_data(thing.data[:-20])
        peer.expect_abort()
    good = small()
    assert send(receiver, good) == [SUCCESS]
    assert wait_for_lines(notes, 1) == [f"CT.{good.sop_instance}"]


def test_not_for_an_object_that_has_no_name(start_receiver: StartReceiver, notes: Path) -> None:
    """Where the reference passes the name of another object, or crashes."""
    receiver = start_receiver(OURS, *QUICK, *BY_STUDY, "-xs", "-xcr", note(notes, "#f"))
    nameless, good = small(leave_out=(0x0020000D,)), small()
    assert send(receiver, nameless, good, nameless) == [
        CANNOT_UNDERSTAND,
        SUCCESS,
        CANNOT_UNDERSTAND,
    ]
    assert wait_for_lines(notes, 1) == [f"CT.{good.sop_instance}"]


def test_sorted_objects_have_their_studys_folder(
    flavour: str, start_receiver: StartReceiver, notes: Path
) -> None:
    receiver = start_receiver(flavour, *QUICK, *BY_STUDY, "-xs", "-xcr", note(notes, "#p #f"))
    things = [small(study="1.2.3"), small(study="1.2.4")]
    assert send(receiver, *things) == [SUCCESS] * 2
    assert wait_for_lines(notes, 2) == [
        f"{receiver.folder}/S_1.2.3 CT.{things[0].sop_instance}",
        f"{receiver.folder}/S_1.2.4 CT.{things[1].sop_instance}",
    ]


@pytest.mark.parametrize("mode", [(), ("+B",)], ids=["normal", "bit-preserving"])
def test_nothing_is_stored(
    flavour: str, start_receiver: StartReceiver, notes: Path, mode: tuple[str, ...]
) -> None:
    receiver = start_receiver(flavour, *mode, "--ignore", "-xs", "-xcr", note(notes, "#p #f #a"))
    assert send(receiver, small()) == [SUCCESS]
    assert wait_for_lines(notes, 1) == ['#p #f "WIRE"']


def test_what_peers_say_means_nothing_to_the_shell(
    start_receiver: StartReceiver, notes: Path, tmp_path: Path
) -> None:
    touched = tmp_path / "touched"
    receiver = start_receiver(
        OURS,
        *QUICK,
        "-xs",
        "-xcr",
        f"echo #f #a >> {notes}; echo $STORESCPD_CALLING_AET >> {notes}",
    )
    uid = f"1$(touch {touched})`touch {touched}`"[:60]
    assert send(receiver, small(sop_instance=uid), calling=b"A;$(id)`id`") == [SUCCESS]
    found = wait_for_lines(notes, 2)
    assert re.fullmatch(r"CT\.[\w.-]+ A___id__id_", found[0])
    assert found[1] == "A;$(id)`id`"
    assert not touched.exists()


def test_environment_of_a_command(start_receiver: StartReceiver, notes: Path) -> None:
    receiver = start_receiver(OURS, *BY_STUDY, "-dhl", "-xs", "-xcr", f"env > {notes}")
    thing = small(study="1.2.3")
    assert send(receiver, thing) == [SUCCESS]
    wait_until(notes.exists, "the command has run")
    found = dict(line.split("=", 1) for line in lines(notes) if line.startswith("STORESCPD_"))
    assert found == {
        "STORESCPD_PATH": f"{receiver.folder}/S_1.2.3",
        "STORESCPD_FILE": f"CT.{thing.sop_instance}",
        "STORESCPD_CALLING_AET": "WIRE",
        "STORESCPD_CALLED_AET": "STORESCP",
        "STORESCPD_PEER": "127.0.0.1",
        "STORESCPD_SOP_CLASS": wire.CT,
        "STORESCPD_SOP_INSTANCE": thing.sop_instance,
        "STORESCPD_STUDY": "1.2.3",
    }


def gated(notes: Path, gate: Path) -> str:
    """Return a command that ends when there is a file ``gate``."""
    return f"while ! test -e {gate}; do sleep 0.05; done; echo done >> {notes}"


@pytest.mark.parametrize("waits", [("-xs",), ("--fork",)], ids=["sync", "fork"])
def test_the_response_goes_first_and_the_next_message_waits(
    flavour: str, start_receiver: StartReceiver, notes: Path, tmp_path: Path, waits: tuple[str]
) -> None:
    if flavour != OURS and "--fork" in waits:
        # Version 3.6.7 waits with -xs only.
        waits = ("-xs",)
    gate = tmp_path / "gate"
    receiver = start_receiver(flavour, *QUICK, *waits, "-xcr", gated(notes, gate))
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(small()) == SUCCESS
        peer.send_command(wire.echo_rq(2))
        assert peer.nothing_arrives(0.3), "the command has not ended yet"
        gate.touch()
        assert peer.response()[wire.RESPONDED_ID] == 2
        assert lines(notes) == ["done"]
        peer.release()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("waits", ["-xs", "--fork"])
def test_a_stop_does_not_wait_for_a_command(
    start_receiver: StartReceiver, notes: Path, tmp_path: Path, waits: str, number: signal.Signals
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    command = f"echo begun >> {notes}; read x < {gate}; echo done >> {notes}"
    receiver = start_receiver(OURS, *QUICK, waits, "--grace-period", "0", "-xcr", command)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(small()) == SUCCESS
        wait_for_lines(notes, 1)
        receiver.send_signal(number)
        peer.expect(wire.ABORT)
    assert receiver.wait() == 0
    assert "killed" not in receiver.log()
    gate.write_text("go on\n")
    assert wait_for_lines(notes, 2) == ["begun", "done"]


def test_commands_are_not_waited_for(
    flavour: str, start_receiver: StartReceiver, notes: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    receiver = start_receiver(flavour, *QUICK, "-xcr", gated(notes, gate))
    assert send(receiver, small(), small()) == [SUCCESS] * 2
    # The next association is served as well.
    assert send(receiver, small()) == [SUCCESS]
    assert lines(notes) == []
    gate.touch()
    wait_for_lines(notes, 3)


def test_commands_that_have_ended_are_collected(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, *QUICK, "-xcr", "true")
    assert send(receiver, *(small() for _ in range(10))) == [SUCCESS] * 10
    wait_until(lambda: children_of(receiver.pid) == [], "no child is left, dead or alive")


# The end of a study


def test_another_study_ends_the_one_before(
    flavour: str, start_receiver: StartReceiver, notes: Path
) -> None:
    """First the object's command, then the study's, which is told of the study that is over."""
    receiver = start_receiver(
        *(flavour, *QUICK, *BY_STUDY, "-xs"),
        *("-xcr", note(notes, "object #f")),
        *("-xcs", note(notes, "study #p #f #a")),
    )
    things = [small(study=study) for study in ("1.2", "1.2", "1.3", "1.2")]
    assert send(receiver, *things[:2]) == [SUCCESS] * 2
    assert send(receiver, *things[2:], calling=b"NEXT") == [SUCCESS] * 2
    names = [f"object CT.{thing.sop_instance}" for thing in things]
    assert wait_for_lines(notes, 6) == [
        *names[:3],
        f'study {receiver.folder}/S_1.2 #f "NEXT"',
        names[3],
        f'study {receiver.folder}/S_1.3 #f "NEXT"',
    ]


@pytest.mark.parametrize("inside", [True, False], ids=["in-association", "between-associations"])
def test_a_study_ends_when_nothing_comes(
    flavour: str, start_receiver: StartReceiver, notes: Path, inside: bool
) -> None:
    receiver = start_receiver(
        flavour, *QUICK, *BY_STUDY, "-xs", "-tos", "1", "-xcs", note(notes, "#p #a")
    )
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(small(study="1.2")) == SUCCESS
        if not inside:
            peer.release()
        assert wait_for_lines(notes, 1) == [f'{receiver.folder}/S_1.2 "WIRE"']
        if inside:
            assert peer.store(small(study="1.2"), 2) == SUCCESS
            # It has begun anew, so it ends once more.
            assert len(wait_for_lines(notes, 2)) == 2
            peer.release()


def test_commands_hold_off_the_end(start_receiver: StartReceiver, notes: Path) -> None:
    receiver = start_receiver(
        OURS, *QUICK, *BY_STUDY, "-xs", "-tos", "2", "-xcs", note(notes, "#p")
    )
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(small(study="1.2")) == SUCCESS
        for number in range(2, 4):
            assert peer.nothing_arrives(1.2)
            peer.echo(number)
        assert lines(notes) == []
        wait_for_lines(notes, 1)
        peer.release()


def test_neither_association_nor_daemon_ends_a_study(
    flavour: str, start_receiver: StartReceiver, notes: Path
) -> None:
    receiver = start_receiver(flavour, *QUICK, *BY_STUDY, "-xs", "-xcs", note(notes, "#p"))
    assert send(receiver, small(study="1.2")) == [SUCCESS]
    assert send(receiver, small(study="1.2")) == [SUCCESS]
    receiver.send_signal(signal.SIGTERM)
    receiver.wait()
    assert lines(notes) == []


def test_time_out_of_nought(start_receiver: StartReceiver, notes: Path) -> None:
    """A sender needs a moment between two objects; these are one study."""
    receiver = start_receiver(
        OURS, *QUICK, *BY_STUDY, "-xs", "-tos", "0", "-xcs", note(notes, "#p")
    )
    assert send(receiver, *(small(study="1.2") for _ in range(20))) == [SUCCESS] * 20
    wait_for_lines(notes, 1)


def test_the_time_out_of_the_socket_holds_as_well(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, *QUICK, *BY_STUDY, "-tos", "60", "-ts", "1")
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(small()) == SUCCESS
        peer.expect_closed()


@pytest.mark.parametrize("stall", [True, False])
def test_the_end_of_a_study_is_no_time_out_inside_an_object(
    start_receiver: StartReceiver, notes: Path, stall: bool
) -> None:
    more = ("-td", "2") if stall else ()
    receiver = start_receiver(
        OURS, *QUICK, *BY_STUDY, *more, "-xs", "-tos", "1", "-xcs", note(notes, "#p")
    )
    first, second = small(study="1.2", pixels=3000), small(study="1.2", pixels=3000)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(first) == SUCCESS
        peer.begin_store(second, 1000, message_id=2)
        if stall:
            receiver.wait_for_log("Store SCP Failed: 0006:0207")
        else:
            assert peer.nothing_arrives(1.5)
            peer.send_data(second.data[1000:])
            assert peer.response()[wire.STATUS] == SUCCESS
        wait_for_lines(notes, 1)
        peer.release()


def test_a_child_forgets_its_study_too(flavour: str, start_receiver: StartReceiver) -> None:
    """With --fork there are no commands for it, but the next folder of a run."""
    receiver = start_receiver(flavour, *QUICK, "--fork", "-ss", "", "-tos", "1")
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(small(), 1) == peer.store(small(), 2) == SUCCESS
        assert peer.nothing_arrives(1.6)
        assert peer.store(small(), 3) == SUCCESS
        peer.release()
    assert len({os.path.dirname(name) for name in receiver.names()}) == 2


# Numbering the files of a study


def test_files_are_numbered_before_the_command(
    flavour: str, start_receiver: StartReceiver, notes: Path
) -> None:
    receiver = start_receiver(
        *(flavour, *QUICK, *BY_STUDY, "-fe", ".dcm", "-rns", "-xs"),
        *("-xcs", f"ls #p | tr '\\n' ' ' >> {notes}; echo >> {notes}"),
    )
    study = [small(sop_class, study="1.2") for sop_class in (wire.CT, wire.MR, wire.CT)]
    last = small(study="1.3")
    assert send(receiver, *study, last) == [SUCCESS] * 4
    assert wait_for_lines(notes, 1) == ["CT000001 CT000003 MR000002 "]
    assert receiver.names() == [
        "S_1.2/CT000001",
        "S_1.2/CT000003",
        "S_1.2/MR000002",
        f"S_1.3/CT.{last.sop_instance}.dcm",
    ]
    assert send(receiver, small(study="1.4")) == [SUCCESS]
    wait_until(lambda: "S_1.3/CT000001" in receiver.names(), "numbers begin anew in each study")


def test_numbering_names_by_time(flavour: str, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(flavour, *QUICK, *BY_STUDY, "-tn", "-rns")
    study = [small(wire.MR, study="1.2") for _ in range(12)]
    assert send(receiver, *study, small(study="1.3")) == [SUCCESS] * 13
    expected = {f"S_1.2/MR{number:06d}" for number in range(1, 13)}
    wait_until(lambda: expected <= set(receiver.names()), "all are numbered")


def test_a_study_that_goes_on_keeps_its_files(start_receiver: StartReceiver) -> None:
    """The reference begins with 1 again, and overwrites them."""
    receiver = start_receiver(OURS, *QUICK, *BY_STUDY, "-rns")
    studies = ("1.2", "1.2", "1.3", "1.2", "1.4")
    assert send(receiver, *(small(study=study) for study in studies)) == [SUCCESS] * 5
    wait_until(lambda: "S_1.2/CT000003" in receiver.names(), "three files are numbered")
    found = [name for name in receiver.names() if name.startswith("S_1.2")]
    assert found == ["S_1.2/CT000001", "S_1.2/CT000002", "S_1.2/CT000003"]


def test_a_file_that_cannot_be_renamed(flavour: str, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(flavour, *QUICK, *BY_STUDY, "-rns")
    lost, kept = small(study="1.2"), small(study="1.2")
    assert send(receiver, lost, kept) == [SUCCESS] * 2
    (receiver.folder / "S_1.2" / f"CT.{lost.sop_instance}").unlink()
    assert send(receiver, small(study="1.3")) == [SUCCESS]
    receiver.wait_for_log(f"W: cannot rename file '{receiver.folder}/S_1.2/CT.{lost.sop_instance}'")
    wait_until(lambda: "S_1.2/CT000002" in receiver.names(), "the other one is renamed")


def test_an_object_that_was_not_written_is_none_of_the_study(
    start_receiver: StartReceiver,
) -> None:
    receiver = start_receiver(OURS, *QUICK, *BY_STUDY, "-rns")
    blocked, kept = small(study="1.2", sop_instance=new_uid()), small(study="1.2")
    (receiver.folder / "S_1.2").mkdir()
    (receiver.folder / "S_1.2" / f"CT.{blocked.sop_instance}").mkdir()
    assert send(receiver, blocked, kept) == [OUT_OF_RESOURCES, SUCCESS]
    assert send(receiver, small(study="1.3")) == [SUCCESS]
    wait_until(lambda: "S_1.2/CT000001" in receiver.names(), "the one that was is renamed")
    assert "cannot rename" not in receiver.log()


# Names of hosts


def test_a_host_without_a_name_keeps_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    for what_is_no_address in ("unknown", "local", "a b"):
        assert host_name(what_is_no_address) == what_is_no_address

    def no_name(address: tuple[str, int], flags: int) -> tuple[str, str]:
        assert flags == socket.NI_NAMEREQD
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getnameinfo", no_name)
    for address in ("192.0.2.1", "2001:db8::1"):
        assert host_name(address) == address


def test_a_host_name_ends_at_its_first_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getnameinfo", lambda *_: ("scanner.ward.example", "0"))
    assert host_name("192.0.2.1") == "scanner"
    monkeypatch.setattr(socket, "getnameinfo", lambda *_: (".example", "0"))
    assert host_name("192.0.2.1") == "192.0.2.1"
