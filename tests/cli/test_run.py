"""`state-signals run`: a command between two signals, and the exit code that comes of it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from state_signals.cli import app
from state_signals.cli.running.programs import CommandNotFound, find_program
from state_signals.server import EmbeddedServer
from tests.cli.conftest import STATE_SIGNALS, Program, Recorder, Respond, Start, kill
from tests.conftest import wait_until

ALL = ["initialization", "benchmark-start", "benchmark-stop", "shutdown"]

NOBODY = ["--url", "redis://127.0.0.1:1", "--connect-timeout", "0"]

GRACE = "0.3"
"""Seconds in which a responder that never answers does not answer."""


def waiting(before: str = "") -> list[str]:
    """A command that is running from `echo ready` until a signal ends it."""
    return ["sh", "-c", f"{before}; echo ready; while :; do sleep 0.02; done"]


def test_a_command_runs_between_start_and_stop(start: Start, recorder: Recorder, responder: Respond) -> None:
    responder("a", {"benchmark-start": (1, "started")})
    responder("b")
    command = 'echo "id $STATE_SIGNALS_PUBLISHER_ID"; echo "url $STATE_SIGNALS_URL"; echo err >&2; exit 7'
    program = start(
        *("run", "fio", "--wait", "2", "--tag", "nightly", "--sample", "3", "--metadata", '{"k": ["v"]}'),
        *("--", "sh", "-c", command),
    )
    assert program.wait() == 7
    assert recorder.events() == ALL
    begin = recorder.signals[1]
    assert (begin["process_name"], begin["tag"], begin["sample_no"]) == ("fio", "nightly", 3)
    assert begin["metadata"]["k"] == ["v"]
    assert {signal_["tag"] for signal_ in recorder.signals} == {"nightly"}
    # Standard output is the command's alone, byte for byte.
    assert re.fullmatch(r"id fio-[-0-9a-f]{36}\nurl redis://.*\n", program.out)
    assert program.out.startswith(f"id {begin['publisher_id']}\n")
    # On a busy machine, it may say what it waits for.
    lines = [line for line in program.err.splitlines() if "waiting for" not in line]
    assert lines[0] == "state-signals: initialization: 2 responders subscribed: a, b"
    assert re.fullmatch(r"state-signals: benchmark-start: 2 succeeded in \d\.\d{3} s", lines[1])
    assert re.fullmatch(r"state-signals:   a  succeeded  \d\.\d{3} s  started", lines[2])
    assert "err" in lines
    assert "\x1b" not in program.err


def test_a_command_that_succeeds_ends_with_0(start: Start, responder: Respond) -> None:
    responder("a")
    program = start(
        *("run", "fio", "--start-event", "epoch-start", "--stop-event", "epoch-stop"),
        "--",
        "printf",
        "%s.",
        "--",
        "a b",
    )
    assert program.wait() == 0
    assert program.out == "--.a b."
    assert "epoch-stop: 1 succeeded" in program.err


def test_a_responder_that_fails_at_the_start_keeps_the_command_from_running(
    start: Start, recorder: Recorder, responder: Respond, tmp_path: Path
) -> None:
    responder("a", {"benchmark-start": (0, "no \x1b[2Jspace\u202e")})
    program = start("run", "fio", "--", "touch", "ran")
    assert program.wait() == 1
    assert recorder.events() == ALL
    assert not (tmp_path / "ran").exists()
    assert "no \\x1b[2Jspace\\u202e" in program.err
    assert "\x1b" not in program.err
    assert (
        "state-signals: error: benchmark-start did not succeed everywhere, so the command does not run" in program.err
    )
    assert program.out == ""


def test_a_responder_that_does_not_answer_is_missing(start: Start, recorder: Recorder, responder: Respond) -> None:
    responder("a", {"benchmark-start": None})
    responder("b", {"benchmark-start": (0, "too")})
    program = start("run", "fio", "--wait", "2", "--timeout", GRACE, "--", "echo", "ran")
    assert program.wait() == 3
    assert recorder.events() == ALL
    assert program.out == ""
    assert "state-signals:   a  missing\n" in program.err


@pytest.mark.parametrize(("command", "code"), [("exit 0", 1), ("exit 5", 5)])
def test_keep_going_runs_the_command_and_still_tells(
    start: Start, recorder: Recorder, responder: Respond, command: str, code: int
) -> None:
    responder("a", {"benchmark-start": (0, None)})
    program = start("run", "fio", "--keep-going", "--", "sh", "-c", f"echo ran; {command}")
    assert program.wait() == code
    assert program.out == "ran\n"
    assert recorder.events() == ALL


def test_a_responder_that_fails_at_the_stop_is_told_by_the_exit_code(start: Start, responder: Respond) -> None:
    responder("a", {"benchmark-stop": (0, "lost it")})
    program = start("run", "fio", "--", "echo", "ran")
    assert program.wait() == 1
    assert program.out == "ran\n"
    assert "lost it" in program.err


def test_those_that_are_not_there_are_named(start: Start, recorder: Recorder, responder: Respond) -> None:
    responder("here")
    program = start(
        *("run", "fio", "--expect", "here", "--expect", "ghost", "--expect", "spirit", "--subscribe-timeout", GRACE),
        *("--", "echo", "ran"),
    )
    assert program.wait() == 3
    assert recorder.events() == ["initialization", "shutdown"]
    assert program.out == ""
    assert (
        "state-signals: error: not enough responders subscribed within 0.3 s; "
        "missing: 'ghost', 'spirit'; there: 'here'\n" in program.err
    )


def test_too_few_are_counted_and_keep_going_goes_on(start: Start, recorder: Recorder, responder: Respond) -> None:
    responder("here")
    program = start("run", "fio", "--wait", "3", "--subscribe-timeout", GRACE, "--keep-going", "--", "echo", "ran")
    assert program.wait() == 3
    assert recorder.events() == ALL
    assert program.out == "ran\n"
    assert "missing: 2 more; there: 'here'\n" in program.err


def test_it_tells_whom_it_waits_for(start: Start, responder: Respond, recorder: Recorder) -> None:
    responder("a", {"benchmark-start": None})
    program = start("run", "fio", "--expect", "a", "--expect", "b", "--", "true")
    program.says("state-signals: initialization: waiting for responders (b), 60 s at the most\n")
    responder("b")
    program.says("state-signals: benchmark-start: waiting for a\n")
    program.send(signal.SIGINT)
    recorder.hears("benchmark-stop")
    assert program.wait() == 130


def test_by_default_somebody_has_to_be_there(start: Start, recorder: Recorder) -> None:
    program = start("run", "fio", "--subscribe-timeout", GRACE, "--", "echo", "ran")
    assert program.wait() == 3
    assert recorder.events() == ["initialization", "shutdown"]
    assert "missing: 1 more; there: nobody\n" in program.err


def test_with_wait_0_nobody_has_to_be_there(start: Start, recorder: Recorder) -> None:
    program = start("run", "fio", "--wait", "0", "--", "echo", "ran")
    assert program.wait() == 0
    assert recorder.events() == ALL
    assert program.out == "ran\n"
    assert "benchmark-start: nobody to wait for\n" in program.err


def test_a_responder_that_starts_late_is_waited_for(start: Start, recorder: Recorder, responder: Respond) -> None:
    program = start("run", "fio", "--", "true")
    recorder.hears("initialization")
    responder("late")
    assert program.wait() == 0


def test_json_is_one_object_a_round_on_stderr(start: Start, responder: Respond) -> None:
    responder("a", {"benchmark-start": (1, "started")})
    responder("b", {"benchmark-stop": (4, None)})
    program = start("run", "fio", "--wait", "2", "--json", "--", "echo", "ran")
    assert program.wait() == 1
    assert program.out == "ran\n"
    roster, begin, end = map(json.loads, program.err.splitlines())
    assert roster == {"event": "initialization", "ok": True, "subscribed": ["a", "b"], "absent": []}
    assert (begin["event"], begin["ok"], begin["code"]) == ("benchmark-start", True, 0)
    assert begin["responders"]["a"]["outcome"] == "succeeded"
    assert begin["responders"]["a"]["message"] == "started"
    assert (end["event"], end["ok"], end["code"]) == ("benchmark-stop", False, 1)
    assert (end["responders"]["b"]["outcome"], end["responders"]["b"]["ras"]) == ("failed", 4)
    assert re.fullmatch("[0-9a-f]{32}", end["signal_id"])


def test_a_command_that_is_not_there_is_told_before_anything_is_announced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # There is no server either: that nothing was tried with it shows that nothing was sent.
    assert app.run(["run", "fio", *NOBODY, "--", "no-such-program"]) == 127
    assert capsys.readouterr().err == "state-signals: error: cannot run 'no-such-program': there is no such program\n"


def test_a_program_is_found_as_by_a_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    Path("plain").touch(mode=0o644)
    Path("tool").touch(mode=0o755)
    assert find_program("tool") == str(tmp_path / "tool")
    assert find_program("./tool") == "./tool"
    for name, code in [("plain", 126), ("./plain", 126), (str(tmp_path), 126), ("", 127), ("./no", 127), ("n\0", 127)]:
        with pytest.raises(CommandNotFound) as caught:
            find_program(name)
        assert caught.value.exit_code == code, name


def test_what_cannot_be_executed_after_all_is_126_and_the_stop_is_announced(
    start: Start, recorder: Recorder, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    program = start("run", "fio", "--wait", "0", "--", str(broken))
    assert program.wait() == 126
    assert "Exec format error" in program.err
    assert recorder.events() == ALL


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--metadata", "{"], "--metadata is not JSON"),
        (["--metadata", "[1]"], "--metadata must be a JSON object"),
        (["--metadata", '{"a": NaN}'], "NaN is no JSON number"),
        (["--metadata", '{"_state_signals": 1}'], "is reserved for the protocol"),
        (["--metadata", '{"a":' * 100 + "1" + "}" * 100], "nested too deep"),
        (["--start-event", "shutdown"], "the event 'shutdown' is reserved"),
        (["--stop-event", ""], "reserved"),
        (["--timeout", "nan"], "--timeout must not be negative"),
        (["--presence", "0"], "--presence must be from 0.1"),
        (["--presence", "-2"], "--presence must not be negative"),
        (["--subscribe-timeout", "-2"], "--subscribe-timeout must not be negative"),
        (["--expect", "x" * 2000], "--expect has 2000 characters"),
        (["--expect", ""], "--expect must be printable text and not empty"),
    ],
)
def test_what_cannot_be_announced_is_a_usage_error(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["run", "fio", *NOBODY, *options, "--", "true"]) == 2
    assert message in capsys.readouterr().err


def test_a_killed_command_counts_as_in_a_shell(start: Start, recorder: Recorder) -> None:
    program = start("run", "fio", "--wait", "0", "--", "sh", "-c", "kill -KILL $$")
    assert program.wait() == 137
    assert recorder.events() == ALL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_passed_on_and_the_stop_is_announced(
    start: Start, recorder: Recorder, number: signal.Signals
) -> None:
    name = number.name.removeprefix("SIG")
    program = start("run", "fio", "--wait", "0", "--", *waiting(f"trap 'echo got {name}; exit 0' {name}"))
    program.says("ready")
    program.send(number)
    assert program.wait() == 128 + number
    assert recorder.events() == ALL
    assert program.out == f"ready\ngot {name}\n"


def test_a_signal_reaches_what_the_command_has_started(start: Start) -> None:
    # The shell dies at once; what it waits for must not be left (the fixture looks for that).
    program = start("run", "fio", "--wait", "0", "--", "sh", "-c", "echo ready; sleep 60 & sleep 60")
    program.says("ready")
    program.send(signal.SIGTERM)
    assert program.wait() == 143


def test_a_second_ctrl_c_kills(start: Start, recorder: Recorder) -> None:
    program = start("run", "fio", "--wait", "0", "--", *waiting("trap 'echo ignored' INT"))
    program.says("ready")
    program.send(signal.SIGINT)
    program.says("ignored")
    program.send(signal.SIGINT)
    assert program.wait() == 130
    assert recorder.events() == ALL


def test_a_signal_ends_the_wait_for_responders(start: Start, recorder: Recorder) -> None:
    program = start("run", "fio", "--", "echo", "ran")
    recorder.hears("initialization")
    program.send(signal.SIGTERM)
    assert program.wait() == 143
    assert recorder.events() == ["initialization", "shutdown"]
    assert program.out == ""


def test_a_signal_ends_the_wait_for_answers(start: Start, recorder: Recorder, responder: Respond) -> None:
    responder("a", {"benchmark-start": None, "benchmark-stop": None})
    program = start("run", "fio", "--", "echo", "ran")
    recorder.hears("benchmark-start")
    program.send(signal.SIGINT)
    recorder.hears("benchmark-stop")
    program.send(signal.SIGINT)
    assert program.wait() == 130
    assert recorder.events() == ALL
    assert program.out == ""


def test_a_signal_ends_the_attempts_to_connect(start: Start) -> None:
    program = start("run", "fio", "--url", "redis://127.0.0.1:1", "--connect-timeout", "-1", "--", "true")
    # It is handled as soon as asyncio is there; before, Python's own way of ending is as good.
    wait_until(lambda: _is_importing_over(program.process.pid), timeout=20)
    program.send(signal.SIGINT)
    assert program.wait() == 130
    assert "Traceback" not in program.err


def _is_importing_over(pid: int) -> bool:
    """Whether SIGTERM is caught: Python by itself leaves that alone."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        pytest.skip("needs /proc")
    caught = int(re.search(r"SigCgt:\s+(\w+)", status.read_text())[1], 16)  # type: ignore[index]
    return bool(caught >> (signal.SIGTERM - 1) & 1)


