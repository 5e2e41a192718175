"""One round: who is pending, who has ended how, and when it is over."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import msgspec

from state_signals.protocol.states import MEMBER, MemberEvent
from state_signals.results import Outcome, PublishResult, Report

__all__ = ["Round", "RoundOptions"]

# Looked up once: there are thousands of answers.
_SUCCESS = MEMBER[MemberEvent.ANSWERED_SUCCESS]
_FAILURE = MEMBER[MemberEvent.ANSWERED_FAILURE]

_SHARE_OF_PAST, _SHARE_OF_REST = 0.06, 0.5
"""Parts of the time of a round for which its answers may gather."""


class RoundOptions(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What the user asks of a round.

    Attributes:
        timeout: seconds until those that are pending are missing; None: never.
        min_success: how many successes make it a success: a count or a share (float); None: all.
        fail_fast: it is over as soon as success is out of reach.
        waits_for_lost: those whose presence runs out stay pending; they may come back.
        stall_timeout: seconds without a sign of work after which a member is missing; None: never.
        tells_outcomes: somebody wants to hear of each outcome when it is known.
    """

    timeout: float | None = None
    min_success: float | None = None
    fail_fast: bool = False
    waits_for_lost: bool = False
    stall_timeout: float | None = None
    tells_outcomes: bool = True


class Round:
    """The members of a roster, from one signal's publication until each one's outcome is known.

    Attributes:
        signal_id: the signal that is answered.
        event: its event.
        deadline: when those that are pending become missing; None: never.
        is_sent: whether the server has taken the signal.
        pending: the members without an outcome.
        reports: the others.
        messages: by responder_id, also from responders that are not members.
        tells_outcomes: see `RoundOptions`.
        is_eager: whether each outcome matters, and not only the last one.
    """

    def __init__(
        self,
        signal_id: str,
        event: str,
        roster: Iterable[str],
        options: RoundOptions,
        *,
        now: float,
        max_outsiders: int,
    ) -> None:
        self.signal_id = signal_id
        self.event = event
        self.started = now
        self.deadline = None if options.timeout is None else now + options.timeout
        self.is_sent = False
        self.pending = set(roster)
        self.reports: dict[str, Report] = {}
        self.messages: dict[str, str] = {}
        self.tells_outcomes = options.tells_outcomes
        self.is_eager = options.tells_outcomes or options.fail_fast
        self._options = options
        self._outsiders_left = max_outsiders
        self._min_success = _count(options.min_success, len(self.pending))
        self._succeeded = 0
        self._unsuccessful = 0
        self._signs: dict[str, float] = {}
        self._stall_check = None if options.stall_timeout is None else now + options.stall_timeout

    def answered(self, responder_id: str, ras: int, message: str | None, took: float | None, now: float) -> bool:
        """Take an answer. Return whether it was the first of its responder, and the responder a member."""
        if responder_id not in self.pending:
            is_outsider = responder_id not in self.reports
            if is_outsider and message is not None and responder_id not in self.messages and self._outsiders_left:
                self._outsiders_left -= 1
                self.messages[responder_id] = message
            return False
        if message is not None:
            self.messages[responder_id] = message
        self.pending.remove(responder_id)
        outcome = _FAILURE
        if ras == 1:
            outcome = _SUCCESS
            self._succeeded += 1
        else:
            self._unsuccessful += 1
        self.reports[responder_id] = Report(
            outcome=outcome, ras=ras, message=message, elapsed=now - self.started, took=took
        )
        return True

    def worked(self, responder_id: str, now: float) -> bool:
        """Take a sign of work. Return whether the responder is pending."""
        if responder_id not in self.pending:
            return False
        self._signs[responder_id] = now
        return True

    def left(self, responder_id: str) -> bool:
        """Take note that a responder has closed. Return whether it was pending."""
        if responder_id not in self.pending:
            return False
        self._end(responder_id, Report(outcome=MEMBER[MemberEvent.CLOSED]))
        return True

    def lose(self, is_lost: Callable[[str], bool]) -> list[str]:
        """End those that are lost, unless they are waited for, and return their names."""
        if self._options.waits_for_lost:
            return []
        names = sorted(filter(is_lost, self.pending))
        for responder_id in names:
            self._end(responder_id, Report(outcome=MEMBER[MemberEvent.PRESENCE_EXPIRED]))
        return names

    def expire(self, now: float, lost_since: Callable[[list[str], float], list[str]]) -> list[str]:
        """Make those missing whose time is up, or lost if they were so since it began, and return their names."""
        due, what = self._due(now)
        lost = lost_since(due, self.started)
        # All at once: they may be ten thousand, and whoever waits for them is late already.
        ended = dict.fromkeys(due, Report(outcome=MEMBER[what]))
        ended |= dict.fromkeys(lost, Report(outcome=MEMBER[MemberEvent.PRESENCE_EXPIRED]))
        self.reports |= ended
        self.pending.difference_update(due)
        self._unsuccessful += len(due)
        return due

    def gathering(self, now: float) -> float:
        """Return the seconds for which answers may gather before they are read; 0.0: read them as they come.

        Never so long that the last answer would wait: it is a small part of the time that it has taken so far, and of
        the time that it will still take if it goes on as it has begun.
        """
        if self.is_eager or not self.reports:
            return 0.0
        return (now - self.started) * min(_SHARE_OF_PAST, _SHARE_OF_REST * len(self.pending) / len(self.reports))

    def next_deadline(self) -> float | None:
        """Return when `expire` has something to do; None: never."""
        if self._stall_check is None:
            return self.deadline
        return self._stall_check if self.deadline is None else min(self.deadline, self._stall_check)

    @property
    def is_over(self) -> bool:
        """Whether every outcome is known, or `fail_fast` and success is out of reach."""
        return not self.pending or (self._options.fail_fast and self._is_out_of_reach)

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
            # Nobody there, or nobody left, is no success: a collector that could not connect must not go unnoticed.
            ok = self._succeeded > 0 and not self.pending and not self._unsuccessful
        elapsed = now - self.started
        if not elapsed:
            # They may all have answered before it was known that the signal went out.
            elapsed = max((each.elapsed for each in self.reports.values() if each.elapsed is not None), default=0.0)
        return PublishResult(
            ok=ok,
            messages=self.messages,
            reports=self.reports,
            pending=self.pending,
            signal_id=self.signal_id,
            elapsed=elapsed,
        )

    def _due(self, now: float) -> tuple[list[str], MemberEvent]:
        """Return whose time is up, and which."""
        if self.deadline is not None and now >= self.deadline:
            return sorted(self.pending), MemberEvent.DEADLINE_PASSED
        due: list[str] = []
        stall_timeout = self._options.stall_timeout
        if stall_timeout is None or self._stall_check is None or now < self._stall_check:
            return due, MemberEvent.STALLED
        following = math.inf
        for responder_id in sorted(self.pending):
            stalls_at = self._signs.get(responder_id, self.started) + stall_timeout
            if now >= stalls_at:
                due.append(responder_id)
            else:
                following = min(following, stalls_at)
        self._stall_check = following
        return due, MemberEvent.STALLED

    def _end(self, responder_id: str, report: Report) -> None:
        self.pending.remove(responder_id)
        self.reports[responder_id] = report
        if report.outcome is not Outcome.LEFT:
            self._unsuccessful += 1


def _count(min_success: float | None, members: int) -> int | None:
    if isinstance(min_success, float):
        # A share of 0.9 of 10 is 9, though 0.9 * 10 may come out a hair above it.
        return math.ceil(min_success * members - 1e-9)
    return min_success
