"""How responders stand, and who comes first."""

from __future__ import annotations

import pytest

from state_signals.cli.watching.roster import Standing, counted, has_problem, roster_rows, selected
from state_signals.results import Outcome
from state_signals.runs.model import Member, RunState
from tests.cli.watching.scenes import NOW, crowd, ended, failed, pending, round_of, run_of, succeeded


def test_problems_come_first_and_the_longest_silence_first_among_the_pending() -> None:
    names = [row.responder_id for row in roster_rows(crowd(1_000), NOW)]
    assert names[:8] == ["dead", "broken", "full", "slept", "quiet", "stuck", "busy", "node-0992"]
    assert len(names) == 1_000


def test_what_is_told_of_each() -> None:
    rows = {row.responder_id: row for row in roster_rows(crowd(10), NOW)}
    busy = rows["busy"]
    assert (busy.standing, busy.seconds, busy.is_ticking, busy.message) == (
        Standing.WORKING,
        4.0,
        True,
        "flushing 3 of 10",
    )
    full = rows["full"]
    assert (full.standing, full.seconds, full.message) == (Standing.FAILED, 0.5, "No space left on device")
    assert rows["node-0000"].seen == 1.0


def test_counts_are_in_the_order_of_urgency() -> None:
    assert counted(roster_rows(crowd(1_000), NOW)) == [
        (Standing.LOST, 1),
        (Standing.FAILED, 2),
        (Standing.MISSING, 1),
        (Standing.PENDING, 1),
        (Standing.WORKING, 2),
        (Standing.SUCCEEDED, 993),
    ]


def test_who_gives_no_sign_of_life_is_lost_whatever_it_has_answered() -> None:
    run = run_of(round_of(succeeded("perf"), pending("pcap")))
    for member in run.members.values():
        member.last_seen = NOW - 16
    assert [row.standing for row in roster_rows(run, NOW)] == [Standing.LOST, Standing.LOST]


@pytest.mark.parametrize("state", [RunState.ENDED, RunState.ABORTED, RunState.CRASHED])
def test_in_a_run_that_is_over_nobody_is_waited_for_or_lost(state: RunState) -> None:
    run = run_of(round_of(succeeded("perf"), pending("pcap")), state=state)
    for member in run.members.values():
        member.last_seen = NOW - 1_000
    assert [row.standing for row in roster_rows(run, NOW)] == [Standing.SILENT, Standing.SUCCEEDED]


def test_a_round_that_nobody_waits_for() -> None:
    run = run_of(round_of(succeeded("perf"), pending("pcap"), wait=None))
    assert {row.responder_id: row.standing for row in roster_rows(run, NOW)} == {
        "perf": Standing.SUCCEEDED,
        "pcap": Standing.SILENT,
    }


def test_before_the_first_signal() -> None:
    run = run_of()
    run.members["there"] = Member(responder_id="there", subscribed_at=NOW - 3)
    run.members["not-yet"] = Member(responder_id="not-yet", is_expected=True)
    run.members["gone"] = Member(responder_id="gone", subscribed_at=NOW - 3, left_at=NOW - 1)
    assert [(row.responder_id, row.standing) for row in roster_rows(run, NOW)] == [
        ("not-yet", Standing.EXPECTED),
        ("there", Standing.SUBSCRIBED),
    ]


def test_who_has_left_is_there_as_long_as_the_round_in_which_it_did() -> None:
    run = run_of(round_of(ended("gone", Outcome.LEFT)), round_of(succeeded("perf"), signal_id="3"))
    run.members["gone"].left_at = NOW - 10
    assert [row.responder_id for row in roster_rows(run, NOW)] == ["perf"]
    del run.rounds[1]
    assert next(row.standing for row in roster_rows(run, NOW)) is Standing.LEFT


def test_an_answer_that_came_too_late_says_so() -> None:
    late = failed("slow", "done at last", after=30)
    late.outcome, late.is_late = Outcome.MISSING, True
    (row,) = roster_rows(run_of(round_of(late, ended_at=NOW)), NOW)
    assert (row.standing, row.message) == (Standing.MISSING, "too late: done at last")


def test_rows_are_selected_by_name_standing_and_message() -> None:
    rows = roster_rows(crowd(100), NOW)
    assert [row.responder_id for row in selected(rows, "SPACE", problems_only=False)] == ["full"]
    assert [row.responder_id for row in selected(rows, "node-0005", problems_only=False)] == ["node-0005"]
    assert len(selected(rows, "working", problems_only=False)) == 2
    assert len(selected(rows, "", problems_only=True)) == 7
    assert not selected(rows, "node", problems_only=True)


def test_a_run_has_a_problem_if_somebody_failed_in_its_last_round() -> None:
    fine, bad = round_of(succeeded("perf")), round_of(failed("perf", ""))
    assert has_problem(run_of(fine, bad))
    assert not has_problem(run_of(bad, fine))
    assert not has_problem(run_of())
