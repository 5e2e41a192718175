"""Runs that were told as JSON come back as they were."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from state_signals.cli.output import json_line
from state_signals.exceptions import InvalidArgument
from state_signals.runs.loading import load_runs, run_from
from state_signals.runs.objects import run_object
from tests.timeline import runs


@pytest.mark.parametrize("name", list(runs.ALL))
def test_a_run_comes_back_as_it_was(name: str) -> None:
    run = runs.ALL[name]()
    # Names that JSON in UTF-8 has no characters for cannot come from a server either.
    line = json_line(run_object(run, 3)).replace("\\ud800", "")
    ((number, found),) = load_runs(line.encode(), "test")
    assert number == 3
    assert json_line(run_object(found, 3)) == line
    assert found.rounds == [] or found.rounds[0].event == run.rounds[0].event.replace("\ud800", "")


def test_for_ever_comes_back() -> None:
    run = runs.single()
    run.rounds[0].wait = math.inf
    assert run_from(run_object(run)).rounds[0].wait == math.inf
    run.rounds[0].wait = None
    assert not run_from(run_object(run)).rounds[0].is_awaited


def test_empty_lines_and_what_is_not_known_are_left_out() -> None:
    value = {**run_object(runs.single()), "from_the_future": 1}
    data = b"\xef\xbb\xbf\n" + json.dumps(value).encode() + b"\r\n\n" + json.dumps(value).encode()
    assert [number for number, _ in load_runs(data, "test")] == [1, 2]


def broken(**changes: Any) -> bytes:
    return json.dumps({**run_object(runs.single()), **changes}).encode()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "truncated"),
        (b"\xff", ""),
        (b"[]", "a run must be an object"),
        (b"{}", "rounds"),
        (broken(rounds=[1]), "a round must be an object"),
        (broken(rounds=[{"event": "x", "actions": {}}]), "missing required field"),
        (broken(began_at="yesterday"), "began_at"),
        (broken(began_at=1e300), "no time"),
        (broken(ended_at=-1), "no time"),
        (broken(state="dreaming"), "dreaming"),
        (broken(members={"a": None}), "a member must be an object"),
        (b"[" * 100_000, ""),
    ],
)
def test_what_is_no_run_is_refused_with_place_and_reason(data: bytes, reason: str) -> None:
    good = json.dumps(run_object(runs.single())).encode()
    with pytest.raises(InvalidArgument, match="line 2 of FILE is no run") as refused:
        load_runs(good + b"\n" + data, "FILE")
    assert reason in str(refused.value)
