"""The daemon's hot path: does a data set already have the form that the options ask for?

:func:`scan` walks encoded elements in place and answers with what it found, or with None as
soon as anything needs a second look. It never decides that something is wrong: that is the
slow walk's job, which handles every data set.
"""

from struct import Struct, error
from typing import NamedTuple

from dcmstore import dictionary, uids, vr
from dcmstore.dataset import DEFAULT_LEVEL, Encoded, Findings, OutputOptions

# How to step over a value. A positive kind is a binary VR and at the same time the mask of
# bits that its length must not have; _LONG is added to it where the length has 32 bits.
TEXT, UID, _SEQUENCE, _LONG_TEXT = -1, -2, -3, -4
_LONG = 16
_UNDEFINED = 0xFFFFFFFF
_NEVER = 1 << 40
_SOP_INSTANCE = 0x00080018
_PIXEL_DATA = 0x7FE00010
_PADDING = 0xFFFCFFFC
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD
# Tags below group 0008 do not belong into a data set: the slow walk has a word for each.
_BEFORE_FIRST = 0x0007FFFF
REPORTED = {
    0x00080005: TEXT,
    0x00080016: UID,
    0x00080018: UID,
    0x00100010: TEXT,
    0x0020000D: UID,
}
"""The elements whose values are reported, ascending, and the kind that each is of."""
_WANTED = (*REPORTED, _PIXEL_DATA, _NEVER)
# What a frame on the stack waits for: the end of an item, or that of a group.
_IN_ITEM, _IN_GROUP = 0, 1
_MAX_DEPTH = 64
UID_BYTES = b"0123456789."
_ODD_OR_HUGE = 0xFFFF0001
"""Bits that the length of a text must not have: what is longer than any text that is looked at as a
whole in explicit VR would be copied into memory, and could be all that there is."""

Value = tuple[int, int, int, int, int]
"""(tag, start, end, kind, depth): kinds below 0 are ``TEXT``, ``UID`` or another text."""


class _Form(NamedTuple):
    """An encoding: how to read a header, and the kind of value by VR (explicit) or by tag."""

    explicit: bool
    head: Struct
    delimiter: Struct
    length32: Struct
    kinds: dict[int, int]


def _kind(number: int) -> int:
    if number == vr.SQ:
        return _SEQUENCE
    if number == vr.UI:
        return UID
    if vr.TEXT[number]:
        return TEXT
    return max(vr.WORD[number] - 1, 1)


def _explicit_kind(number: int) -> int:
    kind = _kind(number)
    if not vr.LONG[number] or kind == _SEQUENCE:
        return kind
    return _LONG_TEXT if kind == TEXT else kind + _LONG


def _explicit(order: str, numbers: dict[int, int]) -> _Form:
    kinds = {code: _explicit_kind(number) for code, number in numbers.items()}
    return _Form(True, Struct(order + "HHHH"), Struct(order + "HHI"), Struct(order + "I"), kinds)


_FORMS = {uids.EXPLICIT_BIG: _explicit(">", vr.BY_BIG)}
_LITTLE = _explicit("<", vr.BY_LITTLE)


def _form(transfer_syntax: str) -> _Form:
    if transfer_syntax != uids.IMPLICIT_LITTLE:
        return _FORMS.get(transfer_syntax, _LITTLE)
    if transfer_syntax not in _FORMS:
        # The dictionary is loaded only where the encoding needs it.
        pseudo = {dictionary.PIXEL_SIGN: vr.US, dictionary.WAVEFORM_BITS: vr.OB}
        numbers = dictionary.exact_tags().items()
        kinds = {tag: _kind(pseudo.get(number, number)) for tag, number in numbers}
        head = Struct("<HHI")
        _FORMS[transfer_syntax] = _Form(False, head, head, Struct("<I"), kinds)
    return _FORMS[transfer_syntax]


def eligible(transfer_syntax: str, output: OutputOptions) -> bool:
    """Tell whether the scan knows the form that these options ask for."""
    if output.transfer_syntax not in (None, transfer_syntax):
        return False
    if output.lengths != "explicit" or output.group_length == "create":
        return False
    if output.padding is not None or not output.new_vr or output.convert_un:
        return False
    if transfer_syntax == uids.DEFLATED and output.compression_level != DEFAULT_LEVEL:
        return False
    return transfer_syntax != uids.IMPLICIT_LITTLE or not dictionary.has_private_tags()


def scan(
    data: Encoded,
    start: int,
    end: int,
    transfer_syntax: str,
    output: OutputOptions,
    values: list[Value] | None = None,
) -> Findings | None:
    """Return the findings of a data set that needs no change and no comment, else None.

    ``data`` may break off before ``end``; None if there is anything to look at behind. The values
    are added to ``values``, but for the fragments of encapsulated pixel data.
    """
    try:
        return _scan(data, start, end, transfer_syntax, output, values)
    except (KeyError, IndexError, error):
        # An unknown VR, or a header or value that passes the end of the mapping.
        return None


