"""Measure one exporter with up to 10,000 responders on this machine: see docs/scale.md.

    python -m benchmarks.large [--counts N,...] [--only CROWD,...] [--output FILE]

Prints a table, and writes what was measured to a file, from which `python -m benchmarks.scale FILE` calculates what
larger numbers need. Exits with 1 if anybody was missing in a round, or a round ended too late.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
from pathlib import Path
from typing import Any, get_args

from benchmarks.figures import percentile
from benchmarks.machine import Others, facts
from benchmarks.measures.large import HURRY, Crowd, measure_large
from benchmarks.plan import CONTENDERS
from benchmarks.tables import Table

_COUNTS = "1000,2000,5000,10000"

_LATEST = 0.05
"""Seconds by which a round may end after its time."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default=_COUNTS, help=f"how many responders; default: {_COUNTS}")
    parser.add_argument("--only", metavar="CROWD,...", help=f"only some of: {', '.join(get_args(Crowd))}")
    parser.add_argument("--rounds", type=int, default=8, help="rounds of each exporter; default: 8")
    parser.add_argument(
        "--output", type=Path, default=Path("build/large.json"), help="where to write what was measured"
    )
    options = parser.parse_args()
    # So that nothing is left behind.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    crowds: Any = get_args(Crowd) if options.only is None else options.only.split(",")
    counts = [int(each) for each in options.counts.split(",")]
    machine, others = facts(), Others()
    found = measure_large(counts, crowds, options.rounds)
    machine["others"] = others.share()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps({"machine": machine, "large": found}, indent=1) + "\n")
    for table in tables(found):
        print(table.as_text(), end="\n\n")
    wrong = complaints(found)
    for each in wrong:
        print(each, file=sys.stderr)
    return 1 if wrong else 0


def tables(found: list[dict[str, Any]]) -> list[Table]:
    """Return what was measured as tables."""
    return [_rounds(found), _others(found)]


def complaints(found: list[dict[str, Any]]) -> list[str]:
    """Return what must not be: answers that did not come, and rounds that ended too late."""
    wrong = []
    for each in found:
        where = f"{each['responders']:,} responders ({each['crowd']})"
        wrong += [
            f"{where}: only {done['fewest']:,} have answered {done['contender']}"
            for done in each["rounds"]
            if done["fewest"] < each["responders"]
        ]
        wrong += [
            f"{where}: a round of {hurried['contender']} with {HURRY} s ended {hurried['over']:.3f} s too late"
            for hurried in each["hurried"]
            if hurried["over"] > _LATEST
        ]
    return wrong


def _rounds(found: list[dict[str, Any]]) -> Table:
    rows = []
    for each in found:
        for done, hurried in zip(each["rounds"], each["hurried"], strict=True):
            answers = done["answers"]
            rows.append(
                (
                    f"{each['responders']:,}, {each['crowd']}: {CONTENDERS[done['contender']].label}",
                    f"{statistics.median(done['took']) * 1e3:,.0f}",
                    f"{percentile(done['took'], 95) * 1e3:,.0f}",
                    f"{done['exporter_cpu'] / answers * 1e6:.2f}",
                    f"{done['server_cpu'] / answers * 1e6:.2f}",
                    f"{done['responders_cpu'] / answers * 1e6:.1f}",
                    f"{each['responders'] - done['fewest']:,}",
                    f"{hurried['over'] * 1e3:.1f}" if hurried["over"] >= 0 else "before",
                    f"{hurried['answers']:,}",
                )
            )
    columns = (
        *("responders", "round p50 ms", "p95", "CPU µs an answer: exporter", "server", "responders"),
        *("missing at most", f"end after {HURRY:g} s, ms", "answers by then"),
    )
    return Table("large-rounds", "Rounds", columns, tuple(rows))


def _others(found: list[dict[str, Any]]) -> Table:
    rows = []
    for each in found:
        memory, count = each["memory"], each["responders"]
        first, second = memory["exporter"]
        rows.append(
            (
                f"{count:,}, {each['crowd']}",
                f"{each['start_up']['took']:.2f}",
                f"{each['start_up']['storm']:.2f}",
                f"{each['ended']['took']:.2f}",
                *(f"{memory['exporter'][name] / 2**20:.1f}" for name in (first, second)),
                f"{memory['exporter'][first] / count / 1024:.2f}",
                f"{memory['server'] / 2**20:.1f}",
                f"{memory['server_most'] / 2**20:.1f}",
                f"{memory['responders'] / count / 1024:.1f}",
                *_idle(each),
            )
        )
    columns = (
        *("responders", "start-up s", "answer storm s", "end s", "MiB: exporter", "asyncio", "KiB a name"),
        *("MiB: server", "most", "KiB a responder", "idle, CPU ms a second: exporter", "server", "responders"),
    )
    return Table("large-others", "Start-up, end and memory", columns, tuple(rows))


def _idle(each: dict[str, Any]) -> tuple[str, str, str]:
    idle = each["idle"]
    if idle is None:
        return "", "", ""
    used = (max(idle["exporters"].values()), idle["server"], idle["responders"])
    first, second, third = (f"{cpu * 1e3:,.1f}" for cpu in used)
    return first, second, third


if __name__ == "__main__":
    sys.exit(main())
