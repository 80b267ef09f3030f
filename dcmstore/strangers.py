"""Who is calling, if it is not DICOM: for the log line of an admin who wonders."""

# How other protocols begin.
_BEGINNINGS = (
    (b"\x16\x03", "a TLS handshake"),
    (b"GET ", "an HTTP request"),
    (b"POST ", "an HTTP request"),
    (b"HEAD ", "an HTTP request"),
    (b"PUT ", "an HTTP request"),
    (b"OPTION", "an HTTP request"),
    (b"CONNEC", "an HTTP request"),
    (b"PRI * ", "an HTTP/2 request"),
    (b"SSH-", "an SSH client"),
    (b"HELO", "an SMTP client"),
    (b"EHLO", "an SMTP client"),
    (b"\x03\x00", "a remote desktop client"),
)


def guess(head: bytes) -> str:
    """Return the protocol that the first six bytes of a connection look like, or nothing."""
    for beginning, protocol in _BEGINNINGS:
        if head.startswith(beginning):
            return protocol
    return ""
