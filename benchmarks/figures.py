"""From results to figures: pure.

A median is one of repetitions' medians, and its spread is that of these; p95 and p99 are of all rounds. A ratio to
another contender is that of two medians of the same repetition, and stated is the median of those: what slows the
machine down for a while slows both.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Figure", "Results", "percentile"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of several repetitions: their median, and how far they spread."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        """Return it.

        Raises:
            ValueError: if there are none.
        """
        if not values:
            raise ValueError("there is nothing that could spread")
        return cls(statistics.median(values), min(values), max(values))

    def times(self, factor: float) -> Figure:
        """Return it in another unit."""
        return Figure(self.median * factor, self.least * factor, self.most * factor)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that as many percent are not above.

    Raises:
        ValueError: if there are none.
    """
    if not values:
        raise ValueError("there is nothing that could spread")
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


class Results:
    """What one run of the benchmark has measured.

    Args:
        found: what it wrote.
    """

    def __init__(self, found: Mapping[str, Any]) -> None:
        self.found = found
        self._series = {(each["kind"], each["responders"], each["contender"]): each for each in found["rounds"]}

    def counts(self, kind: str) -> list[int]:
        """Return the numbers of responders that were measured."""
        return sorted({responders for found, responders, _ in self._series if found == kind})

    def contenders(self, kind: str) -> list[str]:
        """Return who took part, in order."""
        return list(dict.fromkeys(name for found, _, name in self._series if found == kind))

    def has(self, kind: str, responders: int, contender: str) -> bool:
        """Whether this was measured."""
        return (kind, responders, contender) in self._series

    def p50(self, kind: str, responders: int, contender: str) -> Figure:
        """Return the median round, in seconds."""
        return Figure.of(self._medians(kind, responders, contender))

    def tail(self, kind: str, responders: int, contender: str, percent: float) -> float:
        """Return a percentile of all rounds, in seconds."""
        took: list[float] = [each for turn in self._turns(kind, responders, contender) for each in turn["took"]]
        return percentile(took, percent)

    def rounds(self, kind: str, responders: int, contender: str) -> int:
        """Return how many rounds there were."""
        return sum(len(turn["took"]) for turn in self._turns(kind, responders, contender))

    def ratio(self, kind: str, responders: int, contender: str, other: str) -> Figure:
        """Return how many times as long a round takes as another contender's."""
        ours, theirs = self._medians(kind, responders, contender), self._medians(kind, responders, other)
        return Figure.of([one / two for one, two in zip(ours, theirs, strict=True)])

    def lost(self, kind: str, responders: int, contender: str) -> float:
        """Return the share of answers that did not come."""
        turns = self._turns(kind, responders, contender)
        due = sum(len(turn["took"]) for turn in turns) * responders
        came: int = sum(turn["answers"] for turn in turns)
        return 1 - came / due

    def cpu(self, kind: str, responders: int, contender: str, whose: str) -> Figure | None:
        """Return the CPU seconds per answer of `"surveyor"`, `"responders"` or `"server"`; None if there is none."""
        turns = self._turns(kind, responders, contender)
        used = [(turn[f"{whose}_cpu"], turn["answers"]) for turn in turns]
        values = [cpu / answers for cpu, answers in used if cpu is not None and answers]
        return Figure.of(values) if values else None

    def start_up(self, kind: str, responders: int, contender: str) -> Figure:
        """Return the seconds until all had subscribed."""
        return Figure.of(self._series[kind, responders, contender]["start_up"])

    def memory_each(self, kind: str, contender: str) -> float | None:
        """Return the bytes that one more responder takes in its process; None if that was not measured."""
        counts = [count for count in self.counts(kind) if self.has(kind, count, contender)]
        if len(counts) < 2:
            return None
        few, many = counts[-2:]
        less, more = (statistics.median(self._series[kind, count, contender]["memory"]) for count in (few, many))
        return float(more - less) / (many - few)

    def _turns(self, kind: str, responders: int, contender: str) -> list[dict[str, Any]]:
        turns: list[dict[str, Any]] = self._series[kind, responders, contender]["turns"]
        return turns

    def _medians(self, kind: str, responders: int, contender: str) -> list[float]:
        return [statistics.median(turn["took"]) for turn in self._turns(kind, responders, contender)]
