"""Data sets rewritten by us and by DCMTK's storescp under the same options, byte for byte."""

import glob
import os
import zlib
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from conftest import StartReceiver
from harness import corpus, wire
from harness.compare import data_difference
from harness.datasets import (
    IDENTITY,
    ITEM_END,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED,
    bare,
    element,
    fragments,
    item,
    mutated,
    open_item,
    open_sequence,
    sequence,
    wild,
)
from harness.objects import new_uid
from harness.peer import Peer
from harness.receivers import REFERENCE, Receiver

from dcmstore import dictionary, uids
from dcmstore.dataset import DataSetError, OutputOptions
from dcmstore.elements import inspect
from dcmstore.encoding import EncodingError, rewrite


class Mode(NamedTuple):
    """The same output options for both: storescp's command line, and ours."""

    arguments: tuple[str, ...]
    output: OutputOptions


MODES = {
    "default": Mode(("+xa",), OutputOptions()),
    "create-undefined": Mode(("+xa", "+g", "-e"), OutputOptions(None, "create", "undefined")),
    "remove": Mode(("+xa", "-g"), OutputOptions(None, "remove")),
    "padding": Mode(("+xa", "+p", "64", "18"), OutputOptions(padding=(64, 18))),
    "padding-items": Mode(
        ("+xa", "+p", "0", "30", "+g", "-e"),
        OutputOptions(None, "create", "undefined", padding=(0, 30)),
    ),
    "padding-odd": Mode(("+xa", "+p", "33", "2"), OutputOptions(padding=(33, 2))),
    "old-vrs": Mode(("+xa", "-u"), OutputOptions(new_vr=False)),
    "little": Mode(("+xd", "+te"), OutputOptions(uids.EXPLICIT_LITTLE)),
    "big-old-vrs": Mode(("+xd", "+tb", "-u"), OutputOptions(uids.EXPLICIT_BIG, new_vr=False)),
    "big": Mode(("+xd", "+tb", "+g"), OutputOptions(uids.EXPLICIT_BIG, "create")),
    "implicit": Mode(
        ("+xd", "+ti", "+p", "64", "32"), OutputOptions(uids.IMPLICIT_LITTLE, padding=(64, 32))
    ),
    "deflated": Mode(("+xd", "+td", "-e"), OutputOptions(uids.DEFLATED, lengths="undefined")),
}
CONVERTING = [name for name, mode in MODES.items() if mode.output.transfer_syntax]
REFUSED = "refused"


class Answer(NamedTuple):
    """What became of a data set: its bytes or REFUSED, and the length of the meta header."""

    data: bytes | str
    meta_length: int


