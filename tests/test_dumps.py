"""The texts that spell out associations and messages, against texts checked by hand."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcmstore import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, dumps, pdu
from dcmstore.command import (
    CommandSet,
    EchoRequest,
    EchoResponse,
    OtherCommand,
    StoreRequest,
    StoreResponse,
    decode,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
SC = "1.2.840.10008.5.1.4.1.1.7"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"
LOSSLESS = "1.2.840.10008.1.2.4.70"

REQUEST = pdu.AssociateRequest(
    called="ANY-SCP",
    calling="CT01",
    contexts=(
        pdu.PresentationContext(1, CT, (EXPLICIT, "1.2.3.4.5")),
        pdu.PresentationContext(3, MR, (LOSSLESS,)),
        pdu.PresentationContext(255, "1.2.3", (IMPLICIT,)),
    ),
    max_length=32768,
    implementation_class="1.2.3.4",
    implementation_version="MODALITY 1",
)
ACCEPT = pdu.AssociateAccept(
    called="ANY-SCP",
    calling="CT01",
    contexts=(
        pdu.ContextResult(1, 0, EXPLICIT),
        pdu.ContextResult(3, 4, IMPLICIT),
        pdu.ContextResult(255, 3, IMPLICIT),
    ),
    max_length=16384,
    implementation_class="1.2.3.5",
    implementation_version="",
)
OWN = f"""\
Our Implementation Class UID:      {IMPLEMENTATION_CLASS_UID}
Our Implementation Version Name:   {IMPLEMENTATION_VERSION}"""
NO_MORE = """\
Requested Extended Negotiation: none
Accepted Extended Negotiation:  none
Requested User Identity Negotiation: none
User Identity Negotiation Response:  none"""


def lines_of(text: str, first: str, last: str) -> list[str]:
    """Return the lines from one that starts with ``first`` to the one before ``last``."""
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines) if line.startswith(first)]
    ends = [number for number, line in enumerate(lines) if line.startswith(last)]
    return lines[starts[0] : ends[0]]


def test_received_request() -> None:
    assert (
        dumps.received_request(REQUEST, 16382)
        == f"""\
Parameters:
====================== BEGIN A-ASSOCIATE-RQ =====================
{OWN}
Their Implementation Class UID:    1.2.3.4
Their Implementation Version Name: MODALITY 1
Application Context Name:    1.2.840.10008.3.1.1.1
Calling Application Name:    CT01
Called Application Name:     ANY-SCP
Responding Application Name: 
Our Max PDU Receive Size:    16382
Their Max PDU Receive Size:  32768
Presentation Contexts:
  Context ID:        1 (Proposed)
    Abstract Syntax: =CTImageStorage
    Proposed SCP/SCU Role: Default
    Proposed Transfer Syntax(es):
      =LittleEndianExplicit
      1.2.3.4.5
  Context ID:        3 (Proposed)
    Abstract Syntax: =MRImageStorage
    Proposed SCP/SCU Role: Default
    Proposed Transfer Syntax(es):
      =JPEGLossless:Non-hierarchical-1stOrderPrediction
  Context ID:        255 (Proposed)
    Abstract Syntax: 1.2.3
    Proposed SCP/SCU Role: Default
    Proposed Transfer Syntax(es):
      =LittleEndianImplicit
{NO_MORE}
======================= END A-ASSOCIATE-RQ ======================"""  # noqa: W291
    )


ANSWERED = f"""\
Presentation Contexts:
  Context ID:        1 (Accepted)
    Abstract Syntax: =CTImageStorage
    Proposed SCP/SCU Role: Default
    Accepted SCP/SCU Role: Default
    Accepted Transfer Syntax: =LittleEndianExplicit
  Context ID:        3 (Transfer Syntaxes Not Supported)
    Abstract Syntax: =MRImageStorage
    Proposed SCP/SCU Role: Default
    Accepted SCP/SCU Role: Default
  Context ID:        255 (Abstract Syntax Not Supported)
    Abstract Syntax: 1.2.3
    Proposed SCP/SCU Role: Default
    Accepted SCP/SCU Role: Default
{NO_MORE}
======================= END A-ASSOCIATE-AC ======================"""


def test_sent_accept() -> None:
    assert (
        dumps.sent_accept(REQUEST, ACCEPT)
        == f"""\
