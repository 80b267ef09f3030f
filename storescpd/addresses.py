"""Addresses of sockets as people and tcp wrappers read them."""

import socket


def peer_name(connection: socket.socket) -> str:
    """Return the numeric address of the other end, ``unknown`` if it has gone or has none."""
    try:
        return number(connection.getpeername())
    except OSError:
        return "unknown"


def number(address: object) -> str:
    """Return the number in what accept(2) says of a peer, ``local`` if there is none."""
    # A dual-stack listener shows an IPv4 peer as an IPv6 one.
    return str(address[0]).removeprefix("::ffff:") if isinstance(address, tuple) else "local"


def listening(listener: socket.socket) -> str:
    """Return where a socket listens: ``*:11112`` or ``[::1]:11112``."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "*"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
