"""The tables of the state machines, and that the core does what they say."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from state_signals import Closed, Outcome
from state_signals.protocol.states import EXPORTER, MEMBER, ExporterAction, ExporterState, MemberEvent
from tests.protocol.stage import Exporter

DO: dict[ExporterAction, Callable[[Exporter], object]] = {
    ExporterAction.INITIALIZE: lambda core: core.initialize(["start"], now=0.0, sent=0.0),
    ExporterAction.PUBLISH: lambda core: core.publish("start", now=0.0, sent=0.0),
    ExporterAction.SHUTDOWN: lambda core: core.shutdown(now=0.0, sent=0.0),
    ExporterAction.CLOSE: lambda core: core.close(0.0),
}

LEADS_TO: dict[ExporterState, list[ExporterAction]] = {
    ExporterState.CREATED: [],
    ExporterState.INITIALIZED: [ExporterAction.INITIALIZE],
    ExporterState.SHUT_DOWN: [ExporterAction.INITIALIZE, ExporterAction.SHUTDOWN],
    ExporterState.CLOSED: [ExporterAction.CLOSE],
}


def exporter_that_is(state: ExporterState) -> Exporter:
    core = Exporter()
    for action in LEADS_TO[state]:
        DO[action](core)
    core.said()
    return core


def test_every_state_has_its_row():
    assert set(EXPORTER) == set(ExporterState)
    assert set(MEMBER) == set(MemberEvent)


def test_every_outcome_has_a_cause():
    assert set(MEMBER.values()) == set(Outcome)


def test_every_state_can_be_reached_from_the_first():
    reached = {ExporterState.CREATED}
    for _ in ExporterState:
        reached |= {following for state in reached for following in EXPORTER[state].values()}
    assert reached == set(ExporterState)


def test_close_is_the_end_from_anywhere():
    assert {row[ExporterAction.CLOSE] for row in EXPORTER.values()} == {ExporterState.CLOSED}
    assert set(EXPORTER[ExporterState.CLOSED]) == {ExporterAction.CLOSE}


def test_an_exporter_begins_without_a_roster():
    assert Exporter().state is ExporterState.CREATED


@pytest.mark.parametrize("state", ExporterState)
@pytest.mark.parametrize("action", ExporterAction)
def test_an_exporter_does_what_the_table_says(state, action):
    core = exporter_that_is(state)
    assert core.state is state
    if action in EXPORTER[state]:
        DO[action](core)
        assert core.state is EXPORTER[state][action]
    else:
        with pytest.raises(Closed, match=f"cannot {action} with exporter 'fio-1': it is closed; make a new one"):
            DO[action](core)
        assert core.state is state
        assert core.said() == []
