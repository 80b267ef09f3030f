"""What an association negotiation profile does not grant, for the log (PS3.7 annex D.3.3.4)."""

import logging

from dcmstore import negotiation, pdu

log = logging.getLogger("dcmtk.dcmnet")


def tell(accept: pdu.AssociateAccept) -> None:
    """Log which roles are refused; the sender may not know what to make of it."""
    for context in accept.contexts:
        if context.result == negotiation.NO_REASON:
            log.error(
                "ASSOC: SCP/SCU role selection failed, Default role (i.e. SCU) proposed"
                " but only SCP role configured for acceptance"
            )
    for role in accept.roles:
        if not role.scu and not role.scp:
            log.warning(
                "setting accepted SCP/SCU role to NONE, i.e. both role fields are 0"
                " in SCP/SCU role selection sub-item"
            )
