"""Normal mode: an object's data set is read, tidied up where it needs that, and compared.

The data set is walked where it lies when the last fragment is in. Nearly always its bytes are
what the output options ask for, and the file is published as it stands.
"""

import logging
import mmap
import os
from functools import cache
from typing import TYPE_CHECKING

from dcmstore import command, part10, pixels, plainscan, shapes, uids
from dcmstore.dataset import DataSetError, Findings, TooDeep
from dcmstore.elements import inspect
from storescpd.rewriting import Received
from storescpd.storage import Incoming
from storescpd.temporary import Temporary

if TYPE_CHECKING:
    from storescpd.foreseen import Foreseen

log = logging.getLogger("dcmtk.apps.storescp")
data_log = logging.getLogger("dcmtk.dcmdata")

# What the reference calls an object of no class at all.
_GENERIC_CLASS = "1.2.276.0.7230010.3.1.0.1"
_PREAMBLE = len(part10.PREAMBLE)

_MOST_HELD = 1 << 20
"""Bytes of a data set that will hardly stay as it is, and is held in memory besides. Then the final
form goes over the first one, which is much faster than a second file."""


@cache
def _buffer() -> memoryview:
    # One for the life of the process: what is allocated for each object is cleared for each.
    return memoryview(mmap.mmap(-1, _MOST_HELD, flags=mmap.MAP_PRIVATE))


