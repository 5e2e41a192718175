"""`state-signals ps`: exporters as they are now."""

from __future__ import annotations

import functools
import json
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from state_signals import SignalExporter
from state_signals.cli import app
from tests.cli.conftest import STATE_SIGNALS, Program, Respond, Start
from tests.cli.terminal import Terminal
from tests.conftest import wait_until

EVENTS = ["start", "stop"]

HOSTILE = "\x1b]0;owned\x07\u202e\nforged"

DIES = """
    import sys
    from state_signals import SignalResponder
    responder = SignalResponder(responder_id="dead", url=sys.argv[1], presence_ttl=0.2)
    responder.run()
"""

CRASHES = """
    import os, sys
    from state_signals import SignalExporter
    exporter = SignalExporter("fio", url=sys.argv[1], publisher_id="crashed", presence_ttl=0.5)
    exporter.initialize(["start"])
    os.kill(os.getpid(), 9)
"""


@pytest.fixture
def exporter(redis_url: str) -> Iterator[SignalExporter]:
    with SignalExporter("fio", url=redis_url, runner_host="host-a") as made:
        yield made


Ask = Callable[..., str]

Objects = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def printed(printed_by: Ask) -> Ask:
    """What it prints."""
    return functools.partial(printed_by, "ps")


@pytest.fixture
def objects(printed: Ask) -> Objects:
    """The exporters that it prints, by publisher_id."""

    def ask(*options: str) -> dict[str, dict[str, Any]]:
        found = [json.loads(line) for line in printed("--json", *options).splitlines()]
        return {each["publisher_id"]: each for each in found}

    return ask


def run_to_its_end(source: str, url: str) -> None:
    subprocess.run([sys.executable, "-c", textwrap.dedent(source), url], check=False, timeout=30)


def test_where_nobody_is_it_says_what_it_cannot_see(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ((), ("--all",), ("--json",)):
        assert app.run(["ps", "--url", redis_url, *options]) == 0
        out, err = capsys.readouterr()
        assert out == ""
        word = "known" if "--all" in options else "there"
        assert f"no exporter is {word} at redis://127.0.0.1" in err
        assert ("--all" in err) is ("--all" not in options)
        assert "version 1" in err


def test_an_exporter_with_its_roster_and_its_open_round(
    start: Start, printed: Ask, objects: Objects, exporter: SignalExporter, responder: Respond, redis_url: str
) -> None:
    responder("slow", {"start": None})
    responder("fast")
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(DIES), redis_url]) as dying:
        exporter.initialize_and_wait(3, EVENTS, tag="nightly", timeout=20)
        dying.kill()
    exporter.subs = {*exporter.subs, "never"}
    publishing = threading.Thread(target=lambda: exporter.publish_signal("start", 2, timeout=-1, on_lost="wait"))
    publishing.start()
    try:
        with redis.Redis.from_url(redis_url) as client:
            wait_until(lambda: client.xlen(f"state-signals:{{{exporter.pub_id}}}:responses") == 5, what="one answers")
        wait_until(lambda: objects()[exporter.pub_id]["roster"]["dead"]["state"] == "lost", timeout=20)
        found = objects()[exporter.pub_id]
        lines = printed().splitlines()
    finally:
        exporter.shutdown()
        publishing.join()
    assert (found["process_name"], found["runner_host"], found["tag"]) == ("fio", "host-a", "nightly")
    assert (found["state"], found["legal_events"]) == ("live", EVENTS)
    assert found["age"] > 0
    assert abs(time.time() - found["last_seen"]) < 60
    assert (found["last_event"]["event"], found["last_event"]["sample_no"]) == ("start", 2)
    assert {name: member["state"] for name, member in found["roster"].items()} == {
        "slow": "alive",
        "fast": "alive",
        "dead": "lost",
        "never": "unknown",
    }
    assert found["counts"] == {"alive": 2, "lost": 1, "expected": 0, "unknown": 1}
    assert found["open_round"]["event"] == "start"
    assert found["open_round"]["pending"] == ["dead", "never", "slow"]
    assert found["open_round"]["actions"]["fast"]["outcome"] == "succeeded"
    assert len(lines) == 2
    for text in (exporter.pub_id, "fio", "host-a", "nightly", "live", "start 2", "2 alive, 1 lost", "3 pending"):
        assert text in lines[1]


def test_who_is_expected_and_has_not_come(printed: Ask, objects: Objects, exporter: SignalExporter) -> None:
    exporter.initialize(EVENTS, expected_resps=["pcp"])
    found = objects()[exporter.pub_id]
    assert found["roster"]["pcp"]["state"] == "expected"
    assert found["last_event"]["event"] == "initialization"
    assert found["open_round"] is None
    assert "1 expected" in printed()


