"""Pure association negotiation: a request and a policy give an acceptance or a rejection.

The sender's proposals live with the sender; the rules here are those of the acceptor
(PS3.8 section 7.1.1, PS3.7 annex D).
"""

from typing import TYPE_CHECKING, NamedTuple

from dcmstore import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, pdu, uids

if TYPE_CHECKING:  # who has no profile need not load what reads them
    from dcmstore.profiles import Profile

# Presentation context results (PS3.8 table 9-18).
ACCEPTED = 0
USER_REJECTION = 1
NO_REASON = 2
ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
TRANSFER_SYNTAXES_NOT_SUPPORTED = 4

# Result, source and reason of an A-ASSOCIATE-RJ (PS3.8 table 9-21): transient, by the
# presentation layer of the provider.
LOCAL_LIMIT_EXCEEDED = (2, 3, 2)

_UNCOMPRESSED = (uids.EXPLICIT_LITTLE, uids.EXPLICIT_BIG, uids.IMPLICIT_LITTLE)
_BASE = "1.2.840.10008.1.2"
_EVERYTHING = (
    *(
        _BASE + suffix
        for suffix in (
            ".4.91 .4.90 .4.51 .4.50 .4.70 .4.81 .4.80 .5 .4.100 .4.100.1 .4.101 .4.101.1 .4.102"
            " .4.102.1 .4.103 .4.103.1 .4.104 .4.104.1 .4.105 .4.105.1 .4.106 .4.106.1"
            " .4.107 .4.108"
            " .4.201 .4.202 .4.203 .4.110 .4.111 .4.112 .8.1 .1.99 .1.98 .1 .2"
        ).split()
    ),
    uids.IMPLICIT_LITTLE,
)
_PREFERRED = {
    "prefer-lossless": ".4.70",
    "prefer-jpeg8": ".4.50",
    "prefer-jpeg12": ".4.51",
    "prefer-j2k-lossless": ".4.90",
    "prefer-j2k-lossy": ".4.91",
    "prefer-jls-lossless": ".4.80",
    "prefer-jls-lossy": ".4.81",
    "prefer-mpeg2": ".4.100",
    "prefer-mpeg2-high": ".4.101",
    "prefer-mpeg4": ".4.102",
    "prefer-mpeg4-bd": ".4.103",
    "prefer-mpeg4-2-2d": ".4.104",
    "prefer-mpeg4-2-3d": ".4.105",
    "prefer-mpeg4-2-st": ".4.106",
    "prefer-hevc": ".4.107",
    "prefer-hevc10": ".4.108",
    "prefer-rle": ".5",
    "prefer-deflated": ".1.99",
}


class Rejection(NamedTuple):
    """The answer to a request that is refused, and why in words."""

    pdu: pdu.AssociateReject
    reason: str


class Policy(NamedTuple):
    """What the acceptor agrees to.

    ``transfer_syntaxes`` is its own list, most wanted first; the peer's order does not count.
    ``promiscuous`` also takes abstract syntaxes that are in no table at all. A ``profile`` takes
    the place of these three. ``full`` rejects for now, because there are as many associations as
    there may be.
    """

    transfer_syntaxes: tuple[str, ...]
    abstract_syntaxes: frozenset[str]
    promiscuous: bool = False
    refuse: bool = False
    reject_anonymous: bool = False
    max_pdu: int = 16384
    full: bool = False
    profile: "Profile | None" = None


def preference(option: str) -> tuple[str, ...]:
    """Return the acceptor's transfer syntaxes for a ``--prefer-*`` option's name without dashes."""
    match option:
        case "prefer-uncompr" | "prefer-little":
            return _UNCOMPRESSED
        case "prefer-big":
            return (uids.EXPLICIT_BIG, uids.EXPLICIT_LITTLE, uids.IMPLICIT_LITTLE)
        case "implicit":
            return (uids.IMPLICIT_LITTLE,)
        case "accept-all":
            return _EVERYTHING
    return (_BASE + _PREFERRED[option], *_UNCOMPRESSED)


def default_abstract_syntaxes() -> frozenset[str]:
    """Return Verification and the storage SOP classes accepted without a profile."""
    return frozenset((uids.VERIFICATION, *uids.accepted_storage_classes()))


