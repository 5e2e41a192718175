"""A client of the user's is used as it is, whatever its settings, and never closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
import redis.asyncio

import state_signals
import state_signals.asyncio
from state_signals import InvalidType, ServerRefused
from tests.parties import EVENTS, Parties, eventually

SETTINGS: list[dict[str, Any]] = [
    {},
    {"decode_responses": True},
    {"protocol": 3},
    {"protocol": 3, "decode_responses": True},
    {"socket_timeout": 0.5},
    {"socket_timeout": 0.5, "protocol": 3},
    {"single_connection_client": True},
    {"health_check_interval": 1},
    {"client_name": "mine"},
    {"max_connections": 8},
]


@pytest.fixture
def parties_of(shell: str, redis_url: str) -> Parties:
    return Parties(shell, redis_url)


@asynccontextmanager
async def client_of(parties: Parties, **settings: Any) -> AsyncIterator[Any]:
    """A client for the shell under test; afterwards it still works."""
    if parties.shell == "sync":
        with redis.Redis.from_url(parties.url, **settings) as client:
            yield client
            assert client.ping()
    else:
        single = settings.pop("single_connection_client", False)
        async with redis.asyncio.Redis.from_url(
            parties.url, **settings, **({"single_connection_client": True} if single else {})
        ) as also:
            yield also
            assert await also.ping()


def idle_seconds(url: str) -> list[int]:
    """How long each subscriber and stream reader has not heard from the server."""
    with redis.Redis.from_url(url) as admin:
        own = admin.client_id()
        return [int(client["idle"]) for client in admin.client_list() if int(client["id"]) != own]


async def a_round(exporter: Any) -> None:
    result = await exporter.publish_signal("start", metadata={"ä": [1]}, timeout=20)
    assert result.ok, result
    assert list(result.messages.values()) == ["ä"]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda settings: ",".join(settings) or "default")
async def test_it_is_used_and_never_closed(parties_of: Parties, settings: dict[str, Any]) -> None:
    parties = parties_of
    async with client_of(parties, **settings) as client:
        exporter = await parties.exporter(existing_redis_conn=client)
        assert exporter.redis is client
        assert exporter.conn_type == "existing"
        await parties.running(
            existing_redis_conn=client, on={"start": lambda signal: next(iter(signal.metadata or ()))}
        )
        assert await exporter.initialize_and_wait(1, EVENTS, timeout=20) == 0
        await a_round(exporter)
        await parties.close()


@pytest.mark.parametrize("protocol", [2, 3])
async def test_its_socket_timeout_does_not_end_an_idle_listener(parties_of: Parties, protocol: int) -> None:
    parties = parties_of
    async with client_of(parties, socket_timeout=0.5, protocol=protocol) as client:
        exporter = await parties.exporter(existing_redis_conn=client)
        await parties.running(existing_redis_conn=client, on={"start": lambda _: "ä"})
        assert await exporter.initialize_and_wait(1, EVENTS, timeout=20) == 0
        # The server tells that nothing has gone over the connections for longer than the client would wait.
        await eventually(lambda: sum(idle >= 2 for idle in idle_seconds(parties.url)) >= 3)
        await a_round(exporter)
        await parties.close()


async def test_its_pool_gets_every_connection_back(parties_of: Parties) -> None:
    parties = parties_of
    async with client_of(parties, max_connections=5) as client:
        for _ in range(10):
            exporter = await parties.exporter(existing_redis_conn=client)
            responder = await parties.responder(existing_redis_conn=client)
            await exporter.initialize(EVENTS)
            await exporter.close()
            await responder.close()
        # What was subscribed is no longer: the client's next commands are not confused by it.
        for number in range(10):
            answers = [client.set("a", number), client.get("a"), client.delete("a")]
            if parties.shell == "asyncio":
                answers = [await answer for answer in answers]
            assert answers == [True, str(number).encode(), 1]
        await parties.close()


async def test_a_pool_that_is_too_small_is_explained(parties_of: Parties) -> None:
    parties = parties_of
    async with client_of(parties, max_connections=1) as client:
        exporter = await parties.exporter(existing_redis_conn=client)
        with pytest.raises(ServerRefused, match=r"[Tt]oo many connections.*this needs 4"):
            await exporter.initialize(EVENTS)
        await exporter.close()


async def test_own_clients_are_called_new(parties: Parties) -> None:
    exporter, responder = await parties.exporter(), await parties.responder()
    for party in (exporter, responder):
        assert party.conn_type == "new"
        assert party.failed_conn_attempts == 0
        is_client = isinstance(party.redis, redis.Redis if parties.shell == "sync" else redis.asyncio.Redis)
        assert is_client or (parties.url.startswith("memory") and party.redis is None)


@pytest.mark.parametrize("kind", ["SignalExporter", "SignalResponder"])
@pytest.mark.parametrize("wrong", ["the other shell's", "a pool", "a text", "a URL"])
async def test_anything_else_is_refused_by_name(shell: str, redis_url: str, kind: str, wrong: str) -> None:
    module: Any = state_signals if shell == "sync" else state_signals.asyncio
    made: dict[str, Callable[[], Any]] = {
        "the other shell's": (redis.asyncio.Redis if shell == "sync" else redis.Redis),
        "a pool": redis.ConnectionPool,
        "a text": lambda: "localhost",
        "a URL": lambda: redis_url,
    }
    client = made[wrong]()
    arguments = ("fio", client) if kind == "SignalExporter" else (client,)
    right = "redis.Redis" if shell == "sync" else "redis.asyncio.Redis"
    with pytest.raises(InvalidType, match=f"existing_redis_conn must be a {right}, not {type(client).__module__}"):
        getattr(module, kind)(*arguments)
    if hasattr(client, "aclose"):
        await client.aclose()
    elif hasattr(client, "close"):
        client.close()
    await asyncio.sleep(0)
