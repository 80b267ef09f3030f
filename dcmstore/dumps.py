"""Associations and messages spelled out for the log, many lines in one text.

The layout is that of DCMTK's storescp(1) and storescu(1), which other programs parse; what a
peer sent is made printable, and a password is not shown. The PDUs are those of PS3.8 section
9.3, the commands those of PS3.7 section 9.3.
"""

from collections.abc import Iterator
from struct import Struct
from typing import NamedTuple

from dcmstore import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, uids
from dcmstore.command import (
    ERROR_COMMENT,
    ERROR_ID,
    OFFENDING_ELEMENT,
    CommandSet,
    EchoRequest,
    EchoResponse,
    OtherCommand,
    StoreRequest,
    StoreResponse,
)
from dcmstore.negotiation import (
    ABSTRACT_SYNTAX_NOT_SUPPORTED,
    ACCEPTED,
    NO_REASON,
    TRANSFER_SYNTAXES_NOT_SUPPORTED,
    USER_REJECTION,
)
from dcmstore.pdu import (
    AssociateAccept,
    AssociateRequest,
    ExtendedNegotiation,
    RoleSelection,
    UserIdentity,
)
from dcmstore.text import printable

_WIDTH = 65
_LABEL = 30
_MAX_INFO = 256
"""Bytes of extended negotiation that are shown: classes define a dozen at most. And of what
explains a status, which has 64 characters at most."""

_RESULTS = {
    ACCEPTED: "Accepted",
    USER_REJECTION: "User Rejection",
    NO_REASON: "No Reason",
    ABSTRACT_SYNTAX_NOT_SUPPORTED: "Abstract Syntax Not Supported",
    TRANSFER_SYNTAXES_NOT_SUPPORTED: "Transfer Syntaxes Not Supported",
}
# By "may be SCU" and "may be SCP" (PS3.7 table D.3-9).
_ROLES = {
    (True, False): "SCU",
    (False, True): "SCP",
    (True, True): "SCP/SCU",
    (False, False): "None",
}

_PRIORITIES = {0: "medium", 1: "high", 2: "low"}
_SERVICES = {
    0x0010: "C-GET",
    0x0020: "C-FIND",
    0x0021: "C-MOVE",
    0x0100: "N-EVENT-REPORT",
    0x0110: "N-GET",
    0x0120: "N-SET",
    0x0130: "N-ACTION",
    0x0140: "N-CREATE",
    0x0150: "N-DELETE",
}
_C_CANCEL_RQ = 0x0FFF
_RESPONSE = 0x8000

_STATUSES = {
    0x0000: "Success",
    0x0117: "Invalid SOP Instance",
    0x0122: "Refused: SOP Class not supported",
    0x0124: "Refused: Not authorized",
    0x0210: "Duplicate invocation",
    0x0211: "Unrecognized operation",
    0x0212: "Mistyped argument",
    0xB000: "Warning: Coercion of Data Elements",
    0xB006: "Warning: Elements discarded",
    0xB007: "Warning: Data Set does not match SOP Class",
    0xFE00: "Cancel",
    0xFF00: "Pending",
    0xFF01: "Pending",
}
# By the high byte (PS3.4 table B.2-1), and for C by the first digit.
_FAILURES = {
    0xA7: "Refused: Out of resources",
    0xA9: "Error: Data Set does not match SOP Class",
    0xC0: "Error: Cannot understand",
}
_WARNINGS = frozenset((0x0001, 0x0107, 0x0116))

# Of the elements that explain a status: VR and keyword.
_DETAILS = {
    OFFENDING_ELEMENT: ("AT", "OffendingElement"),
    ERROR_COMMENT: ("LO", "ErrorComment"),
    ERROR_ID: ("US", "ErrorID"),
}
_NUMBER = Struct("<H")
_TAG = Struct("<HH")


class _Side(NamedTuple):
    implementation_class: str
    implementation_version: str
    max_length: int


_NOBODY_YET = _Side("", "", 0)


def received_request(request: AssociateRequest, max_length: int) -> str:
    """Return the acceptor's view of a request; ``max_length`` is what it takes itself, bytes."""
    own = _Side(IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, max_length)
    return "Parameters:\n" + _association(request, None, own, _side(request), "")


def sent_accept(request: AssociateRequest, accept: AssociateAccept) -> str:
    """Return the acceptor's view of what it has agreed to."""
    return _association(request, accept, _side(accept), _side(request), request.called)


def sent_request(request: AssociateRequest) -> str:
    """Return the requestor's view of what it is about to ask for."""
    text = _association(request, None, _side(request), _NOBODY_YET, "")
    return "Request Parameters:\n" + text


def received_accept(request: AssociateRequest, accept: AssociateAccept) -> str:
    """Return the requestor's view of what the peer has agreed to."""
    text = _association(request, accept, _side(request), _side(accept), request.called)
    return "Association Parameters Negotiated:\n" + text


