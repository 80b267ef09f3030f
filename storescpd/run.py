"""The daemon from its command line to its exit, one straight line for every way it is run.

Whether the socket was accepted by the master and kept in a forked child, accepted in this very
process, or handed over by inetd on descriptor 0: from ``serve`` on there is no difference.
"""

import gc
import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from dcmstore import cmdline, dictionary
from storescpd import daemon, session, sockets, title
from storescpd.access import AccessError, Wrappers
from storescpd.addresses import peer_name
from storescpd.children import EXIT_DENIED
from storescpd.logsetup import LogSetup
from storescpd.notify import Notifier
from storescpd.options import PROGRAM
from storescpd.origin import Origin
from storescpd.paths import make_absolute
from storescpd.pidfile import PidFile
from storescpd.service import (
    Configured,
    ServiceError,
    load_dictionaries,
    load_profile,
    load_tls,
    rejecting,
)
from storescpd.signals import Breakable, SignalPipe, Stopped, die_of
from storescpd.spare import Accepted

if TYPE_CHECKING:
    from dcmstore.profiles import Profile
    from storescpd.events import Events
    from storescpd.master import Master

log = logging.getLogger("dcmtk.apps.storescp")


class CheckError(Exception):
    """``--check-config`` found what is no obstacle to a start; the text is one line."""


def run(argv: Sequence[str]) -> int:
    """Run storescpd with the arguments; return its exit status."""
    origin = Origin(stdin_is_closed=0 in daemon.open_standard_fds())
    program = cmdline.program_name(PROGRAM, argv[0])
    profiles: list[Profile | None] = []
    loggers = LogSetup(program)

    def read_profile(options: cmdline.Options) -> None:
        profiles.append(load_profile(options))

    try:
        options = cmdline.parse(
            PROGRAM,
            argv,
            # What is wrong with a profile is told before what is wrong with later options.
            {**origin.hooks(), "log-config": loggers.configure, "config-file": read_profile},
            port_needed=not sockets.offered_by_systemd(),
            report=partial(_say_to_syslog, program) if sockets.stderr_is_the_peer() else None,
        )
        return _run(options, program, origin, profiles[0] if profiles else None, loggers)
    except sockets.PrivilegeError as error:
        log.critical("%s", error)
    except sockets.SocketError as error:
        if options.inetd:
            # How the association went has no influence on the status.
            log.error("Receiving Association failed: %s", error)
            return 0
        log.error("cannot create network: %s", error)
    except (
        daemon.DaemonError,
        dictionary.DictionaryError,
        AccessError,
        ServiceError,
        CheckError,
    ) as error:
        log.critical("%s", error)
    except MemoryError:
        log.critical("cannot go on: %s", "out of memory")
    except OSError as error:
        log.critical("cannot go on: %s", error.strerror or error)
        log.debug("where it happened:", exc_info=True)
    except Stopped as stopped:
        die_of(stopped.number)
    return 1


def preload() -> None:
    """Import what a resident process may need, and an inetd run hardly does.

    Children get it free. And once privileges are dropped, it might not be readable any more.
    """
    import dcmstore.encoding  # noqa: F401
    import storescpd.events
    import storescpd.foreseen
    import storescpd.master
    import storescpd.placement
    import storescpd.rehearsal  # noqa: F401


def _run(
    options: cmdline.Options,
    program: str,
    origin: Origin,
    profile: "Profile | None",
    loggers: LogSetup,
) -> int:
    if origin.is_inetd and options.syslog:
        _log_to_syslog(program)
    if options.daemon or options.chdir is not None:
        make_absolute(PROGRAM, options)
    title.prepare()
    notifier = Notifier()
    # Before there is a listener: who sees one may tell the daemon to stop.
    signals = None if options.inetd or options.check_config else SignalPipe()
    identity = daemon.check_identity(options.user, options.group)
    with _pid_file(options) as pid_file:
        own_sockets = origin.sockets(options)
        # The private key may be for root's eyes only.
        tls = load_tls(options, ask=_ask_passphrase)
        if not options.inetd:
            preload()
        daemon.drop_privileges(identity)
        loggers.user_is_changed()
        wrappers = _wrappers(options, program)
        configured = Configured(options, program, profile, tls, loggers)
        _enter_surroundings(options)
        if options.check_config:
            if loggers.faults:
                raise CheckError(f"mistakes in log configuration file: {options.log_config}")
            return 0
        configured.tidy()
        if configured.reads_data_sets:
            if not options.inetd:
                # Data sets in implicit VR need it; children get it free.
                dictionary.preload()
            load_dictionaries()
        tell_started = _detach(options)
        if pid_file is not None:
            pid_file.rewrite()
        if options.syslog or (options.daemon and options.log_config is None):
            _log_to_syslog(program)
        elif options.daemon:
            loggers.terminal_is_gone()
        if signals is None:
            peer = peer_name(own_sockets[0])
            if not _serve(Accepted(own_sockets[0], peer), configured, wrappers):
                log.warning("access denied to %s", peer)
            return 0
        from storescpd.master import Master, Settings

        settings = Settings(
            program,
            limit=options.max_associations,
            per_peer=options.max_associations_per_peer,
            reject=options.on_limit == "reject",
            grace=options.grace_period,
            idle=options.idle_exit,
        )
        master = Master(own_sockets, signals, settings, notifier, configured.reload)
        tell_started()
        _listen(master, configured, wrappers, fork=options.process == "fork")
    return 0


