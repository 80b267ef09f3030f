"""Objects received under every output option, and what the reference makes of the same bytes.

Both get the same requests in the same fragments; statuses, names and files have to be the same,
but for the meta elements that name the writer.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import StartReceiver
from harness import corpus, senders, wire
from harness.compare import data_difference, file_difference, folder_differences
from harness.datasets import wild
from harness.objects import Object, explicit, new_uid, small, split_part10
from harness.peer import Peer
from harness.receivers import OURS, REFERENCE, Receiver
from test_encoding_reference import ABOVE_PADDING, NASTY

NATIVE = (wire.IMPLICIT, wire.EXPLICIT, wire.BIG, wire.DEFLATED)
SYNTAXES = (
    *(*NATIVE, wire.JPEG_BASELINE, wire.JPEG_EXTENDED, wire.JPEG_LOSSLESS, wire.RLE),
    *(wire.JLS_LOSSLESS, wire.JLS_LOSSY, wire.J2K_LOSSLESS, wire.J2K_LOSSY),
)
CONTEXTS = {syntax: number for number, syntax in enumerate(SYNTAXES)}

MODES = {
    "default": ("+xa",),
    "data-set-only": ("+xa", "-F"),
    "little": ("+xd", "+te"),
    "big": ("+xd", "+tb"),
    "implicit": ("+xd", "+ti"),
    "deflated": ("+xd", "+td"),
    "deflated-fast": ("+xd", "+td", "+cl", "1"),
    "deflated-not-at-all": ("+xd", "+td", "+cl", "0"),
    "as-received-small": ("+xa", "+cl", "9"),
    "old-vrs": ("+xa", "-u"),
    "group-lengths": ("+xa", "+g"),
    "no-group-lengths": ("+xa", "-g"),
    "delimiters": ("+xa", "-e"),
    "padding": ("+xa", "+p", "64", "18"),
    "item-padding": ("+xa", "+p", "0", "32", "-e"),
    "odd-padding": ("+xa", "+p", "33", "2"),
    "converted-un": ("+xa", "+uc"),
    "all-at-once": ("+xd", "+tb", "-u", "+g", "-e", "+uc"),
    "all-at-once-data-set": ("+xd", "+td", "-F", "-u", "-g", "-e", "+cl", "9"),
    "padded-implicit": ("+xd", "+ti", "+p", "128", "32", "+g"),
    "big-data-set": ("+xd", "+tb", "-F", "+g"),
    "ignored": ("+xa", "--ignore"),
}


class Case(NamedTuple):
    """One C-STORE: request, data set, and the size of its fragments in bytes."""

    name: str
    sop_class: str
    sop_instance: str
    syntax: str
    data: bytes
    fragment: int


class Outcome(NamedTuple):
    """What became of it: the status, None for an abort, and the file, if there is one."""

    status: int | None
    name: str
    content: bytes


class Exchange:
    """An association with one receiver, made anew whenever it was aborted."""

    def __init__(self, receiver: Receiver, syntaxes: Iterable[str]) -> None:
        self._receiver = receiver
        self._contexts = tuple((2 * CONTEXTS[one] + 1, wire.CT, (one,)) for one in syntaxes)
        self._peer: Peer | None = None

    def store(self, case: Case) -> Outcome:
        """Send an object, and take what is in the folder away."""
        if self._peer is None:
            self._peer = Peer.connect(self._receiver.port)
            reply = self._peer.associate(*self._contexts)
            assert [result for _, result, _ in reply.contexts] == [0] * len(self._contexts)
        context = 2 * CONTEXTS[case.syntax] + 1
        peer, status = self._peer, None
        peer.send_command(wire.store_rq(case.sop_class, case.sop_instance), context)
        peer.send_data(case.data, context, fragment=case.fragment)
        received = peer.receive()
        if received is None or received.kind == wire.ABORT:
            peer.socket.close()
            self._peer = None
        else:
            peer.unread(received)
            response = peer.response(context)
            assert isinstance(response[wire.STATUS], int)
            status = response[wire.STATUS]
        return Outcome(status, *self._taken())  # type: ignore[arg-type]

    def _taken(self) -> tuple[str, bytes]:
        names = self._receiver.names()
        if not names:
            return "", b""
        (name,) = names
        path = self._receiver.folder / name
        content = path.read_bytes()
        path.unlink()
        return name, content

    def close(self) -> None:
        """Release the association."""
        if self._peer is not None:
            self._peer.release()


def deflated(data: bytes) -> bytes:
    """Return a raw deflate stream of even length, as another library might write it."""
    stream = zlib.compressobj(3, zlib.DEFLATED, -15)
    packed = stream.compress(data) + stream.flush(zlib.Z_SYNC_FLUSH) + stream.flush()
    return packed + bytes(len(packed) % 2)


def corpus_cases() -> Iterator[Case]:
    """Some objects of each transfer syntax, large ones and small ones, whole and in fragments."""
    for syntax, group in corpus.by_syntax().items():
        if syntax not in CONTEXTS:
            continue
        some = [entry for entry in group if len(entry.data) < 1 << 19][:: max(1, len(group) // 12)]
        for number, entry in enumerate(some):
            name = f"{entry.path.name} {syntax}"
            identity = entry.sop_class, entry.sop_instance
            fragment = (16372, 1 << 20, 4096)[number % 3]
            yield Case(name, *identity, syntax, entry.even_data, fragment)
            if syntax == wire.EXPLICIT:
                packed = deflated(entry.data)
                yield Case(f"{name}, deflated", *identity, wire.DEFLATED, packed, fragment)


def hand_made_cases() -> Iterator[Case]:
    """Data sets that something is wrong with, and those that say other UIDs than the request."""
    for name, (syntax, data) in NASTY.items():
        whole = head(syntax) + data
        yield Case(name, wire.CT, "1.2.3", syntax, whole + bytes(len(whole) % 2), 16372)
    for seed in range(90000, 90040):
        syntax, data = wild(seed)
        whole = data + bytes(len(data) % 2)
        if whole:
            yield Case(f"seed {seed}", wire.CT, "1.2.3", syntax, whole, 16372)
    sequence_only = explicit(0x00081140, "SQ", b"\xfe\xff\x00\xe0\0\0\0\0")
    odd = {
        "other instance": small(sop_instance="1.2.3", data_instance="1.2.3.4.5.6").data,
        "other class": small(sop_instance="1.2.3", data_class="1.2.3.4").data,
        "more behind a NUL": small(sop_instance="1.2.3", data_instance="1.2.3\0left over").data,
        "no instance": small(leave_out=(0x00080018,)).data,
        "no class": small(sop_instance="1.2.3", leave_out=(0x00080016,)).data,
        "other instance, to rewrite": small(data_instance="1.2.3.4.5.6", patient="A   ").data,
        "one sequence": sequence_only,
        "nothing": b"",
    }
    for name, data in odd.items():
        for fragment in (16372, 64):
            yield Case(f"{name}, by {fragment}", wire.CT, "1.2.3", wire.EXPLICIT, data, fragment)
    usual = small(sop_instance="1.2.3").data
    yield Case("class behind a NUL", wire.CT + "\0.4", "1.2.3", wire.EXPLICIT, usual, 16372)
    yield Case("instance behind a NUL", wire.CT, "1.2.3\0left over", wire.EXPLICIT, usual, 16372)
    for name, data in {
        "deflate stream cut": deflated(odd["other class"])[:100],
        "deflate stream of nothing": deflated(b""),
        "no deflate stream": b"\xff" * 64,
        "deflated nonsense": deflated(b"\x08\0\x05\0CS\xff\0 "),
    }.items():
        yield Case(name, wire.CT, "1.2.3", wire.DEFLATED, data, 16372)


def head(syntax: str) -> bytes:
    """Return SOP class and instance, for the syntaxes that NASTY has."""
    if syntax in (wire.IMPLICIT, wire.BIG):
        return b""
    return explicit(0x00080016, "UI", wire.CT) + explicit(0x00080018, "UI", "1.2.3")


# Where 3.6.7 of the reference and we differ. New padding comes last with us, whatever has a
# higher tag. A data set of which the end is missing is stored by the reference if it came deflated;
# one of nothing at all is, too, unless the file would be what was asked for anyway.
TRUNCATED = "deflate stream cut"
NOTHING = ("nothing, by 16372", "nothing, by 64", "deflate stream of nothing")
# Its length counts in padding, which depends on how long the writer's own name is.
COUNTS_PADDING = "padding with group length"


def all_cases(options: tuple[str, ...]) -> Iterator[Case]:
    """Return what is to be sent under these options."""
    for case in (*corpus_cases(), *hand_made_cases()):
        if "+xd" in options and case.syntax not in NATIVE:
            continue
        if "+p" in options and case.name in (*ABOVE_PADDING, COUNTS_PADDING):
            continue
        if case.name == TRUNCATED or (case.name in NOTHING and options != MODES["default"]):
            continue
        yield case


def without_padding(data: bytes) -> bytes:
    """Return a data set without a trailing (FFFC,FFFC), whose length depends on the header's."""
    for tag, size, order in (
        (b"\xfc\xff\xfc\xffOB\0\0", 12, "<"),
        (b"\xff\xfc\xff\xfcOB\0\0", 12, ">"),
        (b"\xfc\xff\xfc\xff", 8, "<"),
    ):
        at = data.rfind(tag)
        if at >= 0:
            (length,) = struct.unpack_from(order + "L", data, at + size - 4)
            if at + size + length == len(data):
                return data[:at]
    return data


