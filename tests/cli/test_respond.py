"""`state-signals respond`: shell commands that act on signals."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from state_signals import PublishResult, SignalExporter
from state_signals.cli import app
from state_signals.cli.actions import Action, Answer, LastLine, environment_for
from state_signals.server import EmbeddedServer
from tests.cli.conftest import STATE_SIGNALS, Recorder, Start, kill, signal_of
from tests.conftest import wait_until

EVENTS = ["benchmark-start", "benchmark-stop"]


@pytest.fixture
def exporter(redis_url: str) -> Iterator[SignalExporter]:
    with SignalExporter("fio", url=redis_url) as made:
        yield made


def roster(exporter: SignalExporter, *names: str, tag: str | None = None) -> None:
    assert exporter.initialize_and_wait(0, EVENTS, tag, list(names), timeout=20, periodic=True) == 0


# What a command answers


async def answer(command: str, *, timeout: float | None = 20, **fields: Any) -> Answer:
    return await Action("/bin/sh", command, signal_of(**fields), timeout).run()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("true", Answer(1, None)),
        ("echo one; echo two; echo; echo '  '", Answer(1, "two")),
        ("printf 'no newline'", Answer(1, "no newline")),
        ("echo chatter >&2", Answer(1, "chatter")),
        ("echo result; echo chatter >&2", Answer(1, "result")),
        ("exit 3", Answer(0, "exit status 3")),
        ("echo output; exit 3", Answer(0, "output")),
        ("echo output; echo why >&2; exit 3", Answer(0, "why")),
        ("no-such-tool-of-mine 2>/dev/null", Answer(0, "exit status 127")),
        ("kill -KILL $$", Answer(0, "killed by SIGKILL")),
        ("printf '10%%\\r50%%\\r100%%\\n'", Answer(1, "100%")),
        ("printf 'caf\\351 \\377\\n'", Answer(1, "caf\ufffd \ufffd")),
        ("cat", Answer(1, None)),
    ],
)
async def test_the_exit_status_is_the_answer_and_the_last_line_the_message(command: str, expected: Answer) -> None:
    assert await answer(command) == expected


async def test_a_long_line_is_cut_and_much_output_takes_no_memory() -> None:
    assert await answer("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo") == Answer(1, "x" * 1000)


def test_the_last_line_is_found_however_the_output_is_cut() -> None:
    output = "first\n\nlä\u1f600st\r\n \n".encode()
    for size in range(1, len(output) + 1):
        last = LastLine()
        for begin in range(0, len(output), size):
            last.feed(output[begin : begin + size])
        assert last.text == "lä\u1f600st"


async def test_what_a_command_leaves_running_does_not_hold_up_its_answer(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # It holds the command's output open until somebody writes into the pipe.
    action = Action("/bin/sh", f"cat {fifo} & echo started", signal_of(), 20)
    assert await action.run() == Answer(1, "started")
    assert not any(pipe.ended.done() for pipe in action._pipes)
    fifo.write_text("")
    await asyncio.wait_for(asyncio.gather(*(pipe.ended for pipe in action._pipes)), 20)


async def test_a_command_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    command = f"sleep 60 & echo $! > {tmp_path}/pid; wait"
    assert await answer(command, timeout=0.2) == Answer(0, "timed out after 0.2 s")
    assert_gone(int((tmp_path / "pid").read_text()))


async def test_a_command_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("state_signals.cli.actions._GRACE", 0.1)
    assert await answer("trap '' TERM; while :; do sleep 0.02; done", timeout=0.1) == Answer(0, "timed out after 0.1 s")


async def test_the_facts_of_the_signal_are_in_the_environment() -> None:
    command = "env | grep ^SIGNAL_ | sort | tr '\\n' ';'"
    found = await answer(command, tag="t", sample_no=4, metadata={"k": ["ä", None]})
    assert found.message == (
        "SIGNAL_EVENT=benchmark-start;SIGNAL_ID=;"
        'SIGNAL_METADATA={"k": ["\\u00e4", null]};SIGNAL_PROCESS_NAME=fio;SIGNAL_PUBLISHER_ID=fio-1;'
        "SIGNAL_REDELIVERED=;SIGNAL_RUNNER_HOST=host-a;SIGNAL_SAMPLE=4;SIGNAL_TAG=t;"
    )


@pytest.mark.parametrize(
    "hostile",
    [
        "$(touch pwned)",
        "`touch pwned`",
        '"; touch pwned; "',
        "'; touch pwned; '",
        "a\ntouch pwned",
        "\x1b[2J",
        "${IFS}",
        "-n",
    ],
)
async def test_the_wire_never_decides_what_runs(hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = 'printf "%s" "$SIGNAL_TAG$SIGNAL_PUBLISHER_ID" > got; printf "%s" "$SIGNAL_METADATA" > metadata'
    found = await answer(command, tag=hostile, publisher_id=hostile, process_name=hostile, metadata={hostile: hostile})
    assert found == Answer(1, None)
    files = {path.name: path.read_text() for path in tmp_path.iterdir()}  # noqa: ASYNC240 - nobody else is waiting
    assert files.pop("got") == hostile * 2
    assert json.loads(files.pop("metadata")) == {hostile: hostile}
    assert not files


def test_what_an_environment_cannot_hold_is_escaped() -> None:
    environment = environment_for(signal_of(tag="a\0b", publisher_id="ä", metadata={"\0": "\0\ud800"}))
    assert environment[b"SIGNAL_TAG"] == b"a\\x00b"
    assert environment[b"SIGNAL_PUBLISHER_ID"] == "ä".encode()
    assert json.loads(environment[b"SIGNAL_METADATA"]) == {"\0": "\0\ud800"}


async def test_more_than_an_environment_holds_is_a_failure_that_says_so() -> None:
    found = await answer("true", metadata={"k": "x" * 500_000})
    assert found.ras == 0
    assert found.message is not None
    assert found.message.startswith("cannot run the command: ")


# The process


def test_it_acts_and_answers_from_run_to_run(start: Start, redis_url: str) -> None:
    program = start("respond", "--id", "a", "--on", "benchmark-start=echo out; echo err >&2; exit 3")
    program.says("responder a is ready")
    for _ in range(2):
        with SignalExporter("fio", url=redis_url) as exporter:
            roster(exporter, "a")
            begin = exporter.publish_signal("benchmark-start", tag="x\0\x1b[2J\n")
            assert begin.failed["a"].message == "err"
            assert exporter.publish_signal("benchmark-stop").ok
    program.send(signal.SIGTERM)
    assert program.wait() == 0
    assert program.out == "out\n" * 2
    assert program.err.splitlines().count("err") == 2
    assert f"benchmark-start of {exporter.pub_id}: failed: err\n" in program.err
    assert f"benchmark-stop of {exporter.pub_id}: nothing to do\n" in program.err


def test_once_ends_with_the_exporter(start: Start, exporter: SignalExporter, tmp_path: Path) -> None:
    program = start("respond", "--name", "vmstat", "--once", "--on", 'shutdown=echo "$SIGNAL_EVENT" > end')
    program.says("responder vmstat-")
    exporter.initialize_and_wait(1, EVENTS, timeout=20, periodic=True)
    (name,) = exporter.subs
    assert name.startswith("vmstat-")
    assert exporter.publish_signal("benchmark-start").ok
    exporter.shutdown()
    assert program.wait() == 0
    assert (tmp_path / "end").read_text() == "shutdown\n"


def test_it_acts_for_one_tag_and_one_exporter_only(start: Start, exporter: SignalExporter, redis_url: str) -> None:
    program = start(
        *("respond", "--id", "a", "--tag", "mine", "--publisher", exporter.pub_id, "--on", "benchmark-start=echo acted")
    )
    program.says("ready")
    with SignalExporter("other", url=redis_url) as other:
        other.initialize(EVENTS, tag="mine")
        exporter.initialize(EVENTS, tag="other")
        roster(exporter, "a", tag="mine")
        assert exporter.publish_signal("benchmark-start", tag="mine").ok
        assert other.subs == set()
        assert exporter.publish_signal("benchmark-start", tag="other", timeout=0.1).missing
    program.send(signal.SIGTERM)
    assert program.wait() == 0
    assert program.out == "acted\n"


def test_exporters_do_not_wait_for_each_other(
    start: Start, exporter: SignalExporter, redis_url: str, tmp_path: Path
) -> None:
    program = start(
        "respond", "--id", "a", "--on", "benchmark-start=echo > begun; while [ ! -e go ]; do sleep 0.02; done"
    )
    program.says("ready")
    with SignalExporter("slow", url=redis_url) as slow:
        roster(slow, "a")
        roster(exporter, "a")
        results: list[PublishResult] = []
        thread = threading.Thread(target=lambda: results.append(slow.publish_signal("benchmark-start", timeout=20)))
        thread.start()
        wait_until((tmp_path / "begun").exists)
        assert exporter.publish_signal("benchmark-stop", timeout=20).ok
        assert not results
        (tmp_path / "go").touch()
        thread.join(20)
    assert results[0].ok
    program.send(signal.SIGTERM)
    assert program.wait() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_ends_it_with_its_commands_and_the_exporter_is_told(
    start: Start, exporter: SignalExporter, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    program = start("respond", "--id", "a", "--on", "benchmark-start=sleep 60 & echo $! > pid; wait")
    program.says("ready")
    roster(exporter, "a")
    results: list[PublishResult] = []
    thread = threading.Thread(target=lambda: results.append(exporter.publish_signal("benchmark-start", timeout=20)))
    thread.start()
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    program.send(number)
    assert program.wait() == code
    thread.join(20)
    assert results[0].failed["a"].message == "the responder was ended"
    assert_gone(int((tmp_path / "pid").read_text()))
    assert "Traceback" not in program.err


def test_a_second_ctrl_c_kills(start: Start, exporter: SignalExporter) -> None:
    program = start(
        "respond", "--id", "a", "--on", "benchmark-start=trap 'echo TERM' TERM; echo go; while :; do sleep 0.02; done"
    )
    program.says("ready")
    roster(exporter, "a")
    exporter.publish_signal("benchmark-start", wait=False)
    program.says("go\n")
    program.send(signal.SIGINT)
    program.says("TERM\n")
    program.send(signal.SIGINT)
    # Well before the five seconds after which it would be killed anyway.
    assert program.process.wait(3) == 130


def test_it_goes_on_when_the_server_is_back(start: Start, tmp_path: Path) -> None:
    command = "benchmark-start=echo begun >> log; while [ ! -e go ]; do sleep 0.02; done; echo acted"
    with EmbeddedServer(data_dir=tmp_path / "data", persist=True) as server:
        program = start("respond", "--id", "a", "--once", "--url", server.url, "--on", command)
        program.says("ready")
        with SignalExporter("fio", url=server.url) as exporter:
            roster(exporter, "a")
            results: list[PublishResult] = []
            thread = threading.Thread(target=lambda: results.append(exporter.publish_signal("benchmark-start")))
            thread.start()
            wait_until((tmp_path / "log").exists)
            server.kill()
            (tmp_path / "go").touch()
            # The answer is there, and the server is not.
            program.says(f"benchmark-start of {exporter.pub_id}: succeeded: acted")
            server.start()
            thread.join(20)
            assert results[0].succeeded["a"].message == "acted"
            assert exporter.publish_signal("benchmark-stop", timeout=20).ok
        assert program.wait() == 0
    assert (tmp_path / "log").read_text() == "begun\n"
    assert "state-signals: warning: connection lost: " in program.err
    assert " again after " in program.err
    assert "Traceback" not in program.err


def test_a_signal_ends_it_without_a_server_and_with_its_commands(start: Start, tmp_path: Path) -> None:
    with EmbeddedServer() as server:
        program = start("respond", "--id", "a", "--url", server.url, "--on", "benchmark-start=echo > on; sleep 60")
        program.says("ready")
        with SignalExporter("fio", url=server.url) as exporter:
            roster(exporter, "a")
            exporter.publish_signal("benchmark-start", wait=False)
            wait_until((tmp_path / "on").exists)
    program.says("connection lost")
    program.send(signal.SIGTERM)
    assert program.wait() == 0
    assert "Traceback" not in program.err


def test_what_was_not_answered_comes_again_after_a_crash(start: Start, exporter: SignalExporter) -> None:
    command = 'benchmark-start=echo "again: $SIGNAL_REDELIVERED."; test "$SIGNAL_REDELIVERED" || sleep 60'
    program = start("respond", "--id", "a", "--on", command)
    program.says("ready")
    roster(exporter, "a")
    results: list[PublishResult] = []
    thread = threading.Thread(target=lambda: results.append(exporter.publish_signal("benchmark-start")))
    thread.start()
    program.says("again: .")
    kill(program)
    program.process.wait()
    second = start("respond", "--id", "a", "--once", "--on", command)
    thread.join(20)
    assert results[0].succeeded["a"].message == "again: 1."
    exporter.shutdown()
    assert second.wait() == 0


def test_output_that_nobody_reads_does_not_end_it(start: Start, exporter: SignalExporter) -> None:
    program = start(
        argv=[
            "sh",
            "-c",
            '"$@" 2>&1 | head -1',
            "sh",
            *STATE_SIGNALS,
            "respond",
            *("--id", "a", "--once", "--on", "benchmark-start=echo x"),
        ]
    )
    roster(exporter, "a")
    for _ in range(3):
        assert exporter.publish_signal("benchmark-start").ok
    exporter.shutdown()
    assert program.wait() == 0


def test_two_runs_and_two_responders_are_kept_apart(start: Start, recorder: Recorder) -> None:
    responders = [
        start("respond", "--once", "--id", name, "--tag", name, "--on", 'benchmark-start=echo "$SIGNAL_TAG"')
        for name in "ab"
    ]
    runs = [start("run", f"run-{name}", "--expect", name, "--tag", name, "--", "echo", name) for name in "ab"]
    for name, run, responder in zip("ab", runs, responders, strict=True):
        assert run.wait() == 0
        assert responder.wait() == 0
        assert run.out == f"{name}\n"
        assert responder.out == f"{name}\n"
        assert f"  {name}  succeeded  " in run.err
    recorder.events()
    for name in "ab":
        events = [heard["event"] for heard in recorder.signals if heard["process_name"] == f"run-{name}"]
        assert events[-3:] == ["benchmark-start", "benchmark-stop", "shutdown"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--on", "benchmark-start"], "--on takes EVENT=CMD"),
        (["--on", "=true"], "--on takes EVENT=CMD"),
        (["--on", "benchmark-start= "], "--on takes EVENT=CMD"),
        (["--on", "a=x", "--on", "a=y"], "--on is given twice for 'a'"),
        (["--on", "initialization=x"], "--on cannot act on 'initialization'"),
        (["--on", "caf\udce9=x"], "--on is not valid Unicode"),
        (["--id", ""], "--id must be printable text"),
        (["--id", "a\nb"], "--id must be printable text"),
        (["--shell", "/no/shell"], "--shell '/no/shell' is no program"),
        (["--timeout", "-5"], "--timeout must not be negative"),
    ],
)
def test_wrong_options_are_a_usage_error(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["respond", "--url", "redis://127.0.0.1:1", *options]) == 2
    assert message in capsys.readouterr().err


def assert_gone(pid: int) -> None:
    """No process of that number runs; one that nobody has waited for yet does not count."""

    def is_gone() -> bool:
        status = Path(f"/proc/{pid}/stat")
        try:
            os.kill(pid, 0)
            return status.exists() and status.read_text().rpartition(") ")[2].startswith("Z")
        except (ProcessLookupError, FileNotFoundError):
            return True

    wait_until(is_gone, what=f"the end of {pid}")
