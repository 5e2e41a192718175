"""`state-signals bench`: numbers of a real server, which is left as it was."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest
import redis

from state_signals.cli import app
from state_signals.cli.benching.plan import Account, Plan, Spread, shares
from state_signals.cli.examining.privileges import Role, rules
from tests.cli.conftest import STATE_SIGNALS, Recorder, Start
from tests.conftest import wait_until
from tests.faults.groups import Cluster
from tests.transport.strangers import stranger

FEW = ("--responders", "3", "--rounds", "5")


@pytest.fixture
def unchanged(redis_url: str) -> Iterator[Any]:
    """Somebody who looks at the server; afterwards there is nobody and nothing else on it."""
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        before = {each["id"] for each in client.client_list()}
        yield client
        wait_until(lambda: {each["id"] for each in client.client_list()} <= before, what="all connections are closed")
        assert client.keys() == []


@pytest.mark.parametrize("processes", ["0", "2", "7"])
def test_rounds_are_measured_and_nothing_is_left(
    start: Start, unchanged: Any, recorder: Recorder, processes: str
) -> None:
    program = start("bench", *FEW, "--processes", processes, "--json")
    assert program.wait() == 0
    assert program.err == ""
    (found,) = (json.loads(line) for line in program.out.splitlines())
    assert (found["responders"], found["rounds"], found["processes"]) == (3, 5, min(3, int(processes)))
    assert (found["rounds_failed"], found["rounds_missing"]) == (0, 0)
    assert 0 < found["round"]["p50"] <= found["round"]["p95"] <= found["round"]["p99"] <= found["round"]["max"] < 20
    assert found["ratio"] == pytest.approx(found["round"]["p50"] / found["ping"]["p50"])
    assert found["answers_per_second"] > 0
    assert found["signals_per_second"] > 0
    assert found["namespace"].startswith("bench-")
    # Nobody else has heard of it.
    assert recorder.events() == []
    recorder.close()


def test_people_get_a_table(start: Start, unchanged: Any) -> None:
    program = start("bench", *FEW, "--namespace", "lab")
    assert program.wait() == 0
    lines = program.out.splitlines()
    assert lines[0].split() == ["count", "p50", "p95", "p99", "max", "(ms)"]
    assert lines[1].split()[:2] == ["round", "5"]
    assert lines[2].split()[0] == "ping"
    assert "signals" in program.out
    # No progress where nobody looks on.
    assert program.err == ""
    assert "\x1b" not in program.out


def test_progress_is_shown_on_a_terminal_and_taken_away(unchanged: Any, redis_url: str) -> None:
    ours, theirs = pty.openpty()
    try:
        argv = [*STATE_SIGNALS, "bench", "--url", redis_url, "--responders", "2", "--rounds", "50"]
        with subprocess.Popen(
            argv, stdin=theirs, stdout=theirs, stderr=theirs, env=os.environ | {"TERM": "xterm"}
        ) as made:
            os.close(theirs)
            said = b""
            # The other end is gone with the process.
            with suppress(OSError):
                while data := os.read(ours, 65_536):
                    said += data
            assert made.wait(20) == 0
    finally:
        os.close(ours)
    before, _, table = said.decode().rpartition("\x1b[?25h")
    assert "rounds" in before
    assert "count" not in before
    assert "round           50" in table
    assert "signals" in table


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_signal_ends_it_and_nothing_is_left(
    start: Start, unchanged: Any, number: signal.Signals, processes: str
) -> None:
    program = start("bench", "--responders", "4", "--rounds", "1000000", "--processes", processes)
    wait_until(lambda: unchanged.keys("*:{bench-*}:responses"), timeout=20, what="it has begun")
    key = unchanged.keys("*:{bench-*}:responses")[0]
    wait_until(lambda: unchanged.xlen(key) > 20, timeout=20, what="rounds are going on")
    program.send(number)
    assert program.wait() == 128 + number
    assert program.err == "state-signals: interrupted; nothing is left on the server\n"
    assert program.out == ""


def test_processes_that_die_are_told_of(start: Start, unchanged: Any) -> None:
    program = start("bench", "--responders", "2", "--rounds", "1000000", "--processes", "2")
    wait_until(lambda: unchanged.keys("*:{bench-*}:responses"), timeout=20, what="it has begun")
    psutil.Process(program.process.pid).children()[0].kill()
    assert program.wait() == 3
    assert program.err == "state-signals: error: some responders have ended: exit code -9\n"


@pytest.mark.parametrize("processes", ["0", "1"])
def test_too_many_connections_for_one_process(start: Start, unchanged: Any, processes: str) -> None:
    bench = [*STATE_SIGNALS, "bench", "--responders", "100", "--rounds", "5", "--processes", processes]
    program = start(argv=["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *bench])
    assert program.wait() == 3
    assert program.err.count("\n") == 1
    assert program.err.startswith("state-signals: error: some responders have ended: ")
    assert "ulimit -n" in program.err


def test_they_end_when_their_exporter_is_killed(start: Start, redis_url: str) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        before = {each["id"] for each in client.client_list()}
        program = start("bench", "--responders", "2", "--rounds", "1000000", "--processes", "2")
        wait_until(lambda: client.keys("*:{bench-*}:responses"), timeout=20, what="it has begun")
        children = psutil.Process(program.process.pid).children()
        assert len(children) == 2
        program.process.kill()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive
        # What nobody could delete does not stay.
        wait_until(lambda: {each["id"] for each in client.client_list()} == before, what="all connections are closed")
        assert all(client.ttl(key) > 0 for key in client.scan_iter())


def test_when_its_reader_leaves_it_ends_silently(start: Start, unchanged: Any) -> None:
    command = '"$@"; echo "status $?" >&2'
    pipeline = start(argv=["sh", "-c", f"{{ {command}; }} | true", "sh", *STATE_SIGNALS, "bench", *FEW])
    assert pipeline.wait() == 0
    assert pipeline.err == "status 0\n"


def test_in_a_cluster(start: Start) -> None:
    with Cluster() as group:
        program = start("bench", *FEW, "--url", group.url, "--json")
        assert program.wait() == 0
        assert json.loads(program.out)["rounds"] == 5
        assert [node.ask("DBSIZE") for node in group.masters] == [0, 0, 0]


def test_without_the_permission_for_its_namespace_it_says_so(start: Start, unchanged: Any, redis_url: str) -> None:
    unchanged.execute_command(
        *("ACL", "SETUSER", "some", "reset", "on", ">secret", "resetchannels", *rules(Role.EXPORTER, "lab", (6, 2)))
    )
    try:
        url = redis_url.replace("redis://", "redis://some:secret@")
        program = start("bench", *FEW, "--url", url)
        assert program.wait() == 4
        assert "NOPERM" in program.err
        assert program.err.count("\n") == 1
    finally:
        unchanged.execute_command("ACL", "DELUSER", "some")


@pytest.mark.parametrize("namespace", [[], ["--namespace", "lab"]])
def test_without_a_server_the_exit_code_is_4(namespace: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    url = "redis://user:secret@127.0.0.1:1"
    assert app.run(["bench", "--url", url, "--connect-timeout", "0", *namespace]) == 4
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("state-signals: error: cannot connect to the server at redis://user@127.0.0.1:1/0: ")
    assert said.err.count("\n") == 1


def test_a_server_that_hangs(capsys: pytest.CaptureFixture[str]) -> None:
    with stranger(is_silent=True) as made:
        assert app.run(["bench", "--url", f"redis://127.0.0.1:{made.port}", "--connect-timeout", "0.3"]) == 4
    assert "within 0.3 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--responders", "0"], "'--responders'"),
        (["--rounds", "many"], "'--rounds'"),
        (["--processes", "-1"], "'--processes'"),
        (["--namespace", "a:b"], "namespace must be"),
        (["--url", "http://user:secret@host"], "--url must be redis://"),
        (["--url", "memory://x"], "memory:// lives within one process"),
    ],
)
def test_what_cannot_work_is_a_usage_error(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["bench", *arguments]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert message in said.err
    assert "secret" not in said.err


def test_the_password_is_no_argument_of_a_process(start: Start, unchanged: Any) -> None:
    program = start("bench", "--responders", "2", "--rounds", "1000000", "--processes", "2")
    wait_until(lambda: unchanged.keys("*:{bench-*}:responses"), timeout=20, what="it has begun")
    for child in psutil.Process(program.process.pid).children():
        assert not any("redis://" in word for word in child.cmdline())
    program.send(signal.SIGINT)
    assert program.wait() == 130


# Numbers


def test_percentiles_are_durations_that_were_measured() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(3, 2.0, 3.0, 3.0, 3.0)
    hundred = [float(number) for number in range(1, 101)]
    assert Spread.of(hundred) == Spread(100, 50.0, 95.0, 99.0, 100.0)
    assert Spread.of([7.0]) == Spread(1, 7.0, 7.0, 7.0, 7.0)
    with pytest.raises(ValueError, match="nothing"):
        Spread.of([])


@pytest.mark.parametrize(
    ("responders", "processes", "sizes"), [(10, 3, [3, 3, 4]), (2, 5, [1, 1]), (4, 1, [4]), (3, 0, [])]
)
def test_responders_are_spread_evenly(responders: int, processes: int, sizes: list[int]) -> None:
    found = shares(responders, processes)
    assert [len(share) for share in found] == sizes
    assert [number for share in found for number in share] == list(range(responders if processes else 0))


def test_an_account_says_what_was_not_ok() -> None:
    plan = Plan(responders=2, rounds=2, processes=0, unawaited=10)
    account = Account(pings=[0.001], rounds=[0.01, 0.03], answers=3, missing=1, unawaited=10, unawaited_seconds=0.1)
    assert (account.ratio, account.answers_per_second, account.signals_per_second) == (10.0, 75.0, 100.0)
    assert any("1 of 2 rounds" in line for line in account.lines(plan))
    empty = Account().as_object(plan, {})
    assert (empty["round"], empty["ratio"], empty["answers_per_second"]) == (None, None, None)
    assert Account().lines(plan)
