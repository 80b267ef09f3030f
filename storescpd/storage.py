"""One received object: where its bytes go, its name, and the status that answers it.

The file meta header is known from the request, so it is written first and the data set streams
behind it. What normal mode makes of the data set is in ``normal``.
"""

import logging
import os
from typing import NamedTuple

from dcmstore import command, part10, uids
from dcmstore.dataset import DataSetError, Findings, OutputOptions
from storescpd import naming
from storescpd.placement import NoFolderError, NoStudyError, Place, Placement
from storescpd.rewriting import Received, inflated
from storescpd.temporary import Folder, Temporary

log = logging.getLogger("dcmtk.apps.storescp")


class StoreOptions(NamedTuple):
    """How objects are kept.

    ``folder`` is None when they are only received; ``spool`` then takes the bytes that normal
    mode must walk. ``output`` says how data sets are to be encoded. ``placement`` is there if
    objects are not simply named after their instance UIDs. ``store_unparseable`` keeps what
    normal mode cannot parse, instead of aborting the association.
    """

    folder: Folder | None
    spool: Folder | None
    bit_preserving: bool
    meta_header: bool
    extension: str
    output: OutputOptions
    placement: Placement | None = None
    store_unparseable: bool = False


class Incoming:
    """One object that is coming in: ``write`` its fragments, then ``finish`` or ``discard`` it.

    This class keeps it bit by bit. Errors of the disk do not end the association: the rest of
    the object is taken and dropped, and ``finish`` returns the status that says so.
    """

    received = 0
    name = ""
    """The file's name; empty as long as there is none, and where nothing is kept."""

    _lost_folder: str | None = None  # where it would have gone, if there were such a folder
    _error: OSError | None = None
    _unparseable = ""
    _findings: Findings | None = None
    _file: Temporary | None = None
    _source: Received | None = None
    _place: Place | None = None
    _begun = False
    _data_start = 0

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
        self._output = options.output
        self._calling = calling
        target = options.folder or options.spool
        if target is None:
            return
        if options.folder is not None and options.placement is None:
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
    def folder(self) -> str | None:
        """The path of the folder that the object goes to, None if it is not kept."""
        if self._place is not None:
            return self._place.folder.path
        if self._lost_folder is not None:
            return self._lost_folder
        return None if self._options.folder is None else self._options.folder.path

    @property
    def path(self) -> str:
        """Where the object is to go, for messages."""
        return os.path.join(self.folder or "", self.name)

    @property
    def study(self) -> str | None:
        """The Study Instance UID, None if nobody has looked for it."""
        return None if self._findings is None else self._findings.study_instance

    def write(self, views: list[memoryview], last: bool) -> None:
        """Take the next fragments of the data set. Raises DataSetError as ``finish`` does."""
        self.received += sum(map(len, views))
        if self._file is None:
            return
        try:
            if self._begun:
                self._go_on(self._file, views)
            else:
                self._begun = True
                self._begin(self._file, views, last)
        except OSError as error:
            self._fail(error)

    def finish(self) -> int:
        """Publish the object if it is to be kept; return the status for the response.

        Raises DataSetError if normal mode cannot parse the data set: nothing is stored then.
        """
        try:
            return self._finish()
        except NoStudyError as error:
            log.error("%s", error)
            return command.CANNOT_UNDERSTAND
        except NoFolderError as error:
            self._lost_folder, self.name = error.folder, error.name
            log.info("storing DICOM file: %s", self.path)
            log.error("cannot write DICOM file: %s: %s", self.path, error.reason)
            return command.OUT_OF_RESOURCES
        finally:
            self.discard()

    def discard(self) -> None:
        """Drop the object, unless it is published. May be called again."""
        if self._file is not None:
            self._file.discard()
            self._file = None
        if self._source is not None and self._source.file is not None:
            self._source.file.discard()

    # What another mode does in its own way

    def _begin(self, file: Temporary, views: list[memoryview], last: bool) -> None:
        """Take the first fragments, which may be the last. Raises OSError and DataSetError."""
        file.write([self._first_header(), *views])

    def _go_on(self, file: Temporary, views: list[memoryview]) -> None:
        """Take further fragments. Raises OSError."""
        file.write(views)

    def _finish(self) -> int:
        placement = self._options.placement
        if placement is not None and (self._error is None or not placement.sorts):
            self._find_place(placement)
        if self._error is None and self._options.folder is not None:
            try:
                self._publish()
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

    def _find_place(self, placement: Placement) -> None:
        """Find the place of an object whose data set may be anything."""
        if placement.sorts:
            try:
                self._findings = self._walk()
            except DataSetError as error:
                self._unparseable = error.text
            except OSError as error:
                self._fail(error)
                return
        self._settle(placement)
        if self._unparseable:
            log.warning("not sorted, since unparseable: %s: %s", self.path, self._unparseable)

    # What all modes do

    def _first_header(self) -> bytes:
        """Return the meta header as the request has it, and note where the data set starts."""
        header = self._header(self._request.sop_class, self._request.sop_instance)
        self._data_start = len(header)
        return header

    def _header(self, sop_class: str, sop_instance: str, transfer_syntax: str = "") -> bytes:
        if not self._options.meta_header:
            return b""
        written = transfer_syntax or self._output.transfer_syntax or self._transfer_syntax
        return part10.meta_header(sop_class, sop_instance, written, self._calling)

    def _fail(self, error: OSError) -> None:
        self._error = error
        self.discard()

    def _walk(self) -> Findings:
        """Walk a data set that is in the file. Raises DataSetError and OSError."""
        file, syntax = self._file, self._transfer_syntax
        assert file is not None
        if not self.received:
            self._source = Received(syntax)
        elif syntax == uids.DEFLATED:
            self._source = inflated(file, self._data_start, syntax)
        else:
            self._source = Received(syntax, file=file, start=self._data_start)
        return self._source.inspect(self._output)

    def _settle(self, placement: Placement) -> None:
        self._place = placement.place(self._request, self._findings)
        self.name = self._place.name

    def _publish(self) -> bool:
        """Give the file its name; return whether it took the place of another one."""
        file, place, placement = self._file, self._place, self._options.placement
        assert file is not None
        if place is None or placement is None:
            return file.publish(self.name)
        if place.folder is not self._options.folder:
            file.move(place.folder)
        replaced = False
        if place.exclusive:
            self._publish_new(file, place, placement)
        else:
            replaced = file.publish(place.name)
        placement.stored(place._replace(name=self.name))
        return replaced

    def _publish_new(self, file: Temporary, place: Place, placement: Placement) -> None:
        while True:
            try:
                file.publish_new(self.name)
                return
            except FileExistsError:
                # Taken by another process, or by an earlier run.
                self.name = placement.another(self._request, place)


def log_class(sop_class: str) -> str:
    """Return the short name of a SOP class in log lines."""
    return uids.file_prefix(sop_class) or "OT"
