"""Looks at a received data set where it lies: what it holds, and whether its bytes can stay."""

import os

from dcmstore import plainscan, shapes
from dcmstore.dataset import DataSetError, Encoded, Findings, OutputOptions, Plan, TooDeep

__all__ = [
    "DataSetError",
    "Findings",
    "OutputOptions",
    "Plan",
    "TooDeep",
    "inflate",
    "inspect",
]

_CHUNK = 1 << 18


def inspect(
    data: Encoded,
    start: int,
    transfer_syntax: str,
    output: OutputOptions,
    end: int | None = None,
) -> Findings:
    """Walk the data set that lies in ``data[start:end]``.

    ``transfer_syntax`` is the one it was received in; a deflated data set is given inflated
    (see :func:`inflate`). Raises DataSetError if the reference would not parse it.
    """
    end = len(data) if end is None else end
    found = None
    if type(data) is bytes and not start and end == len(data) <= shapes.LONGEST:
        found = shapes.scan(data, end, transfer_syntax, output)
    elif plainscan.eligible(transfer_syntax, output):
        found = plainscan.scan(data, start, end, transfer_syntax, output)
    if found is not None:
        return found
    from dcmstore.encoding_plan import examine  # most runs meet no data set that needs it

    return examine(data, start, end, transfer_syntax, output)


def inflate(source_fd: int, start: int, target_fd: int) -> int:
    """Inflate what lies in a file from offset ``start``, and append it to another; return its size.

    The stream has no zlib header (PS3.5 annex A.5); what follows it, usually a pad byte, is
    ignored, and a stream that breaks off counts as far as it goes. Memory stays constant. Raises
    DataSetError if it is no deflate stream.
    """
    import zlib

    from dcmstore.outflow import write_all

    stream = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    size = 0
    while not stream.eof:
        chunk = os.pread(source_fd, _CHUNK, start)
        if not chunk:
            break
        start += len(chunk)
        more = True
        while more and not stream.eof:
            try:
                part = stream.decompress(chunk, _CHUNK)
            except zlib.error as error:
                # zlib's own words stand behind the last colon.
                raise DataSetError(f"ZLib Error: {str(error).rpartition(': ')[2]}") from error
            chunk = stream.unconsumed_tail
            # A full part may leave output behind even where it has taken all the input.
            more = bool(chunk) or len(part) == _CHUNK
            size += write_all(target_fd, part)
    return size
