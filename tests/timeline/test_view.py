"""A run as it is drawn: statuses, stragglers, what part of it, and that no text comes through unescaped."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from state_signals.cli.output import escaped
from state_signals.results import Outcome
from state_signals.runs.model import Action, Progress, Round, Run, RunState
from state_signals.timeline.view import Selection, Status, View, view_of
from tests.timeline import runs
from tests.timeline.runs import BEGAN, action, round_of, run_of


def view(run: Run, selection: Selection | None = None) -> View:
    return view_of(run, escaped, selection)


def one_round(actions: list[Action], **fields: object) -> View:
    this = round_of(1, "go", BEGAN + 1, actions, **fields)  # type: ignore[arg-type]
    return view(run_of([this], [each.responder_id for each in actions]))


@pytest.mark.parametrize("outcome", list(Outcome))
def test_an_outcome_is_a_status(outcome: Outcome) -> None:
    found = one_round([action("a", BEGAN + 1, outcome=outcome)]).rounds[0].actions[0]
    assert (str(found.status), found.outcome) == (str(outcome), outcome)


def test_who_answers_when_the_round_is_over_is_late_whatever_the_exporter_counted() -> None:
    late = action("a", BEGAN + 1, 3.0, outcome=Outcome.MISSING, is_late=True)
    found = one_round([late], wait=2.0, ended_at=BEGAN + 3).rounds[0]
    assert (found.actions[0].status, found.actions[0].outcome) == (Status.LATE, Outcome.MISSING)
    assert found.responses() == []


def test_who_is_waited_for_is_pending_and_who_was_not_is_unknown() -> None:
    silent = action("a", BEGAN + 1, None, outcome=None)
    assert one_round([silent], ended_at=None).rounds[0].actions[0].status is Status.PENDING
    assert one_round([silent], wait=None).rounds[0].actions[0].status is Status.UNKNOWN
    assert one_round([silent], ended_at=BEGAN + 2).rounds[0].actions[0].status is Status.UNKNOWN


def test_an_answer_that_nobody_waited_for_counts_by_itself() -> None:
    good, bad = action("a", BEGAN + 1, outcome=None), action("b", BEGAN + 1, outcome=None, ras=0)
    statuses = [each.status for each in one_round([good, bad], wait=None).rounds[0].actions]
    assert statuses == [Status.SUCCEEDED, Status.FAILED]


def test_a_bar_begins_at_receipt_or_where_that_is_not_known_at_publication() -> None:
    known, unknown = action("a", BEGAN + 1, 0.5), action("b", BEGAN + 1, 0.5, received_at=None)
    bars = one_round([known, unknown]).rounds[0].actions
    assert bars[0].start == pytest.approx(1.001)
    assert bars[1].start == pytest.approx(1.0)
    assert bars[1].received is None
    assert [bar.end for bar in bars] == [pytest.approx(1.5)] * 2


def test_times_are_never_negative_and_never_run_backwards() -> None:
    odd = action("a", BEGAN - 5, received_at=BEGAN - 9, answered_at=BEGAN - 8)
    odd.progress = [Progress(BEGAN - 10, None)]
    found = view(run_of([round_of(1, "go", BEGAN - 5, [odd])], ["a"]))
    bar = found.rounds[0].actions[0]
    assert found.began_at == BEGAN - 5
    assert 0 <= found.rounds[0].published <= bar.start <= bar.end
    assert bar.progress[0][0] >= 0


def test_the_slowest_by_far_is_the_straggler_and_costs_what_the_others_would_have_saved() -> None:
    actions = [action(name, BEGAN + 1, seconds) for name, seconds in {"a": 0.1, "b": 0.2, "c": 1.2}.items()]
    found = one_round(actions).rounds[0]
    assert found.stragglers == ("c",)
    assert found.cost == pytest.approx(1.0)


def test_nobody_is_a_straggler_among_equals_or_alone() -> None:
    equals = [action(name, BEGAN + 1, 0.1 + place / 100) for place, name in enumerate("abcd")]
    assert one_round(equals).rounds[0].stragglers == ()
    assert one_round([action("a", BEGAN + 1, 5.0)]).rounds[0].stragglers == ()


def test_who_does_not_answer_is_the_straggler_only_if_nobody_else_took_as_long() -> None:
    silent, quick = action("a", BEGAN + 1, None), action("b", BEGAN + 1, 0.1)
    found = one_round([silent, quick], wait=2.0).rounds[0]
    assert found.stragglers == ("a",)
    assert found.cost == pytest.approx(1.9)
    lost, slow = action("a", BEGAN + 1, None, outcome=Outcome.LOST), action("c", BEGAN + 1, 2.0)
    assert one_round([lost, quick, slow]).rounds[0].stragglers == ("c",)


def test_a_round_that_is_not_awaited_has_no_straggler() -> None:
    actions = [action("a", BEGAN + 1, 0.1), action("b", BEGAN + 1, 0.1), action("c", BEGAN + 1, 5.0)]
    assert one_round(actions, wait=None).rounds[0].stragglers == ()


def test_only_what_is_asked_for_is_drawn() -> None:
    run = runs.eight()
    stops = view(run, Selection(events=frozenset({"iteration-stop"})))
    assert {this.event for this in stops.rounds} == {"iteration-stop"}
    assert (len(stops.rounds), stops.all_rounds, len(stops.members)) == (4, 8, 8)
    part = view(run, Selection(since=6.0, until=9.0))
    assert [this.name for this in part.rounds] == ["iteration-stop 1", "iteration-start 2"]
    assert (part.start, part.end, part.span) == (6.0, 9.0, 3.0)


def test_a_part_beyond_the_run_is_empty_and_still_has_an_axis() -> None:
    found = view(runs.single(), Selection(since=100.0, until=200.0))
    assert found.rounds == ()
    assert found.span > 0


def test_the_run_lasts_until_the_last_that_is_known_of_it() -> None:
    run = runs.single()
    run.ended_at, run.last_seen, run.state = None, BEGAN + 30, RunState.CRASHED
    assert view(run).duration == 30
    run.rounds[0].actions["only"].answered_at = BEGAN + 40
    assert view(run).duration == 40


def test_no_text_comes_through_unescaped() -> None:
    def texts(value: object) -> list[str]:
        if isinstance(value, str):
            return [value]
        if isinstance(value, dict):
            return [text for pair in value.items() for each in pair for text in texts(each)]
        return [text for each in value for text in texts(each)] if isinstance(value, list | tuple) else []

    found = texts(asdict(view(runs.hostile())))
    assert len(found) > 50
    assert [text for text in found if not text.isprintable()] == []


def test_counts_are_of_all_actions_the_worst_first() -> None:
    assert list(view(runs.eight()).counts.items()) == [
        (Status.LOST, 3),
        (Status.FAILED, 1),
        (Status.LATE, 1),
        (Status.SUCCEEDED, 59),
    ]


def test_a_round_without_actions_is_a_round() -> None:
    empty = Round(signal_id="1", seq=1, event="go", published_at=BEGAN + 1, wait=5.0, ended_at=BEGAN + 1)
    assert view(run_of([empty], [])).rounds[0].actions == ()


def test_who_leaves_keeps_nobody_waiting() -> None:
    left, quick = action("a", BEGAN + 1, None, outcome=Outcome.LEFT), action("b", BEGAN + 1, 0.1)
    assert one_round([left, quick], ended_at=BEGAN + 3).rounds[0].stragglers == ()
