"""Negotiation as a pure function: preferences, refused contexts, and the order of refusals."""

import itertools

import pytest
from harness import wire

from dcmstore import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, pdu, uids
from dcmstore.negotiation import (
    Policy,
    Rejection,
    answer,
    default_abstract_syntaxes,
    preference,
    send_limit,
)
from dcmstore.pdu import AssociateAccept, AssociateReject, AssociateRequest, PresentationContext

LEE, BEE, LEI = wire.EXPLICIT, wire.BIG, wire.IMPLICIT
NATIVE = (LEE, BEE, LEI)
# In the words of the standard's registry (PS3.6 annex A), by the options' names.
SINGLE = {
    "prefer-jpeg8": "1.2.840.10008.1.2.4.50",
    "prefer-jpeg12": "1.2.840.10008.1.2.4.51",
    "prefer-lossless": "1.2.840.10008.1.2.4.70",
    "prefer-jls-lossless": "1.2.840.10008.1.2.4.80",
    "prefer-jls-lossy": "1.2.840.10008.1.2.4.81",
    "prefer-j2k-lossless": "1.2.840.10008.1.2.4.90",
    "prefer-j2k-lossy": "1.2.840.10008.1.2.4.91",
    "prefer-mpeg2": "1.2.840.10008.1.2.4.100",
    "prefer-mpeg2-high": "1.2.840.10008.1.2.4.101",
    "prefer-mpeg4": "1.2.840.10008.1.2.4.102",
    "prefer-mpeg4-bd": "1.2.840.10008.1.2.4.103",
    "prefer-mpeg4-2-2d": "1.2.840.10008.1.2.4.104",
    "prefer-mpeg4-2-3d": "1.2.840.10008.1.2.4.105",
    "prefer-mpeg4-2-st": "1.2.840.10008.1.2.4.106",
    "prefer-hevc": "1.2.840.10008.1.2.4.107",
    "prefer-hevc10": "1.2.840.10008.1.2.4.108",
    "prefer-rle": "1.2.840.10008.1.2.5",
    "prefer-deflated": "1.2.840.10008.1.2.1.99",
}
ORDERS = {
    "prefer-uncompr": NATIVE,
    "prefer-little": NATIVE,
    "prefer-big": (BEE, LEE, LEI),
    "implicit": (LEI,),
    **{option: (uid, *NATIVE) for option, uid in SINGLE.items()},
}
ALL = tuple(
    f"1.2.840.10008.1.2{suffix}"
    for suffix in (
        *(".4.91", ".4.90", ".4.51", ".4.50", ".4.70", ".4.81", ".4.80", ".5"),
        *(".4.100", ".4.100.1", ".4.101", ".4.101.1", ".4.102", ".4.102.1"),
        *(".4.103", ".4.103.1", ".4.104", ".4.104.1", ".4.105", ".4.105.1"),
        *(".4.106", ".4.106.1", ".4.107", ".4.108", ".4.201", ".4.202", ".4.203"),
        *(".4.110", ".4.111", ".4.112", ".8.1", ".1.99", ".1.98", ".1", ".2", ""),
    )
)

UNKNOWN = "1.2.3.4.5"


def policy(option: str = "prefer-uncompr", **more: object) -> Policy:
    return Policy(preference(option), default_abstract_syntaxes(), **more)  # type: ignore[arg-type]


def request(*contexts: tuple[str, tuple[str, ...]], **more: object) -> AssociateRequest:
    proposed = tuple(
        PresentationContext(2 * number + 1, abstract, syntaxes)
        for number, (abstract, syntaxes) in enumerate(contexts)
    )
    plain = AssociateRequest("CALLED", "CALLING", proposed, 16384, "1.2.3.4", "PEER")
    return plain._replace(**more)  # type: ignore[arg-type]


def accepted(wanted: AssociateRequest, own: Policy) -> AssociateAccept:
    found = answer(wanted, own)
    assert isinstance(found, AssociateAccept)
    return found


@pytest.mark.parametrize("option", ORDERS)
def test_orders(option: str) -> None:
    assert preference(option) == ORDERS[option]


def test_order_of_all() -> None:
    assert preference("accept-all") == ALL
    assert len(set(ALL)) == 36
    assert all(uids.is_transfer_syntax(uid) for uid in ALL)


@pytest.mark.parametrize("option", [*ORDERS, "accept-all"])
def test_own_order_decides(option: str) -> None:
    """Whatever the peer's order is; and without the favourite the next one is taken."""
    own = ALL if option == "accept-all" else ORDERS[option]
    for first in range(len(own)):
        there = own[first:]
        for proposed in (there, there[::-1], ("1.2.3", *there[::-1], "1.2.4")):
            (result,) = accepted(request((wire.CT, proposed)), policy(option)).contexts
            assert result == (1, 0, own[first])


@pytest.mark.parametrize("option", ORDERS)
def test_nothing_in_common(option: str) -> None:
    others = tuple(uid for uid in ALL if uid not in ORDERS[option])
    (result,) = accepted(request((wire.CT, others)), policy(option)).contexts
    assert result == (1, 4, LEI)


@pytest.mark.parametrize("syntaxes", list(itertools.permutations(NATIVE, 2)))
def test_the_peers_order_is_irrelevant(syntaxes: tuple[str, ...]) -> None:
    (result,) = accepted(request((wire.CT, syntaxes)), policy("prefer-big")).contexts
    assert result.transfer_syntax == (BEE if BEE in syntaxes else LEE)


