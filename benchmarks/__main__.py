"""Measure side by side: this project, its predecessor, the same by hand, NATS, nng. See docs/performance.md.

    python -m benchmarks [--short] [--only MEASURE,...] [--output FILE] [--check]

Prints tables, and writes all that was measured to a file, from which `python -m benchmarks.report FILE` makes
docs/performance.md. state-signals 1.0.1 takes part if STATE_SIGNALS_PEER names a Python that has it.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.bounds import broken
from benchmarks.contenders.base import Told
from benchmarks.figures import Results
from benchmarks.machine import Others, facts
from benchmarks.measures.deliveries import measure_deliveries
from benchmarks.measures.idle import measure_idle
from benchmarks.measures.rounds import measure_rounds
from benchmarks.measures.scene import Stage
from benchmarks.measures.unawaited import measure_unawaited
from benchmarks.plan import CONTENDERS, FULL, SHORT, Plan
from benchmarks.processes import Failed, Worker
from benchmarks.progress import say
from benchmarks.servers import Place, nats_server, raise_file_limit, redis_server
from benchmarks.tables import as_text

_TRIES = 3
"""How often it is measured before something counts as too slow: other programs may have been at work."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="less than a minute, and only what is compared in CI")
    parser.add_argument("--only", metavar="MEASURE,...", help=f"only some of: {', '.join(FULL.measures)}")
    parser.add_argument(
        "--output", type=Path, default=Path("build/bench.json"), help="where to write what was measured"
    )
    parser.add_argument(
        "--quick", action="store_true", help="everything once, to see that it works: for its developers"
    )
    parser.add_argument(
        "--check", action="store_true", help=f"exit with 1 if a ratio is beyond its bound, {_TRIES} times in a row"
    )
    options = parser.parse_args()
    plan = SHORT if options.short else FULL
    if options.quick:
        plan = replace(plan, sittings=1, repetitions=2, turn=0.1, idle=3.0)
    if options.only:
        unknown = set(options.only.split(",")) - set(FULL.measures)
        if unknown:
            parser.error(f"there is no measure {', '.join(sorted(unknown))}; there are {', '.join(FULL.measures)}")
        plan = replace(plan, measures=tuple(options.only.split(",")))
    for _ in range(_TRIES):
        results = _shown(plan, options.output)
        worse = broken(results) if options.check else []
        for each in worse:
            print(each, file=sys.stderr)
        if not worse:
            return 0
    return 1


def _shown(plan: Plan, output: Path) -> Results:
    """Measure, write down what was measured, and print it."""
    found = measured(plan)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=1) + "\n")
    results = Results(found)
    print(as_text(results))
    return results


def measured(plan: Plan) -> dict[str, Any]:
    """Return all that was measured."""
    # So that nothing is left behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    machine, others = facts(), Others()
    raise_file_limit()
    found = _measured(plan, machine)
    machine["others"] = others.share()
    return found


def _measured(plan: Plan, machine: dict[str, Any]) -> dict[str, Any]:
    with ExitStack() as stack:
        redis = stack.enter_context(redis_server())
        nats = stack.enter_context(nats_server()) if "nats" in plan.contenders else None
        stage = _stage(plan, redis, nats)
        for note in stage.notes:
            say(note)
        rounds = [
            each
            for kind in ("process", "connections", "together")
            if kind in plan.measures
            for each in measure_rounds(stage, kind)
        ]
        measures = {
            "unawaited": measure_unawaited,
            "idle": measure_idle,
            "deliveries": measure_deliveries,
        }
        found: dict[str, Any] = {name: do(stage) for name, do in measures.items() if name in plan.measures}
        machine["servers"] = [place.what for place in stage.places.values()]
        sittings = {"sittings": plan.sittings, "repetitions": plan.repetitions}
        return {"machine": machine, "plan": sittings, "notes": stage.notes, "rounds": rounds, **found}


def _stage(plan: Plan, redis: Place, nats: Place | None) -> Stage:
    """Return what there is to measure with: who lacks something is left out."""
    places = {"redis": redis} if nats is None else {"redis": redis, "nats": nats}
    notes, able = [], []
    for name in plan.contenders:
        why = _lacks(name, places)
        if why is None:
            able.append(name)
        else:
            notes.append(f"{CONTENDERS[name].label} is left out: {why}")
    return Stage(replace(plan, contenders=tuple(able)), places, notes)


def _lacks(name: str, places: dict[str, Place]) -> str | None:
    needs = CONTENDERS[name].needs
    if needs is not None and needs not in places:
        return f"there is no {needs}-server"
    if name == "version_1" and "STATE_SIGNALS_PEER" not in os.environ:
        return "STATE_SIGNALS_PEER names no Python that has it"
    try:
        with Worker(Told(contender=name, role="surveyor", url="")) as worker:
            worker.ready()
    except Failed as error:
        return str(error)
    return None


if __name__ == "__main__":
    sys.exit(main())