def test_a_server_that_is_lost_for_good_is_4_unless_the_command_fails(start: Start, tmp_path: Path) -> None:
    for code, expected in [(0, 4), (6, 6)]:
        with EmbeddedServer() as server:
            command = f"echo ready; while [ ! -e go{code} ]; do sleep 0.02; done; exit {code}"
            program = start(
                "run", "fio", "--url", server.url, "--wait", "0", "--timeout", GRACE, "--", "sh", "-c", command
            )
            program.says("ready")
        (tmp_path / f"go{code}").touch()
        assert program.wait() == expected
        assert "state-signals: warning: connection lost: " in program.err
        assert "state-signals: error: the signal was not published within its timeout" in program.err
        assert "Traceback" not in program.err


def test_it_goes_on_when_the_server_is_back(start: Start, tmp_path: Path) -> None:
    # While responders are awaited, while one acts, and while the command runs. The server forgets everything each time.
    act = "benchmark-start=echo >> acted; while [ ! -e answer ]; do sleep 0.02; done"
    command = "touch runs; while [ ! -e end ]; do sleep 0.02; done"
    with EmbeddedServer() as server:
        run = start("run", "fio", "--expect", "a", "--url", server.url, "--", "sh", "-c", command)
        recorder = Recorder(server.url)
        recorder.hears("initialization")
        recorder.close()
        restart(server, run)
        respond = start("respond", "--once", "--id", "a", "--url", server.url, "--on", act)
        wait_until((tmp_path / "acted").exists, timeout=20)
        restart(server, run, respond)
        (tmp_path / "answer").touch()
        wait_until((tmp_path / "runs").exists, timeout=20)
        restart(server, run, respond)
        (tmp_path / "end").touch()
        assert run.wait() == 0
        assert respond.wait() == 0
    assert (tmp_path / "acted").read_text() == "\n"
    assert "benchmark-start: 1 succeeded in " in run.err
    assert "benchmark-stop: 1 succeeded in " in run.err
    assert "Traceback" not in run.err + respond.err