def incoming(context_id: int, command: CommandSet) -> str:
    """Return a command that has come in on this presentation context."""
    return _message("INCOMING", context_id, command)


def outgoing(command: CommandSet) -> str:
    """Return a command that is about to be sent."""
    return _message("OUTGOING", None, command)


def status_detail(response: StoreResponse) -> str:
    """Return what a response says beside its status, element by element."""
    lines = ["Status Detail:", "", "# Dicom-Data-Set"]
    lines.append("# Used TransferSyntax: Little Endian Implicit")
    for element, value in response.details:
        vr, keyword = _DETAILS[element]
        values = _detail_values(vr, value[:_MAX_INFO])
        shown = "\\".join(values)
        if vr == "LO" and values:
            shown = f"[{shown}]"
        text = f"{shown or '(no value available)':<40} #{len(value):>4},{len(values):>2}"
        lines.append(f"(0000,{element:04x}) {vr} {text} {keyword}")
    return "\n".join((*lines, ""))


def _detail_values(vr: str, value: bytes) -> list[str]:
    """Return the values of one element, as far as they are whole."""
    if vr == "LO":
        texts = value.rstrip(b" \0").decode("latin-1").split("\\")
        return list(map(printable, texts)) if value else []
    form = _TAG if vr == "AT" else _NUMBER
    found = form.iter_unpack(value[: len(value) - len(value) % form.size])
    if vr == "AT":
        return [f"({group:04x},{element:04x})" for group, element in found]
    return [str(number) for (number,) in found]


def _ruler(text: str) -> str:
    return f" {text} ".center(_WIDTH, "=")


def _named(uid: str) -> str:
    name = uids.symbolic(uid)
    return f"={name}" if name else printable(uid)


# Associations


def _side(pdu: AssociateRequest | AssociateAccept) -> _Side:
    return _Side(pdu.implementation_class, pdu.implementation_version, pdu.max_length)


def _association(
    request: AssociateRequest,
    accept: AssociateAccept | None,
    own: _Side,
    their: _Side,
    responding: str,
) -> str:
    kind = "A-ASSOCIATE-RQ" if accept is None else "A-ASSOCIATE-AC"
    response = None if accept is None else accept.user_identity_response
    application_context = (accept or request).application_context
    return "\n".join(
        (
            _ruler(f"BEGIN {kind}"),
            f"Our Implementation Class UID:      {printable(own.implementation_class)}",
            f"Our Implementation Version Name:   {printable(own.implementation_version)}",
            f"Their Implementation Class UID:    {printable(their.implementation_class)}",
            f"Their Implementation Version Name: {printable(their.implementation_version)}",
            f"Application Context Name:    {printable(application_context)}",
            f"Calling Application Name:    {printable(request.calling)}",
            f"Called Application Name:     {printable(request.called)}",
            f"Responding Application Name: {printable(responding)}",
            f"Our Max PDU Receive Size:    {own.max_length}",
            f"Their Max PDU Receive Size:  {their.max_length}",
            "Presentation Contexts:",
            *_contexts(request, accept),
            *_extended("Requested Extended Negotiation:", request.extended),
            *_extended("Accepted Extended Negotiation: ", accept.extended if accept else ()),
            *_identity(request.user_identity),
            *_identity_response(response),
            _ruler(f"END {kind}"),
        )
    )


def _contexts(request: AssociateRequest, accept: AssociateAccept | None) -> Iterator[str]:
    results = {}
    proposed_roles = _roles(request.roles)
    accepted_roles = {}
    if accept is not None:
        # Of several with one ID the first answer counts, and belongs to the first context.
        results = {result.id: result for result in reversed(accept.contexts)}
        accepted_roles = _roles(accept.roles)
    for context in request.contexts:
        sop_class = context.abstract_syntax
        answer = results.pop(context.id, None)
        if answer is None:
            outcome = "Proposed"
        else:
            outcome = _RESULTS.get(answer.result, f"Invalid Result {answer.result}")
        yield f"  Context ID:        {context.id} ({outcome})"
        yield f"    Abstract Syntax: {_named(sop_class)}"
        yield f"    Proposed SCP/SCU Role: {proposed_roles.get(sop_class, 'Default')}"
        if answer is None:
            yield "    Proposed Transfer Syntax(es):"
            for transfer_syntax in context.transfer_syntaxes:
                yield f"      {_named(transfer_syntax)}"
        else:
            yield f"    Accepted SCP/SCU Role: {accepted_roles.get(sop_class, 'Default')}"
            if answer.result == ACCEPTED:
                yield f"    Accepted Transfer Syntax: {_named(answer.transfer_syntax)}"


def _roles(selections: tuple[RoleSelection, ...]) -> dict[str, str]:
    return {sop_class: _ROLES[scu, scp] for sop_class, scu, scp in reversed(selections)}