class NormalIncoming(Incoming):
    """One object that is coming in, to be kept in the form that the output options ask for."""

    _too_deep = ""  # why the data set is refused, if it is
    _held: int | None = None  # bytes of the data set in the buffer, None if it is not there
    _beginning = b""  # the first fragment of a data set that may well stay as it is
    _findings_at_end: Findings | None = None  # those of the data set if it ends at ``_end``
    _end = 0
    _foreseen: "Foreseen | None" = None  # what the file holds in its final form, if it does

    def _begin(self, file: Temporary, views: list[memoryview], last: bool) -> None:
        header = self._first_header()
        if self._output.padding is not None:
            # A file is filled up together with its header.
            self._output = self._output._replace(meta_length=len(header) - _PREAMBLE)
        # Deflated data must not grow in memory, so it goes another way.
        if last and len(views) == 1 and self.received and self._transfer_syntax != uids.DEFLATED:
            # The whole data set is in memory, so it need not be mapped to be walked;
            # and bytes are walked twice as fast as a view of a mapping.
            whole = bytes(views[0])
            try:
                findings = inspect(whole, 0, self._transfer_syntax, self._output)
            except DataSetError as error:
                self._forgive(error)
            else:
                self._findings = findings
                if findings.reasons:
                    # Other bytes will be written.
                    self._source = Received(self._transfer_syntax, whole)
                    return
            file.write([header, whole])
            return
        if self._transfer_syntax == uids.DEFLATED:
            file.write([header, *views])
            return
        if plainscan.eligible(self._transfer_syntax, self._output):
            # Nearly always all is here that the scan looks at; pixel data it passes over.
            self._beginning = bytes(views[0][: shapes.LONGEST])
            if self._looks_plain() or not self._foresee(file, views):
                file.write([header, *views])
            return
        if self._foresee(file, views):
            return
        file.write([header, *views])
        self._held = 0
        self._hold(views)

    def _go_on(self, file: Temporary, views: list[memoryview]) -> None:
        if self._foreseen is not None:
            parts = self._foreseen.next(views)
            if parts is not None:
                for part in parts:
                    file.write(part)
                return
            file = self._go_back(file, self._foreseen)
        file.write(views)
        if self._held is not None:
            self._hold(views)

    def _looks_plain(self) -> bool:
        """Tell whether the data set may stay as it is, should it end with its pixel data."""
        place = pixels.find(self._beginning, self._transfer_syntax)
        if place is None:
            # Nobody knows.
            return True
        self._end = place.end
        self._findings_at_end = shapes.scan(
            self._beginning, self._end, self._transfer_syntax, self._output
        )
        return self._findings_at_end is not None

    def _foresee(self, file: Temporary, views: list[memoryview]) -> bool:
        """Write the first fragments in their final form, if that can be foreseen."""
        from storescpd import foreseen

        count = size = 0
        while count < len(views) and size < pixels.FIRST:
            size += len(views[count])
            count += 1
        first = b"".join(views[:count])
        seen = self._foreseen = foreseen.foresee(first, self._transfer_syntax, self._output)
        if seen is None:
            return False
        file.write([self._header_of(seen.findings), seen.opening()])
        self._go_on(file, [memoryview(first)[seen.start :], *views[count:]])
        return True

    def _go_back(self, old: Temporary, foreseen: "Foreseen") -> Temporary:
        """Have the data set in the file as it came: it is not what it was foreseen to be."""
        self._foreseen = None
        new = self._file = Temporary(old.folder)
        try:
            new.write((self._first_header(),))
            foreseen.restore(old, new)
        finally:
            old.discard()
        return new

    def _hold(self, views: list[memoryview]) -> None:
        """Keep fragments in memory as long as there is room."""
        buffer, held = _buffer(), self._held
        if held is None or self.received > len(buffer):
            self._held = None
            return
        for view in views:
            buffer[held : held + len(view)] = view
            held += len(view)
        self._held = held

    def _walk(self) -> Findings:
        if self._foreseen is not None:
            if self._foreseen.complete:
                return self._foreseen.findings
            assert self._file is not None
            self._go_back(self._file, self._foreseen)
        if self._findings_at_end is not None and self.received == self._end:
            return self._findings_at_end
        if self._beginning:
            found = shapes.scan(self._beginning, self.received, self._transfer_syntax, self._output)
            if found is not None:
                return found
        if self._held is None:
            return super()._walk()
        self._source = Received(self._transfer_syntax, _buffer()[: self._held])
        return self._source.inspect(self._output)

    def _finish(self) -> int:
        findings = self._read()
        if self._too_deep:
            log.error("refusing data set: %s", self._too_deep)
            return command.CANNOT_UNDERSTAND
        if findings is not None:
            for warning in findings.warnings:
                data_log.warning("%s", warning)
            if findings.reasons and log.isEnabledFor(logging.DEBUG):
                for reason in findings.reasons:
                    log.debug("data set is to be encoded anew: %s", reason)
        options = self._options
        if options.folder is None:
            return command.SUCCESS
        if options.placement is not None and (self._error is None or not options.placement.sorts):
            self._settle(options.placement)
        if log.isEnabledFor(logging.INFO):
            log.info("storing DICOM file: %s", self.path)
        if self._error is not None:
            return self._cannot_write(self._error.strerror)
        if findings is not None and findings.unwritable:
            return self._cannot_write(findings.unwritable)
        try:
            if findings is None:
                self._keep_as_received()
            elif self._foreseen is not None:
                # It is written already.
                pass
            elif findings.reasons or self._transfer_syntax == uids.DEFLATED:
                self._rewrite(findings)
            else:
                self._correct_header(findings)
            replaced = self._publish()
        except OSError as error:
            return self._cannot_write(error.strerror)
        if replaced:
            log.warning("DICOM file already exists, overwriting: %s", self.path)
        return command.SUCCESS if findings is None else self._compare(findings)

    def _read(self) -> Findings | None:
        """Walk the data set; None if it cannot be read or, should that be allowed, parsed."""
        if self._error is not None or self._unparseable or self._file is None:
            return None
        if self._findings is None:
            try:
                self._findings = self._walk()
            except DataSetError as error:
                self._forgive(error)
            except OSError as error:
                self._fail(error)
        return self._findings

    def _forgive(self, error: DataSetError) -> None:
        if self._options.store_unparseable:
            self._unparseable = error.text
        elif isinstance(error, TooDeep):
            # It may be whole and valid: this object is at fault, not the association.
            self._too_deep = error.text
        else:
            raise error

    def _rewrite(self, findings: Findings) -> None:
        """Write the data set once more, in the form that the options ask for."""
        old, output = self._file, self._output
        assert old is not None
        source = self._source or Received(self._transfer_syntax, file=old, start=self._data_start)
        header = self._header_of(findings)
        meta_length = len(header) - _PREAMBLE
        if output.padding is not None and output.meta_length != meta_length:
            output = output._replace(meta_length=meta_length)
            findings = source.inspect(output)
        if source.file is not old or source.fits_its_file(findings, output, len(header)):
            # Nothing that the file holds is still needed when it is written over.
            old.begin_anew()
            old.write((header,))
            source.write(findings, output, old)
            old.end_here()
            return
        new = self._file = Temporary(old.folder)
        try:
            new.write((header,))
            source.write(findings, output, new)
        finally:
            old.discard()

    def _correct_header(self, findings: Findings) -> None:
        """Make the meta header name the UIDs of the data set, where the request had others."""
        if (findings.sop_class, findings.sop_instance) == self._request[1:3]:
            return
        if self._output.padding is not None:
            # Another header, another length to fill up to.
            self._rewrite(findings)
        else:
            self._replace_header(self._header_of(findings))

    def _header_of(self, findings: Findings) -> bytes:
        return self._header(
            findings.sop_class or _GENERIC_CLASS,
            findings.sop_instance or uids.new_uid(os.urandom(16)),
        )

    def _keep_as_received(self) -> None:
        """Keep a data set that cannot be parsed, under the UIDs of the request."""
        log.warning("storing unparseable data set: %s: %s", self.path, self._unparseable)
        request = self._request
        self._replace_header(
            self._header(request.sop_class, request.sop_instance, self._transfer_syntax)
        )

    def _replace_header(self, header: bytes) -> None:
        old = self._file
        assert old is not None
        if len(header) == self._data_start:
            os.pwrite(old.fd, header, 0)
            return
        new = self._file = Temporary(old.folder)
        try:
            new.write((header,))
            new.copy_from(old.fd, self._data_start, self.received)
        finally:
            old.discard()

    def _compare(self, findings: Findings) -> int:
        """Return what the data set's UIDs are worth against the request's; the file stays."""
        if not findings.sop_class or not findings.sop_instance:
            log.error("bad DICOM file: %s", self.path)
            return command.CANNOT_UNDERSTAND
        if (findings.sop_class, findings.sop_instance) != self._request[1:3]:
            return command.DATA_SET_MISMATCH
        return command.SUCCESS

    def _cannot_write(self, reason: str | None) -> int:
        log.error("cannot write DICOM file: %s: %s", self.path, reason)
        return command.OUT_OF_RESOURCES