class Reference:
    """The reference, asked one data set at a time."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._peer: Peer | None = None
        self._syntax = ""

    def store(self, syntax: str, data: bytes) -> Answer:
        """Send a data set and return what was stored."""
        instance = new_uid()
        if self._peer is None or syntax != self._syntax:
            self.close()
            self._peer, self._syntax = Peer.connect(self._receiver.port), syntax
            reply = self._peer.associate((1, wire.CT, (syntax,)))
            assert reply.contexts[0][1] == 0, f"{syntax} is not accepted"
        path = self._receiver.folder / f"CT.{instance}"
        self._peer.send_command(wire.store_rq(wire.CT, instance, 1))
        self._peer.send_data(data)
        received = self._peer.receive()
        if received is None or received.kind == wire.ABORT:
            self._peer.socket.close()
            self._peer = None
            return Answer(REFUSED, 0)
        if not path.exists():
            return Answer(REFUSED, 0)
        content = path.read_bytes()
        os.unlink(path)
        # Elements of group 0002 may follow in the data set: only the group length ends the header.
        meta_length = 12 + int.from_bytes(content[140:144], "little")
        return Answer(content[132 + meta_length :], meta_length)

    def close(self) -> None:
        """Release the association."""
        if self._peer is not None:
            self._peer.release()
            self._peer = None


def ours(syntax: str, data: bytes, output: OutputOptions) -> bytes | str:
    """Return what we would store."""
    if syntax == uids.DEFLATED:
        data = zlib.decompressobj(-15).decompress(data)
    target = os.memfd_create("target")
    try:
        rewrite(memoryview(data), 0, len(data), syntax, output, target)
        os.lseek(target, 0, os.SEEK_SET)
        with open(os.dup(target), "rb") as written:
            return written.read()
    except (DataSetError, EncodingError):
        return REFUSED
    finally:
        os.close(target)


def inflated(syntax: str, data: bytes | str) -> bytes | str:
    if syntax != uids.DEFLATED or isinstance(data, str):
        return data
    return zlib.decompressobj(-15).decompress(data)


def differences(
    receiver: Receiver, mode: Mode, cases: Iterable[tuple[str, str, bytes]]
) -> list[str]:
    """Send every (name, transfer syntax, data set), and return where we would differ."""
    reference, found = Reference(receiver), []
    for name, syntax, sent in cases:
        data = sent + bytes(len(sent) % 2)
        answer = reference.store(syntax, data)
        output = mode.output._replace(meta_length=answer.meta_length)
        target = output.transfer_syntax or syntax
        expected, actual = (
            inflated(target, answer.data),
            inflated(target, ours(syntax, data, output)),
        )
        if isinstance(expected, str) or isinstance(actual, str):
            if expected != actual:
                found.append(f"{name}: {str(actual)[:40]}, expected {str(expected)[:40]}")
        elif difference := data_difference(actual, expected):
            found.append(f"{name}: {difference}")
    reference.close()
    return found


@pytest.mark.parametrize("name", MODES)
def test_corpus(name: str, reference: str, shared_receiver: StartReceiver) -> None:
    mode = MODES[name]
    cases = [
        (entry.path.name, entry.syntax, entry.data)
        for entry in corpus.entries()
        if len(entry.data) < 1 << 20 and (name not in CONVERTING or entry.syntax in uids.NATIVE)
    ]
    assert len(cases) > 100
    assert differences(shared_receiver(REFERENCE, *mode.arguments), mode, cases) == []


@pytest.mark.parametrize("name", MODES)
def test_wild_data_sets(name: str, reference: str, shared_receiver: StartReceiver) -> None:
    mode, first = MODES[name], 1000 * list(MODES).index(name)
    cases = [(f"seed {seed}", *wild(seed)) for seed in range(first, first + 150)]
    cases = [case for case in cases if case[2]]
    if name in CONVERTING:
        cases = [case for case in cases if case[1] in uids.NATIVE]
    assert differences(shared_receiver(REFERENCE, *mode.arguments), mode, cases) == []


PN, LO = element(0x00100010, "PN", "AB"), element(0x00100020, "LO", "CD")
GROUP_LENGTH = element(0x00100000, "UL", b"abcd")
IMPLICIT_PN = bare(0x00100010, "AB  ")
EXPLICIT, IMPLICIT, JPEG = wire.EXPLICIT, wire.IMPLICIT, wire.JPEG_BASELINE

NASTY: dict[str, tuple[str, bytes]] = {
    "plain": (EXPLICIT, PN + LO),
    "value cut": (EXPLICIT, element(0x00100010, "PN", "AB", 10)),
    "header cut": (EXPLICIT, PN + LO[:4]),
    "long header cut": (EXPLICIT, PN + b"\x10\0\x20\0UT\0\0\2\0"),
    "out of order": (EXPLICIT, LO + PN + element(0x00080060, "CS", "CT")),
    "several out of order": (
        EXPLICIT,
        b"".join(element(tag, "LO", "") for tag in (0x100030, 0x100020, 0x100025, 0x100040)) + LO,
    ),
    "repeated": (EXPLICIT, PN + element(0x00100010, "PN", "XX") + LO),
    "repeated sequence": (EXPLICIT, sequence(item(PN)) + sequence(item(LO))),
    "odd binary": (EXPLICIT, element(0x00280010, "US", b"abc") + element(0x00420011, "OB", b"d")),
    "odd words": (EXPLICIT, element(0x00281201, "OW", b"abc")),
    "length of no whole words": (EXPLICIT, element(0x00189073, "FD", b"abcd")),
    "VR of two capitals": (EXPLICIT, element(0x00100010, "ZZ", b"\0\0\2\0\0\0AB")),
    "other VRs": (EXPLICIT, element(0x00100010, "lo", "AB") + element(0x00100020, "1A", "AB")),
    "OX for pixel data": (EXPLICIT, element(PIXEL_DATA, "OX", b"\0\0\2\0\0\0AB")),
    "OX elsewhere": (EXPLICIT, element(0x00100010, "OX", b"\0\0\2\0\0\0AB")),
    "VR of no element": (EXPLICIT, element(0x00081140, "LO", "AB") + element(0x100010, "SS", "AB")),
    "reserved bytes": (EXPLICIT, b"\x10\0\x10\0UT\7\0\2\0\0\0AB"),
    "group 0002": (EXPLICIT, PN + element(0x00020010, "UI", "1.2\0")),
    "group length right": (EXPLICIT, element(0x00100000, "UL", b"\x0a\0\0\0") + PN),
    "group length wrong": (EXPLICIT, GROUP_LENGTH + PN + LO),
    "group length misplaced": (EXPLICIT, PN + GROUP_LENGTH + LO),
    "group length of another VR": (EXPLICIT, element(0x00100000, "US", b"abcd") + PN),
    "group length as text": (EXPLICIT, element(0x00100000, "IS", "10") + PN),
    "group length as UID": (EXPLICIT, element(0x00100000, "UI", "") + PN),
    "group length as sequence": (EXPLICIT, sequence(item(PN), 0x00100000) + PN),
    "group length empty": (EXPLICIT, element(0x00100000, "UL", b"") + PN),
    "group length of two bytes": (
        EXPLICIT,
        element(0x00100000, "UL", b"ab") + PN + element(0x00200010, "SH", "A "),
    ),
    "group length of two values": (
        EXPLICIT,
        element(0x00100000, "UL", b"abcdefgh") + PN + element(0x00200010, "SH", "A "),
    ),
    "group length alone": (EXPLICIT, PN + element(0x00110000, "UL", b"abcd")),
    "group length in items": (EXPLICIT, sequence(item(GROUP_LENGTH + PN))),
    "padding": (EXPLICIT, PN + element(0xFFFCFFFC, "OB", bytes(14))),
    "padding with group length": (
        EXPLICIT,
        PN + element(0xFFFC0000, "UL", b"abcd") + element(0xFFFCFFFC, "OB", bytes(4)),
    ),
    "padding in items": (EXPLICIT, sequence(item(PN + element(0xFFFCFFFC, "OB", bytes(4))))),
    "blanks": (EXPLICIT, element(0x00100010, "PN", " A \\ B \\  ") + element(0x10F000, "AS", "  ")),
    "line ends": (EXPLICIT, element(0x00104000, "LT", " \n  ")),
    "blanks in UIDs": (
        EXPLICIT,
        element(0x20000D, "UI", "1 .\t2") + element(0x20000E, "UI", " \0"),
    ),
    "NULs in UIDs": (
        EXPLICIT,
        element(0x20000D, "UI", "1\0 2\0\0") + element(0x20000E, "UI", "\0\0"),
    ),
    "odd UID": (EXPLICIT, element(0x20000D, "UI", "1.2") + element(0x20000E, "UI", "1.2.3.4")),
    "open sequence": (EXPLICIT, open_sequence(open_item(PN) + item(LO) + open_item(b"")) + LO),
    "closed sequence of open items": (EXPLICIT, sequence(open_item(PN) + item(b"")) + LO),
    "empty sequences": (EXPLICIT, sequence(b"") + open_sequence(b"", 0x00081111)),
    "no sequence delimiter": (EXPLICIT, element(0x081140, "SQ", item(PN), UNDEFINED)),
    "element for a sequence delimiter": (
        EXPLICIT,
        element(0x081140, "SQ", item(PN), UNDEFINED) + LO,
    ),
    "no item delimiter": (EXPLICIT, open_sequence(item(PN, UNDEFINED)) + LO),
    "no item delimiter in a closed sequence": (EXPLICIT, sequence(item(PN, UNDEFINED)) + LO),
    "garbage for an item": (EXPLICIT, sequence(PN) + LO),
    "garbage in an open sequence": (EXPLICIT, open_sequence(PN) + LO),
    "item too short": (EXPLICIT, sequence(item(PN, 8)) + LO),
    "item shorter than a header": (EXPLICIT, sequence(item(PN, 6)) + LO),
    "item too long": (EXPLICIT, sequence(item(PN, 20)) + PN + LO),
    "item longer than the data": (EXPLICIT, sequence(item(PN, 100)) + PN + LO),
    "sequence too long": (EXPLICIT, sequence(item(PN), length=38) + LO),
    "sequence longer than the data": (EXPLICIT, sequence(item(PN), length=48)),
    "delimiter ends a closed item": (EXPLICIT, sequence(item(PN + ITEM_END)) + LO),
    "delimiter inside a closed item": (EXPLICIT, sequence(item(PN + ITEM_END + LO)) + LO),
    "delimiter ends a closed sequence": (EXPLICIT, sequence(item(PN) + SEQUENCE_END) + LO),
    "delimiter inside a closed sequence": (EXPLICIT, sequence(item(PN) + SEQUENCE_END + LO) + LO),
    "delimiter behind a closed sequence": (EXPLICIT, sequence(item(PN)) + SEQUENCE_END + LO),
    "item delimiter in a sequence": (EXPLICIT, sequence(item(PN) + ITEM_END) + LO),
    "sequence delimiter in an item": (EXPLICIT, sequence(item(PN + SEQUENCE_END)) + LO),
    "delimiters with a length": (
        EXPLICIT,
        sequence(item(PN + bare(0xFFFEE00D, b"", 4), UNDEFINED)) + LO,
    ),
    "item in an item": (EXPLICIT, sequence(item(item(PN))) + LO),
    "item in the data set": (EXPLICIT, PN + item(b"")),
    "sequence delimiter in the data set": (EXPLICIT, PN + SEQUENCE_END),
    "other tags of group FFFE": (EXPLICIT, PN + element(0xFFFE0010, "LO", "AB")),
    "highest tag": (EXPLICIT, PN + element(0xFFFFFFFF, "LO", "AB")),
    "sequence for pixel data": (EXPLICIT, sequence(item(PN), PIXEL_DATA)),
    "UN of undefined length": (
        EXPLICIT,
        element(0x00091010, "UN", item(IMPLICIT_PN) + SEQUENCE_END, UNDEFINED) + LO,
    ),
    "UN of undefined length, nested": (
        EXPLICIT,
        element(
            0x00091010,
            "UN",
            item(bare(0x081140, item(IMPLICIT_PN) + SEQUENCE_END, UNDEFINED)) + SEQUENCE_END,
            UNDEFINED,
        ),
    ),
    "UN in big endian": (
        wire.BIG,
        element(0x00091010, "UN", item(bare(0x00280010, b"\1\0")), UNDEFINED, ">")
        + SEQUENCE_END
        + element(0x00280010, "US", b"\0\2", order=">"),
    ),
    "strange VR of undefined length": (
        EXPLICIT,
        element(0x00091010, "ZZ", b"\0\0\xff\xff\xff\xff" + item(IMPLICIT_PN) + SEQUENCE_END),
    ),
    "OB of undefined length": (
        EXPLICIT,
        element(0x00091010, "OB", item(b"abcd") + SEQUENCE_END, UNDEFINED),
    ),
    "UT of undefined length": (
        EXPLICIT,
        element(0x00091010, "UT", item(b"abcd") + SEQUENCE_END, UNDEFINED),
    ),
    "fragments in a native syntax": (EXPLICIT, PN + fragments(b"", b"abcd")),
    "fragments in an item": (EXPLICIT, sequence(item(fragments(b"", b"abcd"))) + LO),
    "unknown of undefined length": (
        IMPLICIT,
        bare(0x00091010, item(IMPLICIT_PN) + SEQUENCE_END, UNDEFINED) + bare(0x00100020, "CD"),
    ),
    "text of undefined length": (
        IMPLICIT,
        bare(0x00100010, item(IMPLICIT_PN) + SEQUENCE_END, UNDEFINED),
    ),
    "numbers of undefined length": (
        IMPLICIT,
        bare(0x00280010, item(IMPLICIT_PN) + SEQUENCE_END, UNDEFINED),
    ),
    "private elements": (IMPLICIT, bare(0x00090010, "ACME") + bare(0x00091001, "AB  ")),
    "signed pixels": (IMPLICIT, bare(0x00280103, b"\1\0") + bare(0x00280106, b"\xff\xff")),
    "signed pixels, said too late": (
        IMPLICIT,
        bare(0x00280106, b"\xff\xff") + bare(0x00280103, b"\1\0"),
    ),
    "signed pixels, said outside": (
        IMPLICIT,
        bare(0x00280103, b"\1\0") + bare(0x00409096, item(bare(0x00409211, b"\xff\xff"))),
    ),
    "waveform of bytes": (IMPLICIT, bare(0x54001004, b"\x08\0") + bare(0x54001010, b"abcd")),
    "waveform of words": (IMPLICIT, bare(0x54001004, b"\x10\0") + bare(0x54001010, b"abcd")),
    "waveform of anything": (IMPLICIT, bare(0x54001010, b"abcd")),
    "long text": (IMPLICIT, bare(0x00100010, "A" * 65536) + bare(0x00280010, bytes(70000))),
    "just too long": (IMPLICIT, bare(0x00280010, bytes(65534)) + bare(0x00280011, bytes(65535))),
    "encapsulated": (JPEG, PN + fragments(b"", b"abcd", b"ef")),
    "encapsulated, no offset table": (JPEG, PN + fragments()),
    "encapsulated, odd": (JPEG, PN + fragments(b"", b"abc", b"d")),
    "encapsulated as OW": (JPEG, PN + fragments(b"", b"abcd", vr="OW")),
    "encapsulated, no delimiter": (JPEG, PN + fragments(b"", b"abcd", end=b"")),
    "encapsulated, cut": (JPEG, PN + fragments(b"", b"abcd", end=item(b"ab", 30))),
    "encapsulated, header cut": (JPEG, PN + fragments(b"", b"abcd", end=item(b"")[:6])),
    "encapsulated, garbage": (JPEG, PN + fragments(b"", b"abcd", end=LO)),
    "encapsulated, item delimiter": (JPEG, PN + fragments(b"", end=ITEM_END + SEQUENCE_END)),
    "encapsulated, delimiter with a length": (JPEG, fragments(end=bare(0xFFFEE0DD, b"", 4))),
    "native in an encapsulated syntax": (JPEG, PN + element(PIXEL_DATA, "OB", b"abcd")),
    "no pixel data in an encapsulated syntax": (JPEG, PN + LO),
    "native icon": (JPEG, sequence(item(element(PIXEL_DATA, "OW", b"ab"))) + fragments(b"", b"ab")),
    "encapsulated icon": (JPEG, sequence(item(fragments(b"", b"ab"))) + fragments(b"", b"ab")),
}

ABOVE_PADDING = frozenset(("other tags of group FFFE", "highest tag"))


@pytest.mark.parametrize("name", MODES)
def test_nasty_data_sets(name: str, reference: str, shared_receiver: StartReceiver) -> None:
    mode = MODES[name]
    cases = [
        (case, syntax, (IDENTITY if syntax in (EXPLICIT, JPEG) else b"") + data)
        for case, (syntax, data) in NASTY.items()
        if name not in CONVERTING or syntax in uids.NATIVE
    ]
    if mode.output.padding:
        # New padding comes last with us, whatever has a higher tag.
        cases = [case for case in cases if case[0] not in ABOVE_PADDING]
    assert differences(shared_receiver(REFERENCE, *mode.arguments), mode, cases) == []


def test_converting_un(reference: str, shared_receiver: StartReceiver) -> None:
    """UN that the dictionary knows is read as what it is; the reference and we know the same."""
    inner = item(bare(0x00280010, b"\1\0") + bare(0x00091010, "AB"))
    cases = [
        ("text", EXPLICIT, element(0x00100010, "UN", "AB  ")),
        ("sequence", EXPLICIT, element(0x00081140, "UN", inner)),
        ("sequence in big endian", wire.BIG, element(0x00081140, "UN", inner, order=">")),
        ("number in big endian", wire.BIG, element(0x00280010, "UN", b"\1\0", order=">")),
        ("creator", EXPLICIT, element(0x00090010, "UN", "AB  ") + element(0x91001, "UN", "AB  ")),
        ("strange VR", EXPLICIT, element(0x00100010, "ZZ", b"\0\0\4\0\0\0AB  ")),
        ("pixel data", EXPLICIT, element(PIXEL_DATA, "UN", b"abcd")),
        ("group length", EXPLICIT, element(0x00100000, "UN", b"abcd") + PN),
        ("in an item", EXPLICIT, sequence(item(element(0x00100010, "UN", "AB  ")))),
        (
            "signed",
            EXPLICIT,
            element(0x00280103, "US", b"\1\0") + element(0x00280106, "UN", b"\xff\xff"),
        ),
    ]
    for arguments, output in (
        (("+xd", "+uc"), OutputOptions(convert_un=True)),
        (("+xd", "+uc", "+tb"), OutputOptions(uids.EXPLICIT_BIG, convert_un=True)),
    ):
        mode = Mode(arguments, output)
        assert differences(shared_receiver(REFERENCE, *arguments), mode, cases) == []


def test_private_dictionary(
    reference: str, start_receiver: StartReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With DCMTK's private dictionary both of us know a vendor's elements in implicit VR."""
    paths = sorted(glob.glob("/usr/share/*dcmtk*/*.dic"))
    paths = [path for path in paths if os.path.basename(path) in ("dicom.dic", "private.dic")]
    monkeypatch.setattr(dictionary, "_shared", dictionary._Tables())
    monkeypatch.setattr(dictionary, "_built", False)
    assert dictionary.load_dictionaries(paths) == []
    creator = bare(0x00190010, "SIEMENS CT VA0  COAD")
    known, unknown = bare(0x00191010, "1.5   "), bare(0x00191001, "1.5   ")
    cases = [
        ("behind its creator", IMPLICIT, creator + unknown + known),
        ("before its creator", IMPLICIT, known + creator),
        ("of another creator", IMPLICIT, bare(0x00190010, "ACME") + known),
        ("of another block", IMPLICIT, creator + bare(0x00191110, "1.5   ")),
        ("in an item", IMPLICIT, creator + bare(0x00400275, item(known))),
        ("all in an item", IMPLICIT, bare(0x00081140, item(creator + known))),
    ]
    environment = {"DCMDICTPATH": ":".join(paths)}
    mode = MODES["little"]
    receiver = start_receiver(REFERENCE, *mode.arguments, environment=environment)
    assert differences(receiver, mode, cases) == []