def test_the_states_of_exporters(objects: Objects, exporter: SignalExporter, redis_url: str) -> None:
    exporter.initialize(EVENTS)
    run_to_its_end(CRASHES, redis_url)
    left = SignalExporter("fio", url=redis_url, publisher_id="left")
    left.initialize(EVENTS)
    left.detach()
    with SignalExporter("fio", url=redis_url, publisher_id="ended") as ended:
        ended.initialize(EVENTS)
    aborted = SignalExporter("fio", url=redis_url, publisher_id="aborted")
    aborted.initialize(EVENTS)
    aborted.abort("disk full")
    aborted.close()
    states = {name: each["state"] for name, each in objects().items()}
    assert states == {exporter.pub_id: "live", "crashed": "crashed", "left": "detached"}
    states = {name: each["state"] for name, each in objects("--all").items()}
    assert states == {
        exporter.pub_id: "live",
        "crashed": "crashed",
        "left": "detached",
        "ended": "ended",
        "aborted": "aborted",
    }
    assert objects("--all")["ended"]["last_event"]["event"] == "shutdown"


def test_one_that_has_said_nothing_yet(printed: Ask, objects: Objects, redis_url: str) -> None:
    with SignalExporter("fio", url=redis_url, publisher_id="quiet"):
        found = objects()["quiet"]
        assert (found["state"], found["last_event"], found["process_name"]) == ("live", None, None)
        assert "quiet" in printed()


def test_names_from_the_network_stay_text(printed: Ask, redis_url: str) -> None:
    with SignalExporter(HOSTILE, url=redis_url, publisher_id="fio-1", runner_host=HOSTILE) as exporter:
        exporter.initialize([HOSTILE], tag=HOSTILE, expected_resps=["a b"])
        exporter.publish_signal(HOSTILE, wait=False)
        out = printed()
        assert all(line.isprintable() for line in out.splitlines())
        assert out.count("\n") == 2
        assert "\\x1b]0;owned\\x07\\u202e\\nforged" in out
        out = printed("--json")
        assert out.isascii()
        assert json.loads(out)["last_event"]["event"] == HOSTILE


def test_ids_are_shortened_where_they_have_to_be(printed: Ask, redis_url: str) -> None:
    name = "n" * 150
    with SignalExporter("fio", url=redis_url, publisher_id=name) as exporter:
        exporter.initialize(EVENTS, tag="t" * 100)
        assert name in printed()
        with Terminal([*STATE_SIGNALS, "ps"], {"STATE_SIGNALS_URL": redis_url}, rows=24, cols=80) as terminal:
            assert terminal.wait() == 0
            assert terminal.is_sane
            title, line = terminal.lines
        assert title.startswith("PUBLISHER_ID")
        assert line.startswith("nnnn")
        assert "live" in line
        assert "…" in line
        # Colours only there, and not if they are not wanted.
        assert b"\x1b[32mlive" in terminal.raw
        environment = {"STATE_SIGNALS_URL": redis_url, "NO_COLOR": "1"}
        with Terminal([*STATE_SIGNALS, "ps"], environment, rows=24, cols=80) as terminal:
            assert terminal.wait() == 0
            assert b"\x1b[" not in terminal.raw


def test_namespaces_are_kept_apart(
    capsys: pytest.CaptureFixture[str], objects: Objects, exporter: SignalExporter, redis_url: str
) -> None:
    exporter.initialize(EVENTS)
    with SignalExporter("other", url=redis_url, namespace="lab", publisher_id="there") as other:
        other.initialize(EVENTS)
        assert list(objects("--namespace", "lab")) == ["there"]
        assert list(objects("--all")) == [exporter.pub_id]
        assert app.run(["ps", "--namespace", "elsewhere"]) == 0
        assert "(in the namespace elsewhere)" in capsys.readouterr().err


def test_when_its_reader_leaves_it_ends_silently(start: Start, exporter: SignalExporter) -> None:
    exporter.initialize(EVENTS)
    command = '"$@"; echo "status $?" >&2'
    for options in ((), ("--json",)):
        argv = ["sh", "-c", f"{{ {command}; }} | true", "sh", *STATE_SIGNALS, "ps", *options]
        pipeline = start(argv=argv)
        assert pipeline.wait() == 0
        assert pipeline.err == "status 0\n"


@pytest.mark.parametrize("command", ["ps", "history"])
def test_without_a_server_it_says_so(start: Start, command: str) -> None:
    program = start(command, "--url", "redis://user:secret@127.0.0.1:1", "--connect-timeout", "0")
    assert program.wait() == 4
    assert "127.0.0.1:1" in program.err
    assert "secret" not in program.err
    assert "Traceback" not in program.err
    assert program.out == ""


@pytest.mark.parametrize("command", ["ps", "history"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_while_it_waits(start: Start, command: str, number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        program: Program = start(command, "--url", url, "--connect-timeout", "-1")
        # It has connected: so its handlers are there.
        silent.settimeout(20)
        connection, _ = silent.accept()
        with connection:
            program.send(number)
            assert program.wait() == 128 + number
    assert "Traceback" not in program.err