def _scan(
    data: Encoded,
    start: int,
    end: int,
    transfer_syntax: str,
    output: OutputOptions,
    values: list[Value] | None,
) -> Findings | None:
    explicit, head_struct, delimiter_struct, length_struct, kinds = _form(transfer_syntax)
    head, delimiter = head_struct.unpack_from, delimiter_struct.unpack_from
    length32, kind_of = length_struct.unpack_from, kinds.get
    encapsulated = uids.is_encapsulated(transfer_syntax)
    keep_group_lengths = output.group_length == "recalc"
    found: dict[int, bytes] = {}
    has_pixel_data = fragments = False
    wanted = iter(_WANTED)
    want = next(wanted)
    stack: list[tuple[int, int, int, int, int]] = []
    limit, last, sequence_end, depth = end, _BEFORE_FIRST, 0, 0
    pos = start
    while True:
        while pos < limit:
            if explicit:
                group, element, code, length = head(data, pos)
                tag = group << 16 | element
                kind = kinds[code]
                pos += 8
                if kind >= _LONG or kind < UID:
                    # The two bytes after a long VR are reserved, and are written as 0.
                    if length:
                        return None
                    (length,) = length32(data, pos)
                    pos += 4
                    if kind > 0:
                        kind -= _LONG
            else:
                group, element, length = head(data, pos)
                tag = group << 16 | element
                pos += 8
                kind = kind_of(tag, 0)
                if not kind:
                    number = dictionary.lookup(tag)
                    kind = 1 if number is None else _kind(number)
            if tag <= last:
                return None
            last = tag
            if kind > 0:
                if length & kind:
                    if length != _UNDEFINED or tag != _PIXEL_DATA or not encapsulated or depth:
                        return None
                    if bytes(data[pos - 8 : pos - 6]) != b"OB":
                        return None
                    fragments = True
                    while True:
                        group, element, length = delimiter(data, pos)
                        pos += 8
                        if group << 16 | element != _ITEM:
                            break
                        if length & 1:
                            return None
                        pos += length
                    if group << 16 | element != _SEQUENCE_END or length:
                        return None
                else:
                    pos += length
                    if not element:
                        if not keep_group_lengths or length != 4 or kind != 3:
                            return None
                        if explicit and bytes(data[pos - 8 : pos - 6]) != b"UL":
                            return None
                        boundary = pos + length32(data, pos - 4)[0]
                        if boundary > limit:
                            return None
                        stack.append((_IN_GROUP, limit, tag | 0xFFFF, sequence_end, want))
                        limit = boundary
                    elif values is not None:
                        values.append((tag, pos - length, pos, kind, depth))
            elif not element:
                # A group length of another VR than UL.
                return None
            elif kind == _SEQUENCE:
                if length:
                    if not depth and tag < _SOP_INSTANCE:
                        return None
                    stack.append((_IN_ITEM, limit, tag, sequence_end, want))
                    depth += 1
                    sequence_end = pos + length
                    if sequence_end > limit or depth > _MAX_DEPTH:
                        return None
                    group, element, length = delimiter(data, pos)
                    pos += 8
                    limit = pos + length
                    if group << 16 | element != _ITEM or limit > sequence_end:
                        return None
                    last, want = _BEFORE_FIRST, _NEVER
            elif length:
                if length & _ODD_OR_HUGE:
                    return None
                pos += length
                byte = data[pos - 1]
                if values is not None:
                    values.append((tag, pos - length, pos, kind, depth))
                if kind == UID:
                    # One pass over the value: nothing but a last NUL may be left.
                    left = bytes(data[pos - length : pos]).translate(None, UID_BYTES)
                    if left and (byte or left != b"\0"):
                        return None
                elif (byte == 32 and data[pos - 2] in b" \0") or not byte:
                    return None
            if tag >= want:
                while tag > want:
                    want = next(wanted)
                if tag == want:
                    if tag != _PIXEL_DATA:
                        if kind != REPORTED[tag]:
                            return None
                        found[tag] = bytes(data[pos - length : pos])
                    elif encapsulated and not fragments:
                        return None
                    else:
                        has_pixel_data = True
                    want = next(wanted)
        if pos != limit or last >= _PADDING:
            return None
        if not stack:
            break
        kind, outer_limit, outer_last, outer_end, outer_want = stack[-1]
        if kind == _IN_GROUP:
            # The group has to end where its length says.
            if last | 0xFFFF != outer_last:
                return None
            last, limit = outer_last, outer_limit
            stack.pop()
        elif pos < sequence_end:
            group, element, length = delimiter(data, pos)
            pos += 8
            limit = pos + length
            if group << 16 | element != _ITEM or limit > sequence_end:
                return None
            last = _BEFORE_FIRST
        else:
            last, limit, sequence_end, want = outer_last, outer_limit, outer_end, outer_want
            depth -= 1
            stack.pop()
    return findings([found.get(tag, b"") for tag in REPORTED], has_pixel_data, fragments)


def findings(values: list[bytes], has_pixel_data: bool, encapsulated: bool) -> Findings | None:
    """Return the findings of a plain data set with these values of the ``REPORTED`` elements.

    None if it has no SOP UIDs: they may stand in an item further down.
    """
    character_set, sop_class, sop_instance, name, study = [each.rstrip(b" \0") for each in values]
    if not sop_class or not sop_instance:
        return None
    return Findings(
        sop_class=sop_class.decode("latin-1"),
        sop_instance=sop_instance.decode("latin-1"),
        study_instance=study.decode("latin-1"),
        patient_name=name,
        character_set=character_set,
        has_pixel_data=has_pixel_data,
        encapsulated=encapsulated,
        reasons=(),
        warnings=(),
        unwritable="",
    )
