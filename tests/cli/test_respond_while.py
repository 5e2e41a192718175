"""`state-signals respond --while`: commands that run from one event to another one."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from state_signals import SignalExporter
from state_signals.server import EmbeddedServer
from tests.cli.conftest import Program, Start, kill
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


def test_one_whose_exporter_has_died_is_ended(start: Start, tmp_path: Path) -> None:
    program = respond(start, "--orphan-timeout", "0.5", "--while", SPAN, "echo $$ > pid; exec sleep 60")
    run = start("run", "fio", "--expect", "a", "--presence", "0.5", "--", "sh", "-c", "exec sleep 60")
    pid = pid_in(tmp_path / "pid")
    kill(run)
    program.says(" was ended early, for its exporter had shown no sign of life for too long\n")
    assert_gone(pid)
    ended(program)


def test_one_whose_exporter_does_not_show_that_it_lives_goes_on(start: Start, redis_url: str, tmp_path: Path) -> None:
    program = respond(
        start, "--orphan-timeout", "0", "--while", SPAN, 'echo $$ > "$SIGNAL_PROCESS_NAME"; exec sleep 60'
    )
    # One that gives no proof of life, one of version 1, and one that is left to others between two steps.
    silent = SignalExporter("silent", url=redis_url, presence_ttl=None)
    old = SignalExporter("old", url=redis_url, strict_v1=True)
    left = SignalExporter("left", url=redis_url)
    for each in (silent, old, left):
        roster(each, "a")
        assert each.publish_signal("benchmark-start").ok
    left.detach()
    # One that has died shows that it was looked meanwhile.
    run = start("run", "fio", "--expect", "a", "--presence", "0.5", "--", "sh", "-c", "exec sleep 60")
    pids = [pid_in(tmp_path / name) for name in ("silent", "old", "left", "fio")]
    kill(run)
    assert_gone(pids.pop())
    for pid in pids:
        os.kill(pid, 0)
    again = SignalExporter.resume(left.pub_id, url=redis_url)
    for each in (silent, old, again):
        assert each.publish_signal("benchmark-stop").ok
        each.close()
    ended(program)


def test_where_it_may_not_be_asked_who_lives_all_go_on(start: Start, redis_url: str, tmp_path: Path) -> None:
    with redis.Redis.from_url(redis_url) as client, SignalExporter("fio", url=redis_url) as exporter:
        # redis-py's annotations end here.
        admin: Any = client
        rules = {"keys": ["*"], "channels": ["*"], "commands": ["+@all", "-hget"]}
        admin.acl_setuser("narrow", enabled=True, passwords=["+secret"], **rules)
        try:
            url = redis_url.replace("redis://", "redis://narrow:secret@")
            program = respond(start, "--url", url, "--orphan-timeout", "0", "--while", SPAN, "exec sleep 60")
            roster(exporter, "a")
            assert exporter.publish_signal("benchmark-start").ok
            program.says("it cannot be seen whether exporters live; collectors of dead ones go on: ")
            assert exporter.publish_signal("benchmark-stop").ok
            ended(program)
        finally:
            admin.acl_deluser("narrow")


def test_a_shutdown_without_its_tag_ends_it(start: Start, exporter: SignalExporter, tmp_path: Path) -> None:
    program = respond(
        start,
        *("--once", "--tag", "mine", "--while", SPAN, "echo $$ > pid; exec sleep 60", "--on", "shutdown=touch acted"),
    )
    roster(exporter, "a", tag="mine")
    assert exporter.publish_signal("benchmark-start", tag="mine").ok
    pid = pid_in(tmp_path / "pid")
    assert exporter.publish_signal("benchmark-stop", tag="other", timeout=0.1).missing
    os.kill(pid, 0)
    exporter.shutdown()
    assert program.wait() == 0
    assert_gone(pid)
    assert not (tmp_path / "acted").exists()


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