def restart(server: EmbeddedServer, *programs: Program) -> None:
    """Let a server crash, and start it again once everybody has noticed; return when everybody is back."""

    def all_say(text: str, times: list[int]) -> bool:
        return all(program.err.count(text) > before for program, before in zip(programs, times, strict=True))

    told = [program.err.count("connection lost") for program in programs]
    server.kill()
    wait_until(lambda: all_say("connection lost", told), timeout=20, what="everybody's notice")
    server.start()
    wait_until(lambda: all_say(" again after ", told), timeout=20, what="everybody's return")


def test_a_responder_that_dies_is_lost_and_named(start: Start, recorder: Recorder, tmp_path: Path) -> None:
    respond = start("respond", "--id", "mortal", "--on", "benchmark-start=touch acts; exec sleep 60")
    program = start(
        *("run", "fio", "--expect", "mortal", "--presence", "2", "--timeout", "-1", "--", "echo", "ran"),
    )
    wait_until(lambda: (tmp_path / "acts").exists() or program.process.poll() is not None, timeout=20)
    assert (tmp_path / "acts").exists(), program.err + respond.err
    kill(respond)
    assert program.wait() == 3
    assert recorder.events() == ALL
    assert program.out == ""
    assert "state-signals:   mortal  lost\n" in program.err
    assert "Traceback" not in program.err


