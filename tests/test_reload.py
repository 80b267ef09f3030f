"""SIGHUP: files that the options name are read again, for associations to come."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import small
from harness.peer import Peer
from harness.processes import signals_pending, wait_until
from harness.receivers import OURS, Receiver

PROFILE = """
[[TransferSyntaxes]]
[all]
TransferSyntax1 = LittleEndianExplicit
[[PresentationContexts]]
[accepted]
PresentationContext1 = {}\\all
[[Profiles]]
[mine]
PresentationContexts = accepted
"""


def accepts(receiver: Receiver, sop_class: str) -> bool:
    with Peer.connect(receiver.port) as peer:
        reply = peer.associate((1, sop_class, (wire.EXPLICIT,)))
        peer.release()
    ((_, result, _),) = reply.contexts
    return result == 0


def reload(receiver: Receiver) -> None:
    """Send HUP and wait until it was obeyed: signals are obeyed in the order of their coming."""
    mark = receiver.mark()
    receiver.send_signal(signal.SIGHUP)
    wait_until(lambda: not signals_pending(receiver.pid), "HUP is taken")
    receiver.send_signal(signal.SIGUSR1)
    receiver.wait_for_log("status: ", since=mark)


@pytest.mark.parametrize(
    "options", [("--fork",), ("--single-process",), ("--fork", "--chdir", "/")]
)
def test_profile(tmp_path: Path, start_receiver: StartReceiver, options: tuple[str, ...]) -> None:
    # The receiver is started in a folder beside; the name stays good when it goes elsewhere.
    path = tmp_path / "profiles.cfg"
    path.write_text(PROFILE.format("CTImageStorage"))
    receiver = start_receiver(OURS, *options, "-xf", "../profiles.cfg", "mine", "-dhl")
    assert accepts(receiver, wire.CT)
    assert not accepts(receiver, wire.MR)
    path.write_text(PROFILE.format("MRImageStorage"))
    assert accepts(receiver, wire.CT), "not before it is told to"
    with Peer.connect(receiver.port) as before:
        before.associate()
        if options[0] == "--fork":
            reload(receiver)
        before.echo()
        before.release()
    reload(receiver)
    assert accepts(receiver, wire.MR)
    assert not accepts(receiver, wire.CT)


def test_damaged_profile_changes_nothing(tmp_path: Path, start_receiver: StartReceiver) -> None:
    path = tmp_path / "profiles.cfg"
    path.write_text(PROFILE.format("CTImageStorage"))
    receiver = start_receiver(OURS, "--fork", "-xf", str(path), "mine", "-dhl")
    for damaged in ("[[Profiles]]\n", PROFILE.format("NoSuchClass"), None):
        if damaged is None:
            path.unlink()
        else:
            path.write_text(damaged)
        mark = receiver.mark()
        reload(receiver)
        (line, _) = receiver.log(mark).splitlines()
        assert line.startswith("E: cannot read config file: ")
        assert line.endswith("; still working as before")
        assert accepts(receiver, wire.CT)


def test_hup_lets_go_of_another_output_directory(
    start_receiver: StartReceiver, tmp_path: Path
) -> None:
    """Or the file system that it is on could not be unmounted."""
    folder, old = tmp_path / "in", tmp_path / "in.old"
    receiver = start_receiver(OURS, "--fork", "-dhl", folder=folder)
    folder.rename(old)
    folder.mkdir()
    reload(receiver)
    files = {one.readlink() for one in Path(f"/proc/{receiver.pid}/fd").iterdir()}
    assert folder in files
    assert old not in files


@pytest.mark.parametrize("process", ["--fork", "--single-process"])
def test_output_directory_that_cannot_be_opened(
    start_receiver: StartReceiver, tmp_path: Path, process: str
) -> None:
    """What is stored nevertheless is where nobody looks for it, if nobody is told."""
    folder, old = tmp_path / "in", tmp_path / "in.old"
    receiver = start_receiver(OURS, process, "-dhl", folder=folder)
    folder.rename(old)
    thing = small()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(thing) == 0
        peer.release()
    assert [path.name for path in old.iterdir()] == [f"CT.{thing.sop_instance}"]
    warning = (
        f"W: cannot open output directory {folder}: No such file or directory;"
        " still using the one that was there\n"
    )
    assert receiver.log() == warning
    reload(receiver)
    assert receiver.log().count(warning) == 2


def test_check_config_reads_the_profile(tmp_path: Path) -> None:
    path = tmp_path / "profiles.cfg"
    path.write_text(PROFILE.format("CTImageStorage"))
    command = [sys.executable, "-m", "storescpd", "--check-config", "-od", str(tmp_path), "104"]
    for name, code, fault in (
        ("mine", 0, ""),
        ("other", 1, "F: unknown configuration profile name: OTHER\n"),
    ):
        done = subprocess.run(
            [*command, "-xf", str(path), name], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (code, fault)
