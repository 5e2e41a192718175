"""What `bench` measures, as numbers: pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Account", "Plan", "Spread", "shares"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to do.

    Attributes:
        responders: how many take part.
        rounds: how many are measured.
        processes: how many processes the responders are spread over; 0: they are tasks beside the exporter.
        unawaited: signals that are published without waiting.
        warm_up: rounds before those that are measured.
        timeout: seconds that a round may take.
    """

    responders: int
    rounds: int
    processes: int
    unawaited: int
    warm_up: int = 10
    timeout: float = 20.0


@dataclass(frozen=True, slots=True)
class Spread:
    """How some durations spread, in seconds."""

    count: int
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Spread:
        """Return it: each percentile is one of the durations, the smallest one that as many are not above.

        Raises:
            ValueError: if there are none.
        """
        if not seconds:
            raise ValueError("there is nothing that could spread")
        ordered = sorted(seconds)

        def at(percent: int) -> float:
            return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]

        return cls(len(ordered), at(50), at(95), at(99), ordered[-1])


@dataclass(slots=True)
class Account:
    """What was measured.

    Attributes:
        pings: seconds of each PING on a connection of its own.
        rounds: seconds of each round, from the call to its return.
        answers: how many there were in those.
        failed: rounds of those in which a responder failed, by the event's number.
        missing: rounds of those in which a responder was missing or lost.
        unawaited: signals that were published without waiting.
        unawaited_seconds: how long that took.
    """

    pings: list[float] = field(default_factory=list)
    rounds: list[float] = field(default_factory=list)
    answers: int = 0
    failed: int = 0
    missing: int = 0
    unawaited: int = 0
    unawaited_seconds: float = 0.0

    @property
    def ratio(self) -> float | None:
        """How many round trips the median round takes."""
        if not self.pings or not self.rounds:
            return None
        return Spread.of(self.rounds).p50 / Spread.of(self.pings).p50

    @property
    def answers_per_second(self) -> float | None:
        """Answers a second while rounds were going on."""
        return self.answers / sum(self.rounds) if self.rounds else None

    @property
    def signals_per_second(self) -> float | None:
        """Signals a second that nobody waited for."""
        return self.unawaited / self.unawaited_seconds if self.unawaited_seconds else None

    def as_object(self, plan: Plan, where: Mapping[str, Any]) -> dict[str, Any]:
        """Return it as one object."""
        return {
            **where,
            "responders": plan.responders,
            "processes": plan.processes,
            "rounds": len(self.rounds),
            "rounds_failed": self.failed,
            "rounds_missing": self.missing,
            "round": asdict(Spread.of(self.rounds)) if self.rounds else None,
            "ping": asdict(Spread.of(self.pings)) if self.pings else None,
            "ratio": self.ratio,
            "answers_per_second": self.answers_per_second,
            "signals_per_second": self.signals_per_second,
        }

    def lines(self, plan: Plan) -> list[str]:
        """Return it as a table in plain text."""
        rows: list[tuple[str, ...]] = [("", "count", "p50", "p95", "p99", "max")]
        for name, seconds in (("round", self.rounds), ("ping", self.pings)):
            if seconds:
                spread = Spread.of(seconds)
                times = (f"{each * 1000:.3f}" for each in (spread.p50, spread.p95, spread.p99, spread.max))
                rows.append((name, str(spread.count), *times))
        table = ["".join(f"{cell:>10}" if place else f"{cell:<8}" for place, cell in enumerate(row)) for row in rows]
        table[0] += "   (ms)"
        processes = (
            f"{plan.processes} process{'es' if plan.processes != 1 else ''}" if plan.processes else "this process"
        )
        facts = [
            ("responders", f"{plan.responders:,} in {processes}"),
            ("round / ping", _number(self.ratio, 1)),
            ("answers", f"{_number(self.answers_per_second, 0)} a second"),
            ("signals", f"{_number(self.signals_per_second, 0)} a second, without waiting"),
        ]
        if self.failed or self.missing:
            facts.append(("not ok", f"{self.failed + self.missing} of {len(self.rounds)} rounds"))
        return [*table, *(f"{name:<14}{value}" for name, value in facts)]


def shares(responders: int, processes: int) -> list[range]:
    """Return which responders are in which process: as evenly as can be, none without one."""
    count = min(responders, processes)
    edges = [responders * place // count for place in range(count + 1)] if count else []
    return [range(first, end) for first, end in itertools.pairwise(edges)]


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"