====================== BEGIN A-ASSOCIATE-AC =====================
Our Implementation Class UID:      1.2.3.5
Our Implementation Version Name:   
Their Implementation Class UID:    1.2.3.4
Their Implementation Version Name: MODALITY 1
Application Context Name:    1.2.840.10008.3.1.1.1
Calling Application Name:    CT01
Called Application Name:     ANY-SCP
Responding Application Name: ANY-SCP
Our Max PDU Receive Size:    16384
Their Max PDU Receive Size:  32768
{ANSWERED}"""  # noqa: W291
    )


def test_sent_request() -> None:
    text = dumps.sent_request(REQUEST)
    assert text.startswith("Request Parameters:\n====================== BEGIN A-ASSOCIATE-RQ ")
    assert (
        "\n".join(lines_of(text, "Our Implementation", "Presentation Contexts"))
        == """\
Our Implementation Class UID:      1.2.3.4
Our Implementation Version Name:   MODALITY 1
Their Implementation Class UID:    
Their Implementation Version Name: 
Application Context Name:    1.2.840.10008.3.1.1.1
Calling Application Name:    CT01
Called Application Name:     ANY-SCP
Responding Application Name: 
Our Max PDU Receive Size:    32768
Their Max PDU Receive Size:  0"""  # noqa: W291
    )


def test_received_accept() -> None:
    text = dumps.received_accept(REQUEST, ACCEPT)
    assert (
        text
        == f"""\
Association Parameters Negotiated:
====================== BEGIN A-ASSOCIATE-AC =====================
Our Implementation Class UID:      1.2.3.4
Our Implementation Version Name:   MODALITY 1
Their Implementation Class UID:    1.2.3.5
Their Implementation Version Name: 
Application Context Name:    1.2.840.10008.3.1.1.1
Calling Application Name:    CT01
Called Application Name:     ANY-SCP
Responding Application Name: ANY-SCP
Our Max PDU Receive Size:    32768
Their Max PDU Receive Size:  16384
{ANSWERED}"""  # noqa: W291
    )


def test_contexts_without_or_with_odd_answers() -> None:
    contexts = tuple(pdu.PresentationContext(number, CT, (IMPLICIT,)) for number in (1, 3, 3, 5))
    results = (
        pdu.ContextResult(5, 1, ""),
        pdu.ContextResult(3, 2, ""),
        pdu.ContextResult(3, 0, IMPLICIT),
        pdu.ContextResult(7, 0, IMPLICIT),
    )
    text = dumps.received_accept(
        REQUEST._replace(contexts=contexts), ACCEPT._replace(contexts=results)
    )
    heads = [line.strip() for line in text.split("\n") if "Context ID" in line]
    assert heads == [
        "Context ID:        1 (Proposed)",
        "Context ID:        3 (No Reason)",
        "Context ID:        3 (Proposed)",
        "Context ID:        5 (User Rejection)",
    ]
    odd = ACCEPT._replace(contexts=(pdu.ContextResult(1, 9, ""),))
    assert "  Context ID:        1 (Invalid Result 9)\n" in dumps.received_accept(REQUEST, odd)


@pytest.mark.parametrize(
    ("scu", "scp", "word"),
    [(True, False, "SCU"), (False, True, "SCP"), (True, True, "SCP/SCU"), (False, False, "None")],
)
def test_roles(scu: bool, scp: bool, word: str) -> None:
    roles = (pdu.RoleSelection(CT, scu, scp), pdu.RoleSelection(CT, True, True))
    text = dumps.received_request(REQUEST._replace(roles=roles), 0)
    proposed = [line for line in text.split("\n") if "Role" in line]
    assert proposed == [
        f"    Proposed SCP/SCU Role: {word}",
        *["    Proposed SCP/SCU Role: Default"] * 2,
    ]
    text = dumps.received_accept(REQUEST, ACCEPT._replace(roles=roles))
    assert f"    Proposed SCP/SCU Role: Default\n    Accepted SCP/SCU Role: {word}\n" in text


def test_extended_negotiation() -> None:
    requested = REQUEST._replace(
        extended=(
            pdu.ExtendedNegotiation(CT, bytes((0, 1, 0xFE))),
            pdu.ExtendedNegotiation("1.2.3", b""),
        )
    )
    accepted = ACCEPT._replace(extended=(pdu.ExtendedNegotiation(CT, b"\2"),))
    text = dumps.sent_accept(requested, accepted)
    assert lines_of(text, "Requested Extended", "Requested User") == [
        "Requested Extended Negotiation:",
        "  =CTImageStorage (1.2.840.10008.5.1.4.1.1.2)",
        "    [0x00, 0x01, 0xfe]",
        "  =Unknown-UID (1.2.3)",
        "    []",
        "Accepted Extended Negotiation:",
        "  =CTImageStorage (1.2.840.10008.5.1.4.1.1.2)",
        "    [0x02]",
    ]


def test_long_extended_negotiation_is_cut() -> None:
    long = pdu.ExtendedNegotiation(CT, bytes(60000))
    text = dumps.received_request(REQUEST._replace(extended=(long,)), 0)
    assert len(text) < 4000
    assert ", 0x00, and 59744 more]" in text


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (
            pdu.UserIdentity(1, True, "jö".encode(), b""),
            ["mode 1: Username", "Username: [jö]", "Positive Response requested: Yes"],
        ),
        (
            pdu.UserIdentity(2, False, b"joe\xff", b"secret"),
            [
                "mode 2: Username/Password",
                "Username: [joe\\xff]",
                "Password: (not dumped)",
                "Positive Response requested: No",
            ],
        ),
        (
            pdu.UserIdentity(3, True, b"secret", b""),
            [
                "mode 3: Kerberos",
                "Kerberos Service Ticket (not dumped) length: 6",
                "Positive Response requested: Yes",
            ],
        ),
        (
            pdu.UserIdentity(4, False, b"<secret/>", b""),
            [
                "mode 4: SAML",
                "SAML Assertion (not dumped) length: 9",
                "Positive Response requested: No",
            ],
        ),
        (
            pdu.UserIdentity(5, False, b"secret", b""),
            [
                "mode 5: JWT",
                "JSON Web Token (not dumped) length: 6",
                "Positive Response requested: No",
            ],
        ),
        (
            pdu.UserIdentity(9, False, b"secret", b"secret too"),
            [
                "mode: Unknown (9)",
                "First value (not dumped), length: 6",
                "Second Value (not dumped), length: 10",
                "Positive Response requested: No",
            ],
        ),
    ],
    ids=["name", "password", "kerberos", "saml", "jwt", "unknown"],
)
def test_user_identity(identity: pdu.UserIdentity, expected: list[str]) -> None:
    text = dumps.received_request(REQUEST._replace(user_identity=identity), 0)
    first, *others = expected
    assert lines_of(text, "Requested User", "User Identity Negotiation Response") == [
        "Requested User Identity Negotiation:",
        f"  Authentication {first}",
        *[f"  {line}" for line in others],
    ]
    assert "secret" not in text


def test_user_identity_response() -> None:
    text = dumps.received_accept(REQUEST, ACCEPT._replace(user_identity_response=b"secret"))
    assert text.split("\n")[-3:-1] == [
        "User Identity Negotiation Response:",
        "  Server Response (not dumped) length: 6",
    ]


def test_incoming_store_request() -> None:
    assert (
        dumps.incoming(3, StoreRequest(7, CT, "1.2.3.4"))
        == """\
