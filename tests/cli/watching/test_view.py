"""What keys do, and which run is shown."""

from __future__ import annotations

from state_signals.cli.watching.view import Pane, View, in_order
from state_signals.runs.model import RunState
from tests.cli.watching.scenes import NOW, listed, run_of

OLD = run_of(publisher_id="old", state=RunState.ENDED, began_at=NOW - 900, ended_at=NOW - 800)
CRASHED = run_of(publisher_id="crashed", state=RunState.CRASHED, began_at=NOW - 500)
LIVE = run_of(publisher_id="live", began_at=NOW - 1_000)
NEW = run_of(publisher_id="new", began_at=NOW - 5)


def pressed(view: View, *keys: str) -> View:
    for key in keys:
        view.press(key, listed(OLD, CRASHED, LIVE))
    return view


def test_runs_that_go_on_come_first_and_the_newest_first() -> None:
    assert [each.run.publisher_id for each in listed(OLD, CRASHED, LIVE, NEW)] == ["new", "live", "crashed", "old"]
    assert in_order([]) == []


def test_the_first_run_is_shown_and_a_live_one_instead_of_one_that_is_over() -> None:
    view = View()
    assert view.settle([]) is None
    view.settle(listed(OLD))
    assert view.chosen == ("old", 0)
    view.settle(listed(OLD, LIVE))
    assert view.chosen == ("live", 0)
    view.settle(listed(OLD, LIVE, NEW))
    assert view.chosen == ("live", 0), "one that goes on is not left"


def test_a_run_that_was_chosen_stays() -> None:
    view = View(chosen=("live", 0))
    pressed(view, "j", "down")
    assert view.chosen == ("old", 0)
    view.settle(listed(OLD, LIVE, NEW))
    assert view.chosen == ("old", 0)
    pressed(view, "down", "k", "up", "up", "up")
    assert view.chosen == ("live", 0)
    pressed(view, "G")
    assert view.chosen == ("old", 0)
    pressed(view, "g")
    assert view.chosen == ("live", 0)


def test_a_run_that_is_gone_is_replaced() -> None:
    view = View(chosen=("expired", 0), is_pinned=True)
    view.settle(listed(OLD, LIVE))
    assert view.chosen == ("live", 0)


def test_tab_goes_from_pane_to_pane() -> None:
    view = View()
    assert [pressed(view, "tab").pane for _ in range(3)] == [Pane.ROSTER, Pane.LOG, Pane.RUNS]
    assert pressed(view, "back-tab").pane is Pane.LOG
    assert [pressed(view, key).pane for key in ("l", "tab", "tab")] == [Pane.LOG, Pane.RUNS, Pane.LOG]


def test_a_pane_is_scrolled_no_further_than_it_goes() -> None:
    view = pressed(View(), "tab", "page-down", "j")
    assert view.scrolled[Pane.ROSTER] == 11
    view.limit({Pane.ROSTER: 5})
    assert view.scrolled[Pane.ROSTER] == 5
    pressed(view, "tab", "up", "up", "down")
    assert view.scrolled[Pane.LOG] == 1, "the log is looked back at upwards"
    pressed(view, "end")
    assert view.scrolled[Pane.LOG] == 0
    pressed(view, "escape")
    assert view.scrolled == {Pane.ROSTER: 0, Pane.LOG: 0}


def test_another_run_is_seen_from_its_beginning() -> None:
    view = pressed(View(chosen=("live", 0)), "tab", "j", "j", "tab", "tab", "j")
    assert (view.chosen, view.scrolled[Pane.ROSTER]) == (("crashed", 0), 0)


def test_the_filter_is_typed() -> None:
    view = pressed(View(), "/", "q", "j", "é", "backspace")
    assert (view.is_typing, view.words, view.is_over) == (True, "qj", False)
    pressed(view, "enter")
    assert (view.is_typing, view.words) == (False, "qj")
    pressed(view, "/", "clear", "x", "escape")
    assert (view.is_typing, view.words) == (False, "")
    pressed(view, "/", *"x" * 500)
    assert len(view.words) == 100


def test_escape_shows_everybody_again() -> None:
    view = pressed(View(), "/", "x", "enter", "p", "l", "escape")
    assert (view.words, view.problems_only, view.is_log_large, view.pane) == ("", False, False, Pane.RUNS)


def test_help_comes_and_goes_by_any_key() -> None:
    view = pressed(View(chosen=("live", 0)), "?")
    assert view.is_help
    pressed(view, "j")
    assert (view.is_help, view.chosen) == (False, ("live", 0))
    assert pressed(view, "?", "q").is_over


def test_q_quits() -> None:
    assert pressed(View(), "q").is_over
    assert not pressed(View(), "x", "Q").is_over
