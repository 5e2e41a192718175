"""`state-signals run`: what reaches the command, and what becomes of it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from state_signals.asyncio import SignalExporter
from state_signals.cli import app
from state_signals.cli.running.child import Child
from state_signals.exceptions import StateSignalsError
from tests.cli.conftest import STATE_SIGNALS, Recorder, Respond, Start
from tests.cli.test_run import ALL, waiting
from tests.conftest import wait_until


def test_sigquit_is_passed_on_and_the_stop_is_announced(start: Start, recorder: Recorder) -> None:
    program = start("run", "fio", "--wait", "0", "--", *waiting("trap 'echo got QUIT; exit 0' QUIT"))
    program.says("ready")
    program.send(signal.SIGQUIT)
    assert program.wait() == 131
    assert recorder.events() == ALL
    assert program.out == "ready\ngot QUIT\n"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_what_is_meant_for_the_command_ends_nothing(
    start: Start, recorder: Recorder, tmp_path: Path, number: signal.Signals
) -> None:
    name = number.name.removeprefix("SIG")
    command = f"trap 'echo got {name}' {name}; echo ready; while [ ! -e go ]; do sleep 0.02; done; exit 3"
    program = start("run", "fio", "--wait", "0", "--", "sh", "-c", command)
    program.says("ready")
    program.send(number)
    program.says(f"got {name}")
    (tmp_path / "go").touch()
    assert program.wait() == 3
    assert recorder.events() == ALL


def test_what_comes_before_the_command_ends_nothing_either(
    start: Start, recorder: Recorder, responder: Respond
) -> None:
    program = start("run", "fio", "--", "echo", "ran")
    recorder.hears("initialization")
    program.send(signal.SIGUSR1)
    responder("late")
    assert program.wait() == 0
    assert program.out == "ran\n"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_command_that_does_not_end_is_killed(
    start: Start, recorder: Recorder, number: signal.Signals, code: int
) -> None:
    program = start("run", "fio", "--wait", "0", "--grace", "0.2", "--", *waiting("trap '' TERM HUP"))
    program.says("ready")
    program.send(number)
    assert program.wait() == code
    assert recorder.events() == ALL
    assert "state-signals: the command did not end within 0.2 s, so it is killed\n" in program.err


def test_a_command_that_goes_on_after_ctrl_c_is_left_alone(start: Start, recorder: Recorder, tmp_path: Path) -> None:
    command = "trap 'touch interrupted' INT; echo ready; while [ ! -e go ]; do sleep 0.02; done; echo done"
    program = start("run", "fio", "--wait", "0", "--grace", "0", "--", "sh", "-c", command)
    program.says("ready")
    program.send(signal.SIGINT)
    wait_until((tmp_path / "interrupted").exists, timeout=20)
    (tmp_path / "go").touch()
    assert program.wait() == 130
    assert program.out == "ready\ndone\n"
    assert recorder.events() == ALL


def test_it_goes_on_after_a_halt(start: Start, recorder: Recorder, responder: Respond, tmp_path: Path) -> None:
    responder("a")
    program = start("run", "fio", "--", "sh", "-c", "echo ready; while [ ! -e go ]; do sleep 0.02; done")
    program.says("ready")
    program.send(signal.SIGSTOP)
    (tmp_path / "go").touch()
    program.send(signal.SIGCONT)
    assert program.wait() == 0
    assert recorder.events() == ALL


def test_streams_are_the_commands(start: Start, tmp_path: Path) -> None:
    data = os.urandom(300_000) + b"\xff\x00\r\n\x1b[2J"
    (tmp_path / "in").write_bytes(data)
    program = start(
        argv=["sh", "-c", '"$@" < in > out', "sh", *STATE_SIGNALS, "run", "fio", "--wait", "0", "--", "cat"]
    )
    assert program.wait() == 0
    assert hashlib.sha256((tmp_path / "out").read_bytes()).digest() == hashlib.sha256(data).digest()


def test_a_closed_pipe_ends_the_command_as_ever(start: Start, recorder: Recorder) -> None:
    # The command must not inherit that Python ignores SIGPIPE.
    program = start(argv=["sh", "-c", '"$@" | head -1', "sh", *STATE_SIGNALS, "run", "fio", "--wait", "0", "--", "yes"])
    assert program.wait() == 0
    assert program.out == "y\n"
    recorder.hears("shutdown")


def test_descriptors_and_arguments_reach_the_command(start: Start, tmp_path: Path) -> None:
    argv = ["sh", "-c", '"$@" 5>five', "sh", *STATE_SIGNALS, "run", "fio", "--wait", "0", "--"]
    program = start(argv=[*argv, "sh", "-c", 'printf %s "$1"; echo x >&2', "sh", "caf\udce9 *"])
    assert program.wait() == 0
    assert program.out == "caf\udce9 *"
    assert "x\n" in program.err


async def test_a_command_is_ended_if_nobody_waits_for_it_any_more(tmp_path: Path) -> None:
    command = f"trap 'touch {tmp_path}/ended; exit 0' TERM; touch {tmp_path}/ready; while :; do sleep 0.02; done"
    running = asyncio.create_task(Child(["sh", "-c", command], "/bin/sh", dict(os.environ), 20).run())
    while not (tmp_path / "ready").exists():  # noqa: ASYNC110 - a file tells nobody
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("event", ["benchmark-start", "benchmark-stop"])
def test_a_run_that_is_over_for_others_ends_with_5(
    event: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    publish = SignalExporter.publish_signal

    async def publish_signal(self: SignalExporter, name: str, *arguments: Any, **more: Any) -> Any:
        if name == event:
            raise StateSignalsError("somebody else goes on with this run")
        return await publish(self, name, *arguments, **more)

    monkeypatch.setattr(SignalExporter, "publish_signal", publish_signal)
    command = [sys.executable, "-c", "print('ran'); raise SystemExit(7)"]
    assert app.run(["run", "fio", "--url", redis_url, "--wait", "0", "--", *command]) == 5
    out, err = capfd.readouterr()
    assert out == ("ran\n" if event == "benchmark-stop" else "")
    assert "state-signals: error: somebody else goes on with this run\n" in err
