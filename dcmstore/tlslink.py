"""An association's link where TLS lies between it and TCP."""

import socket
import time
from collections.abc import Callable

from dcmstore.connection import Connection
from dcmstore.errors import PeerError
from dcmstore.tlssocket import NOTHING_YET, TlsSocket
from dcmstore.transport import Interrupted, Link

_NO_ROOM = memoryview(b"")
_LINGER = 1.0  # seconds in which a peer can read why it is refused


class TlsLink(Link):
    """A `Link` that begins with a handshake.

    ``examine`` is called when hands are shaken, and raises PeerError if the peer will not do after
    all; ``closed`` is called at the very end.
    """

    def __init__(
        self,
        sock: TlsSocket,
        connection: Connection,
        timeout: float | None,
        examine: Callable[[TlsSocket], None],
        closed: Callable[[], None],
    ) -> None:
        super().__init__(sock, connection, timeout)
        self._tls = sock
        self._examine = examine
        self._closed = closed

    def open(self) -> None:
        """Shake hands, in the time that ``expect_answer_within`` allows for the first PDU.

        Raises PeerError and Interrupted.
        """
        try:
            self._tls.start()
            self._send_in_time()
            while not self._tls.established:
                self._wait_for_more()
                if self._tls.over:
                    return
                self._send_in_time()
            self._examine(self._tls)
        except PeerError:
            self._refuse()
            raise
        self._set_timeout(socket.SO_SNDTIMEO, self._timeout)

    def close(self) -> None:
        """Say that nothing more will come, and close the socket."""
        super().close()
        self._closed()

    def _receive(self, room: memoryview) -> int | None:
        # Each piece of a record may take as long as a piece of a PDU does without TLS.
        count = super()._receive(room)
        while count == NOTHING_YET:
            count = super()._receive(room)
        return count

    def _wait_for_more(self) -> None:
        """Let the handshake have what comes in next. Raises PeerError and Interrupted."""
        count = super()._receive(_NO_ROOM)
        if self._interrupted:
            raise Interrupted
        if count is None:
            raise _late()
        if count != NOTHING_YET:
            raise _broken()

    def _send_in_time(self) -> None:
        """Send what the handshake has to say, however slowly the peer takes it."""
        data = memoryview(self._tls.take())
        while data:
            limit = self._timeout
            if self._deadline is not None:
                limit = self._deadline - time.monotonic()
                if limit <= 0:
                    raise _late()
            self._set_timeout(socket.SO_SNDTIMEO, limit)
            if self._interrupted:
                raise Interrupted
            try:
                data = data[self._tls.send(data) :]
            except BlockingIOError:
                if not self._interrupted:
                    raise _late() from None
            except OSError:
                raise _broken() from None

    def _refuse(self) -> None:
        """Tell a peer why it is not served, and let it read that before it sees the end."""
        try:
            self._send_in_time()
        except PeerError:
            # It has been told as much as it wants to hear.
            return
        left = _LINGER if self._deadline is None else self._deadline - time.monotonic()
        self.wait_for_close(min(left, _LINGER))


def _late() -> PeerError:
    return PeerError("0006:031a", "DUL network read timeout (in the TLS handshake)")


def _broken() -> PeerError:
    return PeerError("000b:0017", "OpenSSL I/O error (SSL_ERROR_SYSCALL)")
