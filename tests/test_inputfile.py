"""Input files: large ones are only read where that tells something, and may shrink at any time."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import StartReceiver
from harness import corpus, wire
from harness.datasets import (
    IDENTITY,
    element,
    fragments,
    item,
    open_item,
    open_sequence,
    sequence,
    wild,
)
from harness.objects import Object, explicit, part10, small, write_part10
from harness.peer import Peer
from harness.pki import Pki
from harness.receivers import OURS
from harness.scripted import Proposal, ScriptedReceiver
from harness.senders import TIME_LIMIT, finish
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from dcmstore import elements, uids
from dcmstore.dataset import OutputOptions
from dcmstore.errors import LocalError
from storescu import inputfile, invent, loading, preparing
from storescu.inputfile import InputFile, ShorterError
from storescu.loading import BadFile, load

AT_ONCE = inputfile.AT_ONCE
NATIVE = sorted(uids.NATIVE)


def take_all_for_large(patch: pytest.MonkeyPatch) -> None:
    """Treat every file as if it were too large to be read."""
    for module in (inputfile, loading):
        patch.setattr(module, "AT_ONCE", 0)
        patch.setattr(module, "HEAD", 200)
    patch.setattr(inputfile, "READ_WHOLE", 0)


Answer = tuple[bytes, str, tuple[str, ...]] | str


def as_sent(path: Path, syntax: str, output: OutputOptions, invents: bool = False) -> Answer:
    """Return a file as it is sent in a transfer syntax: bytes, instance, warnings; or the error."""
    try:
        loaded = load(str(path), "read-file", output)
        look: loading.Look = elements.inspect
        if invents:
            values = dict.fromkeys((0x00100010, 0x00100020, 0x0020000D, 0x00080018), "2.25.1")
            look = invent.Identity("", values).give
            loaded.findings = loaded.look(look, output)
        target = loaded.transfer_syntax if syntax == "same" else syntax
        data = b"".join(preparing.encoded(loaded, target, output, look))
    except (BadFile, preparing.Unconvertible) as error:
        return repr(error)
    return data, loaded.findings.sop_instance, loaded.findings.warnings


MODES = (OutputOptions(), OutputOptions(new_vr=False), OutputOptions(compression_level=1))


@pytest.mark.parametrize("syntax", ["same", *NATIVE])
@pytest.mark.parametrize("invents", [False, True])
def test_corpus_as_if_it_were_large(
    monkeypatch: pytest.MonkeyPatch, syntax: str, invents: bool
) -> None:
    """What is sent does not depend on how the file is looked at."""
    paths = [entry.path for entry in corpus.entries() if len(entry.data) < 1 << 21]
    expected = [as_sent(path, syntax, OutputOptions(), invents) for path in paths]
    take_all_for_large(monkeypatch)
    for path, one in zip(paths, expected, strict=True):
        assert as_sent(path, syntax, OutputOptions(), invents) == one, path
    assert sum(isinstance(one, tuple) for one in expected) > 60


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 1 << 32), st.sampled_from(("same", *NATIVE)), st.sampled_from(MODES))
@example(seed=2239968, syntax=wire.BIG, output=OutputOptions())  # half a word at the end
def test_wild_data_sets_as_if_they_were_large(
    tmp_path: Path, seed: int, syntax: str, output: OutputOptions
) -> None:
    own, data = wild(seed)
    path = tmp_path / "file"
    path.write_bytes(part10(Object(wire.CT, "1.2", own, data)))
    expected = as_sent(path, syntax, output)
    with pytest.MonkeyPatch.context() as patch:
        take_all_for_large(patch)
        patch.setattr(inputfile, "_AHEAD", 80)
        patch.setattr(inputfile, "_WORTH_SKIPPING", 513)
        assert as_sent(path, syntax, output) == expected


HUGE = bytes(range(256)) * (20 * AT_ONCE // 256 // 16)
UNUSUAL = {
    "behind pixel data": (
        wire.EXPLICIT,
        element(0x7FE00010, "OW", HUGE) + element(0xFFFCFFFC, "OB", bytes(4)),
    ),
    "in an item": (
        wire.EXPLICIT,
        open_sequence(open_item(element(0x00420011, "OB", HUGE)), 0x00420010)
        + element(0x7FE00010, "OW", bytes(2)),
    ),
    "in items": (
        wire.EXPLICIT,
        sequence(item(element(0x00420011, "OB", HUGE)) * 2, 0x00420010),
    ),
    "text": (wire.EXPLICIT, element(0x0040A160, "UT", b"text" * (AT_ONCE // 3) + b"  ")),
    "fragments": (wire.JPEG_BASELINE, fragments(b"", HUGE[: AT_ONCE // 2], b"ab", HUGE)),
    "many fragments": (wire.JPEG_BASELINE, fragments(*[HUGE[:10_000]] * 1000)),
    "odd fragment": (wire.JPEG_BASELINE, fragments(b"", HUGE[:-1])),
}


@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.parametrize("syntax", ["same", wire.BIG])
def test_large_values_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, syntax: str
) -> None:
    own, rest = UNUSUAL[name]
    path = tmp_path / "file"
    thing = small(leave_out=(0x7FE00010,))
    path.write_bytes(part10(thing._replace(syntax=own, data=thing.data + rest)))
    size = path.stat().st_size
    assert size > AT_ONCE
    sent = as_sent(path, syntax, OutputOptions())
    monkeypatch.setattr(inputfile, "AT_ONCE", size)
    monkeypatch.setattr(loading, "AT_ONCE", size)
    assert as_sent(path, syntax, OutputOptions()) == sent
    if own == wire.JPEG_BASELINE and syntax == wire.BIG:
        assert sent == "Unconvertible()"
    else:
        assert isinstance(sent, tuple)


def test_small_parts_come_together(tmp_path: Path) -> None:
    """Who cuts fragments joins many small parts, and must not touch what is mapped."""
    rows = [
        element(0x00091000 + n, "UT", "x" * 600) + element(0x00092000 + n, "LO", "ab  ")
        for n in range(400)
    ]
    path = tmp_path / "file"
    thing = small(leave_out=(0x7FE00010,))
    data = b"".join(sorted(e for row in rows for e in (row[:612], row[612:])))
    more = element(0x7FE00010, "OW", HUGE) + element(0xFFFCFFFC, "OB", bytes(4))
    path.write_bytes(part10(thing._replace(data=IDENTITY + data + more)))
    loaded = load(str(path), "read-file", OutputOptions())
    parts = list(preparing.encoded(loaded, wire.EXPLICIT, OutputOptions()))
    unseen = [part for part in parts if isinstance(part, memoryview)]
    assert len(unseen) == 1
    assert len(unseen[0]) >= len(HUGE)
    assert len(parts) < 8


def test_outline_leaves_large_values_out(tmp_path: Path) -> None:
    """Pages of the copy exist only where something was read."""
    path = tmp_path / "file"
    data = element(0x00420011, "OB", HUGE) + element(0x7FE00010, "OW", HUGE)
    path.write_bytes(data)
    outline = InputFile(str(path)).outline(0, wire.EXPLICIT)
    assert len(outline) == len(data)
    assert outline[:12] == data[:12]
    assert outline[12 + len(HUGE) :][:12] == data[12 + len(HUGE) :][:12]
    holes = sum(not any(outline[at : at + 4096]) for at in range(0, len(data), 4096))
    assert holes > len(data) // 4096 - 6


WHOLE = inputfile.READ_WHOLE


@pytest.mark.parametrize("size", [0, 100, 1 << 16, WHOLE, WHOLE + 1, AT_ONCE, AT_ONCE + 1])
def test_reading_and_mapping_show_the_same(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    content = os.urandom(1 << 10) * (size // 1024 + 1)
    path.write_bytes(content[:size])
    file = InputFile(str(path))
    assert file.size == size
    assert file.head() == content[: size if size <= WHOLE else inputfile.HEAD]
    assert file.beginning(77) == content[: min(size, 77)]
    assert file.content() == content[:size]
    if size:
        assert file.mapping() == content[:size]
        assert file.part(size // 2, size) == content[size // 2 : size]


def test_file_that_is_shorter_now(tmp_path: Path) -> None:
    path = tmp_path / "file"
    data = element(0x7FE00010, "OW", HUGE) + element(0xFFFAFFFA, "OB", b"ab")
    path.write_bytes(data)
    file = InputFile(str(path))
    os.truncate(path, 5000)
    for what in (file.content, file.mapping, lambda: file.outline(0, wire.EXPLICIT)):
        with pytest.raises(ShorterError, match="File has become shorter"):
            what()
    with pytest.raises(LocalError):
        file.part(4000, 6000)
    assert file.part(4000, 5000) == data[4000:5000]


def test_small_file_that_is_shorter_now(tmp_path: Path) -> None:
    path = write_part10(tmp_path, small(pixels=1000))
    file = InputFile(str(path))
    os.truncate(path, 900)
    with pytest.raises(ShorterError):
        file.head()


def test_file_that_says_it_is_empty() -> None:
    """As those of proc(5) do; it is read as far as it goes."""
    file = InputFile("/proc/self/status")
    assert file.size == 0
    assert file.head().startswith(b"Name:")


def test_descriptors_are_closed(tmp_path: Path) -> None:
    path = write_part10(tmp_path, small(pixels=100_000))
    before = os.listdir("/proc/self/fd")
    for _ in range(10):
        as_sent(path, "same", OutputOptions())
        as_sent(path, wire.BIG, OutputOptions())
        with pytest.raises(BadFile):
            load(str(tmp_path / "none"), "read-file", OutputOptions())
    assert os.listdir("/proc/self/fd") == before


# A file that shrinks while the sender is at work on it

_SHRINKING = """
    import mmap, os, sys

    path, number = sys.argv[1], int(sys.argv[2])
    sys.argv = ["storescu", *sys.argv[3:]]
    calls = 0

    def hooked(function):
        def call(*arguments, **keywords):
            global calls
            done = function(*arguments, **keywords)
            if not os.path.exists(path):
                return done
            calls += 1
            if calls == number:
                os.truncate(path, 1000)
                os.rename(path, path + ".shrunk")
            return done
        return call

    fstat = os.fstat
    def fstat_hooked(fd):
        found = fstat(fd)
        if os.readlink(f"/proc/self/fd/{fd}") == path:
            hooked(lambda: None)()
        return found

    os.fstat = fstat_hooked
    os.pread, os.preadv = hooked(os.pread), hooked(os.preadv)
    class Map(mmap.mmap):
        def __new__(cls, fd, *arguments, **keywords):
            made = super().__new__(cls, fd, *arguments, **keywords)
            if fd >= 0 and os.readlink(f"/proc/self/fd/{fd}") == path:
                hooked(lambda: None)()
            return made
    mmap.mmap = Map

    from storescu.main import main
    sys.exit(main())
