"""What the sender proposes: presentation contexts, and the association request around them."""

import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from dcmstore import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, pdu, uids
from dcmstore.errors import LocalError

if TYPE_CHECKING:
    from dcmstore.profiles import Profile

log = logging.getLogger("dcmtk.dcmnet")

MAX_CONTEXTS = 128
"""Presentation context IDs are odd numbers of one byte (PS3.8 section 9.3.2.2)."""

_BASE = "1.2.840.10008.1.2"
# Without one of these the receiver could take nothing it knows; video has no such way out.
_WITH_FALLBACK = {
    "propose-lossless": ".4.70",
    "propose-jpeg8": ".4.50",
    "propose-jpeg12": ".4.51",
    "propose-j2k-lossless": ".4.90",
    "propose-j2k-lossy": ".4.91",
    "propose-jls-lossless": ".4.80",
    "propose-jls-lossy": ".4.81",
    "propose-rle": ".5",
    "propose-deflated": ".1.99",
}
_ALONE = {
    "propose-mpeg2": ".4.100",
    "propose-mpeg2-high": ".4.101",
    "propose-mpeg4": ".4.102",
    "propose-mpeg4-bd": ".4.103",
    "propose-mpeg4-2-2d": ".4.104",
    "propose-mpeg4-2-3d": ".4.105",
    "propose-mpeg4-2-st": ".4.106",
    "propose-hevc": ".4.107",
    "propose-hevc10": ".4.108",
}


_ROLES = {"SCU": (True, False), "SCP": (False, True), "BOTH": (True, True)}


class Proposal(NamedTuple):
    """What is to be negotiated beside the titles and the PDU size."""

    contexts: tuple[pdu.PresentationContext, ...]
    roles: tuple[pdu.RoleSelection, ...] = ()
    extended: tuple[pdu.ExtendedNegotiation, ...] = ()


class TooManyContexts(Exception):
    """The SOP classes need more presentation contexts than an association can have."""


def transfer_syntaxes(option: str) -> tuple[str, tuple[str, ...]]:
    """Return the preferred transfer syntax and the fallbacks of a ``--propose-*`` option.

    ``option`` is its name without dashes.
    """
    match option:
        case "propose-uncompr" | "propose-little":
            return uids.EXPLICIT_LITTLE, (uids.EXPLICIT_BIG, uids.IMPLICIT_LITTLE)
        case "propose-big":
            return uids.EXPLICIT_BIG, (uids.EXPLICIT_LITTLE, uids.IMPLICIT_LITTLE)
        case "propose-implicit":
            return uids.IMPLICIT_LITTLE, ()
    if option in _ALONE:
        return _BASE + _ALONE[option], ()
    return (
        _BASE + _WITH_FALLBACK[option],
        (uids.EXPLICIT_LITTLE, uids.EXPLICIT_BIG, uids.IMPLICIT_LITTLE),
    )


def contexts(
    sop_classes: Iterable[str], option: str, combine: bool
) -> tuple[pdu.PresentationContext, ...]:
    """Return the presentation contexts that offer these classes, with IDs 1, 3, 5 and so on.

    A class has one context for the preferred transfer syntax and one for the fallbacks, or with
    ``combine`` a single one. Raises TooManyContexts.
    """
    preferred, fallback = transfer_syntaxes(option)
    offers: tuple[tuple[str, ...], ...] = ((preferred,), fallback)
    if combine or not fallback:
        offers = ((preferred, *fallback),)
    pairs = [(sop_class, offer) for sop_class in sop_classes for offer in offers]
    if len(pairs) > MAX_CONTEXTS:
        raise TooManyContexts
    return _numbered(pairs)


def from_profile(profile: "Profile") -> Proposal:
    """Return what an association negotiation profile proposes, in the order of its lists.

    A role is proposed once for each context of its class.
    """
    return Proposal(
        _numbered(profile.contexts),
        tuple(
            pdu.RoleSelection(abstract, *_ROLES[profile.roles[abstract]])
            for abstract, _ in profile.contexts
            if abstract in profile.roles
        ),
        tuple(pdu.ExtendedNegotiation(*entry) for entry in profile.extended.items()),
    )


def _numbered(
    pairs: Iterable[tuple[str, tuple[str, ...]]],
) -> tuple[pdu.PresentationContext, ...]:
    return tuple(
        pdu.PresentationContext(2 * index + 1, abstract, offer)
        for index, (abstract, offer) in enumerate(pairs)
    )


def request(
    calling: str,
    called: str,
    proposal: Proposal,
    max_pdu: int,
    user_identity: pdu.UserIdentity | None = None,
) -> pdu.AssociateRequest:
    """Return the association request; ``check`` says whether a peer can be asked that.

    The titles travel byte for byte as they were typed.
    """
    return pdu.AssociateRequest(
        called=os.fsencode(called).decode("latin-1"),
        calling=os.fsencode(calling).decode("latin-1"),
        contexts=proposal.contexts,
        max_length=max_pdu,
        implementation_class=IMPLEMENTATION_CLASS_UID,
        implementation_version=IMPLEMENTATION_VERSION,
        roles=proposal.roles,
        extended=proposal.extended,
        user_identity=user_identity,
    )


def check(request: pdu.AssociateRequest) -> None:
    """Raise LocalError for a request that no peer could be asked."""
    for which, title in (("Called", request.called), ("Calling", request.calling)):
        if not title:
            text = f"Illegal service parameter: {which} AP Title"
            log.error("%s", text)
            raise LocalError("0006:030c", text)
    if not request.contexts:
        raise LocalError(
            "0006:0103",
            "ASC Coding error in ASC_requestAssociation: missing presentation contexts",
        )
    if request.user_identity is not None:
        try:
            pdu.encode(request)
        except LocalError as error:
            # Too long, which needs no peer to be found out.
            log.error("%s", error.text)
            raise
