"""What the sender says about statuses, refusals and transfer syntaxes, in words."""

from dcmstore import uids
from dcmstore.pdu import AssociateReject

SUCCESS = 0x0000

# PS3.7 annex C and PS3.4 table B.2-1; the words are those that scripts look for.
_STATUSES = {
    0x0000: "Success",
    0x0122: "Refused: SOPClassNotSupported",
    0xB000: "Warning: CoercionOfDataElements",
    0xB006: "Warning: ElementsDiscarded",
    0xB007: "Warning: DataSetDoesNotMatchSOPClass",
}
# By the high byte, and for C by the first digit.
_FAMILIES = {
    0xA7: "Refused: OutOfResources",
    0xA9: "Error: DataSetDoesNotMatchSOPClass",
    0xC0: "Error: CannotUnderstand",
}
# Warnings that are no Bxxx: attribute list error, attribute value out of range, plain warning.
_MORE_WARNINGS = frozenset((0x0001, 0x0107, 0x0116))

_RESULTS = {1: "Rejected Permanent", 2: "Rejected Transient"}
_SOURCES = {
    1: "Service User",
    2: "Service Provider (ACSE Related)",
    3: "Service Provider (Presentation Related)",
}
# PS3.8 table 9-21: what a reason means depends on who gives it.
_REASONS = {
    (1, 1): "No Reason",
    (1, 2): "App Context Name Not Supported",
    (1, 3): "Calling AE Title Not Recognized",
    (1, 7): "Called AE Title Not Recognized",
    (2, 1): "No Reason",
    (2, 2): "Protocol Version Not Supported",
    (3, 1): "Temporary Congestion",
    (3, 2): "Local Limit Exceeded",
}


def status(code: int) -> str:
    """Return the words for a C-STORE status."""
    text = _STATUSES.get(code)
    if text is None:
        family = code >> 8
        text = _FAMILIES.get(0xC0 if family >> 4 == 0xC else family)
    return text or f"Unknown Status: 0x{code:x}"


def is_stored(code: int) -> bool:
    """Tell whether a status, success or warning, says that the object has been stored."""
    return code == SUCCESS or code >> 12 == 0xB or code in _MORE_WARNINGS


def exit_code(code: int) -> int:
    """Return what the program exits with because of the last status it received."""
    return 0 if is_stored(code) else code >> 8


def rejection(reject: AssociateReject) -> str:
    """Return the three lines that explain an A-ASSOCIATE-RJ."""
    result = _RESULTS.get(reject.result, "UNKNOWN")
    source = _SOURCES.get(reject.source, "UNKNOWN")
    reason = _REASONS.get((reject.source, reject.reason), "UNKNOWN")
    return f"Association Rejected:\nResult: {result}, Source: {source}\nReason: {reason}"


def sop_class(uid: str) -> str:
    """Return the shortest name that a SOP class has."""
    return uids.file_prefix(uid) or uids.symbolic(uid) or "unknown SOP class"


def modality(uid: str) -> str:
    """Return the short name of a SOP class in log lines."""
    return uids.file_prefix(uid) or "OT"
