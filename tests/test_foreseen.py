"""Objects that are written in their final form while they come in."""

import errno
import os
import struct
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from harness import wire
from harness.datasets import element, fragments, item, open_item, open_sequence, sequence
from harness.objects import new_uid
from harness.storing import normal_mode
from hypothesis import given, settings
from hypothesis import strategies as st

from dcmstore import uids
from dcmstore.command import StoreRequest
from dcmstore.dataset import DataSetError, OutputOptions
from storescpd import foreseen, normal
from storescpd.temporary import Folder

SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
INSTANCE = "1.2.3.4"
CLASS = wire.CT + "\0" * (len(wire.CT) % 2)
BIG, LITTLE, IMPLICIT = uids.EXPLICIT_BIG, uids.EXPLICIT_LITTLE, uids.IMPLICIT_LITTLE
OUTPUTS = {
    BIG: OutputOptions(transfer_syntax=LITTLE),
    LITTLE: OutputOptions(transfer_syntax=BIG),
    IMPLICIT: OutputOptions(transfer_syntax=BIG, group_length="create"),
}
UNDEFINED = OutputOptions(lengths="undefined")
TO_IMPLICIT = OutputOptions(transfer_syntax=IMPLICIT, group_length="remove")
PIXELS = bytes(range(256)) * 300  # more than are foreseen at the least


def head(*more: bytes, patient: str = "DOE^JANE") -> bytes:
    """Return what precedes pixel data, in explicit VR little endian."""
    first = element(0x00080016, "UI", CLASS) + element(0x00080018, "UI", INSTANCE + "\0")
    return first + b"".join(more) + element(0x00100010, "PN", patient)


ICON = element(0x7FE00010, "OW", PIXELS[:40_000])
ITEM = item(element(0x00081150, "UI", CLASS))
PLAIN = head() + element(0x00280010, "US", b"\2\1") + element(0x7FE00010, "OW", PIXELS)
# Pixel data that hold what looks like a header of pixel data that end where they end.
NESTED = PIXELS[:600] + element(0x7FE00010, "OW", PIXELS)
DATA_SETS = {
    "plain": PLAIN,
    "bytes": head() + element(0x7FE00010, "OB", PIXELS),
    "sequence": head(sequence(ITEM)) + element(0x7FE00010, "OW", PIXELS),
    "open sequence": head(open_sequence(open_item(ITEM[8:]))) + element(0x7FE00010, "OW", PIXELS),
    "blanks": head(patient="DOE     ") + element(0x7FE00010, "OW", PIXELS),
    "odd": head(patient="DOE") + element(0x7FE00010, "OW", PIXELS),
    "icon": head(sequence(item(ICON))) + element(0x7FE00010, "OW", PIXELS),
    "icon only": head(sequence(item(ICON))),
    "open icon only": head(open_sequence(open_item(ICON))),
    "padding behind": PLAIN + element(0xFFFCFFFC, "OB", bytes(100)),
    "more behind": PLAIN + element(0xFFFAFFFA, "SQ", b"") + element(0xFFFCFFFC, "OB", bytes(10)),
    "private behind": PLAIN
    + element(0x7FE10010, "LO", "MAKER ")
    + element(0x7FE11010, "US", b"12"),
    "broken off": PLAIN[:-2],
    "far behind": head(element(0x00091010, "OB", bytes(70_000))) + PLAIN[len(head()) :],
    "encapsulated": head() + fragments(b"", PIXELS),
    "odd pixel data": head() + element(0x7FE00010, "OB", PIXELS + b"\1"),
    "as if in pixel data": head() + element(0x7FE00010, "OW", NESTED),
    "as if in pixel bytes": head() + element(0x7FE00010, "OB", NESTED),
    "words of four": head() + element(0x7FE00008, "OF", PIXELS),
}

