"""The protocol machine of the DICOM upper layer (PS3.8 section 9.2): table 9-10 as data.

Names are the standard's. The table says what is possible; ``transition`` is the one function
that makes a step. Doing what an action asks for is left to the caller.
"""

from enum import IntEnum
from typing import NamedTuple


class State(IntEnum):
    """States (PS3.8 tables 9-1 to 9-5)."""

    Sta1 = 1  # idle
    Sta2 = 2  # transport connection open, awaiting A-ASSOCIATE-RQ
    Sta3 = 3  # awaiting the local answer to the request
    Sta4 = 4  # awaiting the transport connection
    Sta5 = 5  # awaiting A-ASSOCIATE-AC or A-ASSOCIATE-RJ
    Sta6 = 6  # established: ready for data transfer
    Sta7 = 7  # awaiting A-RELEASE-RP
    Sta8 = 8  # awaiting the local answer to the peer's release
    Sta9 = 9  # release collision, requestor: awaiting the local answer
    Sta10 = 10  # release collision, acceptor: awaiting A-RELEASE-RP
    Sta11 = 11  # release collision, requestor: awaiting A-RELEASE-RP
    Sta12 = 12  # release collision, acceptor: awaiting the local answer
    Sta13 = 13  # awaiting that the peer closes the transport connection


class Event(IntEnum):
    """Events (PS3.8 table 9-10, its rows)."""

    Evt1 = 1  # local: A-ASSOCIATE request
    Evt2 = 2  # transport: connected, as this side asked for
    Evt3 = 3  # peer: A-ASSOCIATE-AC
    Evt4 = 4  # peer: A-ASSOCIATE-RJ
    Evt5 = 5  # transport: connected by the peer
    Evt6 = 6  # peer: A-ASSOCIATE-RQ
    Evt7 = 7  # local: A-ASSOCIATE response, accept
    Evt8 = 8  # local: A-ASSOCIATE response, reject
    Evt9 = 9  # local: P-DATA request
    Evt10 = 10  # peer: P-DATA-TF
    Evt11 = 11  # local: A-RELEASE request
    Evt12 = 12  # peer: A-RELEASE-RQ
    Evt13 = 13  # peer: A-RELEASE-RP
    Evt14 = 14  # local: A-RELEASE response
    Evt15 = 15  # local: A-ABORT request
    Evt16 = 16  # peer: A-ABORT
    Evt17 = 17  # transport: closed
    Evt18 = 18  # the ARTIM timer ran out
    Evt19 = 19  # peer: a PDU that is unknown or malformed


class Action(IntEnum):
    """Actions (PS3.8 tables 9-6 to 9-9)."""

    AE_1 = 1  # open the transport connection
    AE_2 = 2  # send A-ASSOCIATE-RQ
    AE_3 = 3  # tell that the association is accepted
    AE_4 = 4  # tell that it is rejected, close
    AE_5 = 5  # accept the transport connection, start ARTIM
    AE_6 = 6  # stop ARTIM; tell of the request, or send A-ASSOCIATE-RJ and start ARTIM
    AE_7 = 7  # send A-ASSOCIATE-AC
    AE_8 = 8  # send A-ASSOCIATE-RJ, start ARTIM
    DT_1 = 9  # send P-DATA-TF
    DT_2 = 10  # tell of the data
    AR_1 = 11  # send A-RELEASE-RQ
    AR_2 = 12  # tell that the peer releases
    AR_3 = 13  # tell that the release is confirmed, close
    AR_4 = 14  # send A-RELEASE-RP, start ARTIM
    AR_5 = 15  # stop ARTIM
    AR_6 = 16  # tell of the data
    AR_7 = 17  # send P-DATA-TF
    AR_8 = 18  # tell of the release collision
    AR_9 = 19  # send A-RELEASE-RP
    AR_10 = 20  # tell that the release is confirmed
    AA_1 = 21  # send A-ABORT as service user, (re)start ARTIM
    AA_2 = 22  # stop ARTIM, close
    AA_3 = 23  # tell of the abort, close
    AA_4 = 24  # tell of an abort by the provider
    AA_5 = 25  # stop ARTIM
    AA_6 = 26  # ignore the PDU
    AA_7 = 27  # send A-ABORT
    AA_8 = 28  # send A-ABORT as service provider, tell of it, start ARTIM


class Cell(NamedTuple):
    """One cell of the table: what to do, and the state afterwards.

    ``otherwise`` differs from ``state`` where the standard names two: after AE-6 if the request
    is not acceptable to this layer, after AR-8 if this side accepted the association.
    """

    action: Action
    state: State
    otherwise: State


