"""Text that others sent, made fit for logs and terminals."""


def printable(text: str) -> str:
    """Return the text with everything unprintable escaped: a peer cannot forge log lines."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
