"""Every cell of the protocol machine against PS3.8 table 9-10 as pynetdicom has it."""

import pytest
from pynetdicom.fsm import ACTIONS, TRANSITION_TABLE

from dcmstore import pdu
from dcmstore.states import PDU_EVENTS, TABLE, Action, Event, ImpossibleStepError, State, transition

CELLS = [(event, state) for event in Event for state in State]


def test_the_machine_has_the_standards_size() -> None:
    assert len(CELLS) == 19 * 13
    assert len(Action) == len(ACTIONS) == 28
    assert {action.name.replace("_", "-") for action in Action} == set(ACTIONS)


@pytest.mark.parametrize(("event", "state"), CELLS, ids=lambda value: value.name)
@pytest.mark.parametrize("requestor", [True, False])
@pytest.mark.parametrize("acceptable", [True, False])
def test_cell(event: Event, state: State, requestor: bool, acceptable: bool) -> None:
    expected = TRANSITION_TABLE.get((event.name, state.name))
    if expected is None:
        with pytest.raises(ImpossibleStepError) as caught:
            transition(state, event, requestor=requestor, acceptable=acceptable)
        assert event.name in str(caught.value)
        assert state.name in str(caught.value)
        assert (event, state) not in TABLE
        return
    action, after = transition(state, event, requestor=requestor, acceptable=acceptable)
    assert action.name.replace("_", "-") == expected
    states = ACTIONS[expected][2]
    if isinstance(states, str):
        assert after.name == states
    elif expected == "AE-6":
        assert after.name == ("Sta3" if acceptable else "Sta13")
    else:
        assert expected == "AR-8"
        assert after.name == ("Sta9" if requestor else "Sta10")


def test_choices_are_those_that_the_standard_leaves() -> None:
    chosen = {cell.action for cell in TABLE.values() if cell.state != cell.otherwise}
    assert chosen == {Action.AE_6, Action.AR_8}


def test_every_pdu_has_its_event() -> None:
    assert {
        pdu.A_ASSOCIATE_RQ: Event.Evt6,
        pdu.A_ASSOCIATE_AC: Event.Evt3,
        pdu.A_ASSOCIATE_RJ: Event.Evt4,
        pdu.P_DATA_TF: Event.Evt10,
        pdu.A_RELEASE_RQ: Event.Evt12,
        pdu.A_RELEASE_RP: Event.Evt13,
        pdu.A_ABORT: Event.Evt16,
    } == PDU_EVENTS


def _walk(events: list[int], *, requestor: bool) -> list[State]:
    state = State.Sta1
    path = []
    for number in events:
        _, state = transition(state, Event(number), requestor=requestor)
        path.append(state)
    return path


def test_a_whole_association_on_both_sides() -> None:
    """Open, one message, a release by the requestor, close."""
    assert _walk([1, 2, 3, 9, 10, 11, 13], requestor=True) == [4, 5, 6, 6, 6, 7, 1]
    assert _walk([5, 6, 7, 10, 9, 12, 14, 17], requestor=False) == [2, 3, 6, 6, 6, 8, 13, 1]


def test_a_release_collision_on_both_sides() -> None:
    """PS3.8 section 7.2.3: both ask for release at once; the requestor answers first."""
    assert _walk([1, 2, 3, 11, 12, 14, 13], requestor=True) == [4, 5, 6, 7, 9, 11, 1]
    assert _walk([5, 6, 7, 11, 12, 13, 14, 17], requestor=False) == [2, 3, 6, 7, 10, 12, 13, 1]
