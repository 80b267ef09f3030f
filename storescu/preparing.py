"""One file made ready to be sent: looked at, matched to a presentation context, and encoded."""

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from dcmstore import command, elements, uids
from dcmstore.command import StoreRequest
from dcmstore.connection import Connection
from dcmstore.dataset import OutputOptions
from dcmstore.errors import LocalError
from dcmstore.fragments import Buffer
from dcmstore.text import printable
from storescu import report
from storescu.loading import BadFile, Loaded, Look, load, released
from storescu.syntaxnames import long_name

if TYPE_CHECKING:  # few runs invent anything
    from storescu.invent import Identity, Inventor


class Prepared(NamedTuple):
    """A file that waits for its turn.

    ``lists`` are what to send, unless there is a ``problem``. If that was found before there
    was anything to send, ``complaint`` is what to say about it; if later, ``caution`` may be.
    """

    problem: LocalError | None
    complaint: str = ""
    caution: str = ""
    warnings: tuple[str, ...] = ()
    sop_class: str = ""
    sop_instance: str = ""
    converting: str = ""
    ahead: int = 0  # bytes that go before those of the data set
    lists: Iterable[list[Buffer]] = ()
    identity: "Identity | None" = None  # that was invented for it


class Unconvertible(Exception):
    """A data set cannot be written in the transfer syntax in which it should travel."""


class Preparer:
    """Does all for a file that can be done before its turn.

    ``contexts`` are the accepted presentation contexts of a SOP class: IDs and transfer
    syntaxes. ``limit`` is how many bytes one fragment may have. With an ``inventor`` each object
    gets another identity.
    """

    def __init__(
        self,
        connection: Connection,
        contexts: dict[str, list[tuple[int, str]]],
        limit: int,
        titles: tuple[str, str],
        readmode: str,
        output: OutputOptions,
        prefer_deflated: bool,
        inventor: "Inventor | None" = None,
    ) -> None:
        self._connection = connection
        self._contexts = contexts
        self._limit = limit
        self._titles = titles
        self._readmode = readmode
        self._output = output
        self._prefer_deflated = prefer_deflated
        self._inventor = inventor
        self._chosen: dict[tuple[str, str], tuple[int, str] | None] = {}

    def prepare(self, path: str, message_id: int) -> Prepared:
        """Return the file as a C-STORE request and its data set, or what is wrong with it."""
        try:
            loaded = load(path, self._readmode, self._output)
            if self._inventor is None:
                return self._matched(path, message_id, loaded, elements.inspect)
            identity = self._inventor.next()
            loaded.findings = loaded.look(identity.give, self._output)
            prepared = self._matched(path, message_id, loaded, identity.give)
            return prepared._replace(identity=identity)
        except BadFile as error:
            text = error.text
            return Prepared(LocalError(error.condition, text), f"Bad DICOM file: {path}: {text}")

    def _matched(self, path: str, message_id: int, loaded: Loaded, look: Look) -> Prepared:
        own, found = loaded.transfer_syntax, loaded.findings
        sop_class, sop_instance, warnings = found.sop_class, found.sop_instance, found.warnings
        if not sop_class or not sop_instance:
            return Prepared(
                LocalError("0006:0202", "DIMSE Inappropriate data for message"),
                f"No SOP Class or Instance UID in file: {path}",
                warnings=warnings,
            )
        if self._prefer_deflated and own in uids.NATIVE:
            own = uids.DEFLATED
        chosen = self._choose(sop_class, own)
        if chosen is None:
            return Prepared(
                LocalError("0006:0208", "DIMSE No valid Presentation Context ID"),
                "No presentation context for:"
                f" ({report.sop_class(sop_class)}) {printable(sop_class)}",
                warnings=warnings,
            )
        context_id, syntax = chosen
        converting = ""
        if syntax != loaded.transfer_syntax:
            ends = long_name(loaded.transfer_syntax), long_name(syntax)
            converting = f"Converting transfer syntax: {ends[0]} -> {ends[1]}"
            if not uids.is_transfer_syntax(syntax):
                text = f"DIMSE Unsupported transfer syntax: {printable(syntax)}"
                problem = LocalError("0006:0212", text)
                return Prepared(problem, "", "", warnings, sop_class, sop_instance, converting)
        caution = ""
        try:
            # No receiver takes a longer one; what the data set has stays as it is.
            sop_instance = sop_instance[: command.MAX_UID]
            request = command.encode(StoreRequest(message_id, sop_class, sop_instance))
            first = self._connection.message(context_id, request, self._limit)
            parts = encoded(loaded, syntax, self._output, look)
            lists = self._connection.data(context_id, parts, self._limit, first)
            # The first list, often the only one, is made now; the others while they are sent.
            return Prepared(
                None,
                "",
                "",
                warnings,
                sop_class,
                sop_instance,
                converting,
                len(first),
                itertools.chain((next(lists),), released(lists, loaded.body())),
            )
        except LocalError as error:
            problem = error
        except Unconvertible:
            problem = not_sent()
            caution = (
                f"DIMSE Warning: ({','.join(self._titles)}): sendMessage: unable to convert"
                f" dataset from '{long_name(loaded.transfer_syntax)}' transfer syntax"
                f" to '{long_name(syntax)}'"
            )
        return Prepared(problem, "", caution, warnings, sop_class, sop_instance, converting)

    def _choose(self, sop_class: str, own: str) -> tuple[int, str] | None:
        """Return ID and transfer syntax of the context for a class and a file's own syntax."""
        try:
            return self._chosen[sop_class, own]
        except KeyError:
            contexts = self._contexts.get(sop_class, [])
            chosen = min(contexts, key=lambda context: _distance(own, context[1]), default=None)
            self._chosen[sop_class, own] = chosen
            return chosen


def not_sent() -> LocalError:
    """Return the error for a message that cannot be sent."""
    return LocalError("0006:020e", "DIMSE Failed to send message")


def encoded(
    loaded: Loaded, syntax: str, output: OutputOptions, look: Look = elements.inspect
) -> Iterable[Buffer]:
    """Return the data set of a file, in parts, in the form in which it travels.

    ``look`` is what found out about it. Raises Unconvertible if it cannot be written in this
    transfer syntax, and BadFile.
    """
    own, found = loaded.transfer_syntax, loaded.findings
    if syntax == own and syntax != uids.DEFLATED and not found.reasons and not found.unwritable:
        return (loaded.body()[loaded.start :],)
    from dcmstore import encoding  # nothing else needs it

    if syntax != own:
        output = output._replace(transfer_syntax=syntax)
        found = loaded.look(look, output)
    body = loaded.body()
    try:
        return encoding.encoded(body, loaded.start, len(body), found, own, output, loaded.read)
    except encoding.EncodingError:
        raise Unconvertible from None


def _distance(own: str, accepted: str) -> int:
    """Rank an accepted transfer syntax for a file in another; the least is taken."""
    if accepted == own:
        return 0
    if accepted in (uids.EXPLICIT_LITTLE, uids.EXPLICIT_BIG):
        return 1
    return 2 if accepted == uids.IMPLICIT_LITTLE else 3
