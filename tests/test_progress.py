"""Progress on stdout: a dot for each value, only where the progress logger is exactly at INFO."""

import subprocess
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import senders, wire
from harness.objects import small, write_part10
from harness.peer import Peer, store_one
from harness.processes import PATIENCE, free_port, is_listening, wait_until
from harness.receivers import OURS, argv


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [
        ((), ""),
        (("-v",), "RECV: ...\n"),
        (("-d",), ""),
        (("-ll", "info"), "RECV: ...\n"),
        (("-ll", "trace"), ""),
        (("-q",), ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_receiver(
    flavour: str, start_receiver: StartReceiver, verbosity: tuple[str, ...], shown: str
) -> None:
    receiver = start_receiver(flavour, *verbosity, "--fork", "-dhl")
    thing = small(pixels=600 - 240)
    length = len(thing.data)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(thing, fragment=(length // 3 + 2) // 2 * 2) == 0
        peer.release()
    receiver.wait_for_children(0)
    # The reference's dots lie in a buffer until its child has ended.
    wait_until(lambda: receiver.stdout() == shown, f"stdout is {shown!r}")


@pytest.mark.parametrize("mode", ["--fork", "--single-process"])
def test_receiver_without_room_for_dots(tmp_path: Path, flavour: str, mode: str) -> None:
    port = free_port()
    with open("/dev/full", "w") as full:
        command = [*argv(flavour), "-v", mode, "-od", str(tmp_path), str(port)]
        process = subprocess.Popen(command, stdout=full, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: is_listening(port), "it listens")
        store_one(port)
    finally:
        process.terminate()
        code = process.wait(PATIENCE)
    if flavour == OURS:  # the reference lets itself be killed
        assert code == 0


@pytest.mark.parametrize(
    ("verbosity", "shown"), [((), ""), (("-v",), "XMIT: ...\n"), (("-d",), ""), (("-q",), "")]
)
def test_sender(
    flavour: str,
    tmp_path_factory: pytest.TempPathFactory,
    start_receiver: StartReceiver,
    verbosity: tuple[str, ...],
    shown: str,
) -> None:
    receiver = start_receiver("storescpd", "--fork", "-pdu", "4096", "-dhl")
    path = write_part10(tmp_path_factory.mktemp("file"), small(pixels=10_000))
    done = senders.send(flavour, receiver.port, [path], *verbosity)
    assert done.code == 0
    assert done.stdout == shown


def test_sender_without_standard_output(tmp_path: Path, start_receiver: StartReceiver) -> None:
    """No dot gets into whatever has its number now; in the reference that is the connection."""
    receiver = start_receiver(OURS, "--fork", "-dhl")
    path = write_part10(tmp_path, small())
    command = [*senders.argv(OURS), "-v", "127.0.0.1", str(receiver.port), str(path)]
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", *command],
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=senders.TIME_LIMIT,
    )
    assert done.returncode == 0, done.stderr
    assert "I: Received Store Response (Success)" in done.stderr


def test_log_lines_of_a_sender_run(
    flavour: str, tmp_path_factory: pytest.TempPathFactory, start_receiver: StartReceiver
) -> None:
    """What scripts look for in the verbose output, in this order."""
    receiver = start_receiver("storescpd", "--fork", "-dhl")
    path = write_part10(tmp_path_factory.mktemp("file"), small())
    done = senders.send(flavour, receiver.port, [path], "-v")
    lines = [
        line.removeprefix("I: ")
        for line in done.stderr.splitlines()
        if "Converting transfer syntax" not in line  # 3.6.7 says so without need
    ]
    assert lines == [
        "checking input files ...",
        "Requesting Association",
        "Association Accepted (Max Send PDV: 16372)",
        f"Sending file: {path}",
        "Sending Store Request (MsgID 1, CT)",
        "Received Store Response (Success)",
        "Releasing Association",
    ]


def test_log_lines_of_a_received_object(flavour: str, start_receiver: StartReceiver) -> None:
    receiver = start_receiver(flavour, "--fork", "-v", "-dhl")
    thing = small()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.echo(1)
        assert peer.store(thing, 2) == 0
        peer.send(wire.release_rq())
        peer.expect(wire.RELEASE_RP)
    receiver.wait_for_log("Association Release")
    lines = receiver.log().splitlines()
    assert lines[0].startswith("I: Association Received in child process (pid: ")
    assert lines[1:] == [
        "I: Association Acknowledged (Max Send PDV: 16372)",
        "I: Received Echo Request (MsgID 1)",
        "I: Received Store Request (MsgID 2, CT)",
        f"I: storing DICOM file: {receiver.folder}/CT.{thing.sop_instance}",
        "I: Association Release",
    ]
