"""`state-signals abort`: everybody is told that a run is over, and why; whatever waits for it ends with 5."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from state_signals import RunAborted, Signal, SignalExporter, SignalResponder
from state_signals.server import EmbeddedServer
from tests.cli.conftest import Program, Recorder, Respond, Start
from tests.conftest import wait_until

EVENTS = ("--events", "benchmark-start,benchmark-stop")

WHY = "disk full on host-b"


class Listener:
    """A responder that answers nothing but initializations, and keeps what it hears."""

    def __init__(self, url: str) -> None:
        self.heard: list[Signal] = []
        self._responder = SignalResponder(responder_id="listener", url=url)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def hears_why(self) -> str | None:
        """Return the reason that comes with the shutdown."""
        wait_until(lambda: any(each.event == "shutdown" for each in self.heard), timeout=20, what="the shutdown")
        return next(each.aborted for each in self.heard if each.event == "shutdown")

    def close(self) -> None:
        self._responder.close()
        self._thread.join(10)

    def _listen(self) -> None:
        for each in self._responder.listen():
            self.heard.append(each)
            if each.event == "initialization":
                self._responder.srespond(each, 1)


@pytest.fixture
def listener(redis_url: str) -> Iterator[Listener]:
    made = Listener(redis_url)
    yield made
    made.close()


def begin(start: Start, *more: str) -> str:
    """Begin a run, and return the exporter's id."""
    program = start("init", "fio", *EVENTS, *more)
    assert program.wait() == 0, program.err
    return program.out.strip()


def waiting(start: Start, recorder: Recorder, name: str) -> Program:
    """Start a publish that waits for an answer that does not come."""
    program = start("publish", name, "benchmark-start", "--timeout", "-1")
    recorder.hears("benchmark-start")
    return program


def abort(start: Start, name: str, *more: str) -> str:
    """Abort a run, and return what is said about it."""
    program = start("abort", name, "--reason", WHY, *more)
    assert program.wait() == 0, program.err
    assert program.out == ""
    return program.err


def the_exporter(recorder: Recorder) -> str:
    """Return the id of the exporter that has announced itself."""
    recorder.hears("initialization")
    name: str = recorder.signals[0]["publisher_id"]
    return name


def test_a_run_between_two_steps_is_aborted_from_here(start: Start, listener: Listener, redis_url: str) -> None:
    name = begin(start)
    assert abort(start, name) == f"state-signals: {name} is aborted: {WHY}\n"
    assert listener.hears_why() == WHY
    for command in (["publish", name, "benchmark-start"], ["shutdown", name]):
        program = start(*command)
        assert program.wait() == 5
        assert program.err == f"state-signals: error: aborted: {WHY}\n"
    with redis.Redis.from_url(redis_url) as client:
        found: Any = client.keys("*}:*")
        assert sorted(key.rpartition(b":")[2] for key in found) == [b"responses", b"signals"]
        assert client.zcard("state-signals:exporters") == 0


def test_a_publish_that_waits_is_told(start: Start, recorder: Recorder, listener: Listener) -> None:
    name = begin(start)
    waits = waiting(start, recorder, name)
    queued = start("publish", name, "benchmark-stop", "--timeout", "-1")
    queued.says("waiting for our turn")
    abort(start, name)
    for program in (waits, queued):
        assert program.wait() == 5
        assert program.err.splitlines()[-1] == f"state-signals: error: aborted: {WHY}"
        assert program.out == ""
    assert listener.hears_why() == WHY
    assert "benchmark-stop" not in recorder.events()


def test_an_init_that_waits_is_told(start: Start, recorder: Recorder) -> None:
    program = start("init", "fio", *EVENTS, "--wait", "9", "--timeout", "-1")
    abort(start, the_exporter(recorder))
    assert program.wait() == 5
    assert program.out == ""
    assert f"state-signals: error: aborted: {WHY}\n" in program.err


def test_a_program_is_told(start: Start, recorder: Recorder, listener: Listener, redis_url: str) -> None:
    told: list[str] = []
    with SignalExporter("fio", url=redis_url, on_abort=told.append) as exporter:
        assert exporter.initialize_and_wait(1, ["benchmark-start"], timeout=20) == 0
        ended: list[BaseException] = []

        def publish() -> None:
            try:
                exporter.publish_signal("benchmark-start", timeout=None)
            except RunAborted as error:
                ended.append(error)

        thread = threading.Thread(target=publish)
        thread.start()
        recorder.hears("benchmark-start")
        abort(start, exporter.pub_id)
        thread.join(20)
        assert [each.reason for each in ended if isinstance(each, RunAborted)] == [WHY]
        assert told == [WHY]
        assert exporter.aborted == WHY
    assert listener.hears_why() == WHY
    assert recorder.events() == ["initialization", "benchmark-start", "shutdown"]


def test_a_run_whose_process_is_dead_is_aborted_from_here(start: Start, recorder: Recorder, listener: Listener) -> None:
    name = begin(start)
    waits = waiting(start, recorder, name)
    waits.send(signal.SIGKILL)
    waits.process.wait()
    abort(start, name)
    assert listener.hears_why() == WHY


def test_one_that_dies_after_it_was_asked_is_aborted_from_here(
    start: Start, recorder: Recorder, listener: Listener, redis_url: str
) -> None:
    name = begin(start)
    waits = waiting(start, recorder, name)
    waits.send(signal.SIGSTOP)
    program = start("abort", name, "--reason", WHY, "--timeout", "-1")
    asked(redis_url, name)
    waits.send(signal.SIGKILL)
    assert program.wait() == 0
    assert program.err.endswith(f"state-signals: {name} is aborted: {WHY}\n")
    assert listener.hears_why() == WHY


