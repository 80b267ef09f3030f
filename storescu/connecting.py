"""Finds the peer's address and connects to it (getaddrinfo(3), connect(2))."""

import os
import socket

from dcmstore.errors import PeerError

# Beyond 49 days milliseconds begin at zero again on their way into poll(2); connect(2) itself
# gives up after minutes.
_LONGEST_WAIT = 86_400

_FAMILIES = {"ipv4": socket.AF_INET, "ipv6": socket.AF_INET6, "ip-auto": socket.AF_UNSPEC}


def connect(host: str, port: int, protocol: str, timeout: float | None) -> socket.socket:
    """Return a blocking socket that is connected to the host.

    ``protocol`` is "ipv4", "ipv6" or "ip-auto"; ``timeout`` bounds the wait for each of the
    host's addresses, in seconds, None is the system's. Raises PeerError.
    """
    try:
        # As bytes, since names in text would load the tables of internationalised ones.
        found = socket.getaddrinfo(os.fsencode(host), port, _FAMILIES[protocol], socket.SOCK_STREAM)
    except (OSError, ValueError):
        raise PeerError("0006:0320", f"Attempt to connect to unknown host: {host}") from None
    reason = "no address"
    for family, kind, number, _, address in found:
        connecting = socket.socket(family, kind, number)
        try:
            connecting.settimeout(None if timeout is None else min(timeout, _LONGEST_WAIT))
            connecting.connect(address)
            connecting.settimeout(None)
        except OSError as error:
            connecting.close()
            reason = error.strerror or "Connection timed out"
            continue
        except BaseException:
            connecting.close()
            raise
        return connecting
    raise PeerError("0006:031c", f"TCP Initialization Error: {reason}")
