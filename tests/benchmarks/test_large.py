"""What becomes of what was measured with very many responders: tables, complaints, and what is calculated from it."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks import large, scale
from benchmarks.scale import Costs

COUNTS = (1_000, 2_000, 10_000)

MACHINE = {
    "date": "2026-01-01 00:00:00 UTC",
    "cpu": "a CPU",
    "cores": 2,
    "memory": 2**30,
    "python": "CPython 3.11",
    "commit": "abc",
    "others": 0.0,
}


def measured(crowd: str, count: int, *, fewest: int | None = None, over: float = 0.01) -> dict[str, Any]:
    """A world without surprises: each answer costs the server 3 µs, each connection 20 more, the exporter 5."""
    connections = count if crowd == "connections" else 8
    seconds = connections // (1 if crowd == "connections" else 2) * 20e-6 + count * 3e-6
    done = [
        {
            "contender": name,
            "took": [max(seconds, count * 5e-6, (seconds + count * 15e-6) / 2)],
            "answers": count,
            "fewest": count if fewest is None else fewest,
            "exporter_cpu": count * 5e-6,
            "server_cpu": seconds,
            "responders_cpu": count * 10e-6,
            "bytes": [count * 400, count * 200],
        }
        for name in ("ours", "ours_asyncio")
    ]
    kept = 1_000_000
    return {
        "crowd": crowd,
        "responders": count,
        "connections": connections,
        "start_up": {"took": 1.0, "storm": 0.5},
        "rounds": done,
        "hurried": [{"contender": each["contender"], "over": over, "answers": 0} for each in done],
        "memory": {
            "exporter": {"ours": count * 1024, "ours_asyncio": count * 512},
            "server": kept + (count * 40 * 1024 if crowd == "connections" else 0),
            "server_most": 2**30,
            "responders": count * 64 * 1024,
        },
        "idle": {"exporters": {"ours": 0.001}, "server": count / 5 * 10e-6, "responders": 0.1},
        "ended": {"took": 0.1},
    }


FOUND = [measured(crowd, count) for count in COUNTS for crowd in ("connections", "processes")]


def test_the_costs_come_out_as_they_went_in():
    costs = Costs.of(FOUND, cores=2)
    assert costs.connection == pytest.approx(20e-6, rel=0.05)
    assert costs.answer == pytest.approx(3e-6, rel=0.05)
    assert costs.collect == pytest.approx(5e-6)
    assert costs.beat == pytest.approx(10e-6)
    assert costs.server_memory == pytest.approx(40 * 1024)
    assert costs.exporter_memory == pytest.approx(1024)


def test_one_crowd_alone_tells_nothing():
    with pytest.raises(ValueError, match="both"):
        Costs.of([each for each in FOUND if each["crowd"] == "processes"], cores=2)


def test_where_all_is_linear_the_calculation_is_right():
    tables = {table.name: table for table in scale.tables(FOUND, cores=2)}
    compared = tables["compared"]
    assert len(compared.rows) == len(FOUND)
    for row in compared.rows:
        assert all(abs(int(cell.strip("%"))) <= 3 for cell in row[3::3]), row


def test_what_does_not_fit_a_roster_is_said():
    tables = {table.name: table for table in scale.tables(FOUND, cores=2)}
    fits = {row[0]: row[-1] for row in tables["layouts"].rows}
    assert fits["1,000,000, a process each"] == "no"
    assert fits["the same, in 10 shards"] == "yes"


def test_the_page_has_all_its_tables():
    text = scale.document([*large.tables(FOUND), *scale.tables(FOUND, cores=2)], MACHINE)
    assert "{{" not in text
    assert "10,000, processes: state-signals asyncio" in text


@pytest.mark.parametrize(
    ("what", "complaint"),
    [({}, []), ({"fewest": 9_999}, ["only 9,999 have answered"]), ({"over": 0.06}, ["ended 0.060 s too late"])],
)
def test_whoever_is_missing_and_what_is_late_is_complained_of(what, complaint):
    found = large.complaints([measured("processes", 10_000, **what)])
    assert len(found) == 2 * len(complaint)
    assert all(complaint[0] in each for each in found)
