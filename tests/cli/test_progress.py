"""What is shown while something waits: on a terminal in place, elsewhere nothing, or lines if they are wanted."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from state_signals.cli.waiting.progress import as_block, as_line, cells, cut, fitted
from state_signals.cli.waiting.waits import RoundWait, Standing, SubscriptionWait
from state_signals.results import Outcome, Report
from state_signals.server import EmbeddedServer
from tests.cli.conftest import STATE_SIGNALS, Respond, Start
from tests.cli.terminal import Terminal
from tests.conftest import wait_until

EVENTS = ("--events", "go,stop")

OnTerminal = Callable[..., Terminal]


@pytest.fixture
def on_terminal(redis_url: str, tmp_path: Path) -> Iterator[OnTerminal]:
    """Starts `state-signals` on a terminal."""
    started: list[Terminal] = []

    def on_terminal(*arguments: str, rows: int = 24, cols: int = 80, **more: str) -> Terminal:
        environment = {"STATE_SIGNALS_URL": redis_url, **more}
        started.append(Terminal([*STATE_SIGNALS, *arguments], environment, rows=rows, cols=cols, cwd=tmp_path))
        return started[-1]

    yield on_terminal
    for terminal in started:
        terminal.close()


def begin(start: Start, *more: str) -> str:
    program = start("init", "fio", *EVENTS, *more)
    assert program.wait() == 0, program.err
    return program.out.strip()


# What it looks like


def standing(
    done: int = 0, pending: int = 0, *, failed: tuple[str, ...] = (), unnamed: int = 0, limit: float | None = 60.0
) -> Standing:
    return Standing(
        what="go",
        verb="answered",
        done=frozenset(f"done-{number:04d}" for number in range(done)),
        failed=frozenset(failed),
        pending=frozenset(f"host-{number:04d}" for number in range(pending)),
        unnamed=unnamed,
        began=100.0,
        deadline=None if limit is None else 100.0 + limit,
    )


def test_who_is_pending_comes_first_and_how_long_it_may_take() -> None:
    assert [text for text, _ in as_block(standing(1, 2, failed=("bad",)), 117.5, 80, 24)] == [
        "go: 2 of 4 answered, 43 s left",
        "  pending: host-0000, host-0001",
        "  failed: bad",
        "  answered: done-0000",
    ]


def test_a_thousand_are_counted() -> None:
    lines = [text for text, _ in as_block(standing(300, 700), 100.0, 80, 24)]
    assert lines[0] == "go: 300 of 1000 answered, 1 min 00 s left"
    assert re.fullmatch(r"  pending: (host-\d{4}, )+host-\d{4} and 69\d more", lines[1])
    assert all(len(line) <= 76 for line in lines)
    assert len(lines) == 3


@pytest.mark.parametrize("columns", [1, 5, 14, 20, 33, 80, 300])
@pytest.mark.parametrize("rows", [1, 2, 3, 24])
def test_it_fits(columns: int, rows: int) -> None:
    lines = as_block(standing(20, 20, failed=("\u4e3b" * 50, "x"), unnamed=3), 100.0, columns, rows)
    assert 1 <= len(lines) <= max(1, rows - 1)
    assert max(cells(text) for text, _ in lines) <= max(10, columns - 4)


def test_how_many_are_left_out_is_right_at_every_width() -> None:
    names = {f"host-{number}" for number in range(30)}
    for width in range(30, 400):
        text = fitted("pending: ", names, 5, width)
        assert text.startswith("pending: host-0")
        left = re.search(r"(\d+) more$", text)
        assert text.count("host-") + int(left[1] if left else 0) == 35
        assert len(text) <= width


@pytest.mark.parametrize(
    ("limit", "now", "shown"),
    [
        (60.0, 100.0, "1 min 00 s left"),
        (60.0, 159.9, "1 s left"),
        (60.0, 170.0, "0 s left"),
        (7300.0, 100.0, "2 h 01 min left"),
        (None, 103.9, "for 3 s"),
        (None, 225.0, "for 2 min 05 s"),
    ],
)
def test_the_time(limit: float | None, now: float, shown: str) -> None:
    assert as_block(standing(1, limit=limit), now, 80, 24)[0][0] == f"go: 1 of 1 answered, {shown}"


def test_names_are_escaped_and_wide_ones_take_two_columns() -> None:
    assert cells("ab") == 2
    assert cells("\u4e3b\u673a") == 4
    assert cells("e\u0301") == 1
    assert cut("\u4e3b\u673a\u4e3b\u673a", 7) == "\u4e3b\u673a..."
    assert fitted("pending: ", ["host-1"], 0, 14) == "pending: ho..."
    assert fitted("pending: ", ["host-1", "host-2"], 0, 14) == "pending: 2"
    assert fitted("", ["\x1b[2J\u202e"], 0, 40) == "\\x1b[2J\\u202e"


def test_one_line_for_a_pipe() -> None:
    assert as_line(standing(1, 2, failed=("bad",)), 117.5) == (
        "go: 2 of 4 answered; failed: bad; pending: host-0000, host-0001; 43 s left"
    )
    assert as_line(standing(0, 12, unnamed=1), 100.0).endswith("host-0009 and 3 more; 1 min 00 s left")


def test_a_round_as_outcomes_tell_of_it() -> None:
    wait = RoundWait("go", {"a", "b", "c"}, 5)
    wait.ended("a", Report(outcome=Outcome.SUCCEEDED))
    wait.ended("b", Report(outcome=Outcome.LOST))
    found = wait.standing()
    assert [sorted(each) for each in (found.done, found.failed, found.pending)] == [["a"], ["b"], ["c"]]
    assert wait.text() == "go: waiting for c"
    wait.ended("c", Report(outcome=Outcome.LEFT))
    assert wait.text() == "go: waiting for the server"
    assert wait.standing().total == 2


class _Roster:
    def __init__(self) -> None:
        self.subs = {"a", "b"}
        self.absent = frozenset({"b"})


def test_a_roster_as_the_exporter_tells_of_it() -> None:
    wait = SubscriptionWait(_Roster(), 4, 60)
    found = wait.standing()
    assert [sorted(each) for each in (found.done, found.pending)] == [["a"], ["b"]]
    assert (found.unnamed, found.total) == (2, 4)
    assert wait.text() == "initialization: waiting for responders (b), 60 s at the most"
    assert wait.shortage() == "not enough responders subscribed within 60 s; missing: 'b'; there: 'a'"


# What is on the screen


def test_a_round_on_a_terminal(start: Start, on_terminal: OnTerminal, responder: Respond) -> None:
    responder("a")
    responder("b", {"go": (0, None)})
    responder("slow \u4e3b", {"go": None})
    terminal = on_terminal("publish", begin(start, "--wait", "3"), "go", "--timeout", "3")
    terminal.wait_for("go: 2 of 3 answered, 2 s left")
    assert terminal.screen[:4] == [
        "go: 2 of 3 answered, 2 s left",
        "  pending: slow \u4e3b",
        "  failed: b",
        "  answered: a",
    ]
    # In place: the same lines, and nothing else.
    terminal.wait_for("go: 2 of 3 answered, 1 s left")
    assert len(terminal.lines) == 4
    assert terminal.emulator.buffer[1][2].fg == "brown"
    assert terminal.wait() == 3
    # What was drawn is gone.
    assert terminal.lines[0].startswith("state-signals: go: 1 succeeded, 1 failed, 1 missing in 3.0")
    assert "left" not in terminal.text
    assert terminal.is_sane


def test_responders_that_come(on_terminal: OnTerminal, responder: Respond) -> None:
    terminal = on_terminal("init", "fio", *EVENTS, "--expect", "a", "--expect", "b", "--wait", "4", cols=60)
    terminal.wait_for("pending: a, b and 2 more")
    responder("b")
    terminal.wait_for("initialization: 1 of 4 subscribed")
    assert terminal.screen[1:3] == ["  pending: a and 2 more", "  subscribed: b"]
    for name in ("a", "c", "d"):
        responder(name)
    assert terminal.wait() == 0
    assert terminal.lines[0] == "state-signals: initialization: 4 responders subscribed: a, b"[:60]
    assert re.fullmatch(r"fio-[-0-9a-f]{36}", terminal.lines[-1])


def test_a_thousand_responders_on_a_small_terminal(on_terminal: OnTerminal, responder: Respond) -> None:
    responder("host-0500")
    expected = [part for number in range(1000) for part in ("--expect", f"host-{number:04d}")]
    terminal = on_terminal("init", "fio", *EVENTS, *expected)
    terminal.wait_for("initialization: 1 of 1000 subscribed, ")
    assert re.match(r"  pending: host-0000, host-0001, .* and 99\d more$", terminal.screen[1])
    assert terminal.screen[2] == "  subscribed: host-0500"
    terminal.send("\x03")
    assert terminal.wait() == 130


def test_a_terminal_that_changes_its_size(on_terminal: OnTerminal, responder: Respond) -> None:
    responder("a-responder-with-a-long-name")
    terminal = on_terminal("init", "fio", *EVENTS, "--wait", "3")
    terminal.wait_for("subscribed: a-responder-with-a-long-name")
    terminal.resize(24, 24)
    terminal.wait_for(lambda each: each.screen[2] == "  subscribed: a-r...")
    assert terminal.lines[1:] == ["  pending: 2 more", "  subscribed: a-r..."]
    terminal.resize(3, 24)
    terminal.wait_for(lambda each: "subscribed: " not in each.text)
    terminal.resize(24, 100)
    terminal.wait_for("subscribed: a-responder-with-a-long-name")
    assert terminal.text.count("pending") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_drawn_goes_when_it_is_interrupted(on_terminal: OnTerminal, number: signal.Signals) -> None:
    terminal = on_terminal("init", "fio", *EVENTS)
    terminal.wait_for("pending: 1 more")
    if number == signal.SIGINT:
        terminal.send("\x03")
    else:
        terminal.kill(number)
    assert terminal.wait() == 128 + number
    assert terminal.lines == ["state-signals: interrupted; the run is given up"]
    assert terminal.is_sane


def test_ctrl_c_in_a_round(start: Start, on_terminal: OnTerminal, responder: Respond) -> None:
    responder("a", {"go": None})
    name = begin(start, "--id", "me")
    terminal = on_terminal("publish", name, "go")
    terminal.wait_for("pending: a")
    terminal.send("\x03")
    assert terminal.wait() == 130
    assert terminal.lines == ["state-signals: interrupted; me is left to the next step"]
    assert terminal.is_sane
    assert on_terminal("publish", name, "stop").wait() == 0


def test_no_colour_and_no_control_of_others(start: Start, on_terminal: OnTerminal) -> None:
    terminal = on_terminal("init", "fio", *EVENTS, "--wait", "2", "--id", "x", NO_COLOR="1")
    terminal.wait_for("pending: 2 more")
    terminal.send("\x03")
    terminal.wait()
    assert not re.search(rb"\x1b\[[0-9;]*m", terminal.raw)
    # It only goes up and erases.
    assert set(re.findall(rb"\x1b\[[^A-Za-z]*[A-Za-z]", terminal.raw)) <= {b"\x1b[1A", b"\x1b[J"}


def test_what_is_printed_meanwhile_stands_above(on_terminal: OnTerminal) -> None:
    with EmbeddedServer() as server:
        terminal = on_terminal("init", "fio", *EVENTS, "--id", "x", "--url", server.url, cols=300)
        terminal.wait_for("pending: 1 more")
        server.kill()
        terminal.wait_for("warning: connection lost: ")
        terminal.wait_for(lambda each: "pending: 1 more" in each.lines[-1])
        assert terminal.text.count("pending") == 1
        assert terminal.lines[0].startswith("state-signals: warning: connection lost: ")
        terminal.send("\x03")
        terminal.wait()


def test_a_short_wait_shows_nothing(start: Start, on_terminal: OnTerminal, responder: Respond) -> None:
    responder("a")
    terminal = on_terminal("publish", begin(start), "go")
    assert terminal.wait() == 0
    # On a busy machine it may take longer.
    took = re.search(r"1 succeeded in (\d+\.\d+) s", terminal.text)
    assert took
    assert float(took[1]) > 0.4 or b"\x1b[J" not in terminal.raw


def test_on_a_terminal_it_can_be_off(on_terminal: OnTerminal) -> None:
    terminal = on_terminal("init", "fio", *EVENTS, "--no-wait-progress", "--timeout", "1.5")
    assert terminal.wait() == 3
    assert b"pending" not in terminal.raw
    assert b"\x1b[J" not in terminal.raw


def test_ctrl_c_between_the_start_and_the_command_ends_the_run(on_terminal: OnTerminal, responder: Respond) -> None:
    responder("a")
    terminal = on_terminal("run", "fio", "--", "sleep", "600")
    # Here the outcomes are being printed, and nothing is waited for.
    terminal.wait_for("benchmark-start: 1 succeeded")
    terminal.send("\x03")
    assert terminal.wait() == 130
    assert "benchmark-stop: 1 succeeded" in terminal.text
    assert terminal.is_sane


def test_on_a_narrow_terminal_outcomes_and_times_are_whole(on_terminal: OnTerminal, responder: Respond) -> None:
    responder("a-responder-whose-name-is-long", {"benchmark-start": (0, "no space left " * 9)})
    terminal = on_terminal("run", "fio", "--keep-going", "--", "true", rows=60, cols=40)
    assert terminal.wait() == 1
    assert re.search(r"│ a-re\S+ +│ failed +│ \d+\.\d{3} s +│", terminal.text), terminal.text
    assert re.search(r"│ a-re\S+ +│ succeeded +│ \d+\.\d{3} s +│", terminal.text), terminal.text


def test_a_dumb_terminal_gets_lines(on_terminal: OnTerminal) -> None:
    terminal = on_terminal("init", "fio", *EVENTS, "--wait-progress", "--timeout", "1.5", TERM="dumb")
    assert terminal.wait() == 3
    assert terminal.lines[0].startswith("state-signals: initialization: 0 of 1 subscribed; pending: 1 more; ")
    assert b"\x1b" not in terminal.raw


def test_a_command_that_run_wraps_has_the_terminal_for_itself(on_terminal: OnTerminal, responder: Respond) -> None:
    terminal = on_terminal("run", "fio", "--expect", "a", "--", "sh", "-c", "echo works; sleep 1; echo on")
    terminal.wait_for("initialization: 0 of 1 subscribed, ")
    assert terminal.screen[1] == "  pending: a"
    responder("a")
    terminal.wait_for("works")
    terminal.wait_for("on")
    assert terminal.wait() == 0
    assert not re.search(r"pending| left", terminal.text)
    # While it ran, nothing was drawn.
    assert b"works\r\non\r\n" in terminal.raw
    assert terminal.is_sane


def test_the_rounds_of_run(on_terminal: OnTerminal, responder: Respond) -> None:
    responder("a", {"benchmark-start": None})
    terminal = on_terminal("run", "fio", "--timeout", "3", "--", "echo", "works")
    terminal.wait_for("benchmark-start: 0 of 1 answered, 2 s left")
    assert terminal.screen[2] == "  pending: a"
    assert terminal.wait() == 3
    assert "works" not in terminal.text
    assert terminal.is_sane


def test_ctrl_c_while_run_waits(on_terminal: OnTerminal) -> None:
    terminal = on_terminal("run", "fio", "--", "echo", "works")
    terminal.wait_for("pending: 1 more")
    terminal.send("\x03")
    assert terminal.wait() == 130
    assert terminal.lines == ["state-signals: interrupted; telling the responders"]
    assert terminal.is_sane


# In a pipe


def test_nothing_of_it_in_a_pipe(start: Start, responder: Respond) -> None:
    responder("a", {"go": None})
    program = start("publish", begin(start), "go", "--timeout", "1.5")
    assert program.wait() == 3
    assert "left" not in program.err
    assert "pending" not in program.err
    assert "\x1b" not in program.err


def test_lines_in_a_pipe_if_they_are_wanted(start: Start, responder: Respond) -> None:
    program = start("init", "fio", *EVENTS, "--expect", "a", "--expect", "b\u4e3b", "--wait-progress")
    program.says("state-signals: initialization: 0 of 2 subscribed; pending: a, b\u4e3b; ")
    responder("a")
    program.says("state-signals: initialization: 1 of 2 subscribed; pending: b\u4e3b; ")
    # One when something changes: not every second.
    wait_until(lambda: program.process.poll() is None and "1 of 2" in program.err)
    responder("b\u4e3b")
    assert program.wait() == 0
    assert program.err.count("0 of 2") == 1
    assert program.err.count("1 of 2") == 1
    assert re.fullmatch(r"fio-[-0-9a-f]{36}\n", program.out)
