"""`state-signals respond --while`: commands that run from one event to another one."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from state_signals import SignalExporter
from state_signals.cli import app, collectors
from state_signals.cli.actions import Shell
from state_signals.cli.bindings import spans
from state_signals.cli.collectors import Collectors, Span
from state_signals.cli.endings import Answer
from state_signals.cli.tee import Sink
from state_signals.messages import Envelope
from state_signals.server import EmbeddedServer
from tests.cli.conftest import Program, Start, signal_of
from tests.cli.test_respond import assert_gone, roster
from tests.conftest import wait_until

SPAN = "benchmark-start..benchmark-stop"

WAITS = "while [ ! -e go ]; do sleep 0.02; done"

ON_TERM = "trap 'echo flushed; exit 0' TERM; echo ready; while :; do sleep 0.02; done"


@pytest.fixture
def exporter(redis_url: str) -> Iterator[SignalExporter]:
    with SignalExporter("fio", url=redis_url) as made:
        yield made


def respond(start: Start, *arguments: str, **more: str) -> Program:
    program = start("respond", "--id", "a", *arguments, **more)
    program.says("responder a is ready")
    return program


def ended(program: Program, code: int = 0) -> None:
    program.send(signal.SIGTERM)
    assert program.wait() == code
    assert "Traceback" not in program.err


def pid_in(path: Path) -> int:
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"), timeout=20, what=f"{path.name} is written")
    return int(path.read_text())


def test_it_runs_from_start_to_stop_and_its_last_line_is_the_answer(start: Start, exporter: SignalExporter) -> None:
    program = respond(start, "--while", SPAN, ON_TERM)
    roster(exporter, "a")
    begin = exporter.publish_signal("benchmark-start")
    assert (begin.ok, begin.succeeded["a"].message) == (True, None)
    program.says("ready\n")
    end = exporter.publish_signal("benchmark-stop")
    assert end.succeeded["a"].message == "flushed"
    ended(program)
    assert program.out == "ready\nflushed\n"
    assert f"benchmark-start of {exporter.pub_id}: succeeded\n" in program.err
    assert f"benchmark-stop of {exporter.pub_id}: succeeded: flushed\n" in program.err


def test_its_output_can_be_cut_by_phase(start: Start, exporter: SignalExporter, tmp_path: Path) -> None:
    program = respond(start, "--while", f'{SPAN}=exec > "out-$SIGNAL_SAMPLE.log"; echo "$SIGNAL_TAG"; exec sleep 60')
    roster(exporter, "a")
    for sample in range(2):
        assert exporter.publish_signal("benchmark-start", sample, f"run {sample}").ok
        file = tmp_path / f"out-{sample}.log"
        wait_until(lambda: file.exists() and file.read_text() == f"run {sample}\n")  # noqa: B023 - within the turn
        assert exporter.publish_signal("benchmark-stop", sample).ok
    ended(program)
    assert program.out == ""


def test_one_that_dies_is_told_at_once_and_at_the_stop(start: Start, exporter: SignalExporter, tmp_path: Path) -> None:
    program = respond(start, "--while", SPAN, f"{WAITS}; echo disk full >&2; exit 3")
    roster(exporter, "a")
    assert exporter.publish_signal("benchmark-start").ok
    (tmp_path / "go").touch()
    program.says(f" of {exporter.pub_id} ended by itself, exit status 3: disk full\n")
    end = exporter.publish_signal("benchmark-stop")
    message = end.failed["a"].message
    assert message is not None
    assert message.startswith("while [ ! -e go ]; ")
    assert message.endswith(": ended by itself, exit status 3: disk full")
    ended(program)


def test_one_that_has_done_its_work_is_no_failure(start: Start, exporter: SignalExporter, tmp_path: Path) -> None:
    program = respond(start, "--while", SPAN, f"{WAITS}; echo done")
    roster(exporter, "a")
    assert exporter.publish_signal("benchmark-start").ok
    (tmp_path / "go").touch()
    program.says("ended by itself, exit status 0: done\n")
    assert exporter.publish_signal("benchmark-stop").succeeded["a"].message == "done"
    ended(program)


def test_a_start_while_it_runs_fails_and_it_goes_on(start: Start, exporter: SignalExporter, tmp_path: Path) -> None:
    program = respond(start, "--while", SPAN, "echo $$ >> pids; exec sleep 60")
    roster(exporter, "a")
    assert exporter.publish_signal("benchmark-start").ok
    pid = pid_in(tmp_path / "pids")
    again = exporter.publish_signal("benchmark-start").failed["a"].message
    assert again == (
        "echo $$ >> pids; exec sleep 60: is still running, "
        "for no benchmark-stop has come since the last benchmark-start"
    )
    os.kill(pid, 0)
    assert exporter.publish_signal("benchmark-stop").ok
    assert pid_in(tmp_path / "pids") == pid
    assert_gone(pid)
    nothing = exporter.publish_signal("benchmark-stop").failed["a"].message
    assert nothing == "echo $$ >> pids; exec sleep 60: was not running, for no benchmark-start has come"
    ended(program)


def test_each_exporter_has_its_own(start: Start, exporter: SignalExporter, redis_url: str, tmp_path: Path) -> None:
    program = respond(start, "--while", SPAN, 'echo $$ > "$SIGNAL_PROCESS_NAME"; exec sleep 60')
    with SignalExporter("other", url=redis_url) as other:
        for each in (exporter, other):
            roster(each, "a")
            assert each.publish_signal("benchmark-start").ok
        pids = [pid_in(tmp_path / name) for name in ("fio", "other")]
        assert exporter.publish_signal("benchmark-stop").ok
        assert_gone(pids[0])
        os.kill(pids[1], 0)
        # It does not say that it stops.
    assert_gone(pids[1])
    program.says(f"shutdown of {other.pub_id}: succeeded\n")
    ended(program)


def test_it_is_ended_with_all_that_it_has_started(start: Start, exporter: SignalExporter, tmp_path: Path) -> None:
    program = respond(start, "--while", SPAN, "sleep 60 & echo $! > pid; wait")
    roster(exporter, "a")
    assert exporter.publish_signal("benchmark-start").ok
    pid = pid_in(tmp_path / "pid")
    assert exporter.publish_signal("benchmark-stop").ok
    assert_gone(pid)
    ended(program)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)]
)
def test_it_ends_with_its_responder(
    start: Start, exporter: SignalExporter, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    program = respond(start, "--while", SPAN, "sleep 60 & echo $! > pid; wait")
    roster(exporter, "a")
    assert exporter.publish_signal("benchmark-start").ok
    pid = pid_in(tmp_path / "pid")
    program.send(number)
    assert program.wait() == code
    assert_gone(pid)
    # Who has left is waited for no more.
    assert not exporter.publish_signal("benchmark-stop").ok


def test_a_second_ctrl_c_kills(start: Start, exporter: SignalExporter) -> None:
    command = "trap 'echo TERM' TERM; echo go; while :; do sleep 0.02; done"
    program = respond(start, "--grace", "-1", "--while", SPAN, command)
    roster(exporter, "a")
    assert exporter.publish_signal("benchmark-start").ok
    program.says("go\n")
    program.send(signal.SIGINT)
    program.says("TERM\n")
    program.send(signal.SIGINT)
    assert program.wait() == 130


def test_one_that_ignores_sigterm_is_killed(start: Start, exporter: SignalExporter) -> None:
    command = "trap '' TERM; echo go; while :; do sleep 0.02; done"
    program = respond(start, "--grace", "0.2", "--while", SPAN, command)
    roster(exporter, "a")
    assert exporter.publish_signal("benchmark-start").ok
    program.says("go\n")
    message = exporter.publish_signal("benchmark-stop").failed["a"].message
    assert message == f"{command}: did not end upon SIGTERM and was killed: go"
    ended(program)


def test_one_that_runs_too_long_is_ended(start: Start, exporter: SignalExporter) -> None:
    program = respond(start, "--while-timeout", "0.5", "--while", SPAN, "echo go; exec sleep 60")
    roster(exporter, "a")
    assert exporter.publish_signal("benchmark-start").ok
    program.says("was ended after 0.5 s, its time limit: go\n")
    message = exporter.publish_signal("benchmark-stop").failed["a"].message
    assert message == "echo go; exec sleep 60: was ended after 0.5 s, its time limit: go"
    ended(program)


def test_once_ends_with_the_exporter(start: Start, exporter: SignalExporter, tmp_path: Path) -> None:
    program = respond(start, "--once", "--while", "benchmark-start..shutdown", "echo $$ > pid; exec sleep 60")
    roster(exporter, "a")
    assert exporter.publish_signal("benchmark-start").ok
    pid = pid_in(tmp_path / "pid")
    assert exporter.publish_signal("benchmark-stop").ok
    os.kill(pid, 0)
    exporter.shutdown()
    assert program.wait() == 0
    assert_gone(pid)


def test_several_and_on_have_an_order(start: Start, exporter: SignalExporter, tmp_path: Path) -> None:
    first = "echo one; echo run >> log; exec sleep 60"
    second = "echo two; echo run >> log; trap 'echo end >> log; exit 0' TERM; touch ready; sleep 60 & wait"
    program = respond(
        start,
        *("--while", SPAN, first),
        *("--on", "benchmark-start=echo prepare >> log"),
        *("--while", SPAN, second),
        *("--on", "benchmark-stop=echo evaluate >> log; echo 7 samples"),
    )
    roster(exporter, "a")
    assert exporter.publish_signal("benchmark-start").ok
    wait_until((tmp_path / "ready").exists, timeout=20)
    wait_until(lambda: program.out.count("\n") == 2, timeout=20)
    message = exporter.publish_signal("benchmark-stop").succeeded["a"].message
    assert message == f"{first}: one; {second[:57]}...: two; 7 samples"
    assert (tmp_path / "log").read_text().split() == ["prepare", "run", "run", "end", "evaluate"]
    ended(program)


def test_what_cannot_be_prepared_is_not_started(start: Start, exporter: SignalExporter, tmp_path: Path) -> None:
    program = respond(start, "--on", "benchmark-start=echo no room; exit 1", "--while", SPAN, "touch ran; sleep 60")
    roster(exporter, "a")
    assert exporter.publish_signal("benchmark-start").failed["a"].message == "no room"
    assert exporter.publish_signal("benchmark-stop").failed
    assert not (tmp_path / "ran").exists()
    ended(program)


def test_it_goes_on_when_the_server_is_gone_and_back(start: Start, tmp_path: Path) -> None:
    with EmbeddedServer(data_dir=tmp_path / "data", persist=True) as server:
        program = respond(start, "--url", server.url, "--while", SPAN, "echo $$ >> pids; exec sleep 60")
        with SignalExporter("fio", url=server.url) as exporter:
            roster(exporter, "a")
            assert exporter.publish_signal("benchmark-start").ok
            pid = pid_in(tmp_path / "pids")
            server.kill()
            program.says("connection lost")
            os.kill(pid, 0)
            server.start()
            assert exporter.publish_signal("benchmark-stop").ok
            assert pid_in(tmp_path / "pids") == pid
        ended(program)


def test_a_responder_that_has_crashed_says_that_it_has_not_collected(
    start: Start, exporter: SignalExporter, tmp_path: Path
) -> None:
    program = respond(start, "--while", SPAN, "echo $$ > pid; exec sleep 60")
    roster(exporter, "a")
    assert exporter.publish_signal("benchmark-start").ok
    pid = pid_in(tmp_path / "pid")
    program.send(signal.SIGKILL)
    program.process.wait()
    # As systemd would.
    os.kill(pid, signal.SIGKILL)
    second = respond(start, "--while", SPAN, "exec sleep 60")
    message = exporter.publish_signal("benchmark-stop", timeout=20).failed["a"].message
    assert message == "exec sleep 60: was not running, for no benchmark-start has come"
    ended(second)


def test_the_unit_in_the_docs_serves(start: Start) -> None:
    text = (Path(__file__).parents[2] / "docs" / "service.md").read_text()
    line = text.partition("\nExecStart=")[2].replace("\\\n", " ").partition("\n")[0]
    _, *arguments = shlex.split(line.replace("$$", "$").replace("%H", "host-a"))
    program = start(*arguments)
    program.says("responder host-a-vmstat is ready")
    ended(program)


# Without a server


def collecting(command: str) -> Collectors:
    span = Span("benchmark-start", "benchmark-stop", command)
    return Collectors([span], Shell("/bin/sh", 20.0, Sink(1), Sink(2)), None)


def begins(name: str = "1", **fields: Any) -> Any:
    made = signal_of(**fields)
    made._envelope = Envelope(id=name * 32, seq=1, sent=0.0)
    return made


ENDS = signal_of("benchmark-stop")


async def test_one_that_ends_at_once_has_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collectors, "_SETTLED", 20.0)
    found = collecting("echo no such disk >&2; exit 3")
    at_once = "echo no such disk >&2; exit 3: ended at once, exit status 3: no such disk"
    assert await found.start(begins()) == [Answer(0, at_once)]
    # The same signal again: it is not run again.
    assert await found.start(begins()) == [Answer(0, at_once)]
    assert await found.stop(ENDS) == [Answer(0, at_once)]


async def test_the_same_start_again_starts_nothing(tmp_path: Path) -> None:
    found = collecting(f"echo x >> {tmp_path}/runs; exec sleep 60")
    first, second = await asyncio.gather(found.start(begins()), found.start(begins()))
    assert (first, second) == ([Answer(1, None)], [Answer(1, None)])
    (other,) = await found.start(begins("2"))
    assert other.ras == 0
    wait_until((tmp_path / "runs").exists)
    assert await found.stop(ENDS) == [Answer(1, None)]
    assert (tmp_path / "runs").read_text() == "x\n"


async def test_none_is_started_once_all_are_to_end() -> None:
    found = collecting("sleep 60")
    starting = asyncio.create_task(found.start(begins()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    found.end()
    ended = Answer(0, "sleep 60: the responder was ended")
    assert await starting == [ended]
    await found.ended()
    assert await found.start(begins("2")) == [ended]


async def test_a_stop_that_comes_while_all_end_is_answered() -> None:
    found = collecting("echo data; exec sleep 60")
    assert await found.start(begins()) == [Answer(1, None)]
    found.end()
    stopped = await found.stop(ENDS)
    assert [answer.ras for answer in stopped] == [1]


async def test_there_is_a_limit_to_how_many_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collectors, "_AT_ONCE", 2)
    monkeypatch.setattr(collectors, "_REMEMBERED", 2)
    found = collecting("exec sleep 60")
    for name in "abc":
        (answer,) = await found.start(begins(name, publisher_id=name))
        assert answer.ras == (0 if name == "c" else 1)
    assert answer.message == "exec sleep 60: was not started, for 2 collectors are running"
    assert await found.end_all_of("a") == [Answer(1, None)]
    assert await found.start(begins("c", publisher_id="c")) == [Answer(1, None)]
    found.end()
    await found.ended()
    # Those that nobody has asked to end are forgotten, not kept for ever.
    assert await found.end_all_of("b") == []


# The options


def test_a_command_follows_its_events_or_is_part_of_them() -> None:
    assert spans(["a..b", "b..c=x=y..z", "c..d"], ["first", "second"]) == [
        ("a", "b", "first"),
        ("b", "c", "x=y..z"),
        ("c", "d", "second"),
    ]
    assert spans(["v1.0-start..v1.0-stop=x"], []) == [("v1.0-start", "v1.0-stop", "x")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--while", "a..b"], "there is no CMD for 'a..b'"),
        (["--while", "a..b", " "], "the CMD for 'a..b' is empty"),
        (["--while", "a-b", "x"], "--while takes START..STOP and CMD"),
        (["--while", "..b", "x"], "--while takes START..STOP and CMD"),
        (["--while", "a..", "x"], "--while takes START..STOP and CMD"),
        (["--while", "a...b", "x"], "--while takes START..STOP and CMD"),
        (["--while", "a..b..c", "x"], "--while takes START..STOP and CMD"),
        (["--while", "a..a", "x"], "--while cannot start and stop on the same event, 'a'"),
        (["--while", "initialization..b", "x"], "--while cannot act on 'initialization'"),
        (["--while", "a..initialization", "x"], "--while cannot act on 'initialization'"),
        (["--while", "shutdown..b", "x"], "--while cannot start on 'shutdown'"),
        (["--while", "caf\udce9..b", "x"], "--while is not valid Unicode"),
        (["--while", "a..b", "x", "--while", "a..b=x"], "--while is given twice for the same events and CMD"),
        (["--while", "a..b=x", "vmstat 1"], "'vmstat 1' belongs to no event"),
        (["vmstat 1"], "'vmstat 1' belongs to no event"),
        (["--grace", "-2"], "--grace must not be negative"),
        (["--while-timeout", "nan"], "--while-timeout must not be negative"),
        (["--while"], "--while"),
    ],
)
def test_wrong_options_are_a_usage_error(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["respond", "--url", "redis://127.0.0.1:1", *options]) == 2
    assert message in capsys.readouterr().err