def test_a_responder_that_dies_while_the_command_runs_is_lost_at_the_stop(start: Start, tmp_path: Path) -> None:
    respond = start("respond", "--id", "mortal")
    command = "echo runs; while [ ! -e end ]; do sleep 0.02; done"
    program = start(
        *("run", "fio", "--expect", "mortal", "--presence", "2", "--timeout", "-1", "--json", "--", "sh", "-c", command)
    )
    program.says("runs")
    kill(respond)
    (tmp_path / "end").touch()
    assert program.wait() == 3
    told = json.loads(program.err.splitlines()[-1])
    assert (told["event"], told["responders"]["mortal"]["outcome"]) == ("benchmark-stop", "lost")
    assert told["elapsed"] < 10


@pytest.mark.parametrize(("key", "name", "code"), [(b"\x03", "INT", 130), (b"\x1c", "QUIT", 131)])
def test_on_a_terminal_a_key_reaches_the_command_once_and_outcomes_are_a_table(
    redis_url: str, responder: Respond, tmp_path: Path, key: bytes, name: str, code: int
) -> None:
    responder("a", {"benchmark-start": (1, "[bold]markup\x1b[2J")})
    leader, follower = os.openpty()
    become = (
        "import fcntl, os, sys, termios; fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0);"
        "[os.dup2(int(sys.argv[1]), n) for n in range(3)]; os.execv(sys.argv[2], sys.argv[2:])"
    )
    os.set_inheritable(follower, True)
    command = (
        f"trap 'echo {name} >> got' {name}; trap 'exit 0' TERM; echo ready; touch ready; while :; do sleep 0.02; done"
    )
    argv = [sys.executable, "-c", become, str(follower), *STATE_SIGNALS, "run", "fio", "--", "sh", "-c", command]
    environment = {**os.environ, "STATE_SIGNALS_URL": redis_url, "TERM": "xterm", "COLUMNS": "100"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        argv, cwd=tmp_path, env=environment, start_new_session=True, pass_fds=[follower], stdin=subprocess.DEVNULL
    )
    os.close(follower)
    shown = b""
    try:
        # Such a key discards what the terminal has not handed over yet.
        while b"ready" not in shown:
            chunk = _read(leader)
            assert chunk, shown
            shown += chunk
        wait_until((tmp_path / "ready").exists, timeout=20)
        os.write(leader, key)
        wait_until((tmp_path / "got").exists, timeout=20)
        process.send_signal(signal.SIGTERM)
        while chunk := _read(leader):
            shown += chunk
        assert process.wait(20) == code
    finally:
        process.kill()
        process.wait()
        os.close(leader)
    assert (tmp_path / "got").read_text() == f"{name}\n"
    text = shown.decode()
    assert re.search(r"outcome.*after.*message", text)
    assert "[bold]markup\\x1b[2J" in text
    assert "\x1b[2J" not in text
    assert "\x1b[32msucceeded" in text


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65536)
    except OSError:
        # Linux says that a terminal's other side is closed with EIO.
        return b""
