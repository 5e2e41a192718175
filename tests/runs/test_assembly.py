"""From the entries of streams to runs."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state_signals import Outcome
from state_signals.results import Report
from state_signals.runs.assembly import RunLog
from state_signals.runs.model import Run, RunState
from state_signals.runs.vitals import RosterEntry, Vitals, state_of
from tests.runs.entries import PUBLISHER, Entry, Teller


def answered(ras: int = 1) -> Report:
    return Report(outcome=Outcome.SUCCEEDED if ras == 1 else Outcome.FAILED, ras=ras)


def only(log: RunLog) -> Run:
    assert not log.refused
    (run,) = log.runs
    return run


def vitals(state: RunState = RunState.LIVE, **more: object) -> Vitals:
    return Vitals(now=2000.0, state=state, **more)  # type: ignore[arg-type]


def test_a_run_with_its_rounds_and_members() -> None:
    told = Teller()
    told.initialize("a", "b")
    told.now += 1
    start = told.signal("start", wait=10.0, sample_no=3, metadata={"k": 1})
    told.now += 0.5
    told.work("b", start, "half way", took=0.5)
    told.now += 0.5
    told.answer("a", start, took=1.0)
    told.now += 1
    told.answer("b", start, 0, "no disk", took=1.5)
    told.verdict(start, 2.0, ok=False, a=answered(), b=answered(0))
    told.now += 1
    told.signal("shutdown")
    run = only(told.log())
    assert (run.publisher_id, run.process_name, run.runner_host, run.tag) == (PUBLISHER, "fio", "host-a", "nightly")
    assert (run.state, run.is_whole) == (RunState.ENDED, True)
    assert (run.began_at, run.ended_at) == pytest.approx((999.999, 1003.999))
    (this,) = run.rounds
    assert (this.event, this.sample_no, this.metadata, this.wait, this.ok) == ("start", 3, {"k": 1}, 10.0, False)
    assert (this.published_at, this.ended_at, this.elapsed) == pytest.approx((1000.999, 1002.999, 2.0))
    a, b = this.actions["a"], this.actions["b"]
    assert (a.outcome, a.ras, a.answered_at, a.received_at) == (Outcome.SUCCEEDED, 1, 1002.0, 1001.0)
    assert (b.outcome, b.message, b.took) == (Outcome.FAILED, "no disk", 1.5)
    assert [(each.at, each.message) for each in b.progress] == [(1001.5, "half way")]
    assert list(run.members) == ["a", "b"]
    assert run.members["a"].subscribed_at == 1000.0
    assert run.members["a"].ttl == 15.0


@pytest.mark.parametrize("ahead", [-3600.0, -0.25, 0.0, 7200.0])
def test_the_exporters_clock_is_converted(ahead: float) -> None:
    told = Teller(ahead=ahead)
    told.initialize("a", took=0.0)
    told.now += 10
    start = told.signal("start", wait=1.0)
    told.now += 0.5
    told.answer("a", start, took=0.498)
    (this,) = only(told.log()).rounds
    assert this.published_at == pytest.approx(1010.0)
    assert this.actions["a"].received_at == pytest.approx(1010.002)
    # Known without a verdict: everybody has answered.
    assert this.ended_at == 1010.5
    assert this.ok


def test_a_late_subscription_says_nothing_about_the_clock() -> None:
    told = Teller()
    initialization = told.signal("initialization")
    told.now += 600
    told.answer("a", initialization, took=0.0, ttl=15.0)
    assert only(told.log()).began_at == 1000.0


def test_who_exaggerates_does_not_move_the_clock() -> None:
    told = Teller(ahead=5.0)
    told.initialize("a", "b", "c", took=0.0)
    told.now += 1
    start = told.signal("start", wait=1.0)
    for name, took in (("a", 0.0), ("b", 1e9), ("c", 0.0)):
        told.answer(name, start, took=took)
    (this,) = only(told.log()).rounds
    assert this.published_at == pytest.approx(1001.0)
    assert this.actions["b"].received_at == this.published_at


def test_a_round_does_not_end_after_its_verdict_was_written() -> None:
    told = Teller(ahead=100.0)
    told.initialize()
    start = told.signal("start", wait=2.0)
    told.now += 2.5
    told.verdict(start, 2.0, ok=False, old="missing")
    (this,) = only(told.log()).rounds
    assert this.ended_at == pytest.approx(1002.5)


def test_who_had_not_answered_is_named_by_the_verdict_and_late_if_it_answers() -> None:
    told = Teller()
    told.initialize("a", "b", "c", "d")
    start = told.signal("start", wait=2.0)
    told.answer("a", start)
    told.now += 2
    told.verdict(start, 2.0, ok=False, a=answered(), b="missing", c="lost", d="left")
    told.now += 1
    told.answer("b", start, 1, "sorry")
    (this,) = only(told.log()).rounds
    assert {name: str(action.outcome) for name, action in this.actions.items()} == {
        "a": "succeeded",
        "b": "missing",
        "c": "lost",
        "d": "left",
    }
    late = this.actions["b"]
    assert (late.is_late, late.message, late.answered_at) == (True, "sorry", 1003.0)
    assert [this.count(outcome) for outcome in (*Outcome, None)] == [1, 0, 1, 1, 1, 0]


def test_who_was_not_waited_for_is_late_by_time() -> None:
    told = Teller()
    told.initialize("a", "b", "c")
    start = told.signal("start", wait=9.0)
    told.answer("a", start, 0)
    told.verdict(start, 0.0, ok=False, pending=("b", "c"), a=answered(0))
    told.now += 1
    told.answer("b", start)
    (this,) = only(told.log()).rounds
    assert {name: (action.outcome, action.is_late) for name, action in this.actions.items()} == {
        "a": (Outcome.FAILED, False),
        "b": (None, True),
        "c": (None, False),
    }


def test_what_version_1_has_answered_is_in_the_verdict() -> None:
    told = Teller()
    told.initialize("a", took=0.0)
    start = told.signal("start", wait=9.0)
    told.now += 1
    told.answer("a", start, took=1.0)
    old = Report(outcome=Outcome.FAILED, ras=0, message="version 1", elapsed=0.25)
    told.verdict(start, 1.0, ok=False, a=answered(), old=old)
    run = only(told.log())
    action = run.rounds[0].actions["old"]
    assert (action.outcome, action.ras, action.message) == (Outcome.FAILED, 0, "version 1")
    assert action.answered_at == pytest.approx(1000.25)
    assert (action.received_at, action.took) == (None, None)
    assert not run.members["old"].speaks_v2
    assert run.members["a"].speaks_v2


def test_an_answer_of_somebody_else_does_not_count() -> None:
    told = Teller()
    told.initialize("a")
    start = told.signal("start", wait=9.0)
    told.answer("stranger", start)
    told.answer("a", start)
    told.verdict(start, 0.5, ok=True, a=answered())
    (this,) = only(told.log()).rounds
    assert this.actions["a"].outcome is Outcome.SUCCEEDED
    assert (this.actions["stranger"].outcome, this.actions["stranger"].ras) == (None, 1)


def test_an_answer_that_is_gone_is_made_up_for() -> None:
    told = Teller()
    told.initialize("a", "b")
    start = told.signal("start", wait=9.0)
    told.answer("a", start)
    told.now += 0.5
    told.verdict(start, 0.5, ok=False, a=answered(), b=answered(0))
    (this,) = only(told.log()).rounds
    assert (this.actions["b"].outcome, this.actions["b"].ras) == (Outcome.FAILED, None)


def test_an_open_round_knows_who_is_pending() -> None:
    told = Teller()
    told.initialize("a", "b", "gone")
    told.now += 1
    told.leave("gone")
    told.now += 1
    start = told.signal("start", wait=math.inf)
    told.now += 1
    told.answer("a", start, took=1.0)
    told.leave("b")
    log = told.log()
    log.vitals = vitals(
        legal_events=["start"],
        roster={"late": RosterEntry(ttl=15.0, is_expected=True), "old": RosterEntry()},
        seen={"a": 1999.0},
        last_seen=1998.0,
    )
    run = only(log)
    this = run.open_round
    assert this is not None
    assert {name: action.outcome for name, action in this.actions.items()} == {
        "a": Outcome.SUCCEEDED,
        "b": Outcome.LEFT,
        "late": None,
        "old": None,
    }
    assert (this.wait, this.ended_at, this.ok) == (math.inf, None, None)
    assert (run.state, run.last_seen, run.legal_events) == (RunState.LIVE, 1998.0, ["start"])
    assert run.members["gone"].left_at == 1001.0
    assert run.members["a"].last_seen == 1999.0
    assert not run.members["old"].speaks_v2
    assert run.members["late"].is_expected


def test_an_answer_after_the_time_without_a_verdict_is_late() -> None:
    told = Teller()
    told.initialize("a", took=0.0)
    start = told.signal("start", wait=1.0)
    told.now += 2
    told.answer("a", start, took=2.0)
    log = told.log()
    log.vitals = vitals(RunState.CRASHED)
    run = only(log)
    action = run.rounds[0].actions["a"]
    assert (action.outcome, action.is_late, run.rounds[0].ended_at) == (None, True, None)
    assert run.state is RunState.CRASHED


def test_when_a_round_is_overdue() -> None:
    told = Teller()
    told.initialize("a")
    for wait in (2.0, math.inf, None):
        told.signal("start", wait=wait)
    in_time, for_ever, not_awaited = only(told.log()).rounds
    assert [in_time.is_overdue(1000.0 + passed) for passed in (1.0, 2.5, 4.0)] == [False, False, True]
    assert not for_ever.is_overdue(1e10)
    assert not not_awaited.is_overdue(1e10)


def test_nobody_waits_where_nobody_was_asked() -> None:
    told = Teller()
    told.initialize("a", "b")
    start = told.signal("start")
    told.answer("a", start)
    told.signal("shutdown")
    (this,) = only(told.log()).rounds
    assert list(this.actions) == ["a"]
    assert (this.ended_at, this.ok, this.is_awaited) == (None, None, False)


def test_runs_of_one_exporter_follow_each_other() -> None:
    told = Teller()
    for number in range(3):
        told.initialize("a")
        told.now += 1
        # Announced again, or resumed: the same run.
        told.initialize()
        told.signal("start")
        told.now += 1
        told.signal("shutdown", aborted="disk full" if number == 1 else None)
        told.now += 1
    # A second shutdown ends nothing.
    told.signal("shutdown")
    told.signal("stray")
    log = told.log()
    assert [(run.state, len(run.rounds), run.is_whole) for run in log.runs] == [
        (RunState.ENDED, 1, True),
        (RunState.ABORTED, 1, True),
        (RunState.ENDED, 1, True),
        (RunState.LIVE, 1, False),
    ]
    assert log.runs[1].aborted == "disk full"
    assert [run.began_at for run in log.runs] == pytest.approx([999.999, 1002.999, 1005.999, 1008.999])
    log.vitals = vitals(RunState.DETACHED)
    assert [run.state for run in log.runs][-1] is RunState.DETACHED


def test_what_was_trimmed_shows() -> None:
    told = Teller(seq=7)
    told.signal("start")
    told.signal("shutdown")
    (run,) = told.log().runs
    assert not run.is_whole
    assert run.process_name == "fio"


def test_a_new_beginning_counts_more_than_an_old_one_at_the_same_place() -> None:
    old, new = Teller(), Teller(now=5000.0)
    for each in (old, new):
        each.initialize("a")
        each.signal("start")
    for entries in (old.entries + new.entries, new.entries + old.entries):
        log = RunLog(PUBLISHER)
        for entry in entries:
            entry.told_to(log)
        (run,) = log.runs
        assert run.began_at > 4000


def test_what_cannot_count_is_counted() -> None:
    log = RunLog(PUBLISHER)
    other = Teller("other")
    other.initialize("a")
    other.verdict(other.signal("start"), 1e300, ok=True, a=answered())
    for entry in other.entries:
        entry.told_to(log)
    for data in (b"", b"\xff", b"[]", b"{}", b"null", b"[" * 100_000, b"x" * 2_000_000):
        log.signal(data)
        log.response(1.0, data)
        log.verdict(1.0, data)
    assert log.runs == []
    assert log.refused["foreign"] == 3
    assert log.refused["bad-time"] == 1
    assert log.refused.total() == 25


def test_memory_is_bounded() -> None:
    told = Teller()
    told.initialize("a")
    for _ in range(200):
        told.answer("a", told.signal("start", metadata={"k": "x" * 1000}))
        told.now += 1
    log = RunLog(PUBLISHER, most_bytes=50_000)
    for entry in told.entries:
        entry.told_to(log)
    (run,) = log.runs
    assert 10 < len(run.rounds) < 50
    assert run.rounds[-1].seq == 201
    assert not run.is_whole
    # What is said about signals that nobody knows does not displace those that are known.
    strangers = Teller()
    strangers.initialize()
    for _ in range(1000):
        strangers.seq = 9999
        strangers.answer("a", strangers.signal("start"))
        strangers.now += 1
    for entry in strangers.entries:
        if entry.stream == "responses":
            entry.told_to(log)
    assert log.refused["too-many"] > 900
    assert len(log.runs[0].rounds) == len(run.rounds)


def story() -> list[Entry]:
    told = Teller(ahead=3.0)
    for _ in range(2):
        initialization = told.initialize("a", "b", "c")
        told.now += 1
        first = told.signal("start", wait=5.0)
        told.now += 0.5
        told.answer("a", first, took=0.25)
        told.answer("a", first, took=0.25, again=True)
        told.work("b", first, "on it", took=0.5)
        told.now += 1
        told.leave("c")
        told.answer("b", first, 0, "no", took=1.0)
        told.verdict(first, 1.5, ok=False, a=answered(), b=answered(0), c="left")
        told.answer("c", initialization, took=0.0, ttl=5.0)
        second = told.signal("stop", wait=1.0)
        told.answer("a", second)
        told.signal("shutdown")
    return told.entries


@given(st.randoms(use_true_random=False), st.data())
def test_neither_order_nor_repetition_matters(rng: random.Random, data: st.DataObject) -> None:
    entries = story()
    expected = RunLog(PUBLISHER)
    for entry in entries:
        entry.told_to(expected)
    shuffled = entries + rng.choices(entries, k=rng.randrange(20))
    rng.shuffle(shuffled)
    looks = data.draw(st.sets(st.integers(0, len(shuffled))))
    log = RunLog(PUBLISHER)
    for place, entry in enumerate(shuffled):
        entry.told_to(log)
        if place in looks:
            # What was made on the way must not stay.
            assert all(run.rounds is not None for run in log.runs)
    assert log.runs == expected.runs
    before = log.runs
    for entry in entries:
        entry.told_to(log)
    assert log.runs == before


@given(st.lists(st.tuples(st.sampled_from(["signals", "responses", "rounds"]), st.binary(max_size=50))), st.data())
def test_no_entry_raises(noise: list[tuple[str, bytes]], data: st.DataObject) -> None:
    log = RunLog(PUBLISHER)
    at = st.floats(0, 1e11)
    for stream, raw in noise:
        Entry(stream, raw, data.draw(at)).told_to(log)
    for entry in story():
        if data.draw(st.booleans()):
            cut = entry.data[: data.draw(st.integers(0, len(entry.data)))] if data.draw(st.booleans()) else entry.data
            Entry(entry.stream, cut, data.draw(at)).told_to(log)
    for run in log.runs:
        assert run.publisher_id == PUBLISHER


@pytest.mark.parametrize(
    ("facts", "state"),
    [
        ({"is_owned": True, "is_kept": True, "score": 990.0, "ttl": 5.0}, RunState.LIVE),
        ({"is_owned": True, "is_kept": False, "score": None, "ttl": None}, RunState.LIVE),
        ({"is_owned": False, "is_kept": True, "score": 90000.0, "ttl": 5.0}, RunState.DETACHED),
        ({"is_owned": False, "is_kept": False, "score": 90000.0, "ttl": 5.0}, RunState.CRASHED),
        ({"is_owned": False, "is_kept": True, "score": 996.0, "ttl": 5.0}, RunState.LIVE),
        ({"is_owned": False, "is_kept": True, "score": 990.0, "ttl": 5.0}, RunState.CRASHED),
        ({"is_owned": False, "is_kept": False, "score": 990.0, "ttl": None}, RunState.LIVE),
        ({"is_owned": False, "is_kept": True, "score": None, "ttl": 5.0}, RunState.CRASHED),
    ],
)
def test_where_an_exporter_is(facts: dict[str, object], state: RunState) -> None:
    assert state_of(now=1000.0, **facts) is state  # type: ignore[arg-type]
