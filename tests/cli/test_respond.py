"""`state-signals respond`: shell commands that act on signals."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from state_signals import PublishResult, SignalExporter
from state_signals.cli import app
from state_signals.server import EmbeddedServer
from tests.cli.conftest import STATE_SIGNALS, Recorder, Start, kill
from tests.conftest import wait_until

EVENTS = ["benchmark-start", "benchmark-stop"]


@pytest.fixture
def exporter(redis_url: str) -> Iterator[SignalExporter]:
    with SignalExporter("fio", url=redis_url) as made:
        yield made


def roster(exporter: SignalExporter, *names: str, tag: str | None = None) -> None:
    assert exporter.initialize_and_wait(0, EVENTS, tag, list(names), timeout=20, periodic=True) == 0


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


def test_output_is_passed_on_byte_by_byte(start: Start, exporter: SignalExporter, tmp_path: Path) -> None:
    data = bytes(range(256)) * 1000
    (tmp_path / "data").write_bytes(data)
    program = start(
        "respond", "--id", "a", "--once", "--on", "benchmark-start=cat data; printf '\\377 caf\\351\\n' >&2"
    )
    roster(exporter, "a")
    assert exporter.publish_signal("benchmark-start").ok
    exporter.shutdown()
    assert program.wait() == 0
    assert program.out.encode(errors="surrogateescape") == data
    assert "\udcff caf\udce9\n" in program.err


def test_only_so_many_commands_run_at_once_and_all_are_answered(start: Start, redis_url: str, tmp_path: Path) -> None:
    program = start(
        "respond", "--id", "a", "--on", "benchmark-start=echo >> begun; while [ ! -e go ]; do sleep 0.1; done"
    )
    program.says("ready")
    exporters = [SignalExporter(f"fio-{number}", url=redis_url) for number in range(18)]
    results: list[PublishResult] = []
    threads = [
        threading.Thread(target=lambda each=each: results.append(each.publish_signal("benchmark-start", timeout=60)))
        for each in exporters
    ]
    try:
        for each, thread in zip(exporters, threads, strict=True):
            roster(each, "a")
            thread.start()
        wait_until(lambda: (tmp_path / "begun").exists() and (tmp_path / "begun").read_text() == "\n" * 16, timeout=20)
        # One that has nothing to run does not wait for them.
        with SignalExporter("other", url=redis_url) as other:
            roster(other, "a")
            assert other.publish_signal("benchmark-stop").ok
        assert (tmp_path / "begun").read_text() == "\n" * 16
        (tmp_path / "go").touch()
        for thread in threads:
            thread.join(60)
    finally:
        (tmp_path / "go").touch()
        for each in exporters:
            each.close()
    assert [result.ok for result in results] == [True] * 18
    assert (tmp_path / "begun").read_text() == "\n" * 18
    program.send(signal.SIGTERM)
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
