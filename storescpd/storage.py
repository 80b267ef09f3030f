"""One received object: where its bytes go, what is checked, and the status that answers it.

The file meta header is known from the request, so it is written first and the data set streams
behind it. In normal mode the data set is walked where it lies when the last fragment is in;
nearly always its bytes are what the output options ask for, and the file is published as it is.
"""

import logging
import mmap
import os
from typing import NamedTuple

from dcmstore import command, part10, uids
from dcmstore.dataset import Findings, OutputOptions
from dcmstore.elements import inspect
from storescpd import naming
from storescpd.temporary import Folder, Temporary

log = logging.getLogger("dcmtk.apps.storescp")
data_log = logging.getLogger("dcmtk.dcmdata")

# What the reference calls an object of no class at all.
_GENERIC_CLASS = "1.2.276.0.7230010.3.1.0.1"


class StoreOptions(NamedTuple):
    """How objects are kept.

    ``folder`` is None when they are only received; ``spool`` then takes the bytes that normal
    mode must walk. ``output`` says how data sets are to be encoded.
    """

    folder: Folder | None
    spool: Folder | None
    bit_preserving: bool
    meta_header: bool
    extension: str
    output: OutputOptions


class Incoming:
    """One object that is coming in: ``write`` its fragments, then ``finish`` or ``discard`` it.

    Errors of the disk do not end the association: the rest of the object is taken and dropped,
    and ``finish`` returns the status that says so.
    """

    def __init__(
        self,
        options: StoreOptions,
        request: command.StoreRequest,
        transfer_syntax: str,
        calling: str,
    ) -> None:
        self._options = options
        self._request = request
        self._transfer_syntax = transfer_syntax
        self._calling = calling
        self._error: OSError | None = None
        self._findings: Findings | None = None
        self._file: Temporary | None = None
        self._begun = False
        self._data_start = 0
        self.received = 0
        self.name = ""
        target = options.folder or options.spool
        if target is None:
            return
        if options.folder is not None:
            self.name, replaced = naming.object_name(
                request.sop_class, request.sop_instance, options.extension
            )
            if replaced:
                log.warning("%s", naming.replaced_warning(request.sop_instance))
        try:
            self._file = Temporary(target)
        except OSError as error:
            self._error = error

    @property
    def path(self) -> str:
        """Where the object is to go, for messages."""
        folder = self._options.folder
        return folder.join(self.name) if folder is not None else ""

    def write(self, views: list[memoryview], last: bool) -> None:
        """Take the next fragments of the data set.

        Raises DataSetError if a whole data set in one fragment cannot be parsed.
        """
        self.received += sum(map(len, views))
        if self._file is None:
            return
        try:
            if self._begun:
                self._file.write(views)
                return
            self._begun = True
            if last and len(views) == 1 and self.received and not self._options.bit_preserving:
                # The whole data set is in memory, so it need not be mapped to be walked;
                # and bytes are walked twice as fast as a view of a mapping.
                self._findings = inspect(
                    bytes(views[0]), 0, self._transfer_syntax, self._options.output
                )
            header = self._header(self._request.sop_class, self._request.sop_instance)
            self._data_start = len(header)
            self._file.write([header, *views])
        except OSError as error:
            self._fail(error)

    def finish(self) -> int:
        """Publish the object if it is to be kept; return the status for the response.

        Raises DataSetError if normal mode cannot parse the data set: nothing is stored then.
        """
        try:
            if self._options.bit_preserving:
                return self._finish_unchecked()
            return self._finish_checked()
        finally:
            self.discard()

    def discard(self) -> None:
        """Drop the object, unless it is published. May be called again."""
        if self._file is not None:
            self._file.discard()
            self._file = None

    def _header(self, sop_class: str, sop_instance: str) -> bytes:
        if not self._options.meta_header:
            return b""
        return part10.meta_header(sop_class, sop_instance, self._transfer_syntax, self._calling)

    def _fail(self, error: OSError) -> None:
        self._error = error
        self.discard()

    def _finish_unchecked(self) -> int:
        if self._file is not None and self._options.folder is not None:
            try:
                self._file.publish(self.name)
            except OSError as error:
                self._error = error
        if self._error is not None:
            log.error(
                "Store SCP Failed: 0006:020a DIMSE_storeProvider: Cannot create file: %s: %s",
                self.path,
                self._error.strerror,
            )
            return command.OUT_OF_RESOURCES
        return command.SUCCESS

    def _finish_checked(self) -> int:
        findings = self._walk() if self._error is None else None
        if findings is not None:
            for warning in findings.warnings:
                data_log.warning("%s", warning)
            if findings.reasons and log.isEnabledFor(logging.DEBUG):
                for reason in findings.reasons:
                    log.debug("data set is to be encoded anew: %s", reason)
        if self._options.folder is None:
            return command.SUCCESS
        if log.isEnabledFor(logging.INFO):
            log.info("storing DICOM file: %s", self.path)
        if self._error is not None:
            return self._cannot_write(self._error.strerror)
        if findings is None:
            return self._cannot_write("data set is empty")
        if findings.unwritable:
            return self._cannot_write(findings.unwritable)
        try:
            self._correct_header(findings)
            assert self._file is not None
            replaced = self._file.publish(self.name)
        except OSError as error:
            return self._cannot_write(error.strerror)
        if replaced:
            log.warning("DICOM file already exists, overwriting: %s", self.path)
        return self._compare(findings)

    def _walk(self) -> Findings | None:
        """Walk the data set; None for one of no bytes at all, which has nothing to be walked."""
        if self._findings is not None:
            return self._findings
        if self._file is None or self.received == 0:
            return None
        with mmap.mmap(self._file.fd, 0, access=mmap.ACCESS_READ) as data:
            return inspect(data, self._data_start, self._transfer_syntax, self._options.output)

    def _correct_header(self, findings: Findings) -> None:
        """Make the meta header name the UIDs of the data set, where the request had others."""
        request = self._request
        if (findings.sop_class, findings.sop_instance) == request[1:3]:
            return
        old = self._file
        if not self._options.meta_header or old is None or self._options.folder is None:
            return
        header = self._header(
            findings.sop_class or _GENERIC_CLASS,
            findings.sop_instance or naming.new_uid(os.urandom(16)),
        )
        if len(header) == self._data_start:
            os.pwrite(old.fd, header, 0)
            return
        new = Temporary(self._options.folder)
        try:
            new.write((header,))
            new.copy_from(old.fd, self._data_start, self.received)
        except OSError:
            new.discard()
            raise
        old.discard()
        self._file = new

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


def log_class(sop_class: str) -> str:
    """Return the short name of a SOP class in log lines."""
    return uids.file_prefix(sop_class) or "OT"
