"""The state machines, as tables.

**An exporter** is *created* without a roster: its signals go out, but nobody is waited for. `initialize` opens the
roster (*initialized*): from then on responders may subscribe, events are checked and rounds wait. `shutdown` closes
the roster again (*shut down*); `initialize` may open a new one. `close` is the end, from anywhere.

**A roster member in a round** is *pending* until exactly one thing happens to it: it answers (with ras 1 it
*succeeded*, with another it *failed*), the deadline or its stall timer passes (*missing*), its presence runs out
(*lost*), or it closes in good order (*left*). An outcome is final: whatever comes later from that member is a late
answer.

The tables are the code: the core looks its next state up here, and the documentation draws its pictures from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from state_signals.results import Outcome

__all__ = ["EXPORTER", "MEMBER", "ExporterAction", "ExporterState", "MemberEvent"]


class ExporterState(StrEnum):
    """Where an exporter is in its life."""

    CREATED = "created"
    INITIALIZED = "initialized"
    SHUT_DOWN = "shut down"
    CLOSED = "closed"


class ExporterAction(StrEnum):
    """What an exporter is told to do."""

    INITIALIZE = "initialize"
    PUBLISH = "publish"
    SHUTDOWN = "shutdown"
    CLOSE = "close"


EXPORTER: Final[Mapping[ExporterState, Mapping[ExporterAction, ExporterState]]] = {
    ExporterState.CREATED: {
        ExporterAction.INITIALIZE: ExporterState.INITIALIZED,
        ExporterAction.PUBLISH: ExporterState.CREATED,
        ExporterAction.SHUTDOWN: ExporterState.SHUT_DOWN,
        ExporterAction.CLOSE: ExporterState.CLOSED,
    },
    ExporterState.INITIALIZED: {
        ExporterAction.INITIALIZE: ExporterState.INITIALIZED,
        ExporterAction.PUBLISH: ExporterState.INITIALIZED,
        ExporterAction.SHUTDOWN: ExporterState.SHUT_DOWN,
        ExporterAction.CLOSE: ExporterState.CLOSED,
    },
    ExporterState.SHUT_DOWN: {
        ExporterAction.INITIALIZE: ExporterState.INITIALIZED,
        ExporterAction.PUBLISH: ExporterState.SHUT_DOWN,
        ExporterAction.SHUTDOWN: ExporterState.SHUT_DOWN,
        ExporterAction.CLOSE: ExporterState.CLOSED,
    },
    ExporterState.CLOSED: {ExporterAction.CLOSE: ExporterState.CLOSED},
}


class MemberEvent(StrEnum):
    """What can happen to a roster member that is pending in a round."""

    ANSWERED_SUCCESS = "answers ras 1"
    ANSWERED_FAILURE = "answers another ras"
    DEADLINE_PASSED = "deadline passes"
    STALLED = "shows no sign of work for too long"
    PRESENCE_EXPIRED = "presence runs out"
    CLOSED = "closes in good order"


MEMBER: Final[Mapping[MemberEvent, Outcome]] = {
    MemberEvent.ANSWERED_SUCCESS: Outcome.SUCCEEDED,
    MemberEvent.ANSWERED_FAILURE: Outcome.FAILED,
    MemberEvent.DEADLINE_PASSED: Outcome.MISSING,
    MemberEvent.STALLED: Outcome.MISSING,
    MemberEvent.PRESENCE_EXPIRED: Outcome.LOST,
    MemberEvent.CLOSED: Outcome.LEFT,
}
