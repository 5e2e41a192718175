"""What becomes of what was measured: figures, bounds, tables, the document."""

from __future__ import annotations

import pytest

from benchmarks.bounds import BOUNDS, Target, broken
from benchmarks.figures import Figure, Results, percentile
from benchmarks.measures.deliveries import deliveries
from benchmarks.plan import CONTENDERS, FULL, SHORT
from benchmarks.plots import write_plots
from benchmarks.report import document
from benchmarks.tables import Table, tables

MACHINE = {
    "date": "2026-01-01 00:00:00 UTC",
    "cpu": "a CPU",
    "cores": 2,
    "memory": 2**30,
    "system": "Linux",
    "python": "CPython 3.11",
    "packages": {"redis": "6.2"},
    "commit": "abc",
    "load": 0.25,
    "others": 0.034,
    "servers": ["redis 7"],
}


def turn(*milliseconds, answers=None, cpu=0.001):
    return {
        "took": [each / 1000 for each in milliseconds],
        "answers": len(milliseconds) if answers is None else answers,
        "fewest": 0,
        "surveyor_cpu": cpu,
        "responders_cpu": cpu,
        "server_cpu": None,
    }


def series(kind, responders, contender, *turns, memory=()):
    return {
        "kind": kind,
        "responders": responders,
        "contender": contender,
        "start_up": [0.1, 0.3],
        "turns": list(turns),
        "memory": list(memory),
    }


def results(*rounds, **others):
    plan = {"sittings": 1, "repetitions": 2}
    return Results({"machine": MACHINE, "plan": plan, "notes": [], "rounds": list(rounds), **others})


def test_percentiles_are_values_that_were_measured():
    assert percentile([3, 1, 2], 50) == 2
    assert percentile(range(1, 101), 99) == 99
    assert percentile([5], 99) == 5
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_a_figure_is_a_median_with_its_spread():
    assert Figure.of([3.0, 1.0, 8.0]) == Figure(3.0, 1.0, 8.0)
    assert Figure.of([3.0, 1.0, 8.0]).times(2) == Figure(6.0, 2.0, 16.0)


def test_ratios_are_paired_within_a_repetition():
    found = results(
        series("process", 1, "raw", turn(1), turn(10), turn(1)),
        series("process", 1, "ours", turn(2), turn(20), turn(9)),
    )
    assert found.ratio("process", 1, "ours", "raw") == Figure(2, 2, 9)
    assert found.p50("process", 1, "ours").median == pytest.approx(0.009)


def test_answers_that_did_not_come_are_counted():
    found = results(series("connections", 10, "nng", turn(1, 1, answers=15)))
    assert found.lost("connections", 10, "nng") == pytest.approx(0.25)


def test_cpu_is_per_answer():
    found = results(series("connections", 10, "raw", turn(1, 1, answers=20, cpu=0.001)))
    used = found.cpu("connections", 10, "raw", "surveyor")
    assert used is not None
    assert used.median == pytest.approx(50e-6)
    assert found.cpu("connections", 10, "raw", "server") is None


def test_memory_is_what_one_more_responder_takes():
    found = results(
        *(series("together", count, "ours", turn(1), memory=[5_000 + 30 * count]) for count in (10, 100, 1000))
    )
    assert found.memory_each("together", "ours") == pytest.approx(30)


def test_deliveries_are_those_to_subscribers_and_to_the_exporter():
    told = ("PUBLISH signals {}", "XADD state-signals:{e}:signals 1-0 s x", "XADD state-signals:{e}:responses * r x")
    assert deliveries(told, {b"signals": 8}) == 9
    assert deliveries(("SUBSCRIBE answers", "PUBLISH answers x", "ECHO end"), {b"answers": 1}) == 2


def all_of_them(factor):
    """Return results in which whoever has a bound takes `factor` times as long as that allows."""
    floors = {(bound.kind, bound.responders, bound.other) for bound in BOUNDS}
    return results(
        *(series(*floor, turn(1), turn(2)) for floor in floors),
        *(
            series(bound.kind, bound.responders, bound.contender, *(turn(bound.most * factor * ms) for ms in (1, 2)))
            for bound in BOUNDS
        ),
    )


def test_what_is_beyond_its_bound_is_a_regression():
    assert broken(all_of_them(0.9)) == []
    assert len(broken(all_of_them(1.1))) == len(BOUNDS)


def test_what_was_not_measured_does_not_pass():
    assert len(broken(results())) == len(BOUNDS)


def test_the_short_form_measures_whatever_has_a_bound():
    for bound in BOUNDS:
        assert {bound.contender, bound.other} <= set(SHORT.contenders)
        assert bound.kind in SHORT.measures
        assert bound.responders in SHORT.rounds


def test_targets_have_two_sides():
    assert Target("", lambda _: 1, "", most=2).is_met(2)
    assert not Target("", lambda _: 1, "", most=2).is_met(2.1)
    assert not Target("", lambda _: 1, "", least=2).is_met(1.9)


def test_tables_line_up_and_have_a_line_for_each_contender():
    (rounds, *_) = tables(results(*(series("process", 1, name, turn(1)) for name in CONTENDERS)))
    assert len(rounds.rows) == len(CONTENDERS)
    assert len({len(row) for row in (rounds.columns, *rounds.rows)}) == 1


def test_a_table_as_text_and_as_markdown():
    table = Table("t", "A title", ("", "ms"), (("one", "1.5"), ("another", "10")))
    assert table.as_text().splitlines() == ["A title", "          ms", "one      1.5", "another   10"]
    assert table.as_markdown().splitlines()[1:] == ["| --- | --: |", "| one | 1.5 |", "| another | 10 |"]


def test_the_document_says_where_and_what_it_lacks():
    text = document(results(series("process", 1, "ours", turn(1))), [])
    assert "2 cores of a CPU" in text
    assert "before it began: 0.25" in text
    assert "3% of the machine" in text
    assert "| state-signals |" in text
    assert "*(not measured in this run)*" in text
    assert "{{" not in text


def test_all_contenders_take_part_in_the_long_form():
    assert FULL.contenders == tuple(CONTENDERS)


def test_who_does_not_take_part_with_so_many_has_no_line_and_no_point(tmp_path):
    found = results(
        *(series("together", count, "ours_asyncio", turn(count), memory=(count,)) for count in (10, 1_000)),
        series("together", 10, "ours", turn(10), memory=(10,)),
    )
    few, many = tables(found)[:2]
    assert (len(few.rows), len(many.rows)) == (2, 1)
    assert write_plots(found, tmp_path) == ["performance-together.svg"]
    assert "state-signals asyncio" in document(found, [])
