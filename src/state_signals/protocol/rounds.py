"""One round: who is pending, who has ended how, and when it is over."""

from __future__ import annotations

import math
from collections.abc import Iterable

from state_signals.protocol.states import MEMBER, MemberEvent
from state_signals.results import Outcome, PublishResult, Report

__all__ = ["Round"]


class Round:
    """The members of a roster, from one signal's publication until each one's outcome is known.

    Attributes:
        signal_id: the signal that is answered.
        event: its event.
        deadline: when those that are pending become missing; None: never.
        pending: the members without an outcome.
        reports: the others.
        messages: by responder_id, also from responders that are not members.
    """

    def __init__(
        self,
        signal_id: str,
        event: str,
        roster: Iterable[str],
        *,
        now: float,
        timeout: float | None,
        min_success: float | None = None,
        fail_fast: bool = False,
        max_outsiders: int,
    ) -> None:
        self.signal_id = signal_id
        self.event = event
        self.started = now
        self.deadline = None if timeout is None else now + timeout
        self.pending = set(roster)
        self.reports: dict[str, Report] = {}
        self.messages: dict[str, str] = {}
        self._fail_fast = fail_fast
        self._outsiders_left = max_outsiders
        self._nobody = not self.pending
        self._min_success = _count(min_success, len(self.pending))
        self._succeeded = 0
        self._unsuccessful = 0

    def answered(self, responder_id: str, ras: int, message: str | None, took: float | None, now: float) -> bool:
        """Take an answer. Return whether it was the first of its responder, and the responder a member."""
        if responder_id in self.reports:
            return False
        if responder_id not in self.pending:
            if message is not None and responder_id not in self.messages and self._outsiders_left:
                self._outsiders_left -= 1
                self.messages[responder_id] = message
            return False
        if message is not None:
            self.messages[responder_id] = message
        what = MemberEvent.ANSWERED_SUCCESS if ras == 1 else MemberEvent.ANSWERED_FAILURE
        self._end(
            responder_id,
            Report(outcome=MEMBER[what], ras=ras, message=message, elapsed=now - self.started, took=took),
        )
        return True

    def expire(self, now: float) -> list[str]:
        """Once the deadline has passed, make those missing that are pending, and return their names."""
        if self.deadline is None or now < self.deadline:
            return []
        missing = sorted(self.pending)
        for responder_id in missing:
            self._end(responder_id, Report(outcome=MEMBER[MemberEvent.DEADLINE_PASSED]))
        return missing

    @property
    def is_over(self) -> bool:
        """Whether every outcome is known, or `fail_fast` and success is out of reach."""
        return not self.pending or (self._fail_fast and self._is_out_of_reach)

    @property
    def _is_out_of_reach(self) -> bool:
        if self._min_success is None:
            return self._unsuccessful > 0
        return self._succeeded + len(self.pending) < self._min_success

    def result(self, now: float) -> PublishResult:
        """Return what it has come to so far."""
        if self._min_success is not None:
            ok = self._succeeded >= self._min_success
        else:
            # Nobody there is no success: a collector that could not connect must not go unnoticed.
            ok = not self._nobody and not self.pending and not self._unsuccessful
        return PublishResult(
            ok=ok,
            messages=self.messages,
            reports=self.reports,
            pending=self.pending,
            signal_id=self.signal_id,
            elapsed=now - self.started,
        )

    def _end(self, responder_id: str, report: Report) -> None:
        self.pending.remove(responder_id)
        self.reports[responder_id] = report
        if report.outcome is Outcome.SUCCEEDED:
            self._succeeded += 1
        elif report.outcome is not Outcome.LEFT:
            self._unsuccessful += 1


def _count(min_success: float | None, members: int) -> int | None:
    if isinstance(min_success, float):
        # A share of 0.9 of 10 is 9, though 0.9 * 10 may come out a hair above it.
        return math.ceil(min_success * members - 1e-9)
    return min_success
