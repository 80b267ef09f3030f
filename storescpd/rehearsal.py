"""Associations that a master holds with itself before it forks.

The interpreter specialises code that has run a few times. A child would have to begin that anew,
and most of what it writes to on the way is memory that must be copied for it first: the first
objects of each association would cost several times what later ones do.
"""

import logging
import socket
from contextlib import suppress
from struct import Struct

from dcmstore import (
    IMPLEMENTATION_CLASS_UID,
    IMPLEMENTATION_VERSION,
    command,
    fragments,
    pdu,
    uids,
)
from storescpd import session
from storescpd.temporary import Folder, Temporary, scratch_path

_TIMES = 12
"""Code is specialised when it has run eight times, or a little later."""

_PATIENCE = 1.0  # seconds; nothing is waited for, since everything has been said beforehand
_LIMIT = 4096 - 6  # fits into the smallest PDU that there is an option for
_STORED = "1.2.840.10008.5.1.4.1.1.7"  # Secondary Capture
_SHORT, _LONG = Struct("<HH2sH"), Struct("<HH2sHI")


def rehearse(service: session.Service) -> None:
    """Hold a few short associations, of which the log says nothing and no file remains.

    Where something is missing for that, it is done without.
    """
    spool = _spool()
    mine = service._replace(
        policy=service.policy._replace(
            transfer_syntaxes=(uids.EXPLICIT_LITTLE,),
            abstract_syntaxes=frozenset((uids.VERIFICATION, _STORED)),
            refuse=False,
            profile=None,
        ),
        store=service.store._replace(folder=None, spool=spool, placement=None),
        socket_timeout=_PATIENCE,
        grace=0.0,
        in_child=False,
        resident=True,
        events=None,
        switches=None,
        tls=None,
    )
    level = logging.root.manager.disable
    logging.disable()
    try:
        for turn in range(_TIMES):
            ours, its = socket.socketpair()
            with its:
                its.sendall(_conversation(turn))
                its.shutdown(socket.SHUT_WR)
                session.serve(ours, "rehearsal", mine)
    except OSError:
        # No descriptors are left, say: the daemon works without a rehearsal.
        return
    finally:
        logging.disable(level)
        if spool is not None:
            spool.close()


def _spool() -> Folder | None:
    """Return where nameless files can be written, None if that is nowhere.

    Then objects are received in the rehearsal, and not looked at.
    """
    try:
        folder = Folder(scratch_path())
    except OSError:
        return None
    with suppress(OSError):
        Temporary(folder).discard()
        if folder.nameless:
            return folder
    folder.close()
    return None


def _conversation(turn: int) -> bytes:
    """Return what the peer says from its request to the release, as if it knew the answers.

    It sends three objects: of a shape that is known by and by, of another shape in each turn, and
    in several fragments.
    """
    syntaxes = (uids.EXPLICIT_LITTLE, uids.IMPLICIT_LITTLE)
    request = pdu.AssociateRequest(
        called="REHEARSAL",
        calling="REHEARSAL",
        contexts=(
            pdu.PresentationContext(1, uids.VERIFICATION, syntaxes),
            pdu.PresentationContext(3, _STORED, syntaxes),
        ),
        max_length=16384,
        implementation_class=IMPLEMENTATION_CLASS_UID,
        implementation_version=IMPLEMENTATION_VERSION,
    )
    said: list[bytes | memoryview] = [
        pdu.encode(request),
        _message(1, command.EchoRequest(1, uids.VERIFICATION)),
    ]
    for number, (name, pixels) in enumerate(
        (("Rehearsal", 2), ("Rehearsal" + "l" * 2 * turn, 4), ("Rehearsal", 2 * _LIMIT)), 2
    ):
        instance = f"2.25.{number}"
        said.append(_message(3, command.StoreRequest(number, _STORED, instance)))
        for buffers in fragments.data_pdus(3, (_data_set(instance, name, pixels),), _LIMIT):
            said += buffers
    return b"".join([*said, pdu.encode(pdu.ReleaseRequest())])


def _message(context_id: int, request: command.CommandSet) -> bytes:
    return fragments.command_pdus(context_id, command.encode(request), _LIMIT)


def _data_set(instance: str, name: str, pixels: int) -> bytes:
    """Return a data set in explicit little endian with all that an ordinary one has.

    Its pixel data have so many bytes.
    """
    item = _text(0x0008, 0x1150, b"UI", _STORED) + _text(0x0008, 0x1155, b"UI", instance)
    sequence = _LONG.pack(0x0008, 0x1140, b"SQ", 0, 8 + len(item))
    sequence += Struct("<HHI").pack(0xFFFE, 0xE000, len(item)) + item
    numbers = (_SHORT.pack(0x0028, element, b"US", 2) + b"\1\0" for element in (0x0010, 0x0011))
    return b"".join(
        (
            _text(0x0008, 0x0005, b"CS", "ISO_IR 100"),
            _text(0x0008, 0x0016, b"UI", _STORED),
            _text(0x0008, 0x0018, b"UI", instance),
            *(_text(0x0008, element, b"DA", "20000101") for element in range(0x0020, 0x0024)),
            _text(0x0008, 0x0060, b"CS", "OT"),
            sequence,
            _text(0x0010, 0x0010, b"PN", name),
            _text(0x0020, 0x000D, b"UI", "2.25.1"),
            *numbers,
            _LONG.pack(0x7FE0, 0x0010, b"OB", 0, pixels) + bytes(pixels),
        )
    )


def _text(group: int, element: int, vr: bytes, text: str) -> bytes:
    value = text.encode()
    if len(value) & 1:
        value += b"\0" if vr == b"UI" else b" "
    return _SHORT.pack(group, element, vr, len(value)) + value
