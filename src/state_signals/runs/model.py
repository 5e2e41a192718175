"""A run as it is looked back at: its rounds, who took part, and what each responder did when.

Moments are seconds since the epoch by the server's clock, the one that all parties have in common: what an exporter or
a responder says by its own clock has been converted by `state_signals.runs.assembly`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from state_signals.messages import NO_TAG
from state_signals.results import Outcome

__all__ = ["Action", "Member", "Progress", "Round", "Run", "RunState"]


_PATIENCE = 1.0
"""Seconds by which clocks and deadlines may be off before a round counts as overdue."""


class RunState(StrEnum):
    """Where a run is."""

    LIVE = "live"
    """Its exporter shows that it lives."""

    DETACHED = "detached"
    """Its exporter has left it to whoever resumes it, as the steps of a script do."""

    CRASHED = "crashed"
    """Its exporter shows no sign of life, and has not ended it."""

    ENDED = "ended"
    """Its exporter has shut down in good order."""

    ABORTED = "aborted"
    """It was aborted; `Run.aborted` says why."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A responder said that it is still working."""

    at: float
    message: str | None


@dataclass(slots=True, kw_only=True)
class Action:
    """What one responder did in one round.

    Attributes:
        responder_id: who.
        outcome: its end in the round; None: pending in an open round, else not known.
        ras: the number that it answered; None: it did not answer.
        message: the text that it answered.
        received_at: when it received the signal; None: not known (it did not answer, or speaks version 1).
        answered_at: when its answer reached the server, or its exporter; None: it did not answer.
        took: seconds from receipt to answer, as it says itself; None: not known.
        progress: what it said meanwhile, oldest first.
        is_late: whether its answer came after the round had ended: it does not count.
    """

    responder_id: str
    outcome: Outcome | None = None
    ras: int | None = None
    message: str | None = None
    received_at: float | None = None
    answered_at: float | None = None
    took: float | None = None
    progress: list[Progress] = field(default_factory=list)
    is_late: bool = False


@dataclass(slots=True, kw_only=True)
class Round:
    """One signal, and what became of it.

    Attributes:
        signal_id: its identifier.
        seq: its position among the exporter's signals.
        event: the state that was entered.
        sample_no: number of the sample; -1: none.
        tag: its tag.
        metadata: the user's metadata.
        published_at: when it was published.
        wait: seconds that the exporter would wait for answers (infinite: for ever); None: it did not wait.
        ended_at: when the last outcome was known or waiting ended; None: not yet, not awaited, or not known.
        elapsed: seconds from publication to that end, by the exporter's clock; None likewise.
        ok: whether it came to what was asked; None: not yet, not awaited, or not known.
        actions: what each responder did, by responder_id, in the order in which they are known.
    """

    signal_id: str
    seq: int
    event: str
    sample_no: int = -1
    tag: str = NO_TAG
    metadata: dict[str, Any] | None = None
    published_at: float
    wait: float | None = None
    ended_at: float | None = None
    elapsed: float | None = None
    ok: bool | None = None
    actions: dict[str, Action] = field(default_factory=dict)

    @property
    def is_awaited(self) -> bool:
        """Whether the exporter waited for answers."""
        return self.wait is not None

    def is_overdue(self, now: float) -> bool:
        """Whether its time is up: nobody is waited for any more, though that may not be written down yet."""
        return self.wait is not None and now > self.published_at + self.wait + _PATIENCE

    def count(self, outcome: Outcome | None) -> int:
        """Return how many responders came to an outcome; None: are pending, or not known."""
        return sum(action.outcome is outcome for action in self.actions.values())


@dataclass(slots=True, kw_only=True)
class Member:
    """A responder that took part in a run.

    Attributes:
        responder_id: who.
        subscribed_at: when it subscribed; None: it was expected and has not, or speaks version 1.
        left_at: when it closed in good order; None: it has not.
        last_seen: its last proof of life; None: none is known.
        ttl: seconds that its proofs of life are good for; None: it gives none.
        speaks_v2: whether it speaks version 2.
        is_expected: whether it was put on the roster and has not subscribed.
    """

    responder_id: str
    subscribed_at: float | None = None
    left_at: float | None = None
    last_seen: float | None = None
    ttl: float | None = None
    speaks_v2: bool = True
    is_expected: bool = False

    def is_lost(self, now: float) -> bool:
        """Whether it has promised proofs of life and its last one is too old."""
        return (
            self.left_at is None
            and self.ttl is not None
            and self.last_seen is not None
            and now - self.last_seen > self.ttl
        )


@dataclass(slots=True, kw_only=True)
class Run:
    """Everything between an initialization and its shutdown.

    Attributes:
        publisher_id: the exporter.
        process_name: what it calls itself.
        runner_host: host that it runs on.
        tag: the tag of its initialization.
        state: where the run is.
        began_at: when it was initialized.
        ended_at: when it was shut down; None: it was not.
        last_seen: the exporter's last proof of life; None: it was shut down, or nothing is known.
        aborted: why it was aborted; None: it was not.
        legal_events: the events that may be published; None: not known any more.
        rounds: its signals but for initialization and shutdown, oldest first.
        members: who took part, by responder_id.
        is_whole: whether nothing of it was trimmed from the journal before it was read.
    """

    publisher_id: str
    process_name: str
    runner_host: str
    tag: str = NO_TAG
    state: RunState
    began_at: float
    ended_at: float | None = None
    last_seen: float | None = None
    aborted: str | None = None
    legal_events: list[str] | None = None
    rounds: list[Round] = field(default_factory=list)
    members: dict[str, Member] = field(default_factory=dict)
    is_whole: bool = True

    @property
    def open_round(self) -> Round | None:
        """The newest round, if its exporter still waits for somebody."""
        newest = self.rounds[-1] if self.rounds else None
        return newest if newest is not None and newest.is_awaited and newest.ended_at is None else None
