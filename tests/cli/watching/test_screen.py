"""The whole screen, of any size."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from state_signals.cli.times import clock
from state_signals.cli.watching.cells import ASCII, plain
from state_signals.cli.watching.screen import Scene, frame
from state_signals.cli.watching.terminal import glyphs_of, painted
from state_signals.cli.watching.view import Pane, View
from state_signals.runs.model import Run, RunState
from tests.cli.watching.scenes import (
    HOSTILE,
    NOW,
    crowd,
    drawn,
    failed,
    listed,
    pending,
    round_of,
    run_of,
    succeeded,
    text,
)

CLOCKS = [clock(NOW - ago) for ago in (100, 99, 4)]

KEYS = ("", "p", "l", "?", "tab", "/", "tab end", "l tab end", "/ x")


def hostile_runs() -> list[Run]:
    return [
        run_of(
            round_of(*(failed(each, each) for each in HOSTILE), pending("p", (1.0, name)), event=name, tag=name),
            publisher_id=name,
            process_name=name,
            runner_host=name,
            tag=name,
            state=RunState.ABORTED if place % 2 else RunState.LIVE,
            aborted=name,
        )
        for place, name in enumerate(HOSTILE)
    ]


@pytest.mark.parametrize(
    "size", [(80, 24), (100, 30), (200, 60), (60, 12), (59, 11), (30, 8), (20, 4), (19, 3), (1, 1)]
)
@pytest.mark.parametrize("keys", KEYS)
def test_every_screen_is_exactly_as_large_as_the_terminal(size: tuple[int, int], keys: str) -> None:
    width, height = size
    for runs in ([], [crowd(1_000)], hostile_runs(), [run_of()]):
        view = View()
        for key in keys.split():
            view.press(key, listed(*runs))
        shown = drawn(*runs, view=view, width=width, height=height, trouble=HOSTILE[0])
        assert len(shown.lines) == height or (width, height) in ((19, 3), (1, 1))
        for line in shown.lines:
            assert cell_len(plain(line)) == width, (plain(line), line)
            assert plain(line).isprintable()


def test_names_cannot_spell_markup_or_sequences() -> None:
    shown = painted(None, drawn(*hostile_runs()), is_coloured=True)
    assert "[bold red" in shown
    assert "\x1b[31m" not in shown
    assert "\\x1b[31m" in shown
    assert "\x9b" not in shown
    assert "\n" not in shown


def test_a_run_in_80x24() -> None:
    actions = [succeeded(f"collector-{place}", place / 100) for place in range(1, 6)]
    run = run_of(
        round_of(
            *actions,
            failed("collector-6", "No space left on device"),
            pending("collector-7", (1.0, "flushing 3 of 10")),
        ),
        publisher_id="fio-3f2a9c11",
        tag="nightly",
    )
    old = run_of(publisher_id="uperf", state=RunState.ENDED, began_at=NOW - 900, ended_at=NOW - 180)
    assert text(drawn(run, old)) == [
        " state-signals watch  redis://localhost:6379                             2 runs",
        "  runs                  │ fio-3f2a9c11 live 1m · bench-head · nightly",
        "▸!fio-3f2a9c11 live   1m│ iteration-start · open for 4s, 16s left",
        "  uperf        ended  3m│ 1 failed · 1 working · 5 succeeded",
        "                        │ responder   outcome     time seen  message",
        "                        │ collector-6 failed    500 ms   1s  No space left on d…",
        "                        │ collector-7 working       4s   1s  flushing 3 of 10",
        "                        │ collector-5 succeeded  50 ms   1s",
        "                        │ collector-4 succeeded  40 ms   1s",
        "                        │ collector-3 succeeded  30 ms   1s",
        "                        │ collector-2 succeeded  20 ms   1s",
        "                        │ collector-1 succeeded  10 ms   1s",
        "  log",
        f" {CLOCKS[0]} initialization of fio on bench-head, tag nightly",
        f" {CLOCKS[1]} collector-1, collector-2, collector-3 and 4 more joined",
        f" {CLOCKS[2]} iteration-start  waiting",
        f" {CLOCKS[2]} collector-6 failed after 500 ms: No space left on device",
        *[""] * 6,
        " ↑↓ jk run  Tab pane  / filter  p problems  l log  ? help  q quit",
    ]


def test_of_a_thousand_the_problems_are_shown_and_the_rest_is_counted() -> None:
    shown = text(drawn(crowd(1_000)))
    names = [line[26:].split()[0] for line in shown[6:13]]
    assert names == ["dead", "broken", "full", "slept", "quiet", "stuck", "busy"]
    assert any("… and 990 succeeded" in line for line in shown)
    counts = " ".join(line[26:].strip() for line in shown[3:5])
    assert counts == "1 lost · 2 failed · 1 missing · 1 pending · 2 working · 993 succeeded"


def test_the_roster_is_scrolled_to_its_end() -> None:
    view = View(chosen=("fio-1", 0), pane=Pane.ROSTER)
    view.press("end", [])
    shown = drawn(crowd(100), view=view)
    view.limit(shown.furthest)
    assert any("90 above, no more" in line for line in text(shown))
    assert any("node-0000" in line for line in text(shown))
    assert 0 < view.scrolled[Pane.ROSTER] < 100


def test_the_log_takes_the_place_of_the_responders() -> None:
    shown = text(drawn(crowd(100), view=View(is_log_large=True)))
    assert not any("outcome" in line for line in shown)
    assert any("joined" in line for line in shown)


def test_what_is_filtered_is_told() -> None:
    view = View(words="flushing")
    shown = text(drawn(crowd(100), view=view))
    assert [line[26:].split()[0] for line in shown[6:8]] == ["stuck", "busy"]
    assert "filter: flushing" in shown[-1]
    view.words = "nothing like it"
    assert any("nobody like that among 100 responders" in line for line in text(drawn(crowd(100), view=view)))
    fine = run_of(round_of(succeeded("perf")))
    assert any("no problems among 1 responders" in line for line in text(drawn(fine, view=View(problems_only=True))))


def test_before_there_is_a_run() -> None:
    shown = text(drawn())
    assert any("There is no run yet." in line for line in shown)
    assert any("state-signals run NAME -- CMD" in line for line in shown)


def test_a_lost_connection_is_told_beside_what_was_known() -> None:
    shown = text(drawn(crowd(10), trouble="connection lost, trying again"))
    assert shown[0].endswith("connection lost, trying again")
    assert any("flushing 3 of 10" in line for line in shown)


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"wait": None}, "not waited for, 4s ago"),
        ({"wait": float("inf")}, "open for 4s, no time limit"),
        ({"wait": 3.0}, "open for 4s, its time is up"),
        ({"ended_at": NOW - 2, "elapsed": 2.0, "ok": True}, "done in 2.00 s, 2s ago"),
    ],
)
def test_how_the_round_is(facts: dict[str, float | bool | None], told: str) -> None:
    assert told in text(drawn(run_of(round_of(pending("perf"), **facts))))[2]


def test_many_runs_are_listed_around_the_chosen_one() -> None:
    runs = [run_of(publisher_id=f"run-{place:03}", began_at=NOW - place) for place in range(300)]
    shown = text(drawn(*runs, view=View(chosen=("run-150", 0), is_pinned=True)))
    assert any(line.startswith("▸ run-150") for line in shown)
    assert "300 runs" in shown[0]


def test_only_what_has_changed_is_written() -> None:
    run = run_of(round_of(pending("perf")))
    before, same = drawn(run), drawn(run)
    assert painted(before, same, is_coloured=True) == ""
    run.rounds[-1].actions["perf"] = failed("perf", "exit status 1")
    changes = painted(before, drawn(run), is_coloured=True)
    assert 0 < changes.count("\x1b[2K") < 8
    assert painted(None, same, is_coloured=True).count("\x1b[2K") == 24


def test_without_colours_there_are_none() -> None:
    shown = painted(None, drawn(crowd(100)), is_coloured=False)
    codes = {code for part in shown.split("\x1b[")[1:] if (code := part.split("m")[0]).replace(";", "").isdigit()}
    assert codes
    assert codes <= {"0", "1", "2", "4", "7"}


def test_a_terminal_that_knows_ascii_only() -> None:
    assert glyphs_of("ISO-8859-1") is ASCII
    scene = Scene(server="redis://h", runs=listed(crowd(1_000)), now=NOW)
    view = View()
    view.settle(scene.runs)
    assert all(plain(line).isascii() for line in frame(scene, view, 80, 24, ASCII).lines)
