"""`state-signals listen`: signals and answers, as they come."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from state_signals import SignalExporter, SignalResponder
from state_signals.server import EmbeddedServer
from tests.cli.conftest import STATE_SIGNALS, Program, Respond, Start, signal_of
from tests.conftest import wait_until

EVENTS = ["benchmark-start", "benchmark-stop"]


@pytest.fixture
def exporter(redis_url: str) -> Iterator[SignalExporter]:
    with SignalExporter("fio", url=redis_url, runner_host="host-a") as made:
        yield made


def listening(start: Start, *options: str) -> Program:
    program = start("listen", *options)
    program.says("state-signals: listening")
    return program


def lines(program: Program, number: int) -> list[str]:
    """The first lines of the output, as soon as they are there."""
    wait_until(lambda: program.out.count("\n") >= number, timeout=20, what=f"{number} lines: {program.out!r}")
    return program.out.splitlines()


def objects(program: Program, number: int) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines(program, number)]


def end(program: Program) -> None:
    program.send(signal.SIGTERM)
    assert program.wait() == 143
    assert "Traceback" not in program.err


def test_each_signal_is_a_line_at_once(start: Start, exporter: SignalExporter) -> None:
    program = listening(start)
    exporter.initialize(EVENTS)
    assert lines(program, 1)[0].endswith(f"{exporter.pub_id}  initialization")
    hostile = "\x1b]0;owned\x07 \u202e\nforged"
    exporter.publish_signal("benchmark-start", 0, hostile, {"k": [1, hostile]}, wait=False)
    shown = lines(program, 2)[1]
    assert shown.isprintable()
    assert 'benchmark-start  sample=0  tag="\\x1b]0;owned\\x07 \\u202e\\nforged"  {"k": [1, "' in shown
    exporter.shutdown()
    assert lines(program, 3)[2].endswith(f"{exporter.pub_id}  shutdown")
    end(program)


def test_json_has_the_version_1_fields_and_what_version_2_adds(
    start: Start, exporter: SignalExporter, redis_url: str
) -> None:
    program = listening(start, "--json", "--count", "2")
    result = exporter.publish_signal("benchmark-start", 3, "nightly\n", {"k": None}, wait=False)
    with redis.Redis.from_url(redis_url) as client:
        client.publish("event-signal-pubsub", signal_of(metadata={"k": float("nan")}).to_json_str())
    version_2, version_1 = objects(program, 2)
    assert program.wait() == 0
    assert abs(time.time() - version_2.pop("received")) < 60
    assert abs(time.time() - version_2.pop("sent")) < 60
    assert version_2 == {
        "type": "signal",
        "publisher_id": exporter.pub_id,
        "process_name": "fio",
        "event": "benchmark-start",
        "runner_host": "host-a",
        "sample_no": 3,
        "tag": "nightly\n",
        "metadata": {"k": None},
        "id": result.signal_id,
        "seq": 1,
    }
    assert (version_1["id"], version_1["seq"], version_1["sent"]) == (None, None, None)
    assert version_1["metadata"] == {"k": None}


def test_only_what_was_asked_for_is_printed(start: Start, exporter: SignalExporter, redis_url: str) -> None:
    by_tag = listening(start, "--tag", "mine", "--count", "1")
    by_event = listening(start, "--event", "x", "--event", "y", "--count", "2")
    by_exporter = listening(start, "--publisher", exporter.pub_id, "--count", "1")
    with SignalExporter("other", url=redis_url) as other:
        other.publish_signal("z", wait=False)
        other.publish_signal("x", wait=False)
    exporter.publish_signal("y", tag="mine", wait=False)
    assert [program.wait() for program in (by_tag, by_event, by_exporter)] == [0, 0, 0]
    assert by_tag.out.endswith(f"{exporter.pub_id}  y  tag=mine\n")
    assert [line.split("  ")[2] for line in by_event.out.splitlines()] == ["x", "y"]
    assert by_exporter.out == by_exporter.out.splitlines()[0] + "\n"
    assert f"{exporter.pub_id}  y" in by_exporter.out


def test_namespaces_are_kept_apart(start: Start, exporter: SignalExporter, redis_url: str) -> None:
    program = listening(start, "--namespace", "lab", "--count", "1")
    exporter.publish_signal("elsewhere", wait=False)
    with SignalExporter("other", url=redis_url, namespace="lab") as other:
        other.publish_signal("here", wait=False)
    assert program.wait() == 0
    assert program.out.endswith("  here\n")


def test_answers_are_printed_without_being_taken_from_their_exporter(
    start: Start, exporter: SignalExporter, responder: Respond, redis_url: str
) -> None:
    program = listening(start, "--responses", "--json")
    responder("a", {"benchmark-start": (1, "fine \x1b[2J")})
    exporter.initialize_and_wait(1, EVENTS, timeout=20)
    result = exporter.publish_signal("benchmark-start")
    assert result.ok
    with SignalResponder(responder_id="v1", url=redis_url) as version_1:
        version_1.respond(exporter.pub_id, "benchmark-stop", 0, "unasked")
    found = objects(program, 5)
    subscription, answer, unasked = (
        next(one for one in found if one["type"] == "response" and one["event"] == event)
        for event in ("initialization", "benchmark-start", "benchmark-stop")
    )
    assert (subscription["responder_id"], subscription["ras"]) == ("a", 1)
    assert answer["message"] == "fine \x1b[2J"
    assert (answer["signal_id"], answer["ras"], answer["publisher_id"]) == (result.signal_id, 1, exporter.pub_id)
    assert answer["took"] >= 0
    assert (unasked["responder_id"], unasked["ras"], unasked["signal_id"]) == ("v1", 0, None)
    end(program)


def test_answers_from_before_are_not_printed(start: Start, exporter: SignalExporter, responder: Respond) -> None:
    responder("a")
    exporter.initialize_and_wait(1, EVENTS, timeout=20)
    assert exporter.publish_signal("benchmark-start").ok
    program = listening(start, "--responses", "--json", "--count", "2")
    assert exporter.publish_signal("benchmark-stop").ok
    assert program.wait() == 0
    assert [(one["type"], one["event"]) for one in objects(program, 2)] == [
        ("signal", "benchmark-stop"),
        ("response", "benchmark-stop"),
    ]


def test_answers_of_several_exporters_are_printed(start: Start, responder: Respond, redis_url: str) -> None:
    program = listening(start, "--responses")
    responder("a")
    for number in range(3):
        with SignalExporter(f"run-{number}", url=redis_url) as exporter:
            exporter.initialize_and_wait(1, EVENTS, timeout=20)
            assert exporter.publish_signal("benchmark-start").ok
            expected = f"{exporter.pub_id}  benchmark-start  <-  a  succeeded"
            program.says(expected)
            assert f"{exporter.pub_id}  initialization  <-  a  subscribed" in program.out
    end(program)


def test_answers_follow_the_tag_of_their_signal(start: Start, exporter: SignalExporter, responder: Respond) -> None:
    program = listening(start, "--responses", "--tag", "mine")
    responder("a")
    exporter.initialize_and_wait(1, EVENTS, timeout=20)
    assert exporter.publish_signal("benchmark-start", tag="other").ok
    assert exporter.publish_signal("benchmark-stop", tag="mine").ok
    events = [line.split("  ")[2] for line in lines(program, 2)]
    assert events == ["benchmark-stop", "benchmark-stop"]
    end(program)


def test_a_key_that_holds_something_else_does_not_end_it(
    start: Start, exporter: SignalExporter, redis_url: str
) -> None:
    program = listening(start, "--responses", "--json")
    with redis.Redis.from_url(redis_url) as client:
        client.set(f"state-signals:{{{exporter.pub_id}}}:responses", "no stream")
        exporter.publish_signal("benchmark-start", wait=False)
        program.says("are not printed: ")
        # Neither does what is no message.
        client.publish("event-signal-pubsub", b"\xff{")
        client.publish("event-signal-response", b"[]")
    exporter.publish_signal("benchmark-stop", wait=False)
    assert [one["event"] for one in objects(program, 2)] == EVENTS
    end(program)


def test_when_its_reader_leaves_it_ends_silently(start: Start, exporter: SignalExporter) -> None:
    # `head` leaves after the first line; there need not be a second one for it to be noticed.
    command = '"$@"; echo "status $?" >&2'
    pipeline = start(argv=["sh", "-c", f"{{ {command}; }} | head -1", "sh", *STATE_SIGNALS, "listen"])
    pipeline.says("listening")
    exporter.publish_signal("benchmark-start", wait=False)
    assert pipeline.wait() == 0
    assert pipeline.out.count("\n") == 1
    assert pipeline.err == "state-signals: listening\nstatus 0\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_traceback(start: Start, number: signal.Signals) -> None:
    program = listening(start, "--responses")
    program.send(number)
    assert program.wait() == 128 + number
    assert program.err == "state-signals: listening\n"


def test_it_leaves_no_trace_on_the_server(start: Start, exporter: SignalExporter, redis_url: str) -> None:
    exporter.publish_signal("benchmark-start", wait=False)
    with redis.Redis.from_url(redis_url) as client:
        before = sorted(client.keys())
        program = listening(start, "--responses")
        exporter.publish_signal("benchmark-stop", wait=False)
        lines(program, 1)
        assert sorted(client.keys()) == before
        assert not client.exists("state-signals:presence")
        end(program)
        assert sorted(client.keys()) == before


def test_the_last_answers_come_before_the_shutdown(start: Start, responder: Respond, redis_url: str) -> None:
    program = listening(start, "--responses", "--json")
    responder("a")
    for _ in range(5):
        with SignalExporter("fio", url=redis_url) as exporter:
            exporter.initialize_and_wait(1, EVENTS, timeout=20)
            assert exporter.publish_signal("benchmark-stop").ok
    program.says('"event": "shutdown"')
    wait_until(lambda: program.out.count('"event": "shutdown"') == 5, timeout=20)
    found = [json.loads(line) for line in program.out.splitlines()]
    answered: set[str] = set()
    for one in found:
        if one["event"] == "shutdown":
            assert one["publisher_id"] in answered
        elif (one["type"], one["event"]) == ("response", "benchmark-stop"):
            answered.add(one["publisher_id"])
    assert len(answered) == 5
    end(program)


def test_it_goes_on_when_the_server_is_back(start: Start, tmp_path: Path) -> None:
    with EmbeddedServer(data_dir=tmp_path / "data", persist=True) as server:
        program = listening(start, "--responses", "--url", server.url)
        with (
            SignalExporter("fio", url=server.url) as exporter,
            SignalResponder(responder_id="a", url=server.url) as responder,
        ):
            answering = threading.Thread(target=responder.run, daemon=True)
            answering.start()
            exporter.initialize_and_wait(1, EVENTS, timeout=20)
            assert exporter.publish_signal("benchmark-start").ok
            program.says("benchmark-start  <-  a  succeeded")
            server.kill()
            program.says("state-signals: warning: connection lost: ")
            server.start()
            assert exporter.publish_signal("benchmark-stop", timeout=20).ok
            program.says("benchmark-stop  <-  a  succeeded")
            with SignalResponder(responder_id="v1", url=server.url) as version_1:
                # Its channel is another connection, which may come back later than this says something.
                def is_heard() -> bool:
                    version_1.respond(exporter.pub_id, "benchmark-start", 0, "unasked")
                    return "<-  v1  failed  unasked" in program.out

                wait_until(is_heard, timeout=20)
        answering.join(20)
        program.says("  shutdown\n")
        events = [line.split("  ")[2] for line in program.out.splitlines() if "  <-  " not in line]
        assert events == ["initialization", *EVENTS, "shutdown"]
        end(program)


def test_everything_is_flushed_into_a_pipe(start: Start, exporter: SignalExporter) -> None:
    copy = "import sys; [print(line, end='', flush=True) for line in sys.stdin]"
    program = start(
        argv=["sh", "-c", '"$@" | "$0" -c "$COPY"', sys.executable, *STATE_SIGNALS, "listen", "--count", "2"], COPY=copy
    )
    program.says("listening")
    exporter.publish_signal("one", wait=False)
    assert lines(program, 1)[0].endswith("  one")
    exporter.publish_signal("two", wait=False)
    assert program.wait() == 0
