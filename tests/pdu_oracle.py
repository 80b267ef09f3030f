"""pynetdicom's codec seen through our records: the oracle of the PDU tests."""

from collections.abc import Iterable
from typing import Any

import pynetdicom.pdu as theirs
from pynetdicom import pdu_items as items
from pynetdicom import pdu_primitives as primitives
from pynetdicom.presentation import PresentationContext as TheirContext

from dcmstore import pdu as ours

TYPES: dict[int, Any] = {
    1: theirs.A_ASSOCIATE_RQ,
    2: theirs.A_ASSOCIATE_AC,
    3: theirs.A_ASSOCIATE_RJ,
    4: theirs.P_DATA_TF,
    5: theirs.A_RELEASE_RQ,
    6: theirs.A_RELEASE_RP,
    7: theirs.A_ABORT_RQ,
}


def read(raw: bytes) -> ours.PDU:
    """Let pynetdicom decode a PDU, and put what it found into our record."""
    pdu: Any = TYPES[raw[0]]()
    pdu.decode(raw)
    if raw[0] == ours.A_ASSOCIATE_RQ:
        return _read_request(pdu)
    if raw[0] == ours.A_ASSOCIATE_AC:
        return _read_accept(pdu)
    if raw[0] == ours.A_ASSOCIATE_RJ:
        return ours.AssociateReject(pdu.result, pdu.source, pdu.reason_diagnostic)
    if raw[0] == ours.P_DATA_TF:
        return ours.PData(
            tuple(
                ours.PresentationDataValue(
                    value.context_id,
                    value.presentation_data_value[0],
                    value.presentation_data_value[1:],
                )
                for value in pdu.presentation_data_value_items
            )
        )
    if raw[0] == ours.A_ABORT:
        return ours.Abort(pdu.source, pdu.reason_diagnostic)
    return ours.ReleaseRequest() if raw[0] == ours.A_RELEASE_RQ else ours.ReleaseReply()


def _read_request(pdu: Any) -> ours.AssociateRequest:
    identity = None
    for item in pdu.user_information.user_data:
        if isinstance(item, items.UserIdentitySubItemRQ):
            found: Any = item
            identity = ours.UserIdentity(
                found.id_type, bool(found.response_requested), found.primary, found.secondary or b""
            )
    return ours.AssociateRequest(
        pdu.called_ae_title,
        pdu.calling_ae_title,
        tuple(
            ours.PresentationContext(
                context.context_id,
                str(context.abstract_syntax),
                tuple(map(str, context.transfer_syntax)),
            )
            for context in pdu.presentation_context
        ),
        application_context=str(pdu.application_context_name),
        protocol_version=pdu.protocol_version,
        user_identity=identity,
        **_read_shared(pdu.user_information),
    )


def _read_accept(pdu: Any) -> ours.AssociateAccept:
    responses = [
        item.response
        for item in pdu.user_information.user_data
        if isinstance(item, items.UserIdentitySubItemAC)
    ]
    return ours.AssociateAccept(
        pdu.reserved_aet,
        pdu.reserved_aec,
        tuple(
            ours.ContextResult(context.context_id, context.result, str(context.transfer_syntax))
            for context in pdu.presentation_context
        ),
        application_context=str(pdu.application_context_name),
        protocol_version=pdu.protocol_version,
        user_identity_response=responses[0] if responses else None,
        **_read_shared(pdu.user_information),
    )


def _read_shared(user: Any) -> dict[str, Any]:
    roles = []
    extended = []
    for item in user.user_data:
        if isinstance(item, items.SCP_SCU_RoleSelectionSubItem):
            roles.append(ours.RoleSelection(str(item.uid), item.scu == 1, item.scp == 1))
        elif isinstance(item, items.SOPClassExtendedNegotiationSubItem):
            extended.append(ours.ExtendedNegotiation(str(item.uid), item.app_info or b""))
    return {
        "max_length": user.maximum_length,
        "implementation_class": str(user.implementation_class_uid),
        "implementation_version": user.implementation_version_name,
        "roles": tuple(roles),
        "extended": tuple(extended),
    }


def write(pdu: ours.PDU) -> bytes:
    """Let pynetdicom encode what our record says."""
    their: Any
    match pdu:
        case ours.AssociateRequest() | ours.AssociateAccept():
            their = _associate(pdu)
        case ours.AssociateReject():
            their = theirs.A_ASSOCIATE_RJ()
            their.result, their.source, their.reason_diagnostic = pdu
        case ours.Abort():
            their = theirs.A_ABORT_RQ()
            their.source, their.reason_diagnostic = pdu
        case ours.PData():
            their = theirs.P_DATA_TF()
            for context_id, control, data in pdu.values:
                value: Any = items.PresentationDataValueItem()
                value.presentation_context_id = context_id
                value.presentation_data_value = bytes((control,)) + data
                their.presentation_data_value_items.append(value)
        case ours.ReleaseRequest():
            their = theirs.A_RELEASE_RQ()
        case ours.ReleaseReply():
            their = theirs.A_RELEASE_RP()
    encoded: bytes = their.encode()
    return encoded


def _associate(pdu: ours.AssociateRequest | ours.AssociateAccept) -> Any:
    primitive: Any = primitives.A_ASSOCIATE()
    primitive.called_ae_title = pdu.called
    primitive.calling_ae_title = pdu.calling
    primitive.application_context_name = pdu.application_context
    primitive.user_information = list(_notifications(pdu))
    their: Any
    if isinstance(pdu, ours.AssociateRequest):
        proposed = []
        for context_id, abstract_syntax, transfer_syntaxes in pdu.contexts:
            context = TheirContext()
            context.context_id = context_id
            context.abstract_syntax = abstract_syntax
            context.transfer_syntax = list(transfer_syntaxes)
            proposed.append(context)
        primitive.presentation_context_definition_list = proposed
        their = theirs.A_ASSOCIATE_RQ()
    else:
        answered = []
        for context_id, result, transfer_syntax in pdu.contexts:
            context = TheirContext()
            context.context_id = context_id
            context.result = result
            context.transfer_syntax = [transfer_syntax]
            answered.append(context)
        primitive.presentation_context_definition_results_list = answered
        their = theirs.A_ASSOCIATE_AC()
    their.from_primitive(primitive)
    return their


def _notifications(pdu: ours.AssociateRequest | ours.AssociateAccept) -> Iterable[Any]:
    note: Any = primitives.MaximumLengthNotification()
    note.maximum_length_received = pdu.max_length
    yield note
    note = primitives.ImplementationClassUIDNotification()
    note.implementation_class_uid = pdu.implementation_class
    yield note
    note = primitives.ImplementationVersionNameNotification()
    note.implementation_version_name = pdu.implementation_version
    yield note
    for sop_class, scu, scp in pdu.roles:
        note = primitives.SCP_SCU_RoleSelectionNegotiation()
        note.sop_class_uid, note.scu_role, note.scp_role = sop_class, scu, scp
        yield note
    for sop_class, info in pdu.extended:
        note = primitives.SOPClassExtendedNegotiation()
        note.sop_class_uid, note.service_class_application_information = sop_class, info
        yield note
    if isinstance(pdu, ours.AssociateRequest):
        if pdu.user_identity is not None:
            note = primitives.UserIdentityNegotiation()
            note.user_identity_type, note.positive_response_requested = pdu.user_identity[:2]
            note.primary_field, note.secondary_field = pdu.user_identity[2:]
            yield note
    elif pdu.user_identity_response is not None:
        note = primitives.UserIdentityNegotiation()
        note.server_response = pdu.user_identity_response
        yield note