def _extended(title: str, negotiations: tuple[ExtendedNegotiation, ...]) -> Iterator[str]:
    if not negotiations:
        yield title + " none"
        return
    yield title.rstrip()
    for sop_class, info in negotiations:
        shown = ", ".join([f"0x{byte:02x}" for byte in info[:_MAX_INFO]])
        more = f", and {len(info) - _MAX_INFO} more" if len(info) > _MAX_INFO else ""
        yield f"  ={uids.symbolic(sop_class) or 'Unknown-UID'} ({printable(sop_class)})"
        yield f"    [{shown}{more}]"


def _identity(identity: UserIdentity | None) -> Iterator[str]:
    title = "Requested User Identity Negotiation:"
    if identity is None:
        yield title + " none"
        return
    kind, response_requested, primary, secondary = identity
    yield title
    if kind == 1:
        yield "  Authentication mode 1: Username"
        yield f"  Username: [{_user_name(primary)}]"
    elif kind == 2:
        yield "  Authentication mode 2: Username/Password"
        yield f"  Username: [{_user_name(primary)}]"
        yield "  Password: (not dumped)"
    elif kind == 3:
        yield "  Authentication mode 3: Kerberos"
        yield f"  Kerberos Service Ticket (not dumped) length: {len(primary)}"
    elif kind == 4:
        yield "  Authentication mode 4: SAML"
        yield f"  SAML Assertion (not dumped) length: {len(primary)}"
    elif kind == 5:
        yield "  Authentication mode 5: JWT"
        yield f"  JSON Web Token (not dumped) length: {len(primary)}"
    else:
        yield f"  Authentication mode: Unknown ({kind})"
        yield f"  First value (not dumped), length: {len(primary)}"
        yield f"  Second Value (not dumped), length: {len(secondary)}"
    yield f"  Positive Response requested: {'Yes' if response_requested else 'No'}"


def _user_name(primary: bytes) -> str:
    return printable(primary.decode("utf-8", "backslashreplace"))


def _identity_response(response: bytes | None) -> Iterator[str]:
    title = "User Identity Negotiation Response:"
    if response is None:
        yield title + "  none"
    else:
        yield title
        yield f"  Server Response (not dumped) length: {len(response)}"


# Messages


def _message(direction: str, context_id: int | None, command: CommandSet) -> str:
    lines = [_ruler(f"{direction} DIMSE MESSAGE")]
    for label, value in _fields(context_id, command):
        lines.append(f"{label:<{_LABEL}}: {value}")
    lines.append(_ruler("END DIMSE MESSAGE"))
    return "\n".join(lines)


def _fields(context_id: int | None, command: CommandSet) -> Iterator[tuple[str, str]]:
    """Yield labels and values of a command in the order of the reference."""
    yield "Message Type", _message_type(command)
    if context_id is not None:
        yield "Presentation Context ID", str(context_id)
    match command:
        case StoreRequest() | EchoRequest():
            yield "Message ID", str(command.message_id)
        case StoreResponse() | EchoResponse():
            yield "Message ID Being Responded To", str(command.message_id)
    match command:
        case StoreRequest() | StoreResponse():
            yield "Affected SOP Class UID", _class_name(command.sop_class)
            yield "Affected SOP Instance UID", printable(command.sop_instance) or "none"
        case EchoResponse():
            yield "Affected SOP Class UID", _class_name(command.sop_class)
    yield "Data Set", "present" if command.has_data else "none"
    match command:
        case StoreRequest():
            priority = command.priority
            yield "Priority", _PRIORITIES.get(priority, f"0x{priority:04x}")
            if command.move_originator:
                yield "Move Originator AE Title", printable(command.move_originator)
            if command.move_originator_id is not None:
                yield "Move Originator ID", str(command.move_originator_id)
        case StoreResponse() | EchoResponse():
            yield "DIMSE Status", f"0x{command.status:04x}: {_status(command.status)}"


def _message_type(command: CommandSet) -> str:
    match command:
        case StoreRequest():
            return "C-STORE RQ"
        case StoreResponse():
            return "C-STORE RSP"
        case EchoRequest():
            return "C-ECHO RQ"
        case EchoResponse():
            return "C-ECHO RSP"
        case OtherCommand(field):
            if field == _C_CANCEL_RQ:
                return "C-CANCEL RQ"
            service = _SERVICES.get(field & ~_RESPONSE, f"0x{field:04x}")
            return f"{service} {'RSP' if field & _RESPONSE else 'RQ'}"


def _class_name(sop_class: str) -> str:
    return uids.symbolic(sop_class) or printable(sop_class) or "none"


def _status(status: int) -> str:
    """Return what the status of a C-STORE response means (PS3.7 annex C)."""
    family = status >> 8
    text = _STATUSES.get(status) or _FAILURES.get(0xC0 if family >> 4 == 0xC else family)
    if text is not None:
        return text
    if family >> 4 == 0xB or status in _WARNINGS:
        return "Warning"
    if family >> 4 == 0xA or family in (0x01, 0x02):
        return "Failure"
    return "Unknown Status Code (non-standard)"
