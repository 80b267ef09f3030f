"""Where the sockets of this run come from: inetd, systemd, or nobody but ourselves."""

import socket
from collections.abc import Callable, Mapping

from dcmstore import cmdline
from storescpd import sockets

_DESCRIPTOR_FAILURE = 99


class Origin:
    """Takes over what inetd left on standard input while the options are parsed.

    The reference does so in the midst of them; what is wrong with the socket is told
    when there is a log. ``stdin_is_closed`` is from before that was made good.
    """

    def __init__(self, *, stdin_is_closed: bool) -> None:
        self._stdin_is_closed = stdin_is_closed
        self._inherited: socket.socket | sockets.SocketError | None = None

    @property
    def is_inetd(self) -> bool:
        """Whether standard input was taken over; standard error is gone then, too."""
        return self._inherited is not None

    def hooks(self) -> Mapping[str, cmdline.Hook]:
        """What the parser is to call. Ends the program with 99 if there is no standard input."""
        return {
            "inetd": lambda options: self._take(options, sockets.stdin_connection),
            "inetd-wait": lambda options: self._take(options, sockets.adopt_inetd_wait),
        }

    def sockets(self, options: cmdline.Options) -> list[socket.socket]:
        """The connection, or the listeners; none when the configuration is being checked.

        Raises SocketError.
        """
        if options.check_config:
            if options.port is not None:
                list(sockets.resolve(options.port, options.ip, options.bind))
            return []
        if isinstance(self._inherited, sockets.SocketError):
            raise self._inherited
        if self._inherited is not None:
            return [self._inherited]
        return sockets.adopt_systemd() or sockets.listen(options.port, options.ip, options.bind)

    def _take(self, options: cmdline.Options, take: Callable[[], socket.socket]) -> None:
        if options.check_config:
            return
        if self._stdin_is_closed:
            raise SystemExit(_DESCRIPTOR_FAILURE)
        try:
            self._inherited = take()
        except sockets.DescriptorError:
            raise SystemExit(_DESCRIPTOR_FAILURE) from None
        except sockets.SocketError as error:
            self._inherited = error
