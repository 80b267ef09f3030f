"""The sender's straight line, from its command line to the end of the association."""

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dcmstore import cmdline, dictionary, pdu, uids
from dcmstore.connection import Connection
from dcmstore.dataset import OutputOptions
from dcmstore.errors import AssociationError
from dcmstore.text import printable
from dcmstore.transport import Interrupted, Link
from storescu import inputs, proposals
from storescu.connecting import connect
from storescu.loading import BadFile, load
from storescu.options import INVENTED_SIZES, PROGRAM
from storescu.sender import Refused, Sender, Service
from storescu.signals import Interruptible

if TYPE_CHECKING:
    from dcmstore.profiles import Profiles
    from dcmstore.tls import Endpoint
    from storescu.invent import Inventor

log = logging.getLogger("dcmtk.apps.storescu")


def run(argv: Sequence[str], signals: Interruptible) -> int:
    """Do what the command line asks for; return the exit status."""
    loaded: list[Profiles] = []
    options = cmdline.parse(
        PROGRAM,
        argv,
        {
            "log-config": lambda options: _set_up_loggers(options, argv[0]),
            "config-file": lambda options: loaded.append(_profiles(options)),
        },
    )
    for text in dictionary.load_named(os.environ.get("DCMDICTPATH", "")):
        log.warning("%s", text)
    service = _service(options)
    paths = _paths(options, service)
    if paths is None:
        return 1
    sop_classes: Sequence[str] = uids.proposed_storage_classes()
    if options.required:
        identified = _identify(paths, service)
        if identified is None:
            return 1
        sop_classes, paths = identified
    tls = _tls(options)
    user_identity = _user_identity(options)
    try:
        if loaded:
            proposal = proposals.from_profile(loaded[0][options.config_file[1]])
        else:
            proposal = proposals.Proposal(
                proposals.contexts(sop_classes, options.propose, options.combine)
            )
    except proposals.TooManyContexts:
        log.error("Too many presentation contexts")
        log.critical("0006:0101 ASC Bad presentation context ID")
        return 1
    except AssociationError as error:
        log.critical("%s", error)
        return 1
    request = proposals.request(
        options.aetitle, options.call, proposal, options.max_pdu, user_identity
    )
    if log.isEnabledFor(service.parameter_level):
        from dcmstore import dumps

        log.log(service.parameter_level, "%s", dumps.sent_request(request))
    log.info("Requesting Association")
    try:
        proposals.check(request)
        connected = connect(options.peer, options.port, options.ip, options.timeout)
    except AssociationError as error:
        log.critical("Association Request Failed: %s", error)
        return 1
    connection = Connection(acceptor=False, max_pdu=options.max_pdu)
    make_link = Link if tls is None else tls.link
    link = make_link(connected, connection, service.socket_timeout)
    signals.cut = link.interrupt
    try:
        return _converse(Sender(link, service), request, paths)
    finally:
        link.close()


def _converse(sender: Sender, request: pdu.AssociateRequest, paths: Sequence[str]) -> int:
    try:
        sender.request(request)
        return sender.send(paths)
    except Refused as refused:
        log.critical("%s", refused)
    except AssociationError as error:
        log.critical("Association Request Failed: %s", error)
    except Interrupted:
        sender.abort()
    return 1


def _set_up_loggers(options: cmdline.Options, called: str) -> None:
    from dcmstore import logconfig  # few runs need it

    logconfig.set_up(options.log_config, cmdline.program_name(PROGRAM, called))


def _profiles(options: cmdline.Options) -> "Profiles":
    """Read the file of ``--config-file``; end the program after having said what is wrong."""
    from dcmstore import profiles  # few runs need it

    try:
        return profiles.load(options.config_file[0], limit_contexts=proposals.MAX_CONTEXTS)
    except profiles.ProfileError as error:
        log.error("reading config file: %s", error.text)
        raise SystemExit(1) from None


def _tls(options: cmdline.Options) -> "Endpoint | None":
    """Return TLS as the options want it, None for plain TCP; end the program if it fails."""
    if options.tls == "disable-tls":
        return None
    from dcmstore import tls  # it takes Python's ssl

    try:
        return tls.Endpoint(options, server=False)
    except tls.TlsError as error:
        log.critical("%s", error)
        raise SystemExit(1) from None


def _user_identity(options: cmdline.Options) -> pdu.UserIdentity | None:
    """Return who the sender shall say it is; end the program after having said what is wrong."""
    if options.identity is None:
        return None
    from storescu import identity  # few runs need it

    try:
        return identity.wanted(options)
    except identity.NoToken as problem:
        log.error("%s", problem)
        raise SystemExit(1) from None


def _paths(options: cmdline.Options, service: Service) -> list[str] | None:
    """Return the files to send; None after having said why there are none."""
    if options.scan_directories:
        log.info("determining input files ...")
    paths: list[str] | None = inputs.collect(
        options.dcmfile_in,
        options.scan_directories,
        options.recurse == "recurse",
        options.scan_pattern,
    )
    if not paths:
        log.critical("no input files to be sent")
        return None
    log.info("checking input files ...")
    return inputs.accessible(paths, service.halt)


def _identify(paths: Sequence[str], service: Service) -> tuple[list[str], list[str]] | None:
    """Return the SOP classes of the files and the files that have one that can be stored.

    None after having said which file ends the program.
    """
    sop_classes: dict[str, None] = {}
    kept = []
    for path in paths:
        try:
            found = load(path, service.readmode, service.output).findings
            sop_class = found.sop_class if found.sop_instance else ""
        except BadFile as error:
            log.debug("%s: %s", path, error.text)
            sop_class = ""
        if sop_class and uids.is_storage(sop_class):
            sop_classes[sop_class] = None
            kept.append(path)
            continue
        problem = f"missing SOP class (or instance) in file: {path}"
        if sop_class:
            problem = f"unknown storage SOP class in file: {path}: {printable(sop_class)}"
        if not inputs.ignored(service.halt, problem):
            return None
    return list(sop_classes), kept


def _service(options: cmdline.Options) -> Service:
    return Service(
        readmode=options.readmode,
        output=OutputOptions(
            new_vr=options.newvr == "enable-new-vr", compression_level=options.compression_level
        ),
        prefer_deflated=options.propose == "propose-deflated",
        repeat=options.repeat,
        halt=not options.no_halt,
        rename=options.rename == "rename",
        abort=options.abort,
        max_send_pdu=options.max_send_pdu,
        socket_timeout=options.socket_timeout if options.socket_timeout > 0 else None,
        acse_timeout=options.acse_timeout,
        dimse_timeout=options.dimse_timeout,
        parameter_level=logging.INFO if options.verbose_pc else logging.DEBUG,
        inventor=_inventor(options),
    )


def _inventor(options: cmdline.Options) -> "Inventor | None":
    """Return what makes new identities; each of the options that say how asks for it."""
    given = options.invent_series, options.invent_study, options.invent_patient
    if not options.invent_instance and given == (None, None, None):
        return None
    from storescu import invent

    sizes = (number or usual for number, usual in zip(given, INVENTED_SIZES, strict=True))
    return invent.Inventor(invent.Sizes(*sizes))
