"""The only code that touches an association's socket: receives with deadlines, gathered sends.

The socket is blocking; SO_RCVTIMEO and SO_SNDTIMEO bound every wait, which costs one system call
a receive where Python's own time-outs cost two (socket(7), tcp(7)).
"""

import errno
import os
import socket
import time
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import TYPE_CHECKING, NamedTuple

from dcmstore.connection import Closed, Connection, ReceivedEvent
from dcmstore.errors import LocalError, PeerError

if TYPE_CHECKING:
    from dcmstore.tlssocket import TlsSocket

PEER_GONE = "0006:0317"
"""Condition: the peer has closed the connection, or takes nothing any more."""

_TIMEVAL = Struct("@ll")
_SMALL_SEGMENT = 512
_DRAIN_SIZE = 1 << 12
_INT_MAX = 2**31 - 1
_PAUSE = 0.1  # seconds between two looks at what a signal handler has noted
_LAST_WORDS_TIME = 1.0  # for the last PDU after an interruption


class TimedOut(NamedTuple):
    """Nothing came in for as long as the caller was ready to wait."""


class Interrupted(Exception):
    """`Link.interrupt` was called: nothing more is read, but there may be something to say."""


class Link:
    """An association's connection and the socket below it.

    ``timeout`` is how many seconds one receive or send may block, None for ever.
    ``mid_pdu`` tells that a gathered send has failed inside a PDU: nothing can follow it.
    """

    def __init__(
        self,
        sock: "socket.socket | TlsSocket",
        connection: Connection,
        timeout: float | None,
    ) -> None:
        self.connection = connection
        self._socket = sock
        self._timeout = timeout
        self._receive_timeout: float | None = -1.0  # what the socket is set to; -1: not known
        self._deadline: float | None = None
        self._body_time: float | None = None
        self._patience: float | None = None
        self._interrupted = False
        self.mid_pdu = False
        self._sends_bulk = False
        self._is_tcp = sock.family in (socket.AF_INET, socket.AF_INET6)
        self._set_buffers()
        self._set_timeout(socket.SO_SNDTIMEO, timeout)

    def _set_buffers(self) -> None:
        if not self._is_tcp:
            return
        nodelay = os.environ.get("TCP_NODELAY")
        if nodelay is None or _integer(nodelay) != 0:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        set_buffer_length(self._socket)

    def open(self) -> None:
        """Make ready for the first PDU; a TCP connection is."""

    def expect_answer_within(self, seconds: float | None, body: float | None) -> None:
        """Bound the next PDU as a whole, however slowly its bytes drip in.

        ``seconds`` until its header is here, then ``body`` more until the rest of it is.
        """
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._body_time = body

    def expect_anything(self) -> None:
        """Bound each receive by the socket's time-out only, as for an idle association."""
        self._deadline = self._body_time = None

    def set_patience(self, seconds: float | None) -> None:
        """Yield ``TimedOut`` when a receive takes that long; None: be patient (``timeout``)."""
        self._patience = seconds

    def interrupt(self) -> None:
        """Make ``events`` raise ``Interrupted``, and waits end soon (for signal handlers).

        A system call that the signal has interrupted is made again, and runs out of time then.
        """
        self._interrupted = True
        try:
            self._set_timeout(socket.SO_RCVTIMEO, 0.0)
            self._set_timeout(socket.SO_SNDTIMEO, _LAST_WORDS_TIME)
        except OSError:
            # Closed already.
            return

    def events(self) -> Iterator[ReceivedEvent | TimedOut]:
        """Yield what the peer says, waiting for it as long as was agreed.

        Ends after ``Closed``; an expired time-out of the socket counts as a close, but
        ``TimedOut`` is yielded where ``set_patience`` or ``expect_answer_within`` set the limit.
        Raises PeerError and Interrupted.
        """
        connection = self.connection
        count: int | None = 0
        while True:
            event = connection.next_event()
            if event is not None:
                yield event
                if type(event) is Closed:
                    return
                count = 0
                continue
            if self._sends_bulk and count and count < _SMALL_SEGMENT:
                self._acknowledge_quickly()
            room = connection.room()
            count = self._receive(room)
            if self._interrupted:
                raise Interrupted
            if count is None:
                yield TimedOut()
            else:
                connection.received(count)

    def _receive(self, room: memoryview) -> int | None:
        """Receive into ``room``: the count, 0 at the end of input, None when time ran out."""
        limit = self._timeout if self._patience is None else self._patience
        timed = self._patience is not None
        if self._deadline is not None:
            if self._body_time is not None and self.connection.mid_pdu:
                self._deadline, self._body_time = time.monotonic() + self._body_time, None
            limit = self._deadline - time.monotonic()
            timed = True
            if limit <= 0:
                return None
        if limit != self._receive_timeout:
            self._set_timeout(socket.SO_RCVTIMEO, limit)
            self._receive_timeout = limit
        if self._interrupted:
            return None
        try:
            return self._socket.recv_into(room)
        except BlockingIOError:
            return None if timed else 0
        except OSError:
            # Reset, unreachable, aborted: for the association all the same as a close.
            return 0

    def send(self, data: bytes) -> None:
        """Send all of ``data``. Raises PeerError when the peer takes no more of it."""
        try:
            self._socket.sendall(data)
            self._acknowledge_quickly()
        except OSError:
            raise _gone() from None

    def _acknowledge_quickly(self) -> None:
        """Answer the next segments at once.

        A sender with Nagle's algorithm holds a small segment back until the last one is
        acknowledged, and the kernel delays that by 40 ms once it has seen us answer messages.
        The option lasts until this side sends again, so it is armed after each send: more
        often would only make a bulk transfer pay for acknowledgements that nobody waits for.
        But what has been sent in bulk still leaves the kernel later; then the first piece of
        an answer that came in pieces is acknowledged, too.
        """
        if self._is_tcp:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    def send_gathered(self, lists: Iterable[list[bytes | memoryview]]) -> None:
        """Send each list of buffers with one system call where it fits.

        Raises PeerError, Interrupted, and LocalError if a mapped file has become shorter.
        """
        sendmsg = self._socket.sendmsg
        self._sends_bulk = True
        try:
            for buffers in lists:
                if self._interrupted:
                    raise Interrupted
                self.mid_pdu = True
                sent = sendmsg(buffers)
                if sent < sum(map(len, buffers)):
                    self._send_rest(buffers, sent)
                self.mid_pdu = False
            self._acknowledge_quickly()
        except OSError as error:
            if self._interrupted:
                raise Interrupted from None
            if error.errno == errno.EFAULT:
                raise LocalError("0006:020e", "DIMSE Failed to send message") from None
            raise _gone() from None

    def _send_rest(self, buffers: list[bytes | memoryview], sent: int) -> None:
        for buffer in buffers:
            if sent >= len(buffer):
                sent -= len(buffer)
            else:
                self._socket.sendall(memoryview(buffer)[sent:])
                sent = 0

    def pause(self, seconds: float) -> None:
        """Do nothing for a while. Raises Interrupted."""
        end = time.monotonic() + seconds
        while not self._interrupted and (left := end - time.monotonic()) > 0:
            # A signal alone does not end a sleep.
            time.sleep(min(left, _PAUSE))
        if self._interrupted:
            raise Interrupted

    def wait_for_close(self, seconds: float) -> None:
        """Let the peer close first (PS3.8 section 9.1.5), for ``seconds`` at most.

        What it still sends is read: a close with bytes left over resets the connection, and
        could take from the peer what it was told last.
        """
        in_haste = self._interrupted
        deadline = time.monotonic() + (min(seconds, _LAST_WORDS_TIME) if in_haste else seconds)
        scrap = bytearray(_DRAIN_SIZE)
        try:
            self._socket.shutdown(socket.SHUT_WR)
            while (left := deadline - time.monotonic()) > 0:
                self._set_timeout(socket.SO_RCVTIMEO, left)
                # From here on an interruption shortens the receive, as it has the last word.
                if self._interrupted != in_haste or not self._socket.recv_into(scrap):
                    return
        except OSError:
            # Closed, reset or out of time: there is nothing more to wait for.
            return

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _set_timeout(self, option: int, seconds: float | None) -> None:
        # A zero in the option means for ever, so the shortest time is one microsecond.
        micro = 0 if seconds is None else max(1, int(seconds * 1_000_000))
        value = _TIMEVAL.pack(micro // 1_000_000, micro % 1_000_000)
        self._socket.setsockopt(socket.SOL_SOCKET, option, value)


def set_buffer_length(sock: "socket.socket | TlsSocket") -> None:
    """Give a socket buffers of TCP_BUFFER_LENGTH bytes, if the environment says so.

    A listener hands them down; the window that it offers has to be known in the handshake.
    """
    size = min(_integer(os.environ.get("TCP_BUFFER_LENGTH", "")), _INT_MAX)
    if size > 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0


def _gone() -> PeerError:
    return PeerError(PEER_GONE, "Peer aborted Association (or never connected)")
