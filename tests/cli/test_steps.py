"""The steps of a run from a script: `init`, `publish`, `shutdown`, each a process of its own."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import redis

from state_signals import SignalExporter
from tests.cli.conftest import STATE_SIGNALS, Program, Recorder, Respond, Start, kill
from tests.conftest import wait_until

ALL = ["initialization", "benchmark-start", "benchmark-stop", "shutdown"]

EVENTS = ("--events", "benchmark-start,benchmark-stop")

GRACE = "0.3"
"""Seconds in which a responder that never answers does not answer."""


def begin(start: Start, *more: str) -> str:
    """Begin a run, and return the exporter's id."""
    program = start("init", "fio", *EVENTS, *more)
    assert program.wait() == 0, program.err
    return program.out.removesuffix("\n")


def subscribed(url: str, publisher_id: str, count: int) -> None:
    """Wait until so many responders have answered an initialization that nobody reads the answers to."""
    with redis.Redis.from_url(url) as client:
        key = f"state-signals:{{{publisher_id}}}:responses"
        wait_until(lambda: client.xlen(key) >= count + 1, timeout=20, what="the subscription")


def left(url: str) -> set[str]:
    """Return what is on the server, without the exporter's name."""
    with redis.Redis.from_url(url) as client:
        found: Any = client.keys("*")
        return {name.decode().rpartition(":")[2] for name in found}


def test_a_whole_run(start: Start, recorder: Recorder, responder: Respond, redis_url: str) -> None:
    responder("a", {"benchmark-start": (1, "started")})
    responder("b")
    first = start("init", "fio", *EVENTS, "--wait", "2", "--tag", "nightly")
    assert first.wait() == 0
    # The id alone, for $(...).
    assert re.fullmatch(r"fio-[-0-9a-f]{36}\n", first.out)
    name = first.out.strip()
    more = ("--sample", "0", "--tag", "cold", "--metadata", '{"k": ["v"]}')
    started = start("publish", name, "benchmark-start", *more)
    assert started.wait() == 0
    assert started.out == ""
    assert re.search(r"^state-signals: benchmark-start: 2 succeeded in \d\.\d{3} s$", started.err, re.MULTILINE)
    assert re.search(r"^state-signals:   a  succeeded  \d\.\d{3} s  started$", started.err, re.MULTILINE)
    assert start("publish", name, "benchmark-stop").wait() == 0
    assert start("shutdown", name).wait() == 0
    assert recorder.events() == ALL
    sent = recorder.signals[1]
    assert (sent["process_name"], sent["sample_no"], sent["tag"], sent["metadata"]["k"]) == ("fio", 0, "cold", ["v"])
    assert [each["tag"] for each in recorder.signals if each["event"] == "shutdown"] == ["nightly"]
    positions = [each["metadata"]["_state_signals"]["seq"] for each in recorder.signals]
    assert positions[-1] == len(set(positions))
    # The journal, for whoever looks back, and the responders' signs of life; nothing of the living.
    assert left(redis_url) == {"signals", "responses", "rounds", "presence"}


def test_a_run_ends_once(start: Start, recorder: Recorder) -> None:
    name = begin(start, "--wait", "0")
    assert start("shutdown", name).wait() == 0
    again = start("shutdown", name)
    assert again.wait() == 0
    assert again.err == f"state-signals: {name} has shut down already\n"
    after = start("publish", name, "benchmark-start")
    assert after.wait() == 2
    assert f"{name} has shut down: its run is over" in after.err
    assert recorder.events() == ["initialization", "shutdown"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ([], 1),
        (["--min-success", "1"], 0),
        (["--min-success", "50%"], 0),
        (["--min-success", "51%"], 1),
        (["--min-success", "2", "--fail-fast"], 1),
        (["--no-wait"], 0),
    ],
)
def test_what_a_failure_comes_to(start: Start, responder: Respond, options: list[str], code: int) -> None:
    responder("a", {"benchmark-start": (0, "no \x1b[2Jspace")})
    responder("b")
    program = start("publish", begin(start, "--wait", "2"), "benchmark-start", *options)
    assert program.wait() == code
    assert program.out == ""
    assert ("no \\x1b[2Jspace" in program.err) == (options != ["--no-wait"])
    assert "\x1b" not in program.err