# What 3.7.0 (which we follow) and 3.6.7 (which is here) read differently, and where we differ
# from both on purpose: a value of which not one byte arrived is cut short like any other.
def is_known_difference(syntax: str, data: bytes) -> bool:
    """Tell whether a refusal of ours is one that the installed version does not share."""
    try:
        inspect(memoryview(data), 0, syntax, OutputOptions())
    except DataSetError as error:
        if error.text in ("Invalid VR", "Invalid tag"):
            return True
        # A header is the last that there is.
        return error.text in ("Invalid stream", "Sequence Delimitation Item missing")
    return False


def test_mutated_data_sets(reference: str, shared_receiver: StartReceiver) -> None:
    """What we accept the reference accepts, and stores as we do."""
    mode = MODES["default"]
    cases = []
    for seed in range(20000, 20600):
        syntax, data = wild(seed)
        data = mutated(data, seed)
        data += bytes(len(data) % 2)
        if data and len(data) < 8000 and not is_known_difference(syntax, data):
            cases.append((f"seed {seed}", syntax, data))
    assert len(cases) > 150
    found = differences(shared_receiver(REFERENCE, *mode.arguments), mode, cases)
    # Mutation makes odd text and text that ends in NULs, which 3.6.7 pads and keeps.
    assert [line for line in found if "\\x00" not in line] == []
