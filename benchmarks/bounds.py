"""What has to show: what the project aims at, and what may not get worse unseen.

Both compare with another contender of the same run wherever that can be, for machines differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import Results
from benchmarks.plan import CONTENDERS

__all__ = ["BOUNDS", "TARGETS", "Bound", "Target", "broken"]

Value = Callable[[Results], float | None]


@dataclass(frozen=True, slots=True)
class Target:
    """What the project aims at.

    Attributes:
        what: for people to read.
        value: what it has come to; None if that was not measured.
        unit: what is written behind a number.
        most: the value may be this at the most; None: see `least`.
        least: the value has to be this at the least.
    """

    what: str
    value: Value
    unit: str
    most: float | None = None
    least: float | None = None

    def is_met(self, value: float) -> bool:
        """Whether a value is what was aimed at."""
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)


@dataclass(frozen=True, slots=True)
class Bound:
    """How many times as long as another contender one may take before it counts as a regression."""

    kind: str
    responders: int
    contender: str
    other: str
    most: float


BOUNDS = (
    Bound("process", 1, "ours", "redis_py", 2.0),
    Bound("process", 1, "ours_asyncio", "redis_py_asyncio", 2.0),
    Bound("connections", 100, "ours", "raw", 3.0),
    Bound("connections", 100, "ours_asyncio", "raw", 3.0),
    Bound("together", 100, "ours", "redis_py", 10.0),
    Bound("together", 100, "ours_asyncio", "redis_py_asyncio", 3.0),
)
"""Generous: other programs on the machine may not break them, but doing twice as much has to."""


def broken(results: Results) -> list[str]:
    """Return what has got worse, each as a sentence; a bound that was not measured is broken, too."""
    found = []
    for bound in BOUNDS:
        who = f"{CONTENDERS[bound.contender].label} ({bound.kind}, {bound.responders} responders)"
        if not all(results.has(bound.kind, bound.responders, each) for each in (bound.contender, bound.other)):
            found.append(f"{who} was not measured")
            continue
        ratio = results.ratio(bound.kind, bound.responders, bound.contender, bound.other).median
        if ratio > bound.most:
            other = CONTENDERS[bound.other].label
            found.append(
                f"{who}: a round takes {ratio:.2f} times as long as {other}; at most {bound.most:g} are allowed"
            )
    return found


def _ratio(kind: str, responders: int, contender: str, other: str) -> Value:
    def value(results: Results) -> float | None:
        if not all(results.has(kind, responders, each) for each in (contender, other)):
            return None
        return results.ratio(kind, responders, contender, other).median

    return value


def _exporter_cpu(responders: int, contender: str) -> Value:
    def value(results: Results) -> float | None:
        if not results.has("connections", responders, contender):
            return None
        used = results.cpu("connections", responders, contender, "surveyor")
        return None if used is None else used.median * 1e6

    return value


def _idle(contender: str, side: str) -> Value:
    def value(results: Results) -> float | None:
        used = {each["contender"]: each[side] * 1e3 for each in results.found.get("idle", ())}
        return used.get(contender)

    return value


def _growth(results: Results) -> float | None:
    """Return how many times as many deliveries the most crowded server makes for a signal, with namespaces."""
    made = [each["deliveries"] for each in results.found.get("deliveries", ()) if each["namespaces"]]
    return max(made) / min(made) if made else None


def _targets() -> tuple[Target, ...]:
    ours = ("ours", "ours_asyncio")
    found = []
    for name in ours:
        label, floor = CONTENDERS[name].label, CONTENDERS[name].floor or ""
        by_hand = CONTENDERS[floor].label
        found += [
            Target(f"1 responder: {label} / {by_hand}", _ratio("process", 1, name, floor), "x", most=1.25),
            Target(f"1 responder: 1.0.1 / {label}", _ratio("process", 1, "version_1", name), "x", least=250),
        ]
    for count in (100, 1000):
        for name in ours:
            label = CONTENDERS[name].label
            found += [
                Target(f"{count:,} connections: {label} / {other}", _ratio("connections", count, *pair), "x", **limits)
                for other, pair, limits in (
                    (CONTENDERS["raw"].label, (name, "raw"), {"most": 1.3}),
                    (CONTENDERS["nats"].label, (name, "nats"), {"most": 1.0}),
                    (CONTENDERS["nng"].label, (name, "nng"), {"most": 1.0}),
                )
            ]
    for name in ours:
        label, floor = CONTENDERS[name].label, CONTENDERS[name].floor or ""
        what = f"1,000 in one process: {label} / {CONTENDERS[floor].label}, sharing"
        found.append(Target(what, _ratio("together", 1000, name, floor), "x", most=1.5))
    for name in ours:
        what = f"1,000 connections: {CONTENDERS[name].label}, exporter's CPU an answer"
        found.append(Target(what, _exporter_cpu(1000, name), " µs", most=6))
    for name in ours:
        for side, who in (("surveyor", "exporter"), ("responders", "100 responders")):
            what = f"idle: {CONTENDERS[name].label}, {who}, CPU a second"
            found.append(Target(what, _idle(name, side), " ms", most=2))
    found.append(Target("deliveries a signal with namespaces, 8 exporters / 1", _growth, "x", most=1.05))
    return tuple(found)


TARGETS = _targets()