FORESEEN = ("plain", "bytes", "sequence", "open sequence", "blanks", "icon")
GONE_BACK = {
    "padding behind": ["_go_back", "_rewrite"],
    "more behind": ["_go_back", "_rewrite"],
    "private behind": ["_go_back", "_rewrite"],
    "broken off": ["_go_back"],
}


def receive(
    folder: Folder, pieces: Sequence[bytes], syntax: str, output: OutputOptions
) -> tuple[int, bytes]:
    """Receive one object; return the status, and what the folder holds then."""
    options = normal_mode(folder, output, store_unparseable=True)
    incoming = normal.NormalIncoming(options, StoreRequest(1, wire.CT, INSTANCE), syntax, "TEST")
    for number, piece in enumerate(pieces):
        # As they come: several fragments at a time.
        cut = len(piece) // 4 * 2
        views = [view for view in (memoryview(piece)[:cut], memoryview(piece)[cut:]) if view]
        incoming.write(views or [memoryview(b"")], number == len(pieces) - 1)
    status = incoming.finish()
    found = [Path(folder.join(name)).read_bytes() for name in os.listdir(folder.fd)]
    for name in os.listdir(folder.fd):
        os.unlink(name, dir_fd=folder.fd)
    return status, b"".join(found)


def cut(data: bytes, *places: int) -> list[bytes]:
    bounds = [0, *sorted(place // 2 * 2 for place in places if place < len(data)), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


def without_foresight(
    monkeypatch: pytest.MonkeyPatch, folder: Folder, data: bytes, syntax: str, output: OutputOptions
) -> tuple[int, bytes]:
    with monkeypatch.context() as patched:
        patched.setattr(foreseen, "foresee", lambda *_: None)
        return receive(folder, [data], syntax, output)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(str(tmp_path))


@pytest.mark.parametrize("output", [OutputOptions(), OUTPUTS[LITTLE], UNDEFINED, TO_IMPLICIT])
@pytest.mark.parametrize("name", DATA_SETS)
def test_the_same_as_without(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, name: str, output: OutputOptions
) -> None:
    data = DATA_SETS[name]
    expected = without_foresight(monkeypatch, folder, data, LITTLE, output)
    ends = [len(data) - len(PIXELS) - 2, len(data) - 2]
    for places in ([], [16_000], [600, 20_000, 60_000], ends, range(0, len(data), 16_384), [2, 4]):
        assert receive(folder, cut(data, *places), LITTLE, output) == expected, places


@pytest.mark.parametrize("syntax", OUTPUTS)
def test_every_encoding(folder: Folder, monkeypatch: pytest.MonkeyPatch, syntax: str) -> None:
    """What one pass makes of an object, the next receives."""
    status, content = receive(
        folder, cut(PLAIN, 30_000), LITTLE, OutputOptions(transfer_syntax=syntax)
    )
    assert status == SUCCESS
    meta = 144 + struct.unpack_from("<I", content, 140)[0]
    data, output = content[meta:], OUTPUTS[syntax]
    expected = without_foresight(monkeypatch, folder, data, syntax, output)
    assert receive(folder, cut(data, 30_000), syntax, output) == expected
    assert foreseen.foresee(data[:40_000], syntax, output) is not None


@pytest.mark.parametrize("name", [*FORESEEN, *GONE_BACK])
def test_what_is_foreseen(folder: Folder, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """It is written once, unless it is not as foreseen."""
    used: list[str] = []
    for method in ("_rewrite", "_go_back"):
        monkeypatch.setattr(normal.NormalIncoming, method, noting(used, method))
    assert receive(folder, cut(DATA_SETS[name], 60_000), LITTLE, OUTPUTS[LITTLE])[0] == SUCCESS
    assert used == GONE_BACK.get(name, [])


@pytest.mark.parametrize("name", ["open sequence", "blanks", "plain", "bytes", "icon"])
def test_what_is_foreseen_by_default(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What changes is written once, and so is what does not."""
    used: list[str] = []
    for method in ("_rewrite", "_go_back", "_foresee"):
        monkeypatch.setattr(normal.NormalIncoming, method, noting(used, method))
    assert receive(folder, cut(DATA_SETS[name], 60_000), LITTLE, OutputOptions())[0] == SUCCESS
    assert used == (["_foresee"] if name in ("open sequence", "blanks") else [])


def noting(used: list[str], method: str) -> Callable[..., object]:
    """Return a method that notes its use."""
    real = getattr(normal.NormalIncoming, method)

    def noted(*arguments: object) -> object:
        used.append(method)
        return real(*arguments)

    return noted


@pytest.mark.parametrize("end", [b"12", b" 1", b"\0\0"])
@pytest.mark.parametrize("nested", [False, True])
def test_uid_that_looks_like_pixel_data(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, nested: bool, end: bytes
) -> None:
    """It is cleaned, and told of, though only its first bytes are here when it is seen."""
    rest = b"5" * 20_001 + b"." + end
    uid = b"1.24" + element(0x7FE00010, "OW", rest, order=">")
    elements = (
        element(0x00080016, "UI", CLASS, order=">")
        + element(0x00080018, "UI", INSTANCE + "\0", order=">")
        + element(0x7FE00010, "OW", bytes(10), order=">")
    )
    if nested:
        inner = element(0x00080018, "UI", uid, order=">")
        elements += element(0x7FE11140, "SQ", item(inner, order=">"), order=">")
    else:
        elements += element(0x7FE11001, "UI", uid, order=">")
    expected = without_foresight(monkeypatch, folder, elements, BIG, OUTPUTS[BIG])
    assert receive(folder, cut(elements, 10_000), BIG, OUTPUTS[BIG]) == expected


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from([name for name in DATA_SETS if name != "encapsulated"]),
    st.sampled_from([OutputOptions(), OUTPUTS[LITTLE], UNDEFINED, TO_IMPLICIT]),
    st.lists(st.integers(0, 100_000), max_size=6),
)
def test_any_cuts(
    tmp_path_factory: pytest.TempPathFactory, name: str, output: OutputOptions, places: list[int]
) -> None:
    folder = Folder(str(tmp_path_factory.mktemp("out")))
    with pytest.MonkeyPatch.context() as patched:
        expected = without_foresight(patched, folder, DATA_SETS[name], LITTLE, output)
    assert receive(folder, cut(DATA_SETS[name], *places), LITTLE, output) == expected
    folder.close()


@pytest.mark.parametrize("behind", [b"", element(0xFFFCFFFC, "OB", bytes(100))])
@pytest.mark.parametrize("after", range(9))
def test_disk_that_fills_up(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, after: int, behind: bytes
) -> None:
    """At whatever write: the object is refused, and nothing of it stays; or all of it does."""
    real, calls = os.writev, 0

    def failing(fd: int, buffers: Sequence[bytes]) -> int:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, buffers)

    with monkeypatch.context() as patched:
        patched.setattr(os, "writev", failing)
        pieces = cut(PLAIN + behind, *range(0, len(PLAIN), 20_000))
        status, content = receive(folder, pieces, LITTLE, OUTPUTS[LITTLE])
    assert (status, bool(content)) in ((OUT_OF_RESOURCES, False), (SUCCESS, True))
    assert calls <= after or status == OUT_OF_RESOURCES
    assert not [fd for fd in open_files() if str(folder.path) in fd and fd != str(folder.path)]


def open_files() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return found


def test_broken_off_ends_the_association(folder: Folder) -> None:
    """As it does without foresight, unless unparseable data sets are to be kept."""
    incoming = normal.NormalIncoming(
        normal_mode(folder, OUTPUTS[LITTLE]),
        StoreRequest(1, wire.CT, new_uid()),
        LITTLE,
        "TEST",
    )
    data = memoryview(PLAIN)
    incoming.write([data[:30_000]], False)
    incoming.write([data[30_000:-100]], True)
    with pytest.raises(DataSetError):
        incoming.finish()
    assert os.listdir(folder.fd) == []
