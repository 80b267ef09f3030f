"""A received data set where it lies, to be walked and to be written in another form.

A deflated one is inflated into a file of its own first, whatever size that may have.
"""

import mmap
from typing import NamedTuple

from dcmstore import elements, uids
from dcmstore.dataset import Encoded, Findings, OutputOptions
from storescpd.temporary import Temporary


class Received(NamedTuple):
    """A data set as it came, but inflated: ``whole``, or else ``file`` from ``start`` on."""

    transfer_syntax: str
    whole: Encoded = b""
    file: Temporary | None = None
    start: int = 0

    def inspect(self, output: OutputOptions) -> Findings:
        """Walk the data set. Raises DataSetError and OSError."""
        if self.file is None:
            return elements.inspect(self.whole, 0, self.transfer_syntax, output)
        with mmap.mmap(self.file.fd, 0, access=mmap.ACCESS_READ) as data:
            return elements.inspect(data, self.start, self.transfer_syntax, output)

    def fits_its_file(self, findings: Findings, output: OutputOptions, start: int) -> bool:
        """Tell whether the planned form can be written over the file, from offset ``start``."""
        if (output.transfer_syntax or self.transfer_syntax) == uids.DEFLATED:
            return False
        from dcmstore import inplace

        return findings.plan is not None and inplace.fits(findings.plan, start)

    def write(self, findings: Findings, output: OutputOptions, target: Temporary) -> None:
        """Write the data set to ``target`` in the form the findings plan. Raises OSError.

        The target may be the file it lies in, if it ``fits_its_file``.
        """
        if self.file is None:
            self._write(self.whole, findings, output, target)
            return
        with mmap.mmap(self.file.fd, 0, access=mmap.ACCESS_READ) as data:
            self._write(data, findings, output, target)

    def _write(
        self,
        data: Encoded,
        findings: Findings,
        output: OutputOptions,
        target: Temporary,
    ) -> None:
        from dcmstore import encoding  # most runs write no data set anew

        encoding.write(
            data,
            self.start,
            len(data),
            findings,
            self.transfer_syntax,
            output,
            target.fd,
            None if self.file is None else self.file.fd,
        )


def inflated(deflated: Temporary, start: int, transfer_syntax: str) -> Received:
    """Inflate what a file holds from ``start`` on into another one.

    Raises DataSetError for what is no deflate stream, and OSError.
    """
    file = Temporary(deflated.folder)
    try:
        size = elements.inflate(deflated.fd, start, file.fd)
    except BaseException:
        file.discard()
        raise
    if size == 0:
        file.discard()
        return Received(transfer_syntax)
    return Received(transfer_syntax, file=file)