def inflated(data: bytes) -> bytes:
    """Return the data set that a deflate stream holds."""
    return zlib.decompressobj(-15).decompress(data)


def difference(options: tuple[str, ...], case: Case, ours: bytes, theirs: bytes) -> str | None:
    """Return how two files under the same options differ, other than they should."""
    if not ours or not theirs:
        return None if ours == theirs else f"{len(ours)} bytes, expected {len(theirs)}"
    is_deflated = "+td" in options or (
        case.syntax == wire.DEFLATED and not {"+te", "+tb", "+ti"}.intersection(options)
    )
    if "-F" in options:
        # Version 3.6.7 of the reference leaves a deflated data set odd, 3.7.0 does not.
        return data_difference(ours, theirs + bytes(len(theirs) % 2 * is_deflated))
    one, other = split_part10(ours), split_part10(theirs)
    if "+p" in options and "33" not in options:
        multiple = int(options[options.index("+p") + 1]) or 1
        if not is_deflated and (len(ours) - len(theirs)) % multiple:
            return f"{len(ours)} bytes, expected a multiple of {multiple}"
        data, expected = one.data, other.data
        if is_deflated:
            data, expected = inflated(data), inflated(expected)
        return data_difference(without_padding(data), without_padding(expected))
    if "+cl" in options and "0" in options:
        # Stored blocks are as long as the writer's buffer happens to be.
        return data_difference(inflated(one.data), inflated(other.data))
    return file_difference(ours, theirs)


