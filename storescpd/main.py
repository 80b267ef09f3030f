"""The daemon from its command line to its exit, one straight line for every way it is run.

Whether the socket was accepted by the master and kept in a forked child, accepted in this very
process, or handed over by inetd on descriptor 0: from ``serve`` on there is no difference.
"""

import gc
import logging
import os
import socket
import sys
from collections.abc import Sequence

from dcmstore import cmdline, dataset, dictionary, negotiation
from storescpd import session, sockets
from storescpd.master import Master, peer_name
from storescpd.options import PROGRAM
from storescpd.storage import StoreOptions
from storescpd.temporary import Folder

log = logging.getLogger("dcmtk.apps.storescp")

_GRACE = 30.0
_DESCRIPTOR_FAILURE = 99


def main(argv: Sequence[str] | None = None) -> int:
    """Run storescpd with the arguments of the process; return its exit status."""
    argv = sys.argv if argv is None else argv
    inherited: list[socket.socket | sockets.SocketError] = []
    options = cmdline.parse(
        PROGRAM, argv, {"inetd": lambda _: inherited.append(_take_standard_input())}
    )
    program = os.path.basename(argv[0])
    if program not in PROGRAM.names:
        program = PROGRAM.names[0]
    folder = _output_folder(options)
    if folder is None:
        return 1
    service = _service(options, program, folder)
    if inherited:
        return _serve_inherited(inherited[0], service)
    try:
        listeners = sockets.listen(options.port, options.ip, options.bind)
    except sockets.SocketError as error:
        log.error("cannot create network: %s", error)
        return 1
    return _run(listeners, options, service)


def _run(listeners: list[socket.socket], options: cmdline.Options, service: session.Service) -> int:
    if not service.store.bit_preserving:
        # Data sets in implicit VR need it; children get it free.
        dictionary.preload()
    master = Master(
        listeners,
        program=service.program,
        limit=options.max_associations,
        grace=service.grace,
        reload=lambda: None,
    )
    # What is here now lives as long as the process: children need not copy it to look at it.
    gc.freeze()
    if service.in_child:
        connection = master.serve()
        if connection is not None:
            _serve_and_exit(connection, service)
        return 0
    while (connection := master.accept_one()) is not None:
        session.serve(connection, peer_name(connection), service)
    return 0


def _serve_and_exit(connection: socket.socket, service: session.Service) -> None:
    """Serve one association in a child, which then has nothing to tidy up."""
    status = 1
    try:
        session.serve(connection, peer_name(connection), service)
        status = 0
    finally:
        logging.shutdown()
        sys.stdout.flush()
        if status == 0:
            os._exit(status)


def _take_standard_input() -> socket.socket | sockets.SocketError:
    """Return inetd's connection, or why there is none, to be told when the log is open."""
    try:
        return sockets.stdin_connection()
    except sockets.DescriptorError:
        raise SystemExit(_DESCRIPTOR_FAILURE) from None
    except sockets.SocketError as error:
        return error


def _serve_inherited(
    connection: socket.socket | sockets.SocketError, service: session.Service
) -> int:
    """Serve inetd's connection; how the association went has no influence on the status."""
    if isinstance(connection, sockets.SocketError):
        log.error("Receiving Association failed: %s", connection)
    else:
        session.serve(connection, peer_name(connection), service)
    return 0


def _output_folder(options: cmdline.Options) -> Folder | None:
    """Open the output folder; None after having said why it cannot be used."""
    path: str = options.output_directory
    if path != ".":
        path = path.rstrip("/") or "/"
    if not os.path.isdir(path):
        log.critical("specified output directory does not exist: %s", path)
        return None
    if not options.ignore and not os.access(path, os.W_OK | os.X_OK):
        log.critical("specified output directory is not writeable: %s", path)
        return None
    try:
        return Folder(path)
    except OSError as error:
        log.critical("cannot open output directory %s: %s", path, error.strerror)
        return None


def _service(options: cmdline.Options, program: str, folder: Folder) -> session.Service:
    bit_preserving = options.bitpreserving == "bit-preserving"
    if not options.ignore:
        folder.remove_leftovers()
    return session.Service(
        program=program,
        policy=negotiation.Policy(
            transfer_syntaxes=negotiation.preference(options.prefer),
            abstract_syntaxes=negotiation.default_abstract_syntaxes(),
            promiscuous=options.promiscuous,
            refuse=options.refuse,
            reject_anonymous=options.reject,
            max_pdu=options.max_pdu & ~1,
        ),
        store=StoreOptions(
            folder=None if options.ignore else folder,
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
        grace=_GRACE,
        in_child=options.process == "fork",
        verbose_pc=options.verbose_pc,
    )


def _spool() -> Folder:
    """Return where normal mode may put data sets that are walked, but not kept."""
    return Folder(os.environ.get("TMPDIR") or "/tmp")
