"""From what lies on a server to runs: pure, and bit by bit, for those who look on while it comes.

A publisher_id can have had several runs. Each begins with an initialization, or with the first signal after a shutdown;
an initialization within a run is a repeated announcement, or comes from whoever has resumed it.

**One clock.** Responses have the server's time, in milliseconds, in the id of their stream's entry. A signal has the
time by its exporter's clock. The two differ by at least what the fastest delivery shows: a responder says how long it
`took` from receipt to answer, so its signal had reached it at (arrival of the answer - took), and was sent by then.
The smallest such difference within a run is taken for the clocks' difference, as if that delivery had taken no time.
So signals appear later than they were, by the time that the fastest of all deliveries and answers of the run took on
the way (below a millisecond on a local network), and by a millisecond earlier at the most, for the server's resolution.
A clock that is set during a run is not noticed. Without an answer the clocks are taken for the same, unless a verdict
was written before its round can have ended.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from state_signals.codec import decode_response, decode_signal
from state_signals.exceptions import MalformedMessage
from state_signals.runs.facts import LARGEST_TIME, Facts
from state_signals.runs.membership import Membership
from state_signals.runs.model import Round, Run, RunState
from state_signals.runs.rounds import build_round
from state_signals.runs.vitals import Vitals
from state_signals.verdicts import decode_verdict

__all__ = ["MOST_BYTES", "RunLog"]

MOST_BYTES = 256 * 1024 * 1024
"""What a `RunLog` remembers, about; the signals that it heard of longest ago are forgotten first."""

_OVERHEAD = 300
"""Bytes, about, that an entry takes beyond its own."""

_LONGEST_LATENESS = 1.0
"""Seconds by which clocks are believed to differ if only answers to an initialization tell.

