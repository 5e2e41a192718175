"""Calls end when their time is up, whatever the server does meanwhile."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
import redis.asyncio

from state_signals.endpoint import CLOSE_TIMEOUT
from state_signals.exceptions import Closed, TransportError
from state_signals.server import EmbeddedServer
from state_signals.transport.replies import pack
from tests.faults.names import Names
from tests.faults.runs import Run, cut_all, held
from tests.parties import Parties, eventually

TIMEOUT = 0.5
ROUND = 0.8

LATE = 0.5
"""Seconds by which a call may be late, ten times what it is on an idle machine: the tests share theirs with others."""

HOST = "slow.test"

Fault = Callable[[EmbeddedServer, Names], AbstractContextManager[None]]


@contextmanager
def paused(server: EmbeddedServer, _: Names) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def killed(server: EmbeddedServer, _: Names) -> Iterator[None]:
    server.kill()
    try:
        yield
    finally:
        server.start()


@contextmanager
def silent(server: EmbeddedServer, _: Names) -> Iterator[None]:
    """Something that takes connections and never says a word."""
    server.kill()
    try:
        with socket.create_server(("127.0.0.1", server.port or 0), backlog=128):
            yield
    finally:
        server.start()


@contextmanager
def busy(server: EmbeddedServer, _: Names) -> Iterator[None]:
    """A server that does nothing else for a while, and does not even say so."""
    with looping(server.url, silence=1.5):
        yield


@contextmanager
def refusing(server: EmbeddedServer, _: Names) -> Iterator[None]:
    """A server that refuses everything because of a script that does not end."""
    with looping(server.url, silence=0.001):
        yield


@contextmanager
def looping(url: str, silence: float) -> Iterator[None]:
    """Have the server run a script; after some seconds of silence it refuses everything else because of that."""
    with connected(url) as connection, connected(url) as other:
        ask(connection, "CONFIG", "SET", "lua-time-limit", int(silence * 1000))
        connection.sendall(pack(("EVAL", "while true do end", 0)))
        other.settimeout(0.05)
        with suppress(TimeoutError):
            while ask(other, "PING") == b"+PONG\r\n":
                pass
    try:
        yield
    finally:
        with connected(url) as connection:
            # Not before the silence is over.
            assert ask(connection, "SCRIPT", "KILL") == b"+OK\r\n"


def ask(connection: socket.socket, *command: str | int) -> bytes:
    # Not by redis-py, which would try again.
    connection.sendall(pack(command))
    return connection.recv(1000)


def connected(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=30)


@contextmanager
def unknown(server: EmbeddedServer, names: Names) -> Iterator[None]:
    """A lost connection, and a name that takes long to be looked up."""
    names.is_slow = True
    with closing(redis.Redis.from_url(server.url)) as client:
        cut_all(client)
    try:
        yield
    finally:
        names.is_slow = False
        names.goes_on.set()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    made = Names(HOST)
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    return made


@pytest.fixture
def url(own_server: EmbeddedServer, names: Names) -> str:
    return f"redis://{names.host}:{own_server.port}"


@contextmanager
def ends_in_time(timeout: float) -> Iterator[None]:
    """Check that the body takes so many seconds, and not much more."""
    began = time.monotonic()
    yield
    took = time.monotonic() - began
    assert timeout <= took < timeout + LATE


@pytest.mark.parametrize("fault", [paused, killed, silent, busy, refusing, unknown])
async def test_what_cannot_be_published_raises_when_its_time_is_up(
    parties: Parties, own_server: EmbeddedServer, names: Names, fault: Fault
) -> None:
    run = Run(parties)
    await run.responder()
    await run.begin()
    assert (await run.round()).ok
    with fault(own_server, names):
        with ends_in_time(TIMEOUT), pytest.raises(TransportError, match="not published within its timeout: ") as raised:
            await run.round(timeout=TIMEOUT)
        assert f"{HOST}:{own_server.port}" in str(raised.value)
    assert (await run.round()).ok
    await run.check()


@pytest.mark.parametrize("fault", [paused, killed, silent, busy, refusing, unknown])
async def test_a_round_ends_when_its_time_is_up(
    shell: str, parties: Parties, own_server: EmbeddedServer, names: Names, fault: Fault
) -> None:
    run = Run(parties)
    gate = threading.Event()
    quick, slow = await run.responder("quick"), await run.responder("slow", held(shell, gate))
    await run.begin()
    told: list[str] = []
    began = time.monotonic()
    waiting = parties.task(run.round(timeout=ROUND, on_outcome=lambda name, _: told.append(name)))
    await eventually(lambda: told and slow.signals, "the answer before the fault")
    with fault(own_server, names):
        result = await waiting
        assert time.monotonic() - began < ROUND + LATE
        gate.set()
    assert (result.succeeded.keys(), result.missing.keys()) == ({quick.name}, {slow.name})
    assert (await run.round()).ok
    await run.check(is_hasty=True)


@pytest.mark.parametrize("fault", [paused, killed])
async def test_every_call_that_waits_ends_when_its_time_is_up(
    parties: Parties, own_server: EmbeddedServer, names: Names, fault: Fault
) -> None:
    exporter = await parties.exporter(conn_timeout=1)
    await exporter.initialize(["start"])
    other = await parties.exporter(conn_timeout=1)

    async def late(timeout: float, call: Awaitable[Any]) -> None:
        with ends_in_time(timeout), pytest.raises(TransportError):
            await call

    with fault(own_server, names):
        # The one that may take longer does not hold the other one up.
        await asyncio.gather(
            late(2 * TIMEOUT, exporter.publish_signal("start", timeout=2 * TIMEOUT)),
            late(TIMEOUT, exporter.publish_signal("start", timeout=TIMEOUT, wait=False)),
            late(TIMEOUT, other.initialize_and_wait(1, ["start"], timeout=TIMEOUT)),
        )
        await asyncio.gather(late(1, other.initialize(["start"])), late(1, exporter.shutdown()))


async def test_a_client_without_a_timeout_of_its_own_holds_nothing_up(
    shell: str, parties: Parties, own_server: EmbeddedServer, names: Names
) -> None:
    module: Any = redis if shell == "sync" else redis.asyncio
    client = module.Redis(host="127.0.0.1", port=own_server.port, socket_timeout=None)
    run = Run(parties)
    await run.responder()
    await run.begin(existing_redis_conn=client)
    assert (await run.round()).ok
    with paused(own_server, names), ends_in_time(TIMEOUT), pytest.raises(TransportError):
        await run.round(timeout=TIMEOUT)
    assert (await run.round()).ok
    await run.check()
    await parties.close()
    if shell == "sync":
        client.close()
    else:
        await client.aclose()


@pytest.mark.parametrize("fault", [paused, killed, silent])
async def test_close_does_not_wait_for_a_server_that_does_not_react(
    parties: Parties, own_server: EmbeddedServer, names: Names, fault: Fault
) -> None:
    run = Run(parties)
    script = await run.responder()
    await run.begin()
    assert (await run.round()).ok
    with fault(own_server, names):
        began = time.monotonic()
        await asyncio.gather(script.responder.close(), run.exporter.close())
        # What is under way in the background is given up, but not at once.
        assert time.monotonic() - began < CLOSE_TIMEOUT + 2


async def test_close_ends_an_initialization_that_waits_for_a_server(
    parties: Parties, own_server: EmbeddedServer, names: Names
) -> None:
    exporter = await parties.exporter(conn_timeout=None)
    with killed(own_server, names):
        waiting = asyncio.create_task(exporter.initialize(["start"]))
        await eventually(lambda: getattr(exporter, "init_listener", None))
        await exporter.close()
        done, _ = await asyncio.wait([waiting], timeout=CLOSE_TIMEOUT)
    assert done
    with pytest.raises(Closed):
        await waiting


async def test_close_does_not_wait_for_what_is_under_way_in_the_background(
    parties: Parties, own_server: EmbeddedServer, names: Names
) -> None:
    exporter = await parties.exporter(publisher_id="fio-1")
    subject = getattr(exporter, "subject", exporter)
    await eventually(lambda: subject._transport._commands._idle is not None)
    with paused(own_server, names):
        subject._core._server.registration.beat_soon()
        subject._link.wake()
        await eventually(lambda: subject._transport._commands._idle is None, "a proof of life under way")
        began = time.monotonic()
        await exporter.close()
        assert time.monotonic() - began < CLOSE_TIMEOUT + 1


async def test_a_server_that_takes_connections_and_no_writes_is_not_stormed(
    parties: Parties, own_server: EmbeddedServer, names: Names
) -> None:
    run = Run(parties)
    await run.responder()
    await run.begin()
    assert (await run.round()).ok
    with closing(redis.Redis.from_url(own_server.url)) as client:
        client.config_set("min-replicas-to-write", 1)
        before = client.info("stats")["total_connections_received"]
        with pytest.raises(TransportError, match="NOREPLICAS"):
            await run.round(timeout=2)
        made = client.info("stats")["total_connections_received"] - before
        client.config_set("min-replicas-to-write", 0)
    # With waits of 10, 20, 40, ... ms at the least.
    assert 2 <= made <= 20
    assert (await run.round()).ok
    await run.check()
