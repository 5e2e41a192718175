"""When a round is over and what it came to."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state_signals import InvalidArgument, InvalidType, Outcome, ResultCodes
from state_signals.arguments import check_min_success, seconds
from state_signals.protocol.rounds import Round, RoundOptions


def round_of(*members: str, timeout: float | None = 20.0, max_outsiders: int = 100, **options) -> Round:
    options_ = RoundOptions(timeout=timeout, **options)
    return Round("id", "start", members, options_, now=100.0, max_outsiders=max_outsiders)


def answered(this: Round, *members: str, ras: int = 1) -> None:
    for member in members:
        assert this.answered(member, ras, None, None, 101.0)


def expire(this: Round, now: float, *lost: str) -> list[str]:
    return this.expire(now, lambda names, since: [name for name in names if name in lost and since == this.started])


# Success


def test_all_have_to_succeed():
    this = round_of("a", "b")
    answered(this, "a")
    assert not this.is_over
    assert not this.result(101.0).ok
    answered(this, "b")
    assert this.is_over
    assert this.result(101.0).ok


def test_one_failure_is_enough_to_fail():
    this = round_of("a", "b")
    answered(this, "a", ras=0)
    answered(this, "b")
    assert this.is_over
    assert this.result(101.0) == (ResultCodes.SUB_FAILED, {})


def test_a_round_of_nobody_is_over_and_no_success():
    this = round_of()
    assert this.is_over
    assert this.result(100.0) == (ResultCodes.MISSING_RESPONSE, {})


def test_answers_gather_for_a_small_part_of_the_time_so_far_and_of_what_is_left():
    names = [f"r{number}" for number in range(100)]
    this = round_of(*names, tells_outcomes=False)
    # Nobody knows yet how fast they come.
    assert this.gathering(101.0) == 0.0
    answered(this, *names[:10])
    assert this.gathering(101.0) == pytest.approx(0.06)
    assert this.gathering(103.0) == pytest.approx(0.18)
    # One is left, which is expected after a 99th of the time.
    answered(this, *names[10:99])
    assert this.gathering(101.0) == pytest.approx(0.5 / 99)
    answered(this, names[99])
    assert this.gathering(101.0) == 0.0


@pytest.mark.parametrize("options", [{"tells_outcomes": True}, {"tells_outcomes": False, "fail_fast": True}])
def test_answers_do_not_gather_where_each_matters(options):
    this = round_of("a", "b", "c", **options)
    answered(this, "a")
    assert this.gathering(101.0) == 0.0


def test_the_roster_of_a_round_is_that_of_its_beginning():
    roster = {"a"}
    this = Round("id", "start", roster, RoundOptions(), now=0.0, max_outsiders=9)
    roster.add("b")
    assert this.pending == {"a"}


@pytest.mark.parametrize(
    ("min_success", "members", "needed"),
    [
        (1, 10, 1),
        (0, 10, 0),
        (0.9, 10, 9),
        (0.7, 10, 7),
        (0.91, 10, 10),
        (0.5, 3, 2),
        (1.0, 7, 7),
        (0.0, 7, 0),
        (0.07, 100, 7),
        (0.29, 100, 29),
    ],
)
def test_min_success_is_a_count_or_a_share_rounded_up(min_success, members, needed):
    names = [f"r{number}" for number in range(members)]
    for succeeded in {max(0, needed - 1), needed}:
        this = round_of(*names, min_success=min_success)
        answered(this, *names[:succeeded])
        answered(this, *names[succeeded:], ras=0)
        assert this.result(101.0).ok is (succeeded >= needed)


@given(st.integers(1, 2000), st.data())
def test_the_share_that_is_a_whole_number_of_members_needs_exactly_that_many(members, data):
    wanted = data.draw(st.integers(0, members))
    names = [f"r{number}" for number in range(members)]
    this = round_of(*names, min_success=wanted / members)
    answered(this, *names[:wanted])
    assert this.result(101.0).ok
    if wanted:
        this = round_of(*names, min_success=wanted / members)
        answered(this, *names[: wanted - 1])
        assert not this.result(101.0).ok


def test_more_successes_than_members_cannot_be_had():
    this = round_of("a", min_success=2)
    answered(this, "a")
    assert this.is_over
    assert this.result(101.0).code is ResultCodes.MISSING_RESPONSE


@pytest.mark.parametrize("min_success", [None, 1, 0.5])
def test_enough_successes_do_not_end_a_round_every_outcome_is_known(min_success):
    this = round_of("a", "b", min_success=min_success)
    answered(this, "a")
    assert not this.is_over


@pytest.mark.parametrize(
    ("min_success", "answers", "is_over"),
    [
        (None, [1, 1], False),
        (None, [1, 0], True),
        (3, [0], False),
        (3, [0, 0], True),
        (0.5, [0, 0], False),
        (0.5, [0, 0, 0], True),
        (5, [], True),
    ],
)
def test_fail_fast_ends_a_round_as_soon_as_success_is_out_of_reach(min_success, answers, is_over):
    this = round_of("a", "b", "c", "d", min_success=min_success, fail_fast=True)
    for name, ras in zip("abcd", answers, strict=False):
        answered(this, name, ras=ras)
    assert this.is_over is is_over
    assert this.result(101.0).pending == set("abcd"[len(answers) :])


# Outcomes


def test_an_outcome_is_final():
    this = round_of("a", "b")
    answered(this, "a", ras=0)
    before = this.reports["a"]
    assert not this.answered("a", 1, "after all", None, 102.0)
    assert expire(this, 120.0) == ["b"]
    assert not this.answered("b", 1, "late", None, 121.0)
    assert this.reports["a"] is before
    assert this.reports["b"].outcome is Outcome.MISSING
    assert this.messages == {}


def test_a_report_holds_what_was_answered_and_when():
    this = round_of("a", "b")
    this.answered("a", 7, "broken", 0.25, 103.0)
    expire(this, 120.0)
    report = this.reports["a"]
    assert (report.outcome, report.ras, report.message) == (Outcome.FAILED, 7, "broken")
    assert (report.elapsed, report.took) == (3.0, 0.25)
    missing = this.reports["b"]
    assert (missing.ras, missing.message, missing.elapsed, missing.took) == (None, None, None, None)


@pytest.mark.parametrize(("timeout", "deadline"), [(20.0, 120.0), (0.0, 100.0), (None, None)])
def test_the_deadline_counts_from_publication(timeout, deadline):
    assert round_of("a", timeout=timeout).deadline == deadline


def test_a_round_without_a_deadline_never_expires():
    assert expire(round_of("a", timeout=None), math.inf) == []


def test_a_round_expires_at_its_deadline_and_names_who_is_missing_in_order_and_once():
    this = round_of("c", "a", "b")
    assert expire(this, 119.999) == []
    assert expire(this, 120.0) == ["a", "b", "c"]
    assert this.is_over
    assert expire(this, 121.0) == []


def test_messages_of_members_are_kept_and_those_of_others_up_to_a_limit():
    this = round_of("a", "b", max_outsiders=2)
    for stranger in ("x", "x", "y", "z"):
        assert not this.answered(stranger, 1, "hello", None, 101.0)
    this.answered("a", 1, "done", None, 101.0)
    this.answered("b", 1, None, None, 101.0)
    assert this.result(101.0).messages == {"x": "hello", "y": "hello", "a": "done"}


def test_who_left_in_good_order_is_neither_a_success_nor_a_failure():
    this = round_of("a", "b", "c", fail_fast=True)
    assert this.left("a")
    assert not this.left("a")
    assert not this.left("stranger")
    assert not this.is_over
    answered(this, "b", "c")
    assert this.result(101.0).ok
    assert list(this.result(101.0).left) == ["a"]


def test_who_is_lost_ends_at_once_and_by_name():
    this = round_of("c", "b", "a", "d")
    assert this.lose(lambda name: name in ("b", "c", "stranger")) == ["b", "c"]
    assert this.lose(lambda _: False) == []
    assert this.pending == {"a", "d"}
    assert list(this.result(101.0).lost) == ["b", "c"]
    assert this.result(101.0).code is ResultCodes.MISSING_RESPONSE


def test_who_is_lost_may_be_waited_for_until_the_deadline():
    this = round_of("a", "b", waits_for_lost=True)
    assert this.lose(lambda _: True) == []
    answered(this, "a")
    assert expire(this, 120.0, "b") == ["b"]
    assert (list(this.result(120.0).succeeded), list(this.result(120.0).lost)) == (["a"], ["b"])


def test_at_the_deadline_who_is_known_to_be_lost_is_not_called_missing():
    this = round_of("a", "b")
    assert expire(this, 120.0, "b") == ["a", "b"]
    assert (list(this.result(120.0).missing), list(this.result(120.0).lost)) == (["a"], ["b"])


# Signs of work


def test_without_a_sign_of_work_a_member_is_missing_though_the_deadline_is_far():
    this = round_of("a", "b", timeout=None, stall_timeout=5.0)
    assert this.next_deadline() == 105.0
    assert this.worked("a", 103.0)
    assert expire(this, 104.9) == []
    assert expire(this, 105.0) == ["b"]
    assert this.reports["b"].outcome is Outcome.MISSING
    assert this.next_deadline() == 108.0
    assert expire(this, 107.0) == []
    assert expire(this, 108.0) == ["a"]
    assert this.is_over


def test_who_goes_on_working_is_not_cut_off_before_the_deadline():
    this = round_of("a", timeout=20.0, stall_timeout=5.0)
    for second in range(100, 120, 4):
        assert expire(this, float(second)) == []
        assert this.worked("a", float(second))
    assert expire(this, 119.9) == []
    assert expire(this, 120.0) == ["a"]


def test_a_stall_timer_of_whom_nobody_hears_is_lost_if_it_is_dead():
    this = round_of("a", timeout=None, stall_timeout=5.0)
    assert expire(this, 105.0, "a") == ["a"]
    assert this.reports["a"].outcome is Outcome.LOST


def test_only_who_is_pending_can_show_signs_of_work():
    this = round_of("a", stall_timeout=5.0)
    answered(this, "a")
    assert not this.worked("a", 101.0)
    assert not this.worked("stranger", 101.0)
    assert len(this._signs) == 0


def test_a_stall_timer_rests_once_everybody_has_answered():
    this = round_of("a", "b", timeout=None, stall_timeout=5.0, min_success=1)
    answered(this, "a", "b")
    assert expire(this, 105.0) == []
    assert this.next_deadline() == math.inf


# Durations and counts that users give


@pytest.mark.parametrize(
    ("given_", "meant"),
    [
        (20, 20.0),
        (0.5, 0.5),
        (0, 0.0),
        (timedelta(minutes=2), 120.0),
        (-1, None),
        (-1.0, None),
        (timedelta(seconds=-1), None),
        (None, None),
        (math.inf, None),
    ],
)
def test_durations_are_seconds_or_timedelta_and_minus_1_or_none_is_for_ever(given_, meant):
    assert seconds("timeout", given_) == meant


@pytest.mark.parametrize(
    ("wrong", "error"), [("20", InvalidType), (True, InvalidType), (-2, InvalidArgument), (math.nan, InvalidArgument)]
)
def test_other_durations_are_refused(wrong, error):
    with pytest.raises(error, match=r"^timeout must"):
        seconds("timeout", wrong)


@pytest.mark.parametrize("good", [None, 0, 1, 10**9, 0.0, 0.5, 1.0])
def test_min_success_is_none_a_count_or_a_share(good):
    assert check_min_success(good) == good


@pytest.mark.parametrize(
    ("wrong", "error"),
    [("1", InvalidType), (True, InvalidType), (-1, InvalidArgument), (1.01, InvalidArgument), (-0.5, InvalidArgument)],
)
def test_another_min_success_is_refused(wrong, error):
    with pytest.raises(error, match=r"^min_success"):
        check_min_success(wrong)
