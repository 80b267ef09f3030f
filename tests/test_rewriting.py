"""Objects that normal mode writes in another form: the files that takes, and what goes wrong."""

import errno
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import wire
from harness.objects import Object, explicit, new_uid, small, split_part10
from harness.peer import Peer
from harness.receivers import OURS
from harness.storing import normal_mode
from test_receive_encoding import deflated

from dcmstore.command import StoreRequest
from dcmstore.dataset import OutputOptions
from storescpd import foreseen, normal, rewriting, storage
from storescpd.temporary import Folder, Temporary

HELD = 1 << 20
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
BIG, IMPLICIT, DEFLATED = (
    OutputOptions(transfer_syntax=syntax) for syntax in (wire.BIG, wire.IMPLICIT, wire.DEFLATED)
)


def sized(size: int, vr: str = "OW", patient: str = "DOE^JANE") -> Object:
    """Return an object whose data set has exactly so many bytes, most of them in its pixel data."""
    rest = small(patient=patient, leave_out=(0x7FE00010,))
    pixels = explicit(0x7FE00010, vr, (b"\1\2" * (size // 2))[: size - len(rest.data) - 12])
    return rest._replace(data=rest.data + pixels)


@pytest.fixture(params=[True, False], ids=["nameless", "named"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Folder]:
    """A folder on a file system with O_TMPFILE, and one that makes do without."""
    opened = Folder(str(tmp_path))
    opened.nameless = request.param
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def unforeseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have everything written twice, as objects are whose pixel data begin far behind."""
    monkeypatch.setattr(foreseen, "foresee", lambda *_: None)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Temporary]:
    """All temporaries that are made from here on."""
    found: list[Temporary] = []

    class Noted(Temporary):
        def __init__(self, folder: Folder) -> None:
            super().__init__(folder)
            found.append(self)

    for module in (storage, normal, rewriting):
        monkeypatch.setattr(module, "Temporary", Noted)
    return found


def received(folder: Folder, thing: Object, output: OutputOptions) -> normal.NormalIncoming:
    """Return an object of which all bytes have come in."""
    options = normal_mode(folder, output)
    request = StoreRequest(1, thing.sop_class, thing.sop_instance)
    incoming = normal.NormalIncoming(options, request, thing.syntax, "TEST")
    whole = memoryview(thing.data)
    for at in range(0, len(whole), 30_000):
        incoming.write([whole[at : at + 30_000]], at + 30_000 >= len(whole))
    return incoming


@pytest.mark.parametrize(
    ("thing", "output", "files"),
    [
        pytest.param(sized(40_000), BIG, 1, id="in memory"),
        pytest.param(sized(HELD), BIG, 1, id="just in memory"),
        pytest.param(sized(HELD + 2), BIG, 1, id="swapped where it lies"),
        pytest.param(sized(3 * HELD, "OB"), BIG, 1, id="not moved"),
        pytest.param(sized(3 * HELD, patient="DOE  "), BIG, 1, id="swapped and moved"),
        pytest.param(sized(3 * HELD, "OB", patient="DOE  "), BIG, 2, id="moved"),
        pytest.param(sized(3 * HELD), IMPLICIT, 2, id="header shorter"),
        pytest.param(sized(3 * HELD), DEFLATED, 2, id="deflated"),
        pytest.param(
            sized(3 * HELD)._replace(sop_instance=new_uid() + ".1234"), BIG, 1, id="meta shorter"
        ),
        pytest.param(sized(3 * HELD)._replace(sop_instance="1.2"), BIG, 2, id="meta longer"),
    ],
)
def test_files_that_it_takes(
    folder: Folder, made: list[Temporary], thing: Object, output: OutputOptions, files: int
) -> None:
    incoming = received(folder, thing, output)
    assert incoming.finish() in (SUCCESS, 0xA900)
    assert len(made) == files
    assert os.listdir(folder.fd) == [incoming.name]
    if output.transfer_syntax == wire.BIG:
        data = split_part10(Path(folder.join(incoming.name)).read_bytes()).data
        swapped = b"\2\1" if b"OW" in thing.data else b"\1\2"
        assert data.endswith(swapped * 10_000)
        assert len(data) == len(thing.data) - 2 * (b"DOE  " in thing.data)


def test_inflated_data_set_goes_over_the_deflated(folder: Folder, made: list[Temporary]) -> None:
    thing = sized(3 * HELD)
    packed = thing._replace(syntax=wire.DEFLATED, data=deflated(thing.data))
    incoming = received(folder, packed, BIG)
    assert incoming.finish() == SUCCESS
    assert len(made) == 2
    data = split_part10(Path(folder.join(incoming.name)).read_bytes()).data
    assert len(data) == len(thing.data)
    assert data.endswith(b"\2\1" * 10_000)


@pytest.mark.parametrize(("call", "after"), [("write", 9), ("preadv", 9), ("ftruncate", 0)])
def test_failure_half_way(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, call: str, after: int
) -> None:
    """The object is lost, and nothing of it stays behind."""
    thing = sized(3 * HELD)
    incoming = received(folder, thing, BIG)
    calls = 0
    real = getattr(os, call)

    def failing(*arguments: object) -> int:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments)  # type: ignore[no-any-return]

    with monkeypatch.context() as patched:
        patched.setattr(os, call, failing)
        assert incoming.finish() == OUT_OF_RESOURCES
    assert calls == after + 1
    assert os.listdir(folder.fd) == []
    assert received(folder, thing, BIG).finish() == SUCCESS


def test_full_disk_costs_one_object(start_receiver: StartReceiver) -> None:
    """It takes the object as it came, but not its padding, which is put behind it."""
    receiver = start_receiver(OURS, "+xa", "+p", str(HELD), "0")
    resource.prlimit(receiver.pid, resource.RLIMIT_FSIZE, (4 * HELD - 4096, resource.RLIM_INFINITY))
    small_one, large_one = sized(HELD // 2), sized(3 * HELD + 5000)
    with Peer.connect(receiver.port) as peer:
        peer.associate()
        statuses = [peer.store(thing) for thing in (small_one, large_one, small_one)]
        peer.release()
    assert statuses == [SUCCESS, OUT_OF_RESOURCES, SUCCESS]
    assert receiver.names() == [f"CT.{small_one.sop_instance}"]
    assert "File too large" in receiver.log()