Whoever subscribes may do so long after it was sent: a later delivery looks like a clock that is behind.
"""


class RunLog:
    """The runs of one exporter, from the entries of its streams.

    Entries may come in any order, and more than once. What cannot be read, or is about another exporter, is counted.

    Args:
        publisher_id: whose.
        most_bytes: how much to remember, about.

    Attributes:
        refused: how many entries did not count, by reason.
    """

    def __init__(self, publisher_id: str, *, most_bytes: int = MOST_BYTES) -> None:
        self.publisher_id = publisher_id
        self.refused: Counter[str] = Counter()
        self._vitals: Vitals | None = None
        self._roster_version = 0
        self._most_bytes = most_bytes
        self._facts: dict[str, Facts] = {}
        self._size = 0
        self._by_seq: dict[int, Facts] = {}
        self._in_order: list[Facts] | None = None
        self._made: dict[str, tuple[tuple[float, bool, Vitals | None, list[tuple[str, int]]], Run]] = {}

    # What is read

    @property
    def vitals(self) -> Vitals | None:
        """How the exporter is now; None: not known. Assignable."""
        return self._vitals

    @vitals.setter
    def vitals(self, vitals: Vitals | None) -> None:
        before = None if self._vitals is None else self._vitals.roster
        if before != (None if vitals is None else vitals.roster):
            self._roster_version += 1
        self._vitals = vitals

    def signal(self, data: bytes) -> None:
        """Take an entry of the journal: a signal as it was broadcast."""
        try:
            signal = decode_signal(data)
        except MalformedMessage as error:
            self.refused[error.reason] += 1
            return
        envelope = signal.envelope
        if signal.publisher_id != self.publisher_id or envelope is None:
            self.refused["foreign"] += 1
            return
        if abs(envelope.sent) > LARGEST_TIME:
            self.refused["bad-time"] += 1
            return
        facts = self._facts.get(envelope.id)
        if facts is not None and facts.signal is not None:
            return
        rival = self._by_seq.get(envelope.seq)
        if rival is not None and (rival.envelope.sent, rival.envelope.id) > (envelope.sent, envelope.id):
            # The server has lost its data, and somebody has begun anew; the newer one counts.
            return
        if facts is None:
            facts = self._facts[envelope.id] = Facts()
        if rival is not None:
            self._forget(rival.envelope.id)
        facts.signal = signal
        self._by_seq[envelope.seq] = facts
        self._in_order = None
        self._grown(facts, len(data))

    def response(self, at: float, data: bytes) -> None:
        """Take an entry of the responses, which reached the server at some time (seconds since the epoch)."""
        try:
            response = decode_response(data)
        except MalformedMessage as error:
            self.refused[error.reason] += 1
            return
        if response.publisher_id != self.publisher_id:
            self.refused["foreign"] += 1
        elif response.signal_id is None:
            self.refused["no-signal-id"] += 1
        elif response.state in (None, "working", "left"):
            facts = self._mentioned(response.signal_id, len(data))
            if facts is not None and facts.take_response(at, response):
                self._grown(facts, len(data))
        else:
            self.refused["other-state"] += 1

    def verdict(self, at: float, data: bytes) -> None:
        """Take an entry of the rounds, which reached the server at some time (seconds since the epoch)."""
        try:
            verdict = decode_verdict(data)
        except MalformedMessage as error:
            self.refused[error.reason] += 1
            return
        if not 0 <= verdict.elapsed < LARGEST_TIME:
            self.refused["bad-time"] += 1
            return
        facts = self._mentioned(verdict.signal_id, len(data))
        if facts is not None and facts.take_verdict(at, verdict):
            self._grown(facts, len(data))

    # What it comes to

    @property
    def runs(self) -> list[Run]:
        """The runs, oldest first. What has not changed since the last time is not made anew: change nothing in them."""
        if self._in_order is None:
            self._in_order = [self._by_seq[seq] for seq in sorted(self._by_seq)]
        segments = _segments(self._in_order)
        fallback = min((found for each in segments if (found := _offset(each)) is not None), default=0.0)
        return [
            self._run(segment, previous, fallback, is_newest=segment is segments[-1])
            for previous, segment in zip([None, *segments], segments, strict=False)
        ]

    def _run(self, segment: list[Facts], previous: list[Facts] | None, fallback: float, *, is_newest: bool) -> Run:
        first, last = segment[0], segment[-1]
        vitals = self.vitals if is_newest and not last.is_end else None
        found = _offset(segment)
        offset = _clamped(fallback if found is None else found, segment)
        is_whole = _is_whole(segment, previous)
        made_of = (offset, is_whole, vitals, _versions(segment))
        known = self._made.get(first.envelope.id)
        # Equal ones could be many to compare.
        if known is not None and known[0][2] is vitals and known[0] == made_of:
            return known[1]
        announcements = [facts for facts in segment if facts.is_announcement]
        membership = Membership(announcements, vitals, is_over=last.is_end)
        depends_on = (offset, last.is_end, self._roster_version, _versions(announcements))
        rounds = [
            _round(facts, offset, membership, depends_on)
            for facts in segment
            if not facts.is_announcement and not facts.is_end
        ]
        run = _run_of(segment, announcements, offset, vitals)
        run.rounds, run.members, run.is_whole = rounds, membership.members(rounds), is_whole
        self._made[first.envelope.id] = made_of, run
        return run

    # What is remembered

    def _mentioned(self, signal_id: str, size: int) -> Facts | None:
        """Return what is known of a signal that an entry is about; None: there is no room for that."""
        facts = self._facts.get(signal_id)
        # Signals make room for what is about them, but not all; what is about others waits for room.
        is_known = facts is not None and facts.signal is not None and facts.size < self._most_bytes // 2
        if not is_known and self._size + size + _OVERHEAD > self._most_bytes:
            self.refused["too-many"] += 1
            return None
        if facts is None:
            facts = self._facts[signal_id] = Facts()
        return facts

    def _grown(self, facts: Facts, size: int) -> None:
        facts.version += 1
        facts.size += size + _OVERHEAD
        self._size += size + _OVERHEAD
        while self._size > self._most_bytes and len(self._facts) > 1:
            oldest = next(iter(self._facts))
            if self._facts[oldest] is facts:
                # What is wanted now is forgotten last.
                self._facts[oldest] = self._facts.pop(oldest)
                continue
            self._forget(oldest)

    def _forget(self, signal_id: str) -> None:
        facts = self._facts.pop(signal_id)
        self._size -= facts.size
        if facts.signal is not None:
            del self._by_seq[facts.envelope.seq]
            self._made.pop(signal_id, None)
            self._in_order = None


def _versions(segment: Sequence[Facts]) -> list[tuple[str, int]]:
    """Return what tells one state of knowledge about some signals from another."""
    return [(facts.envelope.id, facts.version) for facts in segment]


def _round(facts: Facts, offset: float, membership: Membership, depends_on: object) -> Round:
    made_of = (facts.version, depends_on)
    if facts.built is None or facts.built[0] != made_of:
        facts.built = made_of, build_round(facts, offset, membership)
    return facts.built[1]


def _run_of(segment: Sequence[Facts], announcements: Sequence[Facts], offset: float, vitals: Vitals | None) -> Run:
    """Return a run without rounds and members."""
    # A run that was resumed elsewhere is one; its beginning says whose it is.
    signal = (announcements or segment)[0].signal
    assert signal is not None  # noqa: S101 - only signals that were read are in order
    first, last = segment[0], segment[-1]
    state = RunState.LIVE if vitals is None else vitals.state
    if last.is_end:
        state = RunState.ENDED if last.envelope.aborted is None else RunState.ABORTED
    return Run(
        publisher_id=signal.publisher_id,
        process_name=signal.process_name,
        runner_host=signal.runner_host,
        tag=signal.tag,
        state=state,
        began_at=first.envelope.sent + offset,
        ended_at=last.envelope.sent + offset if last.is_end else None,
        last_seen=None if vitals is None else vitals.last_seen,
        aborted=last.envelope.aborted if last.is_end else None,
        legal_events=None if vitals is None else vitals.legal_events,
    )


def _segments(signals: Sequence[Facts]) -> list[list[Facts]]:
    """Return the signals run by run."""
    segments: list[list[Facts]] = []
    is_open = False
    for facts in signals:
        if is_open:
            segments[-1].append(facts)
        elif not facts.is_end or not segments:
            # A shutdown after a shutdown ends nothing.
            segments.append([facts])
        is_open = not facts.is_end
    return segments


def _is_whole(segment: Sequence[Facts], previous: Sequence[Facts] | None) -> bool:
    first, last = segment[0].envelope.seq, segment[-1].envelope.seq
    begins = first == 1 if previous is None else segment[0].is_announcement or first == previous[-1].envelope.seq + 1
    return begins and last - first == len(segment) - 1


def _offset(segment: Sequence[Facts]) -> float | None:
    """Return the seconds to add to the exporter's time for the server's; None: no answer tells."""
    by_rounds, by_subscriptions = math.inf, math.inf
    for facts in segment:
        delivered = facts.delivered()
        if delivered is None:
            continue
        difference = delivered - facts.envelope.sent
        if facts.is_announcement:
            by_subscriptions = min(by_subscriptions, difference)
        else:
            by_rounds = min(by_rounds, difference)
    if by_rounds == math.inf and by_subscriptions > _LONGEST_LATENESS:
        return None
    return min(by_rounds, by_subscriptions)


def _clamped(offset: float, segment: Sequence[Facts]) -> float:
    """Return the difference, but let no round end after it was written down that it has."""
    limits = (
        facts.written_at - facts.verdict.elapsed - facts.envelope.sent for facts in segment if facts.verdict is not None
    )
    return min(offset, *limits, math.inf)
