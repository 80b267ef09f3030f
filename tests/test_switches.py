"""What makes the daemon a difficult peer, and what its environment changes."""

import glob
import signal
import socket
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import wire
from harness.datasets import bare
from harness.objects import new_uid, small, split_part10
from harness.peer import Peer
from harness.processes import free_port, wait_until
from harness.receivers import OURS, Receiver

from storescpd import sockets

QUICK = ("-v", "-ta", "1")
MODES = pytest.mark.parametrize("mode", [(), ("+B",)], ids=["normal", "bit-preserving"])


@MODES
def test_a_pause_after_each_object(
    flavour: str, start_receiver: StartReceiver, mode: tuple[str, ...]
) -> None:
    """It comes after the response, whatever that says."""
    receiver = start_receiver(flavour, *QUICK, *mode, "--sleep-after", "1")
    for thing in (small(), small()._replace(data=b"")):
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            peer.store(thing)
            peer.send_command(wire.echo_rq(2))
            assert peer.nothing_arrives(0.7)
            assert peer.response()[wire.RESPONDED_ID] == 2
            peer.release()


@MODES
def test_a_pause_at_each_part(
    flavour: str, start_receiver: StartReceiver, mode: tuple[str, ...]
) -> None:
    """An object of two fragments pauses at its begin, twice within, and at its end."""
    receiver = start_receiver(flavour, *QUICK, *mode, "--sleep-during", "1")
    thing = small(pixels=100)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send_command(wire.store_rq(thing.sop_class, thing.sop_instance))
        peer.send_data(thing.data, fragment=200)
        assert peer.nothing_arrives(3.5), "four pauses are not over yet"
        assert peer.response()[wire.STATUS] == 0
        peer.echo(2)
        peer.release()


@pytest.mark.parametrize("option", ["--sleep-after", "--sleep-during"])
def test_a_pause_does_not_keep_the_daemon_from_stopping(
    start_receiver: StartReceiver, option: str
) -> None:
    receiver = start_receiver(OURS, *QUICK, "--fork", option, "600")
    thing = small()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send_command(wire.store_rq(thing.sop_class, thing.sop_instance))
        peer.send_data(thing.data)
        if option == "--sleep-after":
            assert peer.response()[wire.STATUS] == 0
        receiver.send_signal(signal.SIGINT)
        peer.expect_abort()
    assert receiver.wait() == 0


@MODES
@pytest.mark.parametrize("option", ["--abort-after", "--abort-during"])
def test_aborting(
    flavour: str, start_receiver: StartReceiver, mode: tuple[str, ...], option: str
) -> None:
    """Nothing is stored, no command is run, and the next association is served the same."""
    receiver = start_receiver(flavour, *QUICK, *mode, option, "-xs", "-xcr", "echo >> notes")
    for pixels in (10, 40_000):
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            peer.echo()
            thing = small(pixels=pixels)
            peer.send_command(wire.store_rq(thing.sop_class, thing.sop_instance, 2))
            peer.send_data(thing.data)
            peer.expect_abort()
    receiver.wait_for_log("I: ABORT initiated (due to command line options)")
    wait_until(lambda: receiver.names() == [], "nothing is stored")
    assert not (receiver.scratch / "notes").exists()


def test_aborting_before_the_end(flavour: str, start_receiver: StartReceiver) -> None:
    """The rest of the object is not waited for."""
    receiver = start_receiver(flavour, *QUICK, "--abort-during")
    thing = small(pixels=3000)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.begin_store(thing, 1000)
        peer.expect_abort()


# The environment


def stored_private_vr(receiver: Receiver) -> bytes:
    """Send an element of a vendor in implicit VR, and return the VR it gets in explicit VR."""
    instance = new_uid()
    uid = instance + "\0" * (len(instance) % 2)
    data = (
        bare(0x00080016, wire.CT + "\0")
        + bare(0x00080018, uid)
        + bare(0x00190010, "SIEMENS CT VA0  COAD")
        + bare(0x00191010, "1.5   ")
    )
    with Peer.connect(receiver.port) as peer:
        peer.associate((1, wire.CT, (wire.IMPLICIT,)))
        peer.send_command(wire.store_rq(wire.CT, instance))
        peer.send_data(data)
        assert peer.response()[wire.STATUS] == 0
        peer.release()
    stored = split_part10(receiver.stored(instance)).data
    at = stored.index(b"\x19\0\x10\x10")
    return stored[at + 4 : at + 6]


@pytest.mark.parametrize("process", ["--single-process", "--fork"])
def test_dictionaries_of_the_environment(
    flavour: str, start_receiver: StartReceiver, reference: str, process: str
) -> None:
    (public,) = glob.glob("/usr/share/*dcmtk*/dicom.dic")
    for paths, expected in (
        ([public, str(Path(public).with_name("private.dic"))], b"DS"),
        ([public], b"UN"),
    ):
        environment = {"DCMDICTPATH": ":".join(paths)}
        receiver = start_receiver(flavour, *QUICK, process, "+te", environment=environment)
        assert stored_private_vr(receiver) == expected
        assert "dictionary" not in receiver.log()


NO_DICTIONARY = "W: no data dictionary loaded, check environment variable: DCMDICTPATH"


def test_no_dictionary_at_all(flavour: str, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(flavour, environment={"DCMDICTPATH": "/nonexistent/x.dic"})
    receiver.wait_for_log(NO_DICTIONARY)


def test_what_is_wrong_with_a_dictionary(
    start_receiver: StartReceiver, tmp_path: Path, reference: str
) -> None:
    """Each file is named; the dictionary that is built in does all that others do not."""
    (public,) = glob.glob("/usr/share/*dcmtk*/dicom.dic")
    broken = tmp_path / "broken.dic"
    broken.write_text("what is this\n")
    names = [str(broken), "/nonexistent", public]
    receiver = start_receiver(OURS, *QUICK, "+te", environment={"DCMDICTPATH": ":".join(names)})
    log = receiver.log()
    assert f"W: cannot load data dictionary {broken}: not a dictionary entry: " in log
    assert "W: cannot load data dictionary /nonexistent: No such file or directory" in log
    assert NO_DICTIONARY not in log
    assert stored_private_vr(receiver) == b"UN"


def test_no_dictionary_where_nothing_is_parsed(start_receiver: StartReceiver) -> None:
    receiver = start_receiver(OURS, *QUICK, "+B", environment={"DCMDICTPATH": "/nonexistent"})
    assert "dictionary" not in receiver.log()


@pytest.mark.parametrize("text", ["16384", "0", "many", "99999999999999999999"])
def test_buffers_of_the_listener(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """The kernel doubles what it is asked for (socket(7)), or keeps to its limits."""
    with socket.socket() as plain:
        usual = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    monkeypatch.setenv("TCP_BUFFER_LENGTH", text)
    (listener,) = sockets.listen(free_port(), "ipv4", ["127.0.0.1"])
    with listener, socket.create_connection(listener.getsockname()):
        listener.setblocking(True)
        connection, _ = listener.accept()
        with connection:
            found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    if text == "16384":
        assert found == 2 * 16384
    elif text.startswith("9"):
        assert found >= usual
    else:
        assert found > 2 * 16384
