"""How many signals a second one exporter publishes when it does not wait for answers."""

from __future__ import annotations

from typing import Any

from benchmarks.measures.scene import Scene, Stage
from benchmarks.progress import say

__all__ = ["measure_unawaited"]

_WHO = ("redis_py", "redis_py_asyncio", "ours", "ours_asyncio")


def measure_unawaited(stage: Stage) -> list[dict[str, Any]]:
    """Return the signals a second of each turn, by contender; one responder hears and answers them."""
    say("signals that nobody waits for")
    names = [name for name in _WHO if name in stage.plan.contenders]
    found: dict[str, list[float]] = {name: [] for name in names}
    with Scene(stage, "connections", 1, names).entrants() as entrants:
        for entrant in entrants:
            entrant.surveyor.ask("open")
            entrant.surveyor.ask("gather", count=1)
            entrant.surveyor.ask("survey", rounds=50, limit=1)
        for _ in range(stage.plan.repetitions):
            for entrant in entrants:
                said = entrant.surveyor.ask("announce", signals=stage.plan.signals, limit=stage.plan.turn)
                found[entrant.name].append(said["signals"] / said["took"])
    return [{"contender": name, "signals_per_second": values} for name, values in found.items()]
