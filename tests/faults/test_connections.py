"""Connections that are cut, again and again, and host names that cannot be looked up for a while."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
import redis

from state_signals.exceptions import ServerUnreachable
from state_signals.server import EmbeddedServer
from tests.faults.names import Names
from tests.faults.peer import peer
from tests.faults.runs import PATIENCE, Run, command, cut_all, warnings
from tests.parties import Parties, eventually

ROUNDS = 300
CUTS = 40
KILL_EVERY = 0.05
HOST = "bench-head.test"


@pytest.fixture
def url(own_server: EmbeddedServer) -> str:
    return own_server.url


@contextmanager
def cutting(url: str, progress: Callable[[], int]) -> Iterator[list[int]]:
    """Cut the connections of all clients over and over; collect how many it were each time.

    A machine may be so busy that it takes longer to connect again than to the next cut; so these come more slowly as
    long as there is no progress.
    """
    cut: list[int] = []
    ends = threading.Event()

    def work() -> None:
        in_vain, before = 0, progress()
        with redis.Redis.from_url(url) as client:
            while not ends.wait(KILL_EVERY * (1 + in_vain // 10)):
                cut.append(cut_all(client))
                in_vain, before = 0 if progress() > before else in_vain + 1, progress()

    thread = threading.Thread(target=work, name="cuts connections")
    thread.start()
    try:
        yield cut
    finally:
        ends.set()
        thread.join()


@pytest.mark.timeout(400)
async def test_nothing_is_lost_while_all_connections_are_cut_all_the_time(
    parties: Parties, own_server: EmbeddedServer
) -> None:
    run = Run(parties)
    with peer(own_server) as old:
        name = (await old.says(1))["id"]
        for _ in range(3):
            await run.responder()
        await run.begin(strangers=1)
        new = run.exporter.subs - {name}
        with cutting(own_server.url, lambda: len(run.results)) as cut:
            while len(run.results) < ROUNDS or len(cut) < CUTS:
                if len(run.results) % 15:
                    run.exporter.subs = new
                    assert (await run.round()).ok
                else:
                    # Version 1 may not hear the signal, or not be heard. That does not hold the others up for long.
                    run.exporter.subs = {name, *new}
                    with suppress(ServerUnreachable):
                        await run.round(timeout=0.3)
        until = time.monotonic() + PATIENCE
        while not (is_there := (await run.round(timeout=1)).ok) and time.monotonic() < until:
            pass
        await run.check(is_hasty=True)
    heard = {said["sample"] for said in old.said[1:]}
    assert is_there, f"of {len(run.results)} signals, version 1 has heard {sorted(heard)[-100:]}: {old.errors}"
    for sample, result in run.results.items():
        if result is not None and name in result.reports:
            assert name in result.missing or (name in result.succeeded and sample in heard)


async def test_a_host_name_that_cannot_be_looked_up_for_a_while_is_survived(
    parties: Parties, own_server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = Names(HOST)
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    run = Run(parties)
    url = f"redis://{HOST}:{own_server.port}"
    await run.responder(url=url)
    await run.begin(url=url)
    assert (await run.round()).ok
    with warnings("connection lost", "connected to") as warned, redis.Redis.from_url(own_server.url) as client:
        names.is_gone = True
        cut_all(client)
        waiting = parties.task(run.round())
        # Each party: its commands, and what it listens to.
        await eventually(lambda: names.failures >= 8, "the attempts to look the name up")
        assert not waiting.done()
        names.is_gone = False
        assert (await waiting).ok
        # All of its connections, not only those that the round needs.
        await eventually(lambda: len(warned) == 4, "the end of both outages")
        assert (await run.round()).ok
    await run.check()
    lost, back = warned[:2], warned[2:]
    assert all(text.startswith("connection lost: cannot ") for text in lost)
    assert all(text.startswith(f"connected to redis://{HOST}:{own_server.port}/0 again after ") for text in back)


async def test_one_warning_tells_of_the_beginning_of_an_outage_and_one_of_its_end(
    parties: Parties, own_server: EmbeddedServer
) -> None:
    run = Run(parties)
    await run.responder()
    await run.begin()
    for _ in range(2):
        with warnings() as warned:
            own_server.kill()
            await eventually(lambda: len(warned) == 2, "the beginning of the outage of both parties")
            own_server.start()
            assert (await run.round()).ok
            # That the server has come back empty is a third piece of news.
            await eventually(lambda: len(warned) == 5, "the end of the outage of both parties")
            assert (await run.round()).ok
        assert sum(text.startswith("connection lost: ") for text in warned) == 2
        assert sum(text.startswith("connected to ") for text in warned) == 2
        assert sum(text.startswith("the server had lost data: ") for text in warned) == 1
    await run.check()
    assert command(own_server.url, "PING")
