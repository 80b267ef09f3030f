"""A connected socket with TLS on it: as much of a socket as `transport.Link` asks for.

What is encrypted goes through memory, not through the library's own reads and writes: one system
call takes in many records, and every wait stays where it was, in a blocking call on the socket
that its time-outs bound.
"""

import _ssl
import contextlib
import logging
import mmap
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dcmstore import strangers, tlsreasons
from dcmstore.clienthello import Listener, Wishes
from dcmstore.errors import PeerError

log = logging.getLogger("dcmtk.dcmtls")

NOTHING_YET = -1
"""Of `TlsSocket.recv_into`: something came in, but no byte for the caller."""

_CIPHERTEXT = 1 << 17
"""Bytes that are received at once, eight full records; more brings nothing any more."""

_PLAINTEXT = 1 << 17
"""Bytes that are encrypted at once."""

_ALERT = bytes((21, 3, 3, 0, 2, 2))  # the record of a fatal alert, but for its last byte


_HEAD_SIZE = 6  # what `strangers.guess` wants to see


class Refusal(NamedTuple):
    """Why a client does not get what it asks for: the alert that it gets, and what to say."""

    alert: int
    error: PeerError


Judge = Callable[[Wishes], Refusal | None]


class TlsSocket:
    """TLS on a socket, from the first byte on.

    ``tls`` is the connection as Python's ssl has it; ``established`` says that the handshake is
    over, ``over`` that nothing more will come: so a client has closed that has said nothing, as
    monitoring programs do. A server's ``judge`` is asked what it thinks of the client's wishes.
    """

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_name: str = "",
        judge: Judge | None = None,
    ) -> None:
        self.family = sock.family
        self.established = self.over = False
        self._socket = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_side,
            # As bytes, since names in text would load the tables of internationalised ones.
            server_hostname=server_name.encode() or None,
        )
        self._judge = judge
        self._listener = Listener()
        self._alert = b""
        self._head = b""  # the first bytes that came in
        self._buffer = memoryview(mmap.mmap(-1, _CIPHERTEXT, flags=mmap.MAP_PRIVATE))
        self._deaf = False  # something was wrong with what has come: no more of it can be read
        self._leaving = False  # we have said that nothing more will come from us
        self._broken = False  # a record has left in part only
        self._spool = -1
        self._spooled = memoryview(b"")

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """As of the socket below."""
        self._socket.setsockopt(level, option, value)

    # The handshake

    def start(self) -> None:
        """Take the first step of the handshake, where that is ours."""
        if not self.tls.server_side:
            self._step()

    def take(self) -> bytes:
        """Return what the handshake wants to be sent; if it has failed, an alert or nothing."""
        waiting = self._outgoing.read()
        return self._alert or waiting

    def send(self, data: memoryview) -> int:
        """Send bytes as they are, with one system call. Raises OSError."""
        return self._socket.send(data)

    def _shake_hands(self, data: memoryview) -> None:
        """Go on with the handshake, given what has come in. Raises PeerError."""
        if not data:
            self.over = self.tls.server_side and not self._head
            if self.over:
                return
            raise tlsreasons.error("UNEXPECTED_EOF_WHILE_READING")
        self._head = (self._head + bytes(data[:_HEAD_SIZE]))[:_HEAD_SIZE]
        if self._judge is not None:
            wishes = self._listener.hear(data)
            refusal = self._judge(wishes) if wishes is not None else None
            if refusal is not None:
                self._alert = _ALERT + bytes((refusal.alert,))
                raise refusal.error
        self._incoming.write(data)
        self._step()

    def _step(self) -> None:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            raise tlsreasons.failure(error, _stranger(self._head)) from None
        self.established = True

    def chain(self) -> list[bytes]:
        """Return the peer's certificate and those of its issuers, in DER, if they were verified."""
        # Python 3.13 has this without the underscores.
        found = self.tls._sslobj.get_verified_chain()  # type: ignore[attr-defined]
        return [one.public_bytes(_ssl.ENCODING_DER) for one in found or ()]

    # What comes in

    def recv_into(self, room: bytearray | memoryview) -> int:
        """Receive into ``room``: the count, 0 at the end, or ``NOTHING_YET``.

        Makes one system call at most. Raises OSError as the socket below, BlockingIOError when
        time ran out; while hands are shaken PeerError besides.
        """
        if self._deaf:
            if not self._leaving:
                return 0
        elif self.established and (self._incoming.pending or self.tls.pending()):
            return self._decrypt(memoryview(room))
        elif self.over:
            return 0
        count = self._socket.recv_into(self._buffer)
        data = self._buffer[:count]
        if not self.established and not self._deaf:
            try:
                self._shake_hands(data)
            except PeerError:
                self._deaf = True
                raise
            return NOTHING_YET
        if not count:
            return 0
        if self._deaf:
            # Only read so that it is not left over.
            return NOTHING_YET
        self._incoming.write(data)
        return self._decrypt(memoryview(room))

    def _decrypt(self, room: memoryview) -> int:
        at, end = 0, len(room)
        incoming, tls = self._incoming, self.tls
        try:
            while at < end and (incoming.pending or tls.pending()):
                # Into a buffer, it returns the count.
                count: int = tls.read(end - at, room[at:])  # type: ignore[assignment]
                if not count:
                    self.over = True
                    break
                at += count
        except ssl.SSLWantReadError:
            # The last record is not complete.
            pass
        except ssl.SSLZeroReturnError:
            # As zero bytes, when we have said so before.
            self.over = True
        except ssl.SSLError as error:
            self._deaf = True
            if not self._leaving:
                log.warning("%s", tlsreasons.failure(error))
        if self._outgoing.pending and not self._broken:
            # An alert, or an answer to a change of keys.
            self._flush()
        if at:
            return at
        return 0 if self.over or (self._deaf and not self._leaving) else NOTHING_YET

    # What goes out

    def sendall(self, data: bytes | memoryview) -> None:
        """Send all of ``data``. Raises OSError."""
        self.tls.write(data)
        self._flush()

    def sendmsg(self, buffers: Sequence[bytes | memoryview]) -> int:
        """Send all of the buffers, and return how many bytes these were.

        Raises OSError, with EFAULT if a mapped file has become shorter.
        """
        size = self._gather(buffers)
        for at in range(0, size, _PLAINTEXT):
            self.tls.write(self._spooled[at : min(at + _PLAINTEXT, size)])
            self._flush()
        return size

    def _gather(self, buffers: Sequence[bytes | memoryview]) -> int:
        """Put the buffers behind each other into ``_spooled``.

        By way of a file in memory, since then it is the kernel that reads what is mapped: where a
        file has become shorter it answers with an error, and we would get SIGBUS.
        """
        size = sum(map(len, buffers))
        if size > len(self._spooled):
            if self._spool < 0:
                self._spool = os.memfd_create("gathered", os.MFD_CLOEXEC)
            os.ftruncate(self._spool, size)
            self._spooled = memoryview(mmap.mmap(self._spool, size))
        at = 0
        while at < size:
            at += os.pwritev(self._spool, _behind(buffers, at), at)
        return size

    def _flush(self) -> None:
        self._broken = True
        self._socket.sendall(self._outgoing.read())
        self._broken = False

    # The end

    def shutdown(self, how: int) -> None:
        """Say that nothing more will come, by TLS if that has come so far, and by TCP."""
        self._say_goodbye(0)
        self._leaving = True
        self._socket.shutdown(how)

    def close(self) -> None:
        """Close the socket; what TLS still has to say may be lost, so nothing is waited for."""
        try:
            self._say_goodbye(socket.MSG_DONTWAIT)
        except OSError:
            # The peer takes nothing any more, or has closed.
            pass
        finally:
            self._socket.close()
            if self._spool >= 0:
                os.close(self._spool)
                self._spool = -1

    def _say_goodbye(self, flags: int) -> None:
        """Send the alert close_notify (RFC 8446 section 6.1)."""
        if not self.established or self._broken or self._leaving:
            return
        self._leaving = True
        with contextlib.suppress(ssl.SSLError):
            # Which means that the peer's has not come, or not all that goes before it.
            self.tls.unwrap()
        last = self._outgoing.read()
        if last:
            self._socket.send(last, flags)


def _stranger(head: bytes) -> str:
    """Say who is there, if it does not look like TLS."""
    if head[:1] == b"\x16":
        return ""
    if len(head) > 1 and 1 <= head[0] <= 7 and not head[1]:
        return "the peer speaks DICOM without TLS"
    protocol = strangers.guess(head)
    return protocol and f"the peer speaks another protocol: {protocol}"


def _behind(buffers: Sequence[bytes | memoryview], at: int) -> Sequence[bytes | memoryview]:
    """Return what is left of the buffers behind their first ``at`` bytes."""
    if not at:
        return buffers
    left = []
    for buffer in buffers:
        if at >= len(buffer):
            at -= len(buffer)
        else:
            left.append(memoryview(buffer)[at:])
            at = 0
    return left
