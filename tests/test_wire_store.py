"""What becomes of an object, and which status its sender gets (PS3.4 annex B.2.3)."""

import errno
import os
import resource
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import implicit, new_uid, small, split_part10
from harness.peer import Peer
from harness.processes import wait_until
from harness.receivers import OURS, Receiver

QUICK = ("-v", "--fork", "-ta", "1", "-dhl")
BIT_PRESERVING = (*QUICK, "+B")
SOP_CLASS, SOP_INSTANCE, STUDY = 0x00080016, 0x00080018, 0x0020000D

SUCCESS, OUT_OF_RESOURCES, MISMATCH, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xA900, 0xC000


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"data_instance": "1.2.3"}, id="instance"),
        pytest.param({"data_class": wire.MR}, id="class"),
    ],
)
def test_data_set_says_another_uid(
    flavour: str, shared_receiver: StartReceiver, changes: dict[str, str]
) -> None:
    thing = small(**changes)  # type: ignore[arg-type]
    for mode, status in ((QUICK, MISMATCH), (BIT_PRESERVING, SUCCESS), ((*QUICK, "--ignore"), 0)):
        receiver = shared_receiver(flavour, *mode)
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            assert peer.store(thing) == status
            assert peer.store(small(), 2) == SUCCESS
            peer.release()
        if "--ignore" in mode:
            assert receiver.names() == []
            continue
        content = split_part10(receiver.stored(thing.sop_instance))
        assert content.data == thing.data
        # Normal mode believes the data set, bit-preserving mode the request.
        says = thing.sop_class if mode is BIT_PRESERVING else changes.get("data_class", wire.CT)
        assert content.meta[2].rstrip(b"\0").decode() == says


def test_data_set_says_an_endless_uid(flavour: str, shared_receiver: StartReceiver) -> None:
    """It does not fit into the meta header as a UID, and costs no more than a status."""
    thing, uid = small(), b"1.2." + b"3" * 65_532
    elements = implicit(SOP_CLASS, wire.CT, pad=b"\0") + implicit(SOP_INSTANCE, uid)
    thing = thing._replace(syntax=wire.IMPLICIT, data=elements)
    receiver = shared_receiver(flavour, *QUICK, "+xi")
    with Peer.connect(receiver.port) as peer:
        peer.associate((1, wire.CT, (wire.IMPLICIT,)))
        assert peer.store(thing) == peer.store(thing, 2) == MISMATCH
        peer.release()
    content = split_part10(receiver.stored(thing.sop_instance))
    assert content.meta[3] == uid
    assert content.data == thing.data


@pytest.mark.parametrize("element", [SOP_CLASS, SOP_INSTANCE], ids=["class", "instance"])
def test_data_set_without_uids(flavour: str, shared_receiver: StartReceiver, element: int) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    thing = small(leave_out=(element,))
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(thing) == CANNOT_UNDERSTAND
        peer.release()
    receiver.wait_for_log("bad DICOM file: ", since=mark)
    assert split_part10(receiver.stored(thing.sop_instance)).data == thing.data


def test_uids_are_found_inside_sequences(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    thing = small()
    # (0008,0006), before the data set's own UIDs, so the first match lies in its item.
    inner = small(wire.CT, thing.sop_instance, leave_out=(0x7FE00010,)).data[:120]
    head = inner[: inner.index(struct.pack("<HH", 0x0008, 0x0020))]
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(head)) + head
    sequence = struct.pack("<HH2sHL", 0x0008, 0x0006, b"SQ", 0, len(item)) + item
    rest = thing.data[thing.data.index(struct.pack("<HH", 0x0008, 0x0020)) :]
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(thing._replace(data=sequence + rest)) == SUCCESS
        peer.release()


