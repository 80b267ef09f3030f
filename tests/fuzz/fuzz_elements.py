"""Fuzz target of dcmstore.elements and dcmstore.encoding.

Invariant: the first byte chooses a transfer syntax and output options, the rest is a data set.
Inspecting ends in findings or in DataSetError, nothing else. What needs no change is said by
the quick scan and by the slow walk alike, and what gives no reason is written as it came. What
was written is what the options ask for: inspecting it gives no reason, and writing it again
the same bytes. Its values are those that were found before.

Run: python tests/fuzz/fuzz_elements.py [libFuzzer options] [corpus folder]   (needs atheris)
"""

import struct
import sys

from dcmstore import plainscan, uids
from dcmstore.dataset import DataSetError, Findings, OutputOptions
from dcmstore.elements import inspect
from dcmstore.encoding import encoded
from dcmstore.encoding_plan import examine

JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
SYNTAXES = (uids.EXPLICIT_LITTLE, uids.IMPLICIT_LITTLE, uids.EXPLICIT_BIG, JPEG_BASELINE)
OUTPUTS = (
    OutputOptions(),
    OutputOptions(group_length="create", lengths="undefined"),
    OutputOptions(group_length="remove", new_vr=False),
    OutputOptions(padding=(64, 18), meta_length=100),
    OutputOptions(padding=(0, 30), group_length="create"),
    OutputOptions(convert_un=True),
    OutputOptions(transfer_syntax=uids.EXPLICIT_LITTLE),
    OutputOptions(transfer_syntax=uids.EXPLICIT_BIG, new_vr=False),
    OutputOptions(transfer_syntax=uids.IMPLICIT_LITTLE, lengths="undefined"),
)


def written(data: bytes, found: Findings, syntax: str, output: OutputOptions) -> bytes:
    """Return the bytes that the findings lead to."""
    return b"".join(encoded(memoryview(data), 0, len(data), found, syntax, output))


def keeps_vrs(target: str, output: OutputOptions) -> bool:
    """Tell whether elements of the output are read with the VRs that they were written with.

    In implicit VR the dictionary takes the place of the VRs in the stream, and converted UN
    may hold other UN.
    """
    return target != uids.IMPLICIT_LITTLE and not output.convert_un


def fuzz_one(data: bytes) -> None:
    """Hold the invariant against one input."""
    if not data:
        return
    syntax = SYNTAXES[data[0] % len(SYNTAXES)]
    output = OUTPUTS[data[0] // len(SYNTAXES) % len(OUTPUTS)]
    data = data[1:]
    try:
        found = examine(memoryview(data), 0, len(data), syntax, output)
    except DataSetError:
        if plainscan.eligible(syntax, output):
            assert plainscan.scan(memoryview(data), 0, len(data), syntax, output) is None
        return
    quick = inspect(memoryview(data), 0, syntax, output)
    assert quick._replace(plan=None) == found._replace(plan=None)
    for _ in range(3):
        # Short data sets are remembered.
        assert inspect(data, 0, syntax, output)._replace(plan=None) == found._replace(plan=None)
    if found.unwritable:
        assert found.plan is None
        return
    first = written(data, found, syntax, output)
    assert found.reasons or first == data
    target = output.transfer_syntax or syntax
    if first and keeps_vrs(target, output):
        again = inspect(memoryview(first), 0, target, output)
        assert again.reasons == (), again.reasons
        assert written(first, again, target, output) == first
        if output.new_vr:
            # A text that becomes OB is none any more, and pixel data that were UN are some then.
            assert again[:3] == found[:3]
            assert again[5:7] == found[5:7]


def _seed(syntax: str) -> bytes:
    """Return a data set with an open sequence, UN, blanks, odd values, disorder and pixels."""
    order = ">" if syntax == uids.EXPLICIT_BIG else "<"
    undefined = 0xFFFFFFFF

    def bare(tag: int, value: bytes, length: int | None = None, order: str = order) -> bytes:
        size = len(value) if length is None else length
        return struct.pack(order + "HHI", tag >> 16, tag & 0xFFFF, size) + value

    def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
        if syntax == uids.IMPLICIT_LITTLE:
            return bare(tag, value, length)
        size = len(value) if length is None else length
        head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr
        if vr in (b"SQ", b"UN", b"OB", b"OW"):
            return head + struct.pack(order + "HI", 0, size) + value
        return head + struct.pack(order + "H", size) + value

    end = bare(0xFFFEE0DD, b"")
    item = bare(0xFFFEE000, element(0x00080018, b"UI", b"1.2\0"), undefined)
    little_item = bare(0xFFFEE000, bare(0x00100010, b"AB", order="<"), order="<")
    last = element(0x7FE00010, b"OW", b"abcd")
    if syntax == JPEG_BASELINE:
        fragments = bare(0xFFFEE000, b"") + bare(0xFFFEE000, b"abc") + end
        last = element(0x7FE00010, b"OB", fragments, undefined)
    return b"".join(
        (
            element(0x00080016, b"UI", b"1. 3"),
            element(0x00081140, b"SQ", item + bare(0xFFFEE00D, b"") + end, undefined),
            element(0x00091010, b"UN", little_item + bare(0xFFFEE0DD, b"", order="<"), undefined),
            element(0x00100000, b"UL", b"abcd"),
            element(0x00100020, b"LO", b"A  "),
            element(0x00100010, b"PN", b"AB"),
            element(0x00100010, b"PN", b"CD"),
            element(0x00280010, b"US", b"ab"),
            last,
            element(0xFFFCFFFC, b"OB", b""),
        )
    )


def seeds() -> list[bytes]:
    """Return one input for each syntax and each set of output options."""
    return [
        bytes((number * len(SYNTAXES) + index,)) + _seed(syntax)
        for number in range(len(OUTPUTS))
        for index, syntax in enumerate(SYNTAXES)
    ]


def main() -> None:
    """Fuzz until something breaks."""
    import atheris  # type: ignore[import-untyped]

    atheris.instrument_all()
    atheris.Setup(sys.argv, fuzz_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
