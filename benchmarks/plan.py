"""Who is measured, and how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

__all__ = ["CONTENDERS", "FULL", "SHORT", "Contender", "Plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One that is measured.

    Attributes:
        label: how it is called.
        needs: the server that it needs; None: none.
        meets_generator: whether the responders that `generator` makes can answer it.
        shares: whether it has many responders in one process, on shared connections or through the public API.
        never_rests: whether it uses CPU while nobody asks anything of it, and has to be frozen.
        floor: the contender that does the same by hand.
    """

    label: str
    needs: Literal["redis", "nats"] | None = "redis"
    meets_generator: bool = True
    shares: bool = True
    never_rests: bool = False
    floor: str | None = None


CONTENDERS: Mapping[str, Contender] = {
    "raw": Contender(label="by hand: RESP, asyncio sockets, hiredis"),
    "redis_py": Contender(label="by hand: redis-py"),
    "redis_py_asyncio": Contender(label="by hand: redis-py asyncio"),
    "ours": Contender(label="state-signals", floor="redis_py"),
    "ours_asyncio": Contender(label="state-signals asyncio", floor="redis_py_asyncio"),
    "nats": Contender(label="nats-py, nats-server", needs="nats", meets_generator=False),
    "nng": Contender(label="pynng Surveyor", needs=None, meets_generator=False, shares=False),
    "version_1": Contender(label="state-signals 1.0.1", shares=False, never_rests=True),
}
"""By the name of the module in `contenders`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured.

    Attributes:
        contenders: who takes part.
        sittings: how often everything is started anew.
        repetitions: how many turns each contender has in a sitting.
        turn: seconds that a turn may take.
        rounds: how many rounds a turn has, at most, by the number of responders.
        signals: how many signals are published without waiting in a turn, at most.
        idle: seconds for which nothing is done: some proofs of life, of which there is one every five seconds.
        exporters: how many exporters share a server.
        per_exporter: how many responders each of those has.
        deliveries: signals of each of them whose deliveries are counted.
        measures: what is measured.
    """

    contenders: tuple[str, ...]
    sittings: int
    repetitions: int
    turn: float
    rounds: Mapping[int, int]
    signals: int = 5_000
    idle: float = 15.0
    exporters: tuple[int, ...] = (1, 2, 4, 8)
    per_exporter: int = 8
    deliveries: int = 5
    measures: tuple[str, ...] = ("process", "connections", "together", "unawaited", "idle", "deliveries")


FULL = Plan(
    contenders=tuple(CONTENDERS),
    sittings=2,
    repetitions=5,
    turn=0.4,
    rounds={1: 400, 10: 200, 100: 60, 1000: 12},
)

SHORT = Plan(
    contenders=("raw", "redis_py", "redis_py_asyncio", "ours", "ours_asyncio"),
    sittings=1,
    repetitions=5,
    turn=0.25,
    rounds={1: 200, 100: 30},
    measures=("process", "connections", "together"),
)
