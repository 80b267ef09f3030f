"""From the options to the service that they describe."""

import logging
import os

from dcmstore import cmdline, dataset, negotiation
from storescpd import session
from storescpd.storage import StoreOptions
from storescpd.temporary import Folder

log = logging.getLogger("dcmtk.apps.storescp")

# A peer that is one too many gets no more time than this to send its request.
_REJECTION_TIMEOUT = 5.0


class ServiceError(Exception):
    """The service cannot be had as asked for; the text is one line."""


class Configured:
    """The service as the options, and the files that they name, have it.

    Raises ServiceError.
    """

    def __init__(self, options: cmdline.Options, program: str) -> None:
        self._options = options
        self._program = program
        self._folder = _output_folder(options)
        self.service = self._build()

    def reload(self) -> None:
        """Read files that the options name again, for associations to come.

        With a mistake in them everything stays as it was.
        """
        try:
            self.service = self._build()
        except ServiceError as error:
            log.error("%s; still working as before", error)

    def tidy(self) -> None:
        """Remove what a process that was killed has left in the output folder."""
        if not self._options.ignore:
            self._folder.remove_leftovers()

    def _build(self) -> session.Service:
        options = self._options
        bit_preserving = options.bitpreserving == "bit-preserving"
        return session.Service(
            program=self._program,
            policy=negotiation.Policy(
                transfer_syntaxes=negotiation.preference(options.prefer),
                abstract_syntaxes=negotiation.default_abstract_syntaxes(),
                promiscuous=options.promiscuous,
                refuse=options.refuse,
                reject_anonymous=options.reject,
                max_pdu=options.max_pdu & ~1,
            ),
            store=StoreOptions(
                folder=None if options.ignore else self._folder,
                spool=_spool() if options.ignore and not bit_preserving else None,
                bit_preserving=bit_preserving,
                meta_header=options.fileformat == "write-file",
                extension=options.filename_extension or "",
                output=dataset.OutputOptions(),
            ),
            socket_timeout=options.socket_timeout if options.socket_timeout > 0 else None,
            acse_timeout=options.acse_timeout,
            dimse_timeout=options.dimse_timeout,
            own_title=options.aetitle,
            grace=options.grace_period,
            in_child=options.process == "fork",
            verbose_pc=options.verbose_pc,
        )


def rejecting(service: session.Service) -> session.Service:
    """The service for a peer that is one too many: a rejection, and soon."""
    return service._replace(
        policy=service.policy._replace(full=True),
        acse_timeout=min(service.acse_timeout, _REJECTION_TIMEOUT),
        socket_timeout=_REJECTION_TIMEOUT,
    )


def _output_folder(options: cmdline.Options) -> Folder:
    path: str = options.output_directory
    if path != ".":
        path = path.rstrip("/") or "/"
    if not os.path.isdir(path):
        raise ServiceError(f"specified output directory does not exist: {path}")
    if not options.ignore and not os.access(path, os.W_OK | os.X_OK):
        raise ServiceError(f"specified output directory is not writeable: {path}")
    try:
        return Folder(path)
    except OSError as error:
        raise ServiceError(f"cannot open output directory {path}: {error.strerror}") from error


def _spool() -> Folder:
    """Return where normal mode may put data sets that are walked, but not kept."""
    path = os.environ.get("TMPDIR") or "/tmp"
    try:
        return Folder(path)
    except OSError as error:
        raise ServiceError(f"cannot open temporary directory {path}: {error.strerror}") from error