def answer(request: pdu.AssociateRequest, policy: Policy) -> pdu.AssociateAccept | Rejection | None:
    """Answer a request; None means: drop it unanswered, since it proposes nothing at all.

    The order of the checks is the reference's and can be seen by a peer that fails several.
    """
    if policy.full:
        return Rejection(
            pdu.AssociateReject(*LOCAL_LIMIT_EXCEEDED), "Association Rejected: Local Limit Exceeded"
        )
    if policy.refuse:
        return Rejection(
            pdu.AssociateReject(1, 1, 1), "Refusing Association (forced via command line)"
        )
    if not request.contexts:
        return None
    # Two answers for one ID could not be told apart: of contexts that share one the first counts.
    contexts: dict[int, pdu.PresentationContext] = {}
    for context in request.contexts:
        contexts.setdefault(context.id, context)
    request = request._replace(contexts=tuple(contexts.values()))
    if policy.profile is None:
        results = tuple(_result(context, policy) for context in request.contexts)
    else:
        results = _results_of_profile(request, policy.profile)
    if request.application_context != uids.APPLICATION_CONTEXT:
        return Rejection(
            pdu.AssociateReject(1, 1, 2),
            "Association Rejected: Bad Application Context Name: " + request.application_context,
        )
    if policy.reject_anonymous and not request.implementation_class:
        return Rejection(
            pdu.AssociateReject(1, 1, 1),
            "Association Rejected: No Implementation Class UID provided",
        )
    accept = pdu.AssociateAccept(
        called=request.called,
        calling=request.calling,
        contexts=results,
        max_length=policy.max_pdu,
        implementation_class=IMPLEMENTATION_CLASS_UID,
        implementation_version=IMPLEMENTATION_VERSION,
        raw_titles=request.raw_titles,
    )
    if policy.profile is None:
        return accept
    return _with_profile_items(accept, request, policy.profile)


def _result(context: pdu.PresentationContext, policy: Policy) -> pdu.ContextResult:
    abstract = context.abstract_syntax
    if abstract not in policy.abstract_syntaxes and not (
        policy.promiscuous and uids.lookup(abstract) is None
    ):
        return _refused(context, ABSTRACT_SYNTAX_NOT_SUPPORTED)
    return _first_common(context, policy.transfer_syntaxes)


def _first_common(
    context: pdu.PresentationContext, transfer_syntaxes: tuple[str, ...]
) -> pdu.ContextResult:
    proposed = context.transfer_syntaxes
    for transfer_syntax in transfer_syntaxes:
        if transfer_syntax in proposed:
            return pdu.ContextResult(context.id, ACCEPTED, transfer_syntax)
    return _refused(context, TRANSFER_SYNTAXES_NOT_SUPPORTED)


def _refused(context: pdu.PresentationContext, result: int) -> pdu.ContextResult:
    return pdu.ContextResult(context.id, result, uids.IMPLICIT_LITTLE)


def _results_of_profile(
    request: pdu.AssociateRequest, profile: "Profile"
) -> tuple[pdu.ContextResult, ...]:
    listed = dict(profile.contexts)
    with_role = {role.sop_class for role in request.roles}
    results = []
    for context in request.contexts:
        abstract = context.abstract_syntax
        if abstract not in listed:
            result = _refused(context, ABSTRACT_SYNTAX_NOT_SUPPORTED)
        else:
            result = _first_common(context, listed[abstract])
            # A requestor that says nothing of roles is an SCU (PS3.7 annex D.3.3.4).
            scp_only = profile.roles.get(abstract) == "SCP" and abstract not in with_role
            if scp_only and result.result == ACCEPTED:
                result = _refused(context, NO_REASON)
        results.append(result)
    return tuple(results)


def _with_profile_items(
    accept: pdu.AssociateAccept, request: pdu.AssociateRequest, profile: "Profile"
) -> pdu.AssociateAccept:
    """Add the roles that are agreed to, and what the profile says about accepted classes."""
    proposed: dict[str, pdu.RoleSelection] = {}
    for role in request.roles:
        proposed.setdefault(role.sop_class, role)
    accepted = [
        context.abstract_syntax
        for context, result in zip(request.contexts, accept.contexts, strict=True)
        if result.result == ACCEPTED
    ]
    return accept._replace(
        roles=tuple(
            _agreed(proposed[abstract], profile.roles[abstract])
            for abstract in accepted
            if abstract in proposed and abstract in profile.roles
        ),
        extended=tuple(
            pdu.ExtendedNegotiation(abstract, information)
            for abstract, information in profile.extended.items()
            if abstract in accepted
        ),
    )


def _agreed(proposed: pdu.RoleSelection, own: str) -> pdu.RoleSelection:
    """Return the roles that both sides want; may be none at all."""
    # Who proposes neither role has said nothing, and gets what there is.
    nothing = not proposed.scu and not proposed.scp
    return pdu.RoleSelection(
        proposed.sop_class,
        scu=own != "SCP" and (proposed.scu or nothing),
        scp=own != "SCU" and (proposed.scp or nothing),
    )


def send_limit(peer_max: int, own_max: int = 131072) -> int:
    """Return the most data bytes one PDV to this peer may hold; always even.

    ``peer_max`` is the peer's maximum length, 0 for no limit (PS3.8 annex D.1); twelve bytes of
    each PDU are its header and the PDV's. A result of 0 or less means: nothing can be sent.
    """
    return (min(peer_max or own_max, own_max) - 12) & ~1