def _listen(
    master: "Master", configured: Configured, wrappers: Wrappers | None, *, fork: bool
) -> None:
    if fork:
        from storescpd.rehearsal import rehearse  # who serves in this process need not

        rehearse(configured.service)
    master.start(watched=fork)
    # What is here now lives as long as the process: children need not copy it to look at it.
    gc.freeze()
    if fork:
        accepted = master.serve()
        if accepted is not None:
            _serve_and_exit(accepted, configured, wrappers)
        return
    while (accepted := _accept_one(master, configured.events)) is not None:
        if not _serve(accepted, configured, wrappers):
            master.deny(accepted.peer)


def _accept_one(master: "Master", events: "Events | None") -> Accepted | None:
    """Wait for the next association, and meanwhile for the end of a study."""
    if events is None:
        return master.accept_one()
    return master.accept_one(events.wait(), events.idle)


def _serve(accepted: Accepted, configured: Configured, wrappers: Wrappers | None) -> bool:
    """Serve one association; False for a peer that access control does not let in."""
    connection, peer, reject = accepted
    try:
        permitted = wrappers is None or wrappers.permits(connection, peer)
    except Stopped:
        # Nobody was denied anything, and nobody is served any more.
        connection.close()
        return True
    if not permitted:
        connection.close()
        return False
    configured.find_folders()
    service = configured.service
    session.serve(connection, peer, rejecting(service) if reject else service)
    return True


def _serve_and_exit(accepted: Accepted, configured: Configured, wrappers: Wrappers | None) -> None:
    """Serve one association in a child, which then has nothing to tidy up, nor to flush."""
    status = 1
    try:
        status = 0 if _serve(accepted, configured, wrappers) else EXIT_DENIED
    except Exception as error:
        log.critical("internal error, connection of %s ended: %r", accepted.peer, error)
    os._exit(status)


def _ask_passphrase() -> bytes:
    from dcmstore import passphrase  # few keys have one

    with Breakable():
        return passphrase.ask()


def _pid_file(options: cmdline.Options) -> AbstractContextManager[PidFile | None]:
    if options.pid_file is None:
        return nullcontext()
    pid_file = PidFile(options.pid_file)
    if options.check_config:
        pid_file.check()
        return nullcontext()
    return pid_file


def _wrappers(options: cmdline.Options, program: str) -> Wrappers | None:
    """Access control, if asked for; what its tables have against them is told."""
    if options.wrapper != "access-control":
        return None
    wrappers = Wrappers(
        program,
        lookup=not options.disable_host_lookup,
        resident=options.process != "fork" and not options.inetd,
    )
    findings = wrappers.check_tables()
    if findings and options.check_config:
        raise CheckError("\n".join(findings))
    # An inetd run is one of many: the administrator has been told by --check-config.
    if not options.inetd:
        for finding in findings:
            log.warning("%s", finding)
    return wrappers


def _enter_surroundings(options: cmdline.Options) -> None:
    if options.umask is not None:
        os.umask(options.umask)
    if options.chdir is not None:
        try:
            os.chdir(options.chdir)
        except OSError as error:
            raise daemon.DaemonError(
                f"cannot change to directory {options.chdir}: {error.strerror}"
            ) from error


def _detach(options: cmdline.Options) -> Callable[[], None]:
    """Become a daemon, if asked for; what is returned ends the wait of who has started it."""
    if not options.daemon:
        return lambda: None
    umask = os.umask(0o077)
    folder = "/" if options.chdir is None else options.chdir
    return daemon.detach(daemon.own_fds(), umask, folder)


def _say_to_syslog(program: str, text: str) -> None:
    from storescpd import syslog  # few runs need it

    syslog.say(program, text)


def _log_to_syslog(program: str) -> None:
    from storescpd import syslog

    syslog.redirect(program)
