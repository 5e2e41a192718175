"""What exporters and responders cost while nothing happens."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from benchmarks.measures.scene import Scene, Stage
from benchmarks.plan import CONTENDERS
from benchmarks.processes import cpu_seconds
from benchmarks.progress import say

__all__ = ["RESPONDERS", "measure_idle"]

RESPONDERS = 100
"""How many are in one process."""

_WHO = ("ours", "ours_asyncio", "redis_py_asyncio", "version_1")


def measure_idle(stage: Stage) -> list[dict[str, Any]]:
    """Return the CPU seconds that one second takes, of each contender's two processes."""
    say(f"idle: exporters, and processes with {RESPONDERS} responders")
    found = []
    # Whoever never rests is measured apart from the others.
    for never_rests in (False, True):
        names = [n for n in _WHO if n in stage.plan.contenders and CONTENDERS[n].never_rests is never_rests]
        if names:
            found += _idle(stage, names, stage.plan.idle / (3 if never_rests else 1))
    return found


def _idle(stage: Stage, names: list[str], seconds: float) -> list[dict[str, Any]]:
    with ExitStack() as stack:
        entrants = stack.enter_context(Scene(stage, "together", RESPONDERS, names).entrants())
        for entrant in entrants:
            entrant.surveyor.ask("open")
            entrant.responders.tell("open")
            entrant.surveyor.ask("gather", count=RESPONDERS)
            entrant.responders.read()
            entrant.surveyor.ask("survey", rounds=3, limit=1)
        for entrant in entrants:
            entrant.surveyor.tell("idle", seconds=seconds)
        before = {entrant.name: cpu_seconds(entrant.responders.pid) for entrant in entrants}
        found = []
        for entrant in entrants:
            said = entrant.surveyor.read()
            used = cpu_seconds(entrant.responders.pid) - before[entrant.name]
            found.append({"contender": entrant.name, "surveyor": said["cpu"] / seconds, "responders": used / seconds})
        return found
