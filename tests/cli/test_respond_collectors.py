"""Collectors by themselves, without a server; and the options that name them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from state_signals.cli import app
from state_signals.cli.responding import collectors
from state_signals.cli.responding.actions import Shell
from state_signals.cli.responding.bindings import spans
from state_signals.cli.responding.collectors import Collectors, Span
from state_signals.cli.responding.endings import Answer
from state_signals.cli.responding.tee import Sink
from state_signals.cli.responding.vigil import Absences
from state_signals.messages import Envelope
from tests.cli.conftest import signal_of
from tests.cli.test_respond import assert_gone
from tests.conftest import wait_until


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


async def test_one_that_ends_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(collectors, "_SETTLED", 20.0)
    found = collecting(f"sleep 60 & echo $! > {tmp_path}/pid; exit 3")
    (answer,) = await found.start(begins())
    assert answer.ras == 0
    assert_gone(int((tmp_path / "pid").read_text()))


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


def test_only_who_is_seen_dead_all_the_time_is_dead() -> None:
    absences = Absences(10.0)
    assert absences.looked(["a", "b"], 100.0) == []
    assert absences.looked(["a"], 105.0) == []
    assert absences.looked(["a", "b"], 109.9) == []
    assert absences.looked(["a", "b"], 110.0) == ["a"]
    # The server could not be asked: it may have been somebody else's fault.
    assert absences.looked([], 111.0) == []
    assert absences.looked(["a", "b"], 120.0) == []


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