@pytest.mark.parametrize(
    ("abstract", "plain", "promiscuous"),
    [
        (wire.VERIFICATION, 0, 0),
        (wire.CT, 0, 0),
        (UNKNOWN, 3, 0),
        ("", 3, 0),
        (wire.CT + "\0", 3, 0),
        (wire.FIND, 3, 3),
        (wire.HANGING_PROTOCOL, 3, 3),
        (LEE, 3, 3),
        (uids.APPLICATION_CONTEXT, 3, 3),
    ],
)
def test_abstract_syntaxes(abstract: str, plain: int, promiscuous: int) -> None:
    wanted = request((abstract, NATIVE))
    (one,) = accepted(wanted, policy()).contexts
    (other,) = accepted(wanted, policy(promiscuous=True)).contexts
    assert one == (1, plain, LEE if plain == 0 else LEI)
    assert other == (1, promiscuous, LEE if promiscuous == 0 else LEI)


def test_an_abstract_syntax_counts_before_a_transfer_syntax() -> None:
    neither = request((UNKNOWN, ("1.2.3",)))
    assert accepted(neither, policy()).contexts == ((1, 3, LEI),)
    assert accepted(neither, policy(promiscuous=True)).contexts == ((1, 4, LEI),)


def test_the_default_classes() -> None:
    classes = default_abstract_syntaxes()
    assert len(classes) == 203
    assert wire.VERIFICATION in classes
    assert all(uids.is_storage(uid) for uid in classes - {wire.VERIFICATION})
    assert wire.HANGING_PROTOCOL not in classes


def test_every_context_has_its_answer_in_its_place() -> None:
    wanted = request(
        (wire.CT, (LEI,)), (wire.FIND, (LEI,)), (wire.MR, ("1.2.3",)), (wire.CT, (LEE,))
    )
    wanted = wanted._replace(
        contexts=(*wanted.contexts, PresentationContext(1, wire.MR, (BEE,)))  # an ID again
    )
    assert accepted(wanted, policy()).contexts == (
        (1, 0, LEI),
        (3, 3, LEI),
        (5, 4, LEI),
        (7, 0, LEE),
    )


def test_association_without_an_accepted_context() -> None:
    assert accepted(request((wire.FIND, NATIVE)), policy()).contexts == ((1, 3, LEI),)


def test_fields_of_the_acceptance() -> None:
    wanted = request((wire.CT, NATIVE))._replace(
        raw_titles=b"CALLED\0".ljust(16) + b"CALLING\0".ljust(16),
        roles=(pdu.RoleSelection(wire.CT, False, True),),
        extended=(pdu.ExtendedNegotiation(wire.CT, b"\1"),),
        user_identity=pdu.UserIdentity(2, True, b"me", b"secret"),
        protocol_version=3,
    )
    assert accepted(wanted, policy(max_pdu=4096)) == AssociateAccept(
        "CALLED",
        "CALLING",
        ((1, 0, LEE),),  # type: ignore[arg-type]
        4096,
        IMPLEMENTATION_CLASS_UID,
        IMPLEMENTATION_VERSION,
        raw_titles=wanted.raw_titles,
    )


# Each refusal beats those behind it

FULL = ((2, 3, 2), "Association Rejected: Local Limit Exceeded")
REFUSED = ((1, 1, 1), "Refusing Association (forced via command line)")
NO_CONTEXT = None
BAD_NAME = ((1, 1, 2), "Association Rejected: Bad Application Context Name: 1.2.3")
ANONYMOUS = ((1, 1, 1), "Association Rejected: No Implementation Class UID provided")


@pytest.mark.parametrize("wrong", list(itertools.product([False, True], repeat=5)))
def test_order_of_refusals(wrong: tuple[bool, ...]) -> None:
    full, refuse, empty, name, anonymous = wrong
    wanted = request(*(() if empty else ((wire.CT, NATIVE),)))
    if name:
        wanted = wanted._replace(application_context="1.2.3")
    if anonymous:
        wanted = wanted._replace(implementation_class="")
    own = policy(full=full, refuse=refuse, reject_anonymous=True)
    found = answer(wanted, own)
    first = next(
        (
            expected
            for applies, expected in zip(
                wrong, (FULL, REFUSED, NO_CONTEXT, BAD_NAME, ANONYMOUS), strict=True
            )
            if applies
        ),
        "accepted",
    )
    if first == "accepted":
        assert isinstance(found, AssociateAccept)
    elif first is None:
        assert found is None
    else:
        assert isinstance(first, tuple)
        assert found == Rejection(AssociateReject(*first[0]), first[1])


def test_anonymous_peers_are_taken_unless_told_otherwise() -> None:
    wanted = request((wire.CT, NATIVE), implementation_class="")
    assert isinstance(answer(wanted, policy()), AssociateAccept)


@pytest.mark.parametrize("name", ["", "1.2.840.10008.3.1.1.2", "1.2.840.10008.3.1.1.1.1"])
def test_application_context(name: str) -> None:
    found = answer(request((wire.CT, NATIVE), application_context=name), policy())
    assert isinstance(found, Rejection)
    assert found.reason.endswith(": " + name)


@pytest.mark.parametrize(
    ("peer", "limit"),
    [
        (0, 131060),
        (1, -12),
        (11, -2),
        (12, 0),
        (13, 0),
        (14, 2),
        (15, 2),
        (16384, 16372),
        (16385, 16372),
        (131072, 131060),
        (131073, 131060),
        (0xFFFFFFFF, 131060),
    ],
)
def test_send_limit(peer: int, limit: int) -> None:
    assert send_limit(peer) == limit