@pytest.mark.parametrize("options", [["--timeout", GRACE], ["--timeout", "-1", "--stall-timeout", GRACE]])
def test_who_does_not_answer_is_missing(start: Start, responder: Respond, options: list[str]) -> None:
    responder("a", {"benchmark-start": None})
    program = start("publish", begin(start), "benchmark-start", *options)
    assert program.wait() == 3
    assert "state-signals:   a  missing\n" in program.err


def test_the_outcomes_as_json(start: Start, responder: Respond) -> None:
    responder("a", {"benchmark-start": (0, "x\udce9\x1b")})
    first = start("init", "fio", *EVENTS, "--json")
    assert first.wait() == 0
    told = json.loads(first.out)
    assert told.items() >= {"subscribed": ["a"], "absent": [], "events": ["benchmark-start", "benchmark-stop"]}.items()
    program = start("publish", told["publisher_id"], "benchmark-start", "--json")
    assert program.wait() == 1
    assert program.out.count("\n") == 1
    result = json.loads(program.out)
    assert (result["publisher_id"], result["event"]) == (told["publisher_id"], "benchmark-start")
    assert (result["ok"], result["code"], result["responders"]["a"]["outcome"]) == (False, 1, "failed")
    assert "failed" not in program.err


def test_who_subscribes_between_two_steps_is_waited_for(start: Start, responder: Respond, redis_url: str) -> None:
    for _ in range(3):
        name = begin(start, "--wait", "0")
        made = [responder(f"late-{number}") for number in range(3)]
        subscribed(redis_url, name, 3)
        program = start("publish", name, "benchmark-start", "--json")
        assert program.wait() == 0
        assert sorted(json.loads(program.out)["responders"]) == ["late-0", "late-1", "late-2"]
        for each in made:
            each.close()
        assert start("shutdown", name).wait() == 0


def test_without_responders_it_depends_on_whether_any_were_wanted(start: Start, redis_url: str) -> None:
    assert start("publish", begin(start, "--wait", "0"), "benchmark-start").wait() == 0
    name = begin(start, "--timeout", "0", "--keep-going")
    program = start("publish", name, "benchmark-start")
    assert program.wait() == 3
    assert "nobody is subscribed; with --min-success 0, nobody has to be" in program.err
    assert start("publish", name, "benchmark-start", "--min-success", "0").wait() == 0


def test_not_enough_responders(start: Start, recorder: Recorder, responder: Respond, redis_url: str) -> None:
    responder("a")
    program = start("init", "fio", *EVENTS, "--expect", "a", "--expect", "b\x1b", "--timeout", GRACE)
    assert program.wait() == 2
    program = start("init", "fio", *EVENTS, "--expect", "a", "--expect", "b", "--timeout", GRACE)
    assert program.wait() == 3
    assert program.out == ""
    assert f"not enough responders subscribed within {GRACE} s; missing: 'b'; there: 'a'" in program.err
    # Nothing is left behind.
    assert recorder.events() == ["initialization", "shutdown"]
    assert left(redis_url) == {"signals", "responses", "presence"}