def compare(
    start_receiver: StartReceiver,
    options: tuple[str, ...],
    syntaxes: tuple[str, ...],
    cases: Iterable[Case],
) -> dict[int | None, int]:
    """Send everything to both, and return how often each status was the answer.

    Fails with a line for each case in which we do what the reference does not.
    """
    exchanges = [
        Exchange(start_receiver(flavour, "--fork", "-ta", "1", *options), syntaxes)
        for flavour in (OURS, REFERENCE)
    ]
    wrong: list[str] = []
    statuses: dict[int | None, int] = {}
    for case in cases:
        ours, theirs = (exchange.store(case) for exchange in exchanges)
        statuses[theirs.status] = statuses.get(theirs.status, 0) + 1
        if ours[:2] != theirs[:2]:
            wrong.append(f"{case.name}: {ours[:2]}, expected {theirs[:2]}")
        elif found := difference(options, case, ours.content, theirs.content):
            wrong.append(f"{case.name}: {found}")
    for exchange in exchanges:
        exchange.close()
    assert not wrong, "\n".join(wrong)
    return statuses


@pytest.mark.parametrize("mode", MODES)
def test_objects_are_stored_as_the_reference_stores_them(
    start_receiver: StartReceiver, mode: str
) -> None:
    options = MODES[mode]
    syntaxes = NATIVE if "+xd" in options else SYNTAXES
    statuses = compare(start_receiver, options, syntaxes, all_cases(options))
    assert sum(statuses.values()) > 150
    if mode != "ignored":
        assert statuses.keys() == {0, 0xA700, 0xA900, 0xC000, None}


def sized(size: int) -> Object:
    """Return an object whose data set has exactly so many bytes."""
    instance = new_uid()
    rest = len(small(sop_instance=instance, pixels=0).data)
    return small(sop_instance=instance, pixels=size - rest)


