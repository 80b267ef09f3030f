"""From the options to the service that they describe."""

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from dcmstore import cmdline, dataset, dictionary, negotiation, uids
from storescpd import session
from storescpd.logsetup import LogSetup
from storescpd.storage import StoreOptions
from storescpd.temporary import Folder, scratch_path

if TYPE_CHECKING:
    from dcmstore.profiles import Profile
    from dcmstore.tls import Endpoint
    from storescpd.events import Events
    from storescpd.placement import Placement
    from storescpd.studies import Studies

log = logging.getLogger("dcmtk.apps.storescp")

# A peer that is one too many gets no more time than this to send its request.
_REJECTION_TIMEOUT = 5.0

_OUTPUT_SYNTAXES = {
    "write-xfer-little": uids.EXPLICIT_LITTLE,
    "write-xfer-big": uids.EXPLICIT_BIG,
    "write-xfer-implicit": uids.IMPLICIT_LITTLE,
    "write-xfer-deflated": uids.DEFLATED,
}


class ServiceError(Exception):
    """The service cannot be had as asked for; the text is one line."""


class Configured:
    """The service as the options, and the files that they name, have it.

    Raises ServiceError.
    """

    def __init__(
        self,
        options: cmdline.Options,
        program: str,
        profile: "Profile | None" = None,
        tls: "Endpoint | None" = None,
        loggers: LogSetup | None = None,
    ) -> None:
        """``profile`` and ``tls`` are what ``load_profile`` and ``load_tls`` return."""
        self._options = options
        self._program = program
        self._loggers = loggers
        self._folder = _output_folder(options)
        walks_only = options.ignore and options.bitpreserving == "normal"
        self._spool = _spool() if walks_only else None
        # What goes from one association to the next, and through a reload.
        self._studies = _studies(options)
        self._placement = _placement(options, self._folder, self._studies)
        self.events = _events(options, self._studies)
        self.service = self._build(profile, tls)

    @property
    def reads_data_sets(self) -> bool:
        """Whether data sets are parsed, and not only kept."""
        options = self._options
        return options.bitpreserving == "normal" or (
            options.sort is not None and not options.ignore
        )

    def find_folders(self) -> None:
        """Look for the output folder, before each association: by now it may be another one.

        So may that of the open study.
        """
        self._look_up()
        if self._placement is not None:
            self._placement.look_up()

    def reload(self) -> None:
        """Open log files anew, and read files that the options name, for associations to come.

        With a mistake in what is read everything stays as it was.
        """
        if self._loggers is not None:
            self._loggers.reopen()
        # Who forks children, which look for themselves, lets go of the file system of the old one.
        self._look_up()
        try:
            profile = load_profile(self._options)
            self.service = self._build(profile, load_tls(self._options, self.service.tls))
        except ServiceError as error:
            log.error("%s; still working as before", error)

    def _look_up(self) -> None:
        try:
            self._folder.look_up()
        except OSError as error:
            # There may be a new one in a moment. If not, somebody has to know where objects are.
            if not self._options.ignore:
                log.warning(
                    "cannot open output directory %s: %s; still using the one that was there",
                    self._folder.path,
                    error.strerror,
                )

    def tidy(self) -> None:
        """Remove what a process that was killed has left in the output folder."""
        if not self._options.ignore:
            self._folder.remove_leftovers()

    def _build(self, profile: "Profile | None", tls: "Endpoint | None") -> session.Service:
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
                max_pdu=options.max_pdu,
                profile=profile,
            ),
            store=StoreOptions(
                folder=None if options.ignore else self._folder,
                spool=self._spool,
                bit_preserving=bit_preserving,
                meta_header=options.fileformat == "write-file",
                extension=options.filename_extension or "",
                output=dataset.OutputOptions() if bit_preserving else _output(options),
                placement=self._placement,
                store_unparseable=options.store_unparseable,
            ),
            socket_timeout=options.socket_timeout if options.socket_timeout > 0 else None,
            acse_timeout=options.acse_timeout,
            dimse_timeout=options.dimse_timeout,
            own_title=options.aetitle,
            grace=options.grace_period,
            in_child=options.process == "fork",
            resident=options.process != "fork" and not options.inetd,
            verbose_pc=options.verbose_pc,
            events=self.events,
            switches=_switches(options),
            tls=tls,
        )


def load_profile(options: cmdline.Options) -> "Profile | None":
    """Return the profile that ``--config-file`` names, if it is there. Raises ServiceError."""
    if options.config_file is None:
        return None
    from dcmstore import profiles  # few runs need it

    path, name = options.config_file
    try:
        loaded = profiles.load(path)
    except profiles.ProfileError as error:
        raise ServiceError(f"cannot read config file: {error.text}") from error
    try:
        return loaded.acceptor(name)
    except profiles.ProfileError as error:
        raise ServiceError(error.text) from error