def test_empty_data_set(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    thing = small()._replace(data=b"")
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(thing) == OUT_OF_RESOURCES
        assert peer.store(small(), 2) == SUCCESS
        peer.release()
    receiver.wait_for_log("cannot write DICOM file: ", since=mark)
    assert not receiver.holds(thing.sop_instance)


@pytest.mark.parametrize("mode", [QUICK, BIT_PRESERVING], ids=["normal", "bit-preserving"])
def test_name_is_a_directory(
    flavour: str, shared_receiver: StartReceiver, mode: tuple[str, ...]
) -> None:
    receiver = shared_receiver(flavour, *mode)
    thing = small()
    (receiver.folder / f"CT.{thing.sop_instance}").mkdir()
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(thing) == OUT_OF_RESOURCES
        assert peer.store(small(), 2) == SUCCESS
        peer.release()
    text = "Cannot create file" if mode is BIT_PRESERVING else "cannot write DICOM file: "
    receiver.wait_for_log(text, since=mark)
    assert not receiver.holds(thing.sop_instance)


def test_existing_file_is_overwritten(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    thing = small(pixels=2000)
    again = small(sop_instance=thing.sop_instance, pixels=100)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(thing, 1) == SUCCESS
        assert peer.store(again, 2) == SUCCESS
        peer.release()
    assert split_part10(receiver.stored(thing.sop_instance)).data == again.data
    receiver.wait_for_log("DICOM file already exists, overwriting: ", since=mark)


def test_sorting_without_study(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK, "-su", "S")
    thing = small(leave_out=(STUDY,))
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(thing) == CANNOT_UNDERSTAND
        sorted_one = small(study="1.2.99")
        assert peer.store(sorted_one, 2) == SUCCESS
        peer.release()
    receiver.wait_for_log("element StudyInstanceUID (0020,000d) absent or empty", since=mark)
    assert not receiver.holds(thing.sop_instance)
    assert f"S_1.2.99/CT.{sorted_one.sop_instance}" in receiver.names()


BROKEN = [
    pytest.param(lambda data: data[:-20], id="value-cut-short"),
    pytest.param(lambda data: data + b"\xfe\xff\x00\xe0\0\0\0\0", id="item-at-top-level"),
    pytest.param(
        lambda data: b"\x08\x00\x06\x00SQ\0\0\xff\xff\xff\xff" + data, id="sequence-never-ends"
    ),
    pytest.param(
        lambda data: b"\x08\x00\x06\x00OB\0\0\xff\xff\xff\xff" + data, id="undefined-length-ob"
    ),
    pytest.param(
        lambda data: data.replace(
            b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00UT\0\0\0\xff\xff\x7f"
        ),
        id="two-gigabytes-claimed",
    ),
]


@pytest.mark.parametrize("own", [(), ("--ignore",)], ids=["stored", "ignored"])
@pytest.mark.parametrize("spoil", BROKEN)
def test_unreadable_data_set_aborts(
    flavour: str, shared_receiver: StartReceiver, own: tuple[str, ...], spoil: object
) -> None:
    assert callable(spoil)
    receiver = shared_receiver(flavour, *QUICK, *own)
    thing = small(pixels=512)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send_command(wire.store_rq(thing.sop_class, thing.sop_instance))
        peer.send_data(spoil(thing.data))
        peer.expect_abort(0, 0)
    receiver.wait_for_log(
        "Store SCP Failed: 0006:020d", "DIMSE failure (aborting association): ", since=mark
    )
    assert not receiver.holds(thing.sop_instance)


def test_vr_that_is_not_printable_aborts(shared_receiver: StartReceiver) -> None:
    # Version 3.6.7 of the reference reads such an element as one of unknown VR.
    receiver = shared_receiver(OURS, *QUICK)
    for tail in (bytes(8), bytes(12)):
        thing = small()
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            peer.send_command(wire.store_rq(thing.sop_class, thing.sop_instance))
            peer.send_data(thing.data + tail)
            peer.expect_abort(0, 0)
        assert not receiver.holds(thing.sop_instance)


def test_unfinished_header_at_the_end_is_dropped(
    flavour: str, shared_receiver: StartReceiver
) -> None:
    receiver = shared_receiver(flavour, *QUICK)
    thing = small()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(thing._replace(data=thing.data + bytes(6))) == SUCCESS
        peer.release()
    assert split_part10(receiver.stored(thing.sop_instance)).data == thing.data


@pytest.mark.parametrize("mode", [QUICK, BIT_PRESERVING], ids=["normal", "bit-preserving"])
@pytest.mark.parametrize("option", ["--abort-after", "--abort-during"])
def test_abort_options(
    flavour: str, shared_receiver: StartReceiver, mode: tuple[str, ...], option: str
) -> None:
    receiver = shared_receiver(flavour, *mode, option)
    thing = small(pixels=1000)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.send_command(wire.store_rq(thing.sop_class, thing.sop_instance))
        if option == "--abort-during":
            peer.send_data(thing.data[:200], last=False)
        else:
            peer.send_data(thing.data)
        peer.expect_abort(0, 0)
    receiver.wait_for_log("ABORT initiated (due to command line options)", since=mark)
    wait_until(lambda: not receiver.holds(thing.sop_instance), "nothing is stored")


@pytest.mark.parametrize("mode", [QUICK, BIT_PRESERVING], ids=["normal", "bit-preserving"])
def test_slash_in_the_instance_uid(
    flavour: str, shared_receiver: StartReceiver, mode: tuple[str, ...]
) -> None:
    receiver = shared_receiver(flavour, *mode)
    uid = new_uid()
    hostile = f"../../{uid}"
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(small(sop_instance=hostile)) == SUCCESS
        peer.release()
    assert [name for name in receiver.names() if name.endswith(f"_.._{uid}")] != []
    assert not (receiver.folder.parent.parent / uid).exists()


@pytest.mark.parametrize("mode", [QUICK, BIT_PRESERVING], ids=["normal", "bit-preserving"])
def test_stall_inside_an_object(
    flavour: str, shared_receiver: StartReceiver, mode: tuple[str, ...]
) -> None:
    """The partial object is discarded, the association is of use again, the remainder is not."""
    receiver = shared_receiver(flavour, *mode, "-td", "1")
    thing, fresh = small(pixels=3000), small()
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        peer.echo()
        peer.begin_store(thing, 1000, message_id=1)
        receiver.wait_for_log("Store SCP Failed: 0006:0207", since=mark)
        wait_until(lambda: not receiver.holds(thing.sop_instance), "the partial object is gone")
        assert peer.store(fresh, 2) == SUCCESS
        peer.send_data(thing.data[1000:])
        peer.expect_abort(0, 0)
    assert receiver.holds(fresh.sop_instance)
    assert not receiver.holds(thing.sop_instance)


def test_dimse_timeout_is_not_an_idle_limit(flavour: str, shared_receiver: StartReceiver) -> None:
    receiver = shared_receiver(flavour, *QUICK, "-td", "1")
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.nothing_arrives(1.5)
        peer.echo()
        peer.release()


@pytest.mark.parametrize("inside", [False, True], ids=["between-messages", "inside-an-object"])
def test_socket_timeout_closes(flavour: str, shared_receiver: StartReceiver, inside: bool) -> None:
    receiver = shared_receiver(flavour, *BIT_PRESERVING, "-ts", "1")
    thing = small(pixels=3000)
    mark = receiver.mark()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        if inside:
            peer.begin_store(thing, 1000)
        peer.expect_closed()
    texts = ["Association Aborted"] + ["Store SCP Failed: 0006:0317"] * inside
    receiver.wait_for_log(*texts, since=mark)
    assert not receiver.holds(thing.sop_instance)


@pytest.mark.parametrize("process", ["--fork", "--single-process"])
@pytest.mark.parametrize("removed", [False, True], ids=["moved", "removed"])
def test_another_output_directory_of_that_name(
    flavour: str, start_receiver: StartReceiver, tmp_path: Path, process: str, *, removed: bool
) -> None:
    """As where somebody takes away what has come in, and begins anew."""
    folder, old = tmp_path / "in", tmp_path / "in.old"
    folder.mkdir()
    receiver = start_receiver(flavour, process, "-dhl", folder=folder)
    for number in range(1, 3):
        thing = small()
        with Peer.connect(receiver.port) as peer:
            peer.associate()
            assert peer.store(thing, number) == SUCCESS
            peer.release()
        assert receiver.names() == [f"CT.{thing.sop_instance}"]
        if number == 1:
            folder.rename(old)
            if removed:
                shutil.rmtree(old)
            folder.mkdir()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system; the file size limit is tested below")
    place = tmp_path / "disk"
    place.mkdir()
    mount = shutil.which("mount")
    assert mount
    command = [mount, "-t", "tmpfs", "-o", "size=256k", "none", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this system lets nobody mount a file system: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def _fill(receiver: Receiver, too_big: int) -> None:
    big, fresh = small(pixels=too_big), small()
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        assert peer.store(big, 1) == OUT_OF_RESOURCES
        assert peer.store(fresh, 2) == SUCCESS
        peer.release()
    assert receiver.names() == [f"CT.{fresh.sop_instance}"], "something partial remains"
    assert split_part10(receiver.stored(fresh.sop_instance)).data == fresh.data


@pytest.mark.parametrize("mode", [QUICK, BIT_PRESERVING], ids=["normal", "bit-preserving"])
def test_disk_full(start_receiver: StartReceiver, small_disk: Path, mode: tuple[str, ...]) -> None:
    receiver = start_receiver(OURS, *mode, folder=small_disk)
    _fill(receiver, 1_000_000)
    receiver.stop()


@pytest.mark.parametrize("mode", [QUICK, BIT_PRESERVING], ids=["normal", "bit-preserving"])
def test_file_size_limit(start_receiver: StartReceiver, mode: tuple[str, ...]) -> None:
    receiver = start_receiver(OURS, *mode)
    resource.prlimit(receiver.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
    _fill(receiver, 200_000)
    receiver.wait_for_log(os.strerror(errno.EFBIG))