PDU_EVENTS: dict[int, Event] = {
    1: Event.Evt6,
    2: Event.Evt3,
    3: Event.Evt4,
    4: Event.Evt10,
    5: Event.Evt12,
    6: Event.Evt13,
    7: Event.Evt16,
}
"""PDU type (PS3.8 section 9.3) to the event of its arrival; any other type is Evt19."""

_NEXT: dict[Action, tuple[int, ...]] = {
    Action.AE_1: (4,),
    Action.AE_2: (5,),
    Action.AE_3: (6,),
    Action.AE_4: (1,),
    Action.AE_5: (2,),
    Action.AE_6: (3, 13),
    Action.AE_7: (6,),
    Action.AE_8: (13,),
    Action.DT_1: (6,),
    Action.DT_2: (6,),
    Action.AR_1: (7,),
    Action.AR_2: (8,),
    Action.AR_3: (1,),
    Action.AR_4: (13,),
    Action.AR_5: (1,),
    Action.AR_6: (7,),
    Action.AR_7: (8,),
    Action.AR_8: (9, 10),
    Action.AR_9: (11,),
    Action.AR_10: (12,),
    Action.AA_1: (13,),
    Action.AA_2: (1,),
    Action.AA_3: (1,),
    Action.AA_4: (1,),
    Action.AA_5: (1,),
    Action.AA_6: (13,),
    Action.AA_7: (13,),
    Action.AA_8: (13,),
}

# Table 9-10: a line is an event from Evt1 on, a word a state from Sta1 on, "." cannot happen.
_ROWS = """
AE-1 .    .    .    .    .    .    .    .    .     .    .    .
.    .    .    AE-2 .    .    .    .    .    .     .    .    .
.    AA-1 AA-8 .    AE-3 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
.    AA-1 AA-8 .    AE-4 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
AE-5 .    .    .    .    .    .    .    .    .     .    .    .
.    AE-6 AA-8 .    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-7
.    .    AE-7 .    .    .    .    .    .    .     .    .    .
.    .    AE-8 .    .    .    .    .    .    .     .    .    .
.    .    .    .    .    DT-1 .    AR-7 .    .     .    .    .
.    AA-1 AA-8 .    AA-8 DT-2 AR-6 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
.    .    .    .    .    AR-1 .    .    .    .     .    .    .
.    AA-1 AA-8 .    AA-8 AR-2 AR-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-6
.    AA-1 AA-8 .    AA-8 AA-8 AR-3 AA-8 AA-8 AR-10 AR-3 AA-8 AA-6
.    .    .    .    .    .    .    AR-4 AR-9 .     .    AR-4 .
.    .    AA-1 AA-2 AA-1 AA-1 AA-1 AA-1 AA-1 AA-1  AA-1 AA-1 .
.    AA-2 AA-3 .    AA-3 AA-3 AA-3 AA-3 AA-3 AA-3  AA-3 AA-3 AA-2
.    AA-5 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4 AA-4  AA-4 AA-4 AR-5
.    AA-2 .    .    .    .    .    .    .    .     .    .    AA-2
.    AA-1 AA-8 .    AA-8 AA-8 AA-8 AA-8 AA-8 AA-8  AA-8 AA-8 AA-7
"""


def _table() -> dict[tuple[Event, State], Cell]:
    table = {}
    for event, row in zip(Event, _ROWS.strip().splitlines(), strict=True):
        for state, word in zip(State, row.split(), strict=True):
            if word != ".":
                action = Action[word.replace("-", "_")]
                after = _NEXT[action]
                table[event, state] = Cell(action, State(after[0]), State(after[-1]))
    return table


TABLE = _table()
"""PS3.8 table 9-10: (event, state) to cell; a pair that is not there cannot happen."""


class ImpossibleStepError(ValueError):
    """The table has no such cell: this side asked for what cannot be done now."""


def transition(
    state: State, event: Event, *, requestor: bool, acceptable: bool = True
) -> tuple[Action, State]:
    """Return what ``event`` asks for in ``state``, and the state afterwards.

    ``requestor`` tells whether this side requested the association; ``acceptable``, for an
    A-ASSOCIATE-RQ, whether this layer can go on with it (a protocol version that it knows).
    Raises ImpossibleStepError where the table is empty: this side asked for what is not possible
    now, or reports an event of a connection that it does not have.
    """
    cell = TABLE.get((event, state))
    if cell is None:
        raise ImpossibleStepError(f"{event.name} is not possible in state {state.name}")
    if cell.action is Action.AE_6:
        return cell.action, cell.state if acceptable else cell.otherwise
    if cell.action is Action.AR_8:
        return cell.action, cell.state if requestor else cell.otherwise
    return cell.action, cell.state