"""

LARGE = AT_ONCE + (1 << 20)


def native(size: int = LARGE) -> Object:
    return small(pixels=size)


def with_something_behind() -> Object:
    thing = small(pixels=LARGE)
    return thing._replace(data=thing.data + explicit(0xFFFAFFFA, "SH", "x"))


def encapsulated() -> Object:
    thing = small(leave_out=(0x7FE00010,))
    data = thing.data + fragments(b"", bytes(LARGE // 2), bytes(LARGE // 2))
    return thing._replace(syntax=wire.JPEG_BASELINE, data=data)


CASES = {
    "as it is": (native(), ("-xe",), 3),
    "as it is, not that large": (native(1 << 20), ("-xe",), 3),
    "with something behind": (with_something_behind(), ("-xe",), 5),
    "encapsulated": (encapsulated(), ("-xy",), 6),
    "byte order": (native(), ("-xb", "+C"), 12),
    "byte order, not that large": (native(1 << 20), ("-xb", "+C"), 4),
    "deflated": (native(), ("-xd", "+C", "+cl", "1"), 12),
    "new identity": (native(), ("+II",), 5),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("halt", [True, False])
def test_shrinks_at_any_step(tmp_path: Path, name: str, halt: bool) -> None:
    """One clear error for the file, whenever it happens, and never a signal."""
    thing, options, steps = CASES[name]
    outcomes = set()
    for number in range(1, steps + 1):
        path = write_part10(tmp_path, thing, "large")
        good = write_part10(tmp_path, small(), "good")
        outcomes.add(one_run(path, good, number, options, halt))
    # What is read as a whole needs the file no more when it is sent.
    assert outcomes == ({"bad", "sent"} if "-xb" in options and steps < 5 else {"bad", "cut"})


def one_run(path: Path, good: Path, number: int, options: tuple[str, ...], halt: bool) -> str:
    """Let a file shrink at a step, hold what is said and sent against it, and name it."""
    own = (*options, *(() if halt else ("-nh",)))
    with ScriptedReceiver() as receiver:
        script = textwrap.dedent(_SHRINKING)
        files = (str(path), str(number), *own, "127.0.0.1", str(receiver.port))
        process = subprocess.Popen(
            [sys.executable, "-c", script, *files, str(path), str(good)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        stored, last = 0, None
        try:
            with receiver.accept() as peer:
                peer.send(Proposal(peer.expect(wire.ASSOCIATE_RQ)).accept_all())
                stored, last = receive(peer)
        finally:
            done = finish(process)
    assert done.code != -signal.SIGBUS
    lines = [line for line in done.stderr.splitlines() if line[:2] in ("E:", "F:")]
    told = [line for line in lines if "cannot find: " not in line]  # in new identities
    if f"E: Bad DICOM file: {path}: File has become shorter" in told:
        assert (done.code, stored) == ((1, 0) if halt else (0, 1))
        assert last == (wire.ABORT if halt else wire.RELEASE_RQ)
        return "bad"
    if not told:
        assert (done.code, stored, last) == (0, 2, wire.RELEASE_RQ)
        return "sent"
    reason = "0006:020e DIMSE Failed to send message"
    assert told[:2] == [f"E: Store Failed, file: {path}:", f"E: {reason}"], told
    if not halt and len(told) == 2:
        # Nothing of it had been sent.
        assert (done.code, stored, last) == (0, 1, wire.RELEASE_RQ)
        return "cut"
    assert (done.code, stored) == (1, 0)
    assert told[2:] == (
        [f"E: Store SCU Failed: {reason}"]
        if halt
        else [
            f"E: Store Failed, file: {good}:",
            f"E: {reason}",
            f"E: Association Release Failed: {reason}",
        ]
    )
    assert last in (None, wire.ABORT)
    return "cut"


def receive(peer: Peer) -> tuple[int, int | None]:
    """Answer what comes whole; return how many objects did, and what kind of PDU was last."""
    stored, command = 0, b""
    while True:
        try:
            received = peer.receive()
        except AssertionError:  # closed in the middle of a PDU
            return stored, None
        if received is None:
            return stored, None
        if received.kind != wire.P_DATA:
            if received.kind == wire.RELEASE_RQ:
                peer.send(wire.release_rp())
            return stored, received.kind
        for context, control, piece in wire.pdvs(received.body):
            command += piece if control & 1 else b""
            if control == 2:
                request = wire.parse_command(command)
                number, instance = request[wire.MESSAGE_ID], request[wire.SOP_INSTANCE]
                assert isinstance(number, int)
                peer.send_command(wire.store_rsp(wire.CT, str(instance), number, 0), context)
                stored, command = stored + 1, b""


@pytest.mark.parametrize("name", ["as it is", "as it is, not that large", "byte order"])
def test_shrinks_while_it_is_encrypted(
    tmp_path: Path, start_receiver: StartReceiver, pki: Pki, name: str
) -> None:
    """Then the sender itself looks at all that it sends."""
    thing, options, _ = CASES[name]
    receiver = start_receiver(OURS, "--fork", "-dhl", *pki.server_options())
    script = textwrap.dedent(_SHRINKING)
    codes = []
    for number in (*range(1, 9), 30):
        path = write_part10(tmp_path, thing, "large")
        files = (str(path), str(number), *options, *pki.client_options())
        command = [sys.executable, "-c", script, *files, "127.0.0.1", str(receiver.port)]
        done = subprocess.run([*command, str(path)], capture_output=True, text=True)
        codes.append(done.returncode)
        if done.returncode:
            assert "File has become shorter" in done.stderr or "0006:020e" in done.stderr
    assert set(codes) <= {0, 1}
    assert codes.count(1) >= 3
    assert len(receiver.names()) == (1 if 0 in codes else 0)


def test_shrinks_while_it_is_asked_for_its_class(tmp_path: Path) -> None:
    path = write_part10(tmp_path, encapsulated(), "large")
    told = set()
    for number in range(1, 9):
        write_part10(tmp_path, encapsulated(), "large")
        own = (str(path), str(number), "-d", "-R", "127.0.0.1", "1", str(path))
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(_SHRINKING), *own],
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT,
            check=False,
        )
        assert done.returncode == 1
        told.add(done.stderr.splitlines()[-1])
        if "missing SOP class" in done.stderr:
            assert f"D: {path}: File has become shorter" in done.stderr
    assert f"F: missing SOP class (or instance) in file: {path}" in told
    assert len(told) == 2, told