===================== INCOMING DIMSE MESSAGE ====================
Message Type                  : C-STORE RQ
Presentation Context ID       : 3
Message ID                    : 7
Affected SOP Class UID        : CTImageStorage
Affected SOP Instance UID     : 1.2.3.4
Data Set                      : present
Priority                      : medium
======================= END DIMSE MESSAGE ======================="""
    )


def test_outgoing_store_request() -> None:
    assert (
        dumps.outgoing(StoreRequest(1, "1.2.3", "1.2.3.4", 2))
        == """\
===================== OUTGOING DIMSE MESSAGE ====================
Message Type                  : C-STORE RQ
Message ID                    : 1
Affected SOP Class UID        : 1.2.3
Affected SOP Instance UID     : 1.2.3.4
Data Set                      : present
Priority                      : low
======================= END DIMSE MESSAGE ======================="""
    )


def body(command: CommandSet) -> list[str]:
    """Return the lines of a received command after the presentation context's."""
    return dumps.incoming(1, command).split("\n")[3:-1]


def test_other_messages() -> None:
    assert body(StoreResponse(5, 0xA700, CT, "1.2.3")) == [
        "Message ID Being Responded To : 5",
        "Affected SOP Class UID        : CTImageStorage",
        "Affected SOP Instance UID     : 1.2.3",
        "Data Set                      : none",
        "DIMSE Status                  : 0xa700: Refused: Out of resources",
    ]
    assert body(StoreResponse(5, 0))[1:3] == [
        "Affected SOP Class UID        : none",
        "Affected SOP Instance UID     : none",
    ]
    assert body(EchoRequest(65535, "1.2.840.10008.1.1")) == [
        "Message ID                    : 65535",
        "Data Set                      : none",
    ]
    assert body(EchoResponse(4, 0x0110)) == [
        "Message ID Being Responded To : 4",
        "Affected SOP Class UID        : none",
        "Data Set                      : none",
        "DIMSE Status                  : 0x0110: Failure",
    ]