def test_one_that_does_not_react_is_told_of(
    start: Start, recorder: Recorder, listener: Listener, redis_url: str
) -> None:
    name = begin(start)
    waits = waiting(start, recorder, name)
    waits.send(signal.SIGSTOP)
    try:
        program = start("abort", name, "--timeout", "0.5")
        assert program.wait() == 3
        assert re.search(
            rf"{name} was asked to abort, and process {waits.process.pid} on \S+, which has it, did not within 0.5 s",
            program.err,
        )
    finally:
        waits.send(signal.SIGCONT)
    # It was asked, and does so now.
    assert waits.wait() == 5


def asked(url: str, name: str) -> None:
    """Wait until an exporter was asked to abort its run."""
    with redis.Redis.from_url(url) as client:

        def is_asked() -> bool:
            found: Any = client.xrange(f"state-signals:{{{name}}}:responses")
            return any(b'"state":"abort"' in fields.get(b"r", b"") for _, fields in found)

        wait_until(is_asked, timeout=20, what="the request")


def test_aborted_is_aborted(start: Start) -> None:
    name = begin(start, "--wait", "0")
    abort(start, name)
    program = start("abort", name, "--reason", "another one")
    assert program.wait() == 0
    assert program.err == f"state-signals: {name} was aborted already: {WHY}\n"


def test_what_has_ended_well_stays_so(start: Start) -> None:
    name = begin(start, "--wait", "0")
    assert start("shutdown", name).wait() == 0
    assert abort(start, name) == f"state-signals: {name} has shut down already\n"
    assert start("shutdown", name).wait() == 0


def test_who_gives_no_reason_is_the_reason(start: Start, listener: Listener) -> None:
    name = begin(start)
    assert start("abort", name, USER="mallory\x1b[2J").wait() == 0
    assert re.fullmatch(r"by mallory\[2J on \S+", listener.hears_why() or "")


def test_a_hostile_reason_stays_text(start: Start, listener: Listener) -> None:
    name = begin(start)
    program = start("abort", name, "--reason", "\x1b[2J\u202e")
    assert program.wait() == 0
    assert listener.hears_why() == "\x1b[2J\u202e"
    said = program.err + _end(start("shutdown", name))
    assert said.count("\\x1b[2J\\u202e") == 2
    assert "\x1b" not in said


def _end(program: Any) -> str:
    assert program.wait() == 5
    said: str = program.err
    return said


def test_connections_that_are_cut_meanwhile_are_made_again(
    start: Start, recorder: Recorder, listener: Listener, redis_url: str
) -> None:
    name = begin(start)
    waits = waiting(start, recorder, name)
    waits.send(signal.SIGSTOP)
    program = start("abort", name, "--reason", WHY, "--timeout", "-1")
    asked(redis_url, name)
    with redis.Redis.from_url(redis_url) as client:
        client.client_kill_filter(_type="pubsub")
        client.client_kill_filter(_type="normal", skipme=True)
    waits.send(signal.SIGCONT)
    assert waits.wait() == 5
    assert program.wait() == 0
    assert program.err.endswith(f"state-signals: {name} is aborted: {WHY}\n")
    assert listener.hears_why() == WHY


def test_a_server_that_forgets_it_meanwhile_is_told_of(start: Start) -> None:
    with EmbeddedServer() as server:
        where = ("--url", server.url)
        listener = Listener(server.url)
        recorder = Recorder(server.url)
        name = begin(start, *where)
        waits = start("publish", name, "benchmark-start", "--timeout", "-1", *where)
        recorder.hears("benchmark-start")
        recorder.close()
        waits.send(signal.SIGSTOP)
        program = start("abort", name, "--timeout", "5", *where)
        asked(server.url, name)
        server.kill()
        server.start()
        assert program.wait() == 3
        assert "the server has lost its data; nobody has put them back within 5 s" in program.err
        waits.send(signal.SIGKILL)
        listener.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_abort_that_is_interrupted(
    start: Start, recorder: Recorder, listener: Listener, redis_url: str, number: signal.Signals
) -> None:
    name = begin(start)
    waits = waiting(start, recorder, name)
    waits.send(signal.SIGSTOP)
    try:
        program = start("abort", name, "--timeout", "-1")
        asked(redis_url, name)
        program.send(number)
        assert program.wait() == 128 + number
        assert "Traceback" not in program.err
    finally:
        waits.send(signal.SIGCONT)
    assert waits.wait() == 5


def test_many_abort_at_once(start: Start, responder: Respond) -> None:
    responder("a", {"benchmark-start": None})
    name = begin(start)
    programs = [start("abort", name, "--reason", f"reason {number}") for number in range(3)]
    assert [program.wait() for program in programs] == [0, 0, 0]
    reasons = {re.sub(r".*: (reason \d)\n", r"\1", program.err.splitlines(keepends=True)[-1]) for program in programs}
    # All say the one that counts.
    assert len(reasons) == 1


def test_run_ends_with_5_and_ends_its_command(start: Start, recorder: Recorder, listener: Listener) -> None:
    program = start("run", "fio", "--timeout", "0", "--keep-going", "--", "sh", "-c", "echo works; exec sleep 60")
    program.says("works")
    abort(start, the_exporter(recorder))
    assert program.wait() == 5
    assert WHY in program.err
    assert listener.hears_why() == WHY
    # The stop is not announced: the shutdown says all.
    assert recorder.events() == ["initialization", "benchmark-start", "shutdown"]


def test_a_run_that_waits_for_responders_ends_with_5(start: Start, recorder: Recorder) -> None:
    program = start("run", "fio", "--wait", "9", "--", "echo", "works")
    abort(start, the_exporter(recorder))
    assert program.wait() == 5
    assert program.out == ""
    assert WHY in program.err