def test_keep_going_prints_the_id_all_the_same(start: Start, recorder: Recorder) -> None:
    program = start("init", "fio", *EVENTS, "--wait", "3", "--timeout", GRACE, "--keep-going")
    assert program.wait() == 0
    assert "missing: 3 more; there: nobody" in program.err
    assert start("publish", program.out.strip(), "benchmark-start", "--min-success", "0").wait() == 0
    assert recorder.events() == ["initialization", "benchmark-start"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_init_that_is_interrupted_leaves_nothing(
    start: Start, recorder: Recorder, redis_url: str, number: signal.Signals
) -> None:
    program = start("init", "fio", *EVENTS)
    recorder.hears("initialization")
    program.send(number)
    assert program.wait() == 128 + number
    assert program.out == ""
    assert recorder.events() == ["initialization", "shutdown"]
    assert left(redis_url) == {"signals", "responses"}


def test_an_id_that_nobody_reads_is_given_up(start: Start, recorder: Recorder) -> None:
    # The reader has gone long before there is an id; the exit code is that of `init`.
    command = " ".join([*STATE_SIGNALS, "init", "fio", *EVENTS, "--wait", "0"])
    program = start(argv=["bash", "-c", f"set -o pipefail; {command} | true"])
    assert program.wait() == 0, program.err
    assert recorder.events() == ["initialization", "shutdown"]
    assert "Traceback" not in program.err


def test_two_runs_do_not_share_an_id(start: Start) -> None:
    assert begin(start, "--wait", "0", "--id", "nightly") == "nightly"
    second = start("init", "fio", *EVENTS, "--wait", "0", "--id", "nightly")
    assert second.wait() == 2
    assert "nightly is initialized already; 'state-signals shutdown nightly' ends that run" in second.err
    assert start("shutdown", "nightly").wait() == 0
    assert begin(start, "--wait", "0", "--id", "nightly") == "nightly"


def test_an_unknown_id_is_told_with_what_may_be_meant(start: Start, redis_url: str) -> None:
    name = begin(start, "--wait", "0")
    for given in [name[:-1] + "x", "fio"]:
        for command in (["publish", given, "benchmark-start"], ["shutdown", given], ["abort", given]):
            program = start(*command)
            assert program.wait() == 2
            assert f"there is no exporter {given} at {redis_url}" in program.err
            assert (
                f"without a namespace: it was never initialized, or the server has forgotten it; did you mean {name}?"
                in program.err
            )
    elsewhere = start("shutdown", name, "--namespace", "other")
    assert elsewhere.wait() == 2
    assert "in the namespace other" in elsewhere.err
    assert "check --url and --namespace" in elsewhere.err


def test_an_illegal_event_is_told_with_the_legal_ones(start: Start, recorder: Recorder) -> None:
    name = begin(start, "--wait", "0")
    for event, hint in [("benchmark-stat", "; did you mean benchmark-sta"), ("shutdown", ""), ("x", "")]:
        program = start("publish", name, event)
        assert program.wait() == 2
        assert (
            f"{event} is not one of the events of {name}, which are: benchmark-start, benchmark-stop{hint}"
            in program.err
        )
    assert recorder.events() == ["initialization"]


def test_of_two_at_once_the_second_waits_for_its_turn(start: Start, recorder: Recorder, responder: Respond) -> None:
    responder("a", {"benchmark-start": None})
    name = begin(start)
    first = start("publish", name, "benchmark-start", "--timeout", "-1")
    recorder.hears("benchmark-start")
    impatient = start("publish", name, "benchmark-stop", "--timeout", GRACE)
    second = start("publish", name, "benchmark-stop", "--timeout", "-1")
    second.says(f"state-signals: {name} is in use by process {first.process.pid} on ")
    assert impatient.wait() == 3
    assert f"{name} is in use by process {first.process.pid} on " in impatient.err
    assert f"did not leave it within {GRACE} s; wait longer with --timeout" in impatient.err
    assert "benchmark-stop" not in recorder.events()
    first.send(signal.SIGINT)
    assert first.wait() == 130
    assert second.wait() == 0
    assert recorder.events() == ["initialization", "benchmark-start", "benchmark-stop"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_publish_that_is_ended_leaves_the_run_to_the_next(
    start: Start, recorder: Recorder, responder: Respond, number: signal.Signals
) -> None:
    responder("a", {"benchmark-start": None})
    name = begin(start)
    program = start("publish", name, "benchmark-start")
    recorder.hears("benchmark-start")
    program.send(number)
    assert program.wait() == (130 if number == signal.SIGINT else -signal.SIGKILL)
    if number == signal.SIGINT:
        assert program.err.splitlines()[-1] == f"state-signals: interrupted; {name} is left to the next step"
    following = start("publish", name, "benchmark-stop", "--timeout", "10")
    assert following.wait() == 0
    assert "in use" not in following.err
    assert start("shutdown", name).wait() == 0
    assert recorder.events() == ALL


def claimed_elsewhere(url: str, name: str) -> None:
    """Have an exporter claimed, for a while, by a process of which nobody here knows whether it lives."""
    with redis.Redis.from_url(url) as client:
        owner = {"id": "x", "host": "far", "place": "elsewhere", "pid": 7, "start": "1"}
        client.set(f"state-signals:{{{name}}}:owner", json.dumps(owner), px=1500)


@pytest.mark.parametrize("command", [["publish", "me", "benchmark-start"], ["shutdown", "me"], ["abort", "me"]])
def test_a_process_on_another_host_is_waited_for(start: Start, redis_url: str, command: list[str]) -> None:
    begin(start, "--wait", "0", "--id", "me")
    claimed_elsewhere(redis_url, "me")
    program = start(*command)
    assert program.wait() == 0
    assert ("me is in use by process 7 on far; waiting for our turn" in program.err) == (command[0] != "abort")


@pytest.mark.parametrize("command", [["publish", "me", "benchmark-start"], ["shutdown", "me"], ["abort", "me"]])
def test_a_process_on_another_host_that_stays_is_told_of(start: Start, redis_url: str, command: list[str]) -> None:
    begin(start, "--wait", "0", "--id", "me")
    claimed_elsewhere(redis_url, "me")
    with redis.Redis.from_url(redis_url) as client:
        client.persist("state-signals:{me}:owner")
        program = start(*command, "--timeout", "0.1")
        assert program.wait() == 3
        assert "process 7 on far" in program.err
        # Whoever asks leaves what is another one's alone.
        assert client.exists("state-signals:{me}:owner", "state-signals:{me}:record") == 2


def test_a_responder_that_dies_between_two_steps_is_lost(start: Start) -> None:
    respond = start("respond", "--id", "mortal")
    name = begin(start, "--expect", "mortal", "--presence", "1")
    kill(respond)
    program = start("publish", name, "benchmark-start", "--timeout", "-1")
    assert program.wait() == 3
    assert "state-signals:   mortal  lost\n" in program.err


def test_what_cannot_be_sent_leaves_the_run_as_it_was(start: Start, recorder: Recorder) -> None:
    name = begin(start, "--wait", "0")
    program = start("publish", name, "benchmark-start", "--metadata", '{"_state_signals": 1}')
    assert program.wait() == 2
    assert "the metadata key '_state_signals' is reserved" in program.err
    assert start("publish", name, "benchmark-start").wait() == 0
    assert recorder.events() == ["initialization", "benchmark-start"]


def test_what_init_was_told_holds_for_the_steps_that_follow(start: Start, responder: Respond, redis_url: str) -> None:
    responder("a")
    name = begin(start, "--retention", "1000", "--presence", "7")
    assert start("publish", name, "benchmark-start").wait() == 0
    assert start("publish", name, "benchmark-start").wait() == 0
    with redis.Redis.from_url(redis_url) as client:
        for what in ("signals", "responses", "rounds", "record", "roster"):
            assert 0 < int(client.pttl(f"state-signals:{{{name}}}:{what}")) <= 1_000_000, what
        raw: Any = client.hget(f"state-signals:{{{name}}}:record", "info")
        assert json.loads(raw)["ttl"] == 7


def test_a_program_and_the_command_line_take_turns(start: Start, responder: Respond, redis_url: str) -> None:
    responder("a")
    with SignalExporter("fio", url=redis_url) as exporter:
        name = exporter.pub_id
        assert exporter.initialize_and_wait(1, ["benchmark-start", "benchmark-stop"]) == 0
        exporter.detach()
    assert start("publish", name, "benchmark-start").wait() == 0
    with SignalExporter.resume(name, url=redis_url) as resumed:
        assert resumed.subs == {"a"}
        assert resumed.publish_signal("benchmark-stop").ok
        resumed.detach()
    assert start("shutdown", name).wait() == 0


def test_an_exporter_without_a_roster_has_no_steps(start: Start, redis_url: str) -> None:
    with SignalExporter("fio", url=redis_url, publisher_id="bare"):
        program = start("publish", "bare", "benchmark-start")
        assert program.wait() == 2
        assert "bare is not initialized" in program.err
        assert start("init", "fio", *EVENTS, "--id", "bare").wait() == 2


def test_a_script(start: Start, responder: Respond, recorder: Recorder, tmp_path: Path) -> None:
    responder("a")
    responder("b")
    (tmp_path / "script").write_text(
        f"""
        set -eu
        signals() {{ {" ".join(STATE_SIGNALS)} "$@"; }}
        id=$(signals init fio --events benchmark-start,benchmark-stop --wait 2)
        trap 'signals shutdown "$id"' EXIT
        signals publish "$id" benchmark-start --sample 0
        echo works
        signals publish "$id" benchmark-stop --sample 0
        """
    )
    program: Program = start(argv=["sh", str(tmp_path / "script")])
    assert program.wait() == 0, program.err
    assert program.out == "works\n"
    assert recorder.events() == ALL