@pytest.mark.parametrize(
    ("field", "name"),
    [
        (0x0020, "C-FIND RQ"),
        (0x8021, "C-MOVE RSP"),
        (0x0FFF, "C-CANCEL RQ"),
        (0x8130, "N-ACTION RSP"),
        (0x1234, "0x1234 RQ"),
    ],
)
def test_message_types(field: int, name: str) -> None:
    assert dumps.incoming(1, OtherCommand(field, True)).split("\n")[1:-1] == [
        f"Message Type                  : {name}",
        "Presentation Context ID       : 1",
        "Data Set                      : present",
    ]


@pytest.mark.parametrize(("priority", "word"), [(0, "medium"), (1, "high"), (7, "0x0007")])
def test_priorities(priority: int, word: str) -> None:
    lines = body(StoreRequest(1, SC, "1.2", priority))
    assert lines[-1] == f"Priority                      : {word}"


def command_element(number: int, value: bytes) -> bytes:
    return bytes((0, 0)) + number.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value


@pytest.mark.parametrize(
    ("title", "number", "expected"),
    [
        (b"MOVER ", b"\x63\0", ["AE Title      : MOVER", "ID            : 99"]),
        (b"MOVER ", b"\0\0", ["AE Title      : MOVER", "ID            : 0"]),
        (b"MO\x1bVER", b"", ["AE Title      : MO\\x1bVER"]),
        (b"X" * 5000, b"\1\0\0\0", ["AE Title      : " + "X" * 16]),
        (b"", b"\1\0", ["ID            : 1"]),
    ],
)
def test_move_originator(title: bytes, number: bytes, expected: list[str]) -> None:
    request = decode(
        b"".join(
            (
                command_element(0x0002, CT.encode() + b"\0"),
                command_element(0x0100, b"\1\0"),
                command_element(0x0110, b"\1\0"),
                command_element(0x0700, b"\0\0"),
                command_element(0x0800, b"\1\0"),
                command_element(0x1000, b"1.2\0"),
                command_element(0x1030, title),
                command_element(0x1031, number),
            )
        )
    )
    assert body(request)[5:] == [f"Move Originator {line}" for line in expected]


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (0x0117, "Invalid SOP Instance"),
        (0xA7FF, "Refused: Out of resources"),
        (0xC123, "Error: Cannot understand"),
        (0xBFFF, "Warning"),
        (0x0107, "Warning"),
        (0x02FF, "Failure"),
        (0xA801, "Failure"),
        (0xFE01, "Unknown Status Code (non-standard)"),
        (0x0002, "Unknown Status Code (non-standard)"),
    ],
)
def test_statuses(status: int, text: str) -> None:
    assert body(StoreResponse(1, status))[-1].endswith(f": 0x{status:04x}: {text}")


peers_text = st.text(st.characters(max_codepoint=0xFF), max_size=64)


@given(
    st.lists(peers_text, min_size=7, max_size=7),
    st.binary(max_size=40),
)
def test_no_text_of_a_peer_makes_lines_of_its_own(texts: list[str], name: bytes) -> None:
    hostile = REQUEST._replace(
        calling=texts[0],
        called=texts[1],
        implementation_class=texts[2],
        implementation_version=texts[3],
        application_context=texts[4],
        contexts=(pdu.PresentationContext(1, texts[5], (texts[6],)),),
        extended=(pdu.ExtendedNegotiation(texts[5], name),),
        user_identity=pdu.UserIdentity(1, False, name, b""),
    )
    accept = ACCEPT._replace(contexts=(pdu.ContextResult(1, 0, texts[6]),))
    stored = StoreRequest(1, texts[0], texts[1], move_originator="X" + texts[2])
    for text, count in (
        (dumps.received_request(hostile, 0), 28),
        (dumps.received_accept(hostile, accept), 28),
        (dumps.incoming(1, stored), 10),
    ):
        lines = text.split("\n")
        assert len(lines) == count
        assert all(line.isprintable() for line in lines)


def test_programs_start_without_the_module() -> None:
    """Nobody who does not read dumps pays for them."""
    code = "import sys, storescpd.run, storescu.run; sys.exit('dcmstore.dumps' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_status_detail_of_a_peer_that_means_harm() -> None:
    """Lines cannot be forged, and none of it is without end."""
    details = ((0x0901, b"abc"), (0x0902, b"a\nb\x1b[31m\\c" + bytes(5000)), (0x0903, b"a" * 5001))
    *_, offending, comment, number, end = dumps.status_detail(
        StoreResponse(1, 0xC000, details=details)
    ).split("\n")
    assert offending.startswith("(0000,0901) AT (no value available)  ")
    assert comment.startswith("(0000,0902) LO [a\\x0ab\\x1b[31m\\c]")
    assert comment.endswith("#5010, 2 ErrorComment")
    assert number.count("24929") == 128
    assert len(number) < 1000
    assert end == ""