def load_tls(
    options: cmdline.Options,
    before: "Endpoint | None" = None,
    ask: Callable[[], bytes] | None = None,
) -> "Endpoint | None":
    """Return TLS as the options want it, with what their files hold now; None for plain TCP.

    ``before`` is what this process has had so far; it knows the private key's password, which
    otherwise is asked for by ``ask``. Raises ServiceError.
    """
    if options.tls == "disable-tls":
        return None
    from dcmstore import tls  # it takes Python's ssl

    try:
        passphrase = None if before is None else before.passphrase
        return tls.Endpoint(options, server=True, passphrase=passphrase, ask=ask)
    except tls.TlsError as error:
        raise ServiceError(str(error)) from error


def load_dictionaries() -> None:
    """Add the dictionaries that DCMDICTPATH names to the one that is built in."""
    for text in dictionary.load_named(os.environ.get("DCMDICTPATH", "")):
        log.warning("%s", text)


def rejecting(service: session.Service) -> session.Service:
    """The service for a peer that is one too many: a rejection, and soon."""
    return service._replace(
        policy=service.policy._replace(full=True),
        acse_timeout=min(service.acse_timeout, _REJECTION_TIMEOUT),
        socket_timeout=_REJECTION_TIMEOUT,
    )


def _output(options: cmdline.Options) -> dataset.OutputOptions:
    return dataset.OutputOptions(
        transfer_syntax=_OUTPUT_SYNTAXES.get(options.write_xfer),
        group_length=options.grouplen.removeprefix("group-length-"),
        lengths=options.seqlen.removeprefix("length-"),
        padding=options.padding_create if options.padding == "padding-create" else None,
        new_vr=options.newvr == "enable-new-vr",
        convert_un=options.un == "convert-un",
        compression_level=options.compression_level,
    )


def _studies(options: cmdline.Options) -> "Studies | None":
    if options.sort is None or options.ignore:
        return None
    from storescpd.studies import Studies

    return Studies(options.eostudy_timeout, remember=options.rename_on_eostudy)


def _placement(
    options: cmdline.Options, folder: Folder, studies: "Studies | None"
) -> "Placement | None":
    """What finds places for objects, unless their instance UIDs are all that takes."""
    files = options.filename
    if options.timenames and files == "default-filenames":
        files = "timenames"
    if options.ignore or (files == "default-filenames" and studies is None):
        return None
    from storescpd.placement import Naming, Placement

    prefixes = {
        "sort-conc-studies": options.sort_conc_studies,
        "sort-on-study-uid": options.sort_on_study_uid,
    }
    extension = options.filename_extension or ""
    names = Naming(files, extension, options.sort, prefixes.get(options.sort) or "")
    return Placement(folder, names, studies)


def _events(options: cmdline.Options, studies: "Studies | None") -> "Events | None":
    commands = (options.exec_on_reception, options.exec_on_eostudy)
    hooks = None
    if any(command is not None for command in commands):
        from storescpd.hooks import Hooks

        hooks = Hooks(*commands, wait=options.exec_sync or options.process == "fork")
    if hooks is None and studies is None:
        return None
    from storescpd.events import Events

    return Events(
        hooks,
        studies,
        renames=options.rename_on_eostudy,
        time_names=options.timenames,
        looks_up=not options.disable_host_lookup,
    )


def _switches(options: cmdline.Options) -> session.Switches | None:
    switches = session.Switches(
        options.sleep_after, options.sleep_during, options.abort_after, options.abort_during
    )
    return switches if any(switches) else None


def _output_folder(options: cmdline.Options) -> Folder:
    path: str = options.output_directory
    if path != ".":
        path = path.rstrip("/") or "/"
    if not os.path.isdir(path):
        raise ServiceError(f"specified output directory does not exist: {path}")
    if not options.ignore and not os.access(path, os.W_OK | os.X_OK):
        raise ServiceError(f"specified output directory is not writeable: {path}")
    try:
        return Folder(path, synced=options.fsync)
    except OSError as error:
        raise ServiceError(f"cannot open output directory {path}: {error.strerror}") from error


def _spool() -> Folder:
    """Return where normal mode may put data sets that are walked, but not kept."""
    path = scratch_path()
    try:
        return Folder(path)
    except OSError as error:
        raise ServiceError(f"cannot open temporary directory {path}: {error.strerror}") from error
