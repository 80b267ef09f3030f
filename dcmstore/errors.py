"""The two ways an association goes wrong: the peer broke the protocol, or we did.

A condition is the reference's pair of hexadecimal module and code, for example
``0006:0321``; it stands in log lines so that admins find what they know.
"""


class AssociationError(Exception):
    """An association cannot go on; ``condition`` is ``MMMM:CCCC``, ``text`` the reason."""

    def __init__(self, condition: str, text: str) -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.text = text

    def __str__(self) -> str:
        return f"{self.condition} {self.text}"


class PeerError(AssociationError):
    """The peer broke the protocol."""


class LocalError(AssociationError):
    """This side asked for something the protocol does not allow."""
