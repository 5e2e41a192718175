"""`state-signals run` with collectors that fail, die, leave, hang, or are too few."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from state_signals.cli import app
from tests.cli.conftest import Program, Recorder, Respond, Start, kill
from tests.cli.test_respond import assert_gone
from tests.cli.test_run import ALL, NOBODY
from tests.conftest import wait_until

SPAN = "benchmark-start..benchmark-stop"

COMMAND = ["sh", "-c", "touch runs; while [ ! -e end ]; do sleep 0.02; done; echo ran"]


def running(start: Start, folder: Path, *options: str) -> Program:
    """A run whose command is running."""
    program = start("run", "fio", "--expect", "a", *options, "--", *COMMAND)
    wait_until(lambda: (folder / "runs").exists() or program.process.poll() is not None, timeout=20)
    assert (folder / "runs").exists(), program.err
    return program


def test_a_collector_runs_as_long_as_the_command(start: Start, tmp_path: Path) -> None:
    collector = start(
        "respond",
        "--id",
        "a",
        "--once",
        "--while",
        SPAN,
        "echo begun; trap 'echo 7 lines; exit 0' TERM; while :; do sleep 0.02; done",
    )
    program = running(start, tmp_path)
    collector.says("begun\n")
    (tmp_path / "end").touch()
    assert program.wait() == 0
    assert collector.wait() == 0
    assert "7 lines" in program.err
    assert collector.out == "begun\n7 lines\n"


def test_a_collector_that_cannot_start_keeps_the_command_from_running(
    start: Start, recorder: Recorder, tmp_path: Path
) -> None:
    # The shell cannot be executed at all, so that no time plays a part.
    broken = tmp_path / "shell"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    collector = start("respond", "--id", "a", "--once", "--shell", str(broken), "--while", SPAN, "vmstat 1")
    program = start("run", "fio", "--expect", "a", "--", *COMMAND)
    assert program.wait() == 1
    assert recorder.events() == ALL
    assert program.out == ""
    assert "vmstat 1: cannot run the command: " in program.err
    assert collector.wait() == 0


def test_a_collector_that_dies_while_the_command_runs_is_told_by_the_exit_code(start: Start, tmp_path: Path) -> None:
    command = "while [ ! -e runs ]; do sleep 0.02; done; echo disk full >&2; exit 3"
    collector = start("respond", "--id", "a", "--once", "--while", SPAN, command)
    program = running(start, tmp_path)
    collector.says("ended by itself, exit status 3: disk full")
    (tmp_path / "end").touch()
    assert program.wait() == 1
    assert program.out == "ran\n"
    assert "ended by itself, exit status 3: disk full" in program.err
    assert collector.wait() == 0


@pytest.mark.parametrize("is_killed", [True, False])
def test_a_responder_that_goes_while_the_command_runs_is_told_by_the_exit_code(
    start: Start, tmp_path: Path, is_killed: bool
) -> None:
    collector = start("respond", "--id", "a", "--while", SPAN, "exec sleep 60")
    program = running(start, tmp_path, "--presence", "2", "--timeout", "-1")
    if is_killed:
        kill(collector)
    else:
        collector.send(signal.SIGTERM)
        assert collector.wait() == 0
    (tmp_path / "end").touch()
    assert program.wait() == 3
    assert program.out == "ran\n"
    who_left = "state-signals: error: benchmark-stop: not everybody is there any more who was asked for; missing: a\n"
    assert (who_left in program.err) == (not is_killed)


def test_a_run_that_is_aborted_ends_its_command_and_its_collectors(
    start: Start, recorder: Recorder, tmp_path: Path
) -> None:
    span = ("--while", SPAN, "echo $$ > pid; exec sleep 60")
    collector = start("respond", "--id", "a", "--once", *span, "--on", 'shutdown=echo "because $SIGNAL_ABORTED"')
    program = running(start, tmp_path)
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), timeout=20)
    recorder.events()
    assert start("abort", recorder.signals[0]["publisher_id"], "--reason", "no \x1b[2Jpower").wait() == 0
    assert program.wait() == 5
    assert collector.wait() == 0
    assert_gone(int((tmp_path / "pid").read_text()))
    assert recorder.events() == ["initialization", "benchmark-start", "shutdown"]
    assert program.out == ""
    assert "state-signals: the run is aborted (no \\x1b[2Jpower); the command is ended\n" in program.err
    assert "Traceback" not in program.err + collector.err
    assert "because no \x1b[2Jpower\n" in collector.out


def test_a_responder_that_hangs_is_missing_once_it_stalls(start: Start, responder: Respond) -> None:
    responder("a", {"benchmark-start": None})
    responder("b")
    program = start(
        *("run", "fio", "--wait", "2", "--timeout", "-1", "--stall-timeout", "0.5", "--presence", "-1"),
        *("--", "echo", "ran"),
    )
    assert program.wait() == 3
    assert "state-signals:   a  missing\n" in program.err
    assert program.out == ""


def test_a_command_that_writes_something_does_not_stall(start: Start, tmp_path: Path) -> None:
    # It writes until the exporter has heard of it, however long that takes.
    command = "until [ -e go ]; do echo step; sleep 0.1; done; echo prepared"
    listener = start("listen", "--responses")
    listener.says("listening")
    collector = start("respond", "--id", "a", "--once", "--on", f"benchmark-start={command}")
    program = start(
        *("run", "fio", "--expect", "a", "--timeout", "-1", "--stall-timeout", "15", "--json", "--", "echo", "ran")
    )
    listener.says("working")
    (tmp_path / "go").touch()
    assert program.wait() == 0
    assert "prepared" in program.err
    assert collector.wait() == 0
    listener.send(signal.SIGINT)
    listener.wait()


@pytest.mark.parametrize(("enough", "code"), [("1", 0), ("2", 1), ("50%", 0), ("51%", 1), ("0", 0)])
def test_some_may_fail_if_enough_succeed(start: Start, responder: Respond, enough: str, code: int) -> None:
    responder("a", {"benchmark-start": (0, "no")})
    responder("b")
    program = start("run", "fio", "--wait", "2", "--min-success", enough, "--", "echo", "ran")
    assert program.wait() == code
    assert program.out == ("ran\n" if code == 0 else "")
    assert "state-signals:   a  failed" in program.err


@pytest.mark.parametrize("given", ["x", "-1", "101%", "0.5", "%", "", "1" * 50, "\u0663"])
def test_what_is_no_number_of_successes_is_a_usage_error(given: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["run", "fio", *NOBODY, f"--min-success={given}", "--", "true"]) == 2
    assert "--min-success takes a count or a share, as in 3 or 80%" in capsys.readouterr().err
