"""Servers that are killed and restarted in the middle of a round, with their data and without."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from state_signals import Outcome, Signal
from state_signals.server import EmbeddedServer
from tests.faults.names import Names
from tests.faults.runs import PATIENCE, Run, command, cut_all, held, warnings
from tests.parties import Parties, eventually

OUTAGE = 20.0


@pytest.fixture(params=["with its data", "empty"])
def broken_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that keeps its data when it is killed, and one that does not."""
    with EmbeddedServer(persist=request.param == "with its data", data_dir=tmp_path) as running:
        yield running


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    name = "broken_server" if "broken_server" in request.fixturenames else "own_server"
    server: EmbeddedServer = request.getfixturevalue(name)
    return server.url


async def test_a_server_that_is_killed_in_the_middle_of_a_round(
    request: pytest.FixtureRequest, shell: str, parties: Parties, broken_server: EmbeddedServer
) -> None:
    run = Run(parties)
    gate = threading.Event()
    gate.set()

    def kill(signal: Signal) -> None:
        if signal.sample_no == 2:
            broken_server.kill()

    quick = await run.responder("quick")
    slow = await run.responder("slow", held(shell, gate))
    killer = await run.responder("killer", kill)
    await run.begin(publisher_id="fio-1")
    assert (await run.round()).ok
    gate.clear()
    told: list[str] = []
    with warnings("lost data") as restored:
        waiting = parties.task(run.round(on_outcome=lambda name, _: told.append(name)))
        await eventually(lambda: killer.outcomes.get(("fio-1", 2)) == Outcome.SUCCEEDED, "the end of the server")
        broken_server.start()
        began = time.monotonic()
        # Some may have heard the signal before the server's end, and some may not; one answers when it is gone.
        await eventually(lambda: {quick.name, killer.name} <= set(told), "the answers that nobody heard")
        took = time.monotonic() - began
        assert not waiting.done()
        gate.set()
        result = await waiting
        assert result.ok
        assert result.signal_id == slow.signals[-1].id
        assert (await run.round()).ok
    await run.check()
    assert bool(restored) == ("empty" in request.node.name)
    assert took < PATIENCE / 2
    check_stored(broken_server.url, run)


def check_stored(url: str, run: Run) -> None:
    """Check that the server has everything that belongs to the exporter, or has it again."""
    assert command(url, "PING")
    keys = "state-signals:{fio-1}:"
    with redis.Redis.from_url(url) as client:
        roster: Any = client.hgetall(f"{keys}roster")
        journal: Any = client.xrange(f"{keys}signals")
        record: Any = client.hgetall(f"{keys}record")
        present: Any = client.zrange("state-signals:presence", 0, -1)
        exporters: Any = client.zrange("state-signals:exporters", 0, -1)
    names = {script.name.encode() for script in run.scripts}
    assert roster.keys() == names
    assert set(present) == names
    assert exporters == [b"fio-1"]
    events = [json.loads(fields[b"s"])["event"] for _, fields in journal]
    assert events == ["initialization", *["start"] * len(run.results)]
    assert [position for position, _ in journal] == [b"%d-0" % seq for seq in range(1, len(events) + 1)]
    assert json.loads(record[b"init"])["event"] == "initialization"
    assert json.loads(record[b"info"])["events"] == run.exporter.legal_events


async def test_who_was_away_while_the_server_lost_its_data_hears_what_it_missed(
    parties: Parties, own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names("away.test")
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    run = Run(parties)
    await run.responder("here")
    away = await run.responder("away", url=f"redis://away.test:{own_server.port}")
    await run.begin()
    assert (await run.round()).ok
    names.is_gone = True
    with closing(redis.Redis.from_url(own_server.url)) as client:
        cut_all(client)
    told: dict[str, Outcome] = {}
    waiting = parties.task(run.round(on_outcome=lambda name, report: told.setdefault(name, report.outcome)))
    await eventually(lambda: told, "the answer of the one that is here")
    own_server.kill()
    own_server.start()
    names.is_gone = False
    result = await waiting
    assert result.ok
    assert away.name in result.succeeded
    await run.check()


async def test_a_long_outage_in_the_middle_of_a_round(own_server: EmbeddedServer) -> None:
    both = {shell: Parties(shell, own_server.url) for shell in ("sync", "asyncio")}
    gate = threading.Event()
    runs: list[Run] = []
    for shell, parties in both.items():
        run = Run(parties)
        for number in range(2):
            # Each exporter hears of its own responders only.
            script = await run.responder(f"pcp-{number}", held(shell, gate) if number else None)
            script.responder.lock_id(shell)
        await run.begin(publisher_id=shell)
        runs.append(run)
    told: list[str] = []
    waiting = [
        asyncio.create_task(run.round(timeout=OUTAGE + PATIENCE, on_outcome=lambda name, _: told.append(name)))
        for run in runs
    ]
    await eventually(lambda: len(told) == 2, "the quick answers")
    with warnings("connection lost", "connected to", "lost data") as warned:
        own_server.kill()
        await asyncio.sleep(OUTAGE)
        own_server.start()
        began = time.monotonic()
        gate.set()
        results = await asyncio.gather(*waiting)
        took = time.monotonic() - began
        await eventually(lambda: len(warned) == 6 * 2 + 2, "all is well again")
    for run, result in zip(runs, results, strict=True):
        assert result.ok
        assert (await run.round()).ok
        await run.check()
    for parties in both.values():
        await parties.close()
    assert took < PATIENCE / 2
