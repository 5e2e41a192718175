"""How far a wait has come: who is there, and who is waited for."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from state_signals.results import Outcome, Report

__all__ = ["RoundWait", "Standing", "SubscriptionWait", "Wait", "listed"]

_LISTED = 20
"""Names that are listed, at the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a wait has come.

    Attributes:
        what: the event that is waited upon.
        verb: what those that are there have done.
        done: who has done it.
        failed: who has answered, or is missing or lost, without success.
        pending: who is waited for, by name.
        unnamed: how many more are waited for whose names nobody knows.
        began: when the wait began, by `time.monotonic`.
        deadline: when it is over, by the same clock; None: never.
    """

    what: str
    verb: str
    done: frozenset[str]
    failed: frozenset[str] = frozenset()
    pending: frozenset[str] = frozenset()
    unnamed: int = 0
    began: float
    deadline: float | None

    @property
    def total(self) -> int:
        """How many are waited for, or were."""
        return len(self.done) + len(self.failed) + len(self.pending) + self.unnamed


class Wait(Protocol):
    """Something that is being waited for."""

    def standing(self) -> Standing:
        """Return how far it has come."""

    def text(self) -> str:
        """Return what is waited for, in one line."""


class _Exporter(Protocol):
    """What a wait for subscribers looks at."""

    @property
    def subs(self) -> set[str]:
        """The roster."""

    @property
    def absent(self) -> frozenset[str]:
        """Who was expected and has not subscribed."""


class RoundWait:
    """The wait for the outcomes of one round.

    Args:
        event: what is announced.
        roster: who is to answer.
        timeout: seconds that they have; None: for ever.
    """

    def __init__(self, event: str, roster: Iterable[str], timeout: float | None) -> None:
        self._event = event
        self._pending = set(roster)
        self._done: set[str] = set()
        self._failed: set[str] = set()
        self._began, self._deadline = _times(timeout)

    def ended(self, responder_id: str, report: Report) -> None:
        """Take a responder's outcome, as `on_outcome` of `publish_signal` tells it."""
        self._pending.discard(responder_id)
        # Whoever leaves in good order has failed nobody.
        if report.outcome is not Outcome.LEFT:
            (self._done if report.outcome is Outcome.SUCCEEDED else self._failed).add(responder_id)

    def standing(self) -> Standing:
        """Return how far it has come."""
        return Standing(
            what=self._event,
            verb="answered",
            done=frozenset(self._done),
            failed=frozenset(self._failed),
            pending=frozenset(self._pending),
            began=self._began,
            deadline=self._deadline,
        )

    def text(self) -> str:
        """Return what is waited for, in one line."""
        return f"{self._event}: waiting for {listed(self._pending) or 'the server'}"


class SubscriptionWait:
    """The wait for enough responders to subscribe.

    Args:
        exporter: whose roster it is.
        count: how many are enough.
        timeout: seconds that they have; None: for ever.
    """

    def __init__(self, exporter: _Exporter, count: int, timeout: float | None) -> None:
        self._exporter = exporter
        self._count = count
        self._timeout = timeout
        self._began, self._deadline = _times(timeout)

    @property
    def present(self) -> set[str]:
        """Who has subscribed."""
        return self._exporter.subs - self._exporter.absent

    @property
    def absent(self) -> frozenset[str]:
        """Who was expected and has not subscribed."""
        return self._exporter.absent

    def standing(self) -> Standing:
        """Return how far it has come."""
        present, absent = self.present, self.absent
        return Standing(
            what="initialization",
            verb="subscribed",
            done=frozenset(present),
            pending=absent,
            unnamed=max(0, self._count - len(present) - len(absent)),
            began=self._began,
            deadline=self._deadline,
        )

    def text(self) -> str:
        """Return what is waited for, in one line."""
        until = "" if self._timeout is None else f", {self._timeout:g} s at the most"
        return f"initialization: waiting for responders ({listed(self.absent) or self._more()}){until}"

    def shortage(self) -> str:
        """Return who was not there, once the time is up."""
        wanted = ", ".join(map(repr, sorted(self.absent))) or self._more()
        there = ", ".join(map(repr, sorted(self.present))) or "nobody"
        return f"not enough responders subscribed within {self._timeout:g} s; missing: {wanted}; there: {there}"

    def _more(self) -> str:
        return f"{max(1, self._count - len(self.present))} more"


def listed(names: Collection[str]) -> str:
    """Return names as a list for people, which is not too long."""
    shown = ", ".join(sorted(names)[:_LISTED])
    return shown if len(names) <= _LISTED else f"{shown} and {len(names) - _LISTED} more"


def _times(timeout: float | None) -> tuple[float, float | None]:
    began = time.monotonic()
    return began, None if timeout is None else began + timeout
