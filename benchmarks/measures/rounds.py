"""How long rounds take, and what they cost: contenders take turns, so that whatever the machine does hits all."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.measures.scene import Entrant, Kind, Scene, Stage
from benchmarks.plan import CONTENDERS
from benchmarks.processes import Failed, cpu_seconds, unshared_memory
from benchmarks.progress import say

__all__ = ["Series", "measure_rounds"]

_WARM_UP = 0.3
"""Seconds of rounds before the first that counts."""

_TOO_FEW = 0.5
"""Share of the answers that have to come; otherwise a contender is left out, and ended lest it slow down others."""


@dataclass(slots=True)
class Series:
    """What one contender did with one number of responders.

    Attributes:
        kind: where responders are.
        responders: how many.
        contender: who.
        start_up: seconds until all had subscribed, each time that they were started.
        turns: what each turn brought.
        memory: bytes that the responders' process does not share with others, each time.
    """

    kind: Kind
    responders: int
    contender: str
    start_up: list[float] = field(default_factory=list)
    turns: list[dict[str, Any]] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


def measure_rounds(stage: Stage, kind: Kind) -> list[dict[str, Any]]:
    """Return all series of a kind, as objects."""
    plan = stage.plan
    found = []
    for count, rounds in plan.rounds.items():
        if kind == "process" and count > 1:
            break
        if kind != "process" and count == 1:
            # There is no difference.
            continue
        series = {name: Series(kind, count, name) for name in stage.contenders(kind)}
        for sitting in range(plan.sittings):
            say(f"{kind}: {count} responders, sitting {sitting + 1} of {plan.sittings}")
            with Scene(stage, kind, count, list(series)).entrants() as entrants:
                able = [each for each in entrants if _can_start(stage, each, series, rounds)]
                for number in range(plan.repetitions):
                    # To and fro: whoever comes first has no advantage.
                    for entrant in able if number % 2 else reversed(able):
                        series[entrant.name].turns.append(_turn(entrant, rounds, plan.turn))
                for entrant in able:
                    series[entrant.name].memory.append(unshared_memory(entrant.responders.pid))
        found += [asdict(each) for each in series.values()]
    return found


def _can_start(stage: Stage, entrant: Entrant, series: dict[str, Series], rounds: int) -> bool:
    """Start a contender; leave it out from here on if it cannot do this."""
    mine = series[entrant.name]
    try:
        _start(entrant, mine, rounds)
    except Failed as error:
        stage.notes.append(f"{CONTENDERS[entrant.name].label}, {mine.responders} responders ({mine.kind}): {error}")
        say(stage.notes[-1])
        del series[entrant.name]
        entrant.surveyor.end()
        if entrant.has_own_responders:
            entrant.responders.end()
        return False
    return True


def _start(entrant: Entrant, series: Series, rounds: int) -> None:
    """Let everybody subscribe, and do some rounds that do not count."""
    entrant.surveyor.ask("open")
    is_own = entrant.has_own_responders
    before = time.perf_counter()
    if is_own:
        entrant.responders.tell("open")
    entrant.surveyor.ask("gather", count=series.responders)
    series.start_up.append(time.perf_counter() - before)
    if is_own:
        entrant.responders.read()
    said = entrant.surveyor.ask("survey", rounds=rounds, limit=_WARM_UP)
    came = said["answers"] / (len(said["took"]) * series.responders)
    if came < _TOO_FEW:
        raise Failed(f"loses {1 - came:.0%} of the answers")
    if not entrant.rests:
        entrant.surveyor.freeze()


def _turn(entrant: Entrant, rounds: int, limit: float) -> dict[str, Any]:
    if not entrant.rests:
        entrant.surveyor.thaw()
    pids = (entrant.responders.pid, *(() if entrant.server is None else (entrant.server,)))
    before = [cpu_seconds(pid) for pid in pids]
    said = entrant.surveyor.ask("survey", rounds=rounds, limit=limit)
    used = [cpu_seconds(pid) - cpu for pid, cpu in zip(pids, before, strict=True)]
    if not entrant.rests:
        entrant.surveyor.freeze()
    return {
        "took": [round(each, 7) for each in said["took"]],
        "answers": said["answers"],
        "fewest": said["fewest"],
        "surveyor_cpu": said["cpu"],
        "responders_cpu": used[0],
        "server_cpu": used[1] if len(used) > 1 else None,
    }