@pytest.mark.parametrize(
    "mode", [("+tb",), ("-e",), ("+te", "+g"), ("+td",), ("+ti",)], ids=" ".join
)
def test_sizes_around_what_is_held_in_memory(
    start_receiver: StartReceiver, mode: tuple[str, ...]
) -> None:
    """One after the other, so that what one leaves in memory would show in the next."""
    sizes = (1 << 20, 5000, (1 << 20) + 2, 3 << 20, 70_000, (1 << 20) - 2, 5000, 20_000)
    things = [sized(size) for size in sizes]
    cases = [
        Case(f"{len(thing.data)} bytes by {fragment}", *thing[:3], thing.data, fragment)
        for thing in things
        for fragment in (16372, 4096)
    ]
    assert compare(start_receiver, mode, (wire.EXPLICIT,), cases) == {0: len(cases)}


def image(vr: str, order: str, patient: str) -> Case:
    """Return an object with 3 MiB of pixel data, and values of longer words, in a byte order."""
    instance, words = new_uid(), bytes(range(256))
    elements: list[tuple[int, str, str | bytes]] = [
        (0x00080016, "UI", wire.CT),
        (0x00080018, "UI", instance),
        (0x00100010, "PN", patient),
        (0x00660016, "OF", words * 300),
        (0x00664000, "OD", words * 3),
        (0x7FE00010, vr, words * 4096 * 3 + b"\1\2"),
    ]
    data = b"".join(explicit(*element, order=order) for element in elements)
    syntax = wire.EXPLICIT if order == "<" else wire.BIG
    return Case(f"{vr}, {syntax}, {patient!r}", wire.CT, instance, syntax, data, 16372)


@pytest.mark.parametrize("mode", [("+tb",), ("+te",), ("+ti",), ("+tb", "-e", "+g")], ids=" ".join)
def test_images_that_are_not_held_in_memory(
    start_receiver: StartReceiver, mode: tuple[str, ...]
) -> None:
    """Their values stay where they are, or move, with the order of their bytes or without."""
    cases = [image(*each) for each in product(("OB", "OW"), "<>", ("DOE^JANE", "DOE^JANE  "))]
    statuses = compare(start_receiver, mode, (wire.EXPLICIT, wire.BIG), cases)
    assert statuses == {0: len(cases)}


@pytest.mark.parametrize("option", ["+te", "+tb", "+ti", "+td"])
def test_compressed_pixel_data_cannot_be_converted(
    start_receiver: StartReceiver, tmp_path: Path, option: str
) -> None:
    """A profile lets in what ``--accept-all`` may not; without pixel data it is converted."""
    path = corpus.write_profile(tmp_path / "all.cfg", {wire.CT: list(SYNTAXES)})
    cases = [case for case in corpus_cases() if case.syntax not in NATIVE]
    bare = small(leave_out=(0x7FE00010,))
    for syntax in SYNTAXES[4:]:
        cases.append(Case(f"no pixels {syntax}", *bare[:2], syntax, bare.data, 16372))
    profile = ("-xf", str(path), "Default")
    statuses = compare(start_receiver, (*profile, option), SYNTAXES, cases)
    assert statuses[0xA700] > 10
    assert statuses[0] >= len(SYNTAXES[4:])


def test_both_senders(start_receiver: StartReceiver, tmp_path: Path, reference: str) -> None:
    """Real senders get the same answers, and their objects the same form."""
    group = [one for one in corpus.by_syntax()[wire.EXPLICIT] if len(one.data) < 1 << 17]
    batch = corpus.rounds(tuple(group))[0][:40]
    contexts = {entry.sop_class: [wire.EXPLICIT] for entry in batch}
    own = ("-xf", str(corpus.write_profile(tmp_path / "profile.cfg", contexts)), "Default")
    options = ("--fork", "-ta", "1", *own, "+tb", "+g", "-e")
    files = [entry.even_copy(tmp_path) for entry in batch]
    ours, theirs = (start_receiver(one, *options) for one in (OURS, REFERENCE))
    answers = [senders.pynetdicom_send(one.port, files, contexts) for one in (ours, theirs)]
    assert answers[0] == answers[1]
    assert folder_differences(ours.folder, theirs.folder) == []
    runs = [senders.send(reference, one.port, files, *own, "--no-halt") for one in (ours, theirs)]
    assert runs[0].code == runs[1].code
    assert len(theirs.names()) > 20
    assert folder_differences(ours.folder, theirs.folder) == []
