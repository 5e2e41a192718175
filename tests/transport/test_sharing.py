"""Responders of one process share their connections, and nobody notices but the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import redis

from state_signals import SignalExporter
from state_signals.asyncio import SignalResponder
from state_signals.exceptions import Closed, ServerRefused, ServerUnreachable
from state_signals.server import EmbeddedServer
from state_signals.transport import switchboard
from state_signals.transport.base import Batch
from state_signals.transport.connect import async_transport
from tests.conftest import wait_until
from tests.parties import DEADLINE, eventually, in_thread

PING = Batch("", (("PING",),))


@pytest.fixture
def admin(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        client.ping()
        yield client


def connections(admin: Any) -> int:
    """How many there are but for the tests' own, which were there before."""
    return sum(int(each["id"]) > admin.client_id() for each in admin.client_list())


def shared(url: str, namespace: str | None = None) -> Any:
    return async_transport(url=url, host="", port=0, namespace=namespace, is_shared=True)


@asynccontextmanager
async def responders(url: str, *names: str, **options: Any) -> AsyncIterator[list[tuple[SignalResponder, list[str]]]]:
    """Responders that answer everything, and what each has heard."""
    made: list[tuple[SignalResponder, list[str]]] = []
    tasks = []
    for name in names:
        responder, heard = SignalResponder(url=url, responder_id=name, **options), list[str]()

        async def run(responder: SignalResponder = responder, heard: list[str] = heard) -> None:
            async for signal in responder.listen():
                heard.append(signal.event)
                with suppress(Closed):
                    if signal.event != "shutdown":
                        await responder.srespond(signal, 1)

        await responder.connect()
        tasks.append(asyncio.create_task(run()))
        made.append((responder, heard))
    try:
        yield made
    finally:
        for responder, _ in made:
            await responder.close()
        await asyncio.wait(tasks, timeout=DEADLINE)
        for task in tasks:
            task.result()


async def test_many_have_two_connections(redis_url: str, admin: Any) -> None:
    async with responders(redis_url, *(f"r{number}" for number in range(20))) as made:
        exporter = await in_thread(SignalExporter, "fio", url=redis_url)
        before = connections(admin)
        assert await in_thread(exporter.initialize_and_wait, 20, ["go"], timeout=DEADLINE) == 0
        result = await in_thread(exporter.publish_signal, "go", timeout=DEADLINE)
        assert sorted(result.succeeded) == sorted(responder.responder_id for responder, _ in made)
        # The exporter has made two more, to listen.
        assert connections(admin) <= before + 2
        assert before == 3
        await in_thread(exporter.close)
        await eventually(lambda: all(heard[-1:] == ["shutdown"] for _, heard in made))
    await eventually(lambda: connections(admin) == 0)


async def test_who_closes_leaves_the_others_alone(redis_url: str, admin: Any) -> None:
    async with responders(redis_url, "a", "b", "c") as made:
        await made[0][0].close()
        exporter = await in_thread(SignalExporter, "fio", url=redis_url)
        assert await in_thread(exporter.initialize_and_wait, 2, ["go"], timeout=DEADLINE) == 0
        assert exporter.subs == {"b", "c"}
        await made[1][0].close()
        await eventually(lambda: exporter.subs == {"c"})
        assert (await in_thread(exporter.publish_signal, "go", timeout=DEADLINE)).ok
        await in_thread(exporter.close)


async def test_namespaces_share_connections_and_nothing_else(redis_url: str, admin: Any) -> None:
    async with responders(redis_url, "a", namespace="one") as one, responders(redis_url, "a", namespace="two") as two:
        assert connections(admin) == 2
        exporter = await in_thread(SignalExporter, "fio", url=redis_url, namespace="one")
        assert await in_thread(exporter.initialize_and_wait, 1, ["go"], timeout=DEADLINE) == 0
        assert (await in_thread(exporter.publish_signal, "go", timeout=DEADLINE)).ok
        await in_thread(exporter.close)
        await eventually(lambda: one[0][1] == ["initialization", "go", "shutdown"])
        assert two[0][1] == []
        assert admin.exists("state-signals:one:presence") == 1
        assert admin.exists("state-signals:two:presence") == 0


async def test_all_come_back_when_the_connections_are_cut(redis_url: str, admin: Any) -> None:
    async with responders(redis_url, *(f"r{number}" for number in range(10))) as made:
        exporter = await in_thread(SignalExporter, "fio", url=redis_url)
        assert await in_thread(exporter.initialize_and_wait, 10, ["go"], timeout=DEADLINE) == 0
        for _ in range(5):
            for each in admin.client_list():
                if int(each["id"]) != admin.client_id():
                    with suppress(redis.ResponseError):
                        admin.client_kill_filter(_id=each["id"])
            assert (await in_thread(exporter.publish_signal, "go", timeout=DEADLINE)).ok
        await in_thread(exporter.close)
        await eventually(lambda: all(heard[-1:] == ["shutdown"] for _, heard in made))
        assert all(heard == ["initialization", *["go"] * 5, "shutdown"] for _, heard in made)


async def test_who_falls_behind_catches_up_and_holds_nobody_up(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switchboard, "_MOST_MESSAGES", 10)
    slow = SignalResponder(url=redis_url, responder_id="slow")
    await slow.connect()
    signals = slow.listen()
    async with responders(redis_url, "quick") as made:
        exporter = await in_thread(SignalExporter, "fio", url=redis_url)
        assert await in_thread(exporter.initialize_and_wait, 1, ["go"], timeout=DEADLINE) == 0
        for number in range(100):
            await in_thread(exporter.publish_signal, "go", number, timeout=DEADLINE)
        assert made[0][1].count("go") == 100
        seen = [await asyncio.wait_for(anext(signals), DEADLINE) for _ in range(101)]
        assert [each.sample_no for each in seen] == [-1, *range(100)]
        await in_thread(exporter.close)
    await slow.close()


async def test_proofs_of_life_go_out_together(redis_url: str, admin: Any) -> None:
    async with responders(redis_url, *(f"r{number}" for number in range(30)), presence_ttl=0.6):
        exporter = await in_thread(SignalExporter, "fio", url=redis_url, presence_ttl=0.6)
        assert await in_thread(exporter.initialize_and_wait, 30, ["go"], timeout=DEADLINE) == 0
        shown = admin.info("commandstats").get("cmdstat_zadd", {"calls": 0})["calls"]
        seen = set(admin.zrange("state-signals:presence", 0, -1, withscores=True))
        await eventually(
            lambda: not seen & set(admin.zrange("state-signals:presence", 0, -1, withscores=True)), "a new proof of all"
        )
        # One each would be thirty; the exporter gives its own.
        assert admin.info("commandstats")["cmdstat_zadd"]["calls"] - shown < 15
        assert (await in_thread(exporter.publish_signal, "go", timeout=DEADLINE)).ok
        await in_thread(exporter.close)


async def test_who_closes_while_it_shows_that_all_live_takes_nobody_with_it(redis_url: str) -> None:
    first, second = shared(redis_url), shared(redis_url)
    done: list[tuple[str, ...]] = []

    async def fail(names: tuple[str, ...]) -> None:
        done.append(names)
        raise Closed("it was closed in the meantime")

    async def act(names: tuple[str, ...]) -> str:
        done.append(names)
        return "shown"

    showing = asyncio.create_task(first.herald.show(["a"], fail))
    await asyncio.sleep(0)
    assert await second.herald.show(["b"], act) == "shown"
    with pytest.raises(Closed):
        await showing
    assert done == [("a", "b"), ("b",)]
    assert await second.herald.show(["b"], act) == "shown"
    await first.close()
    await second.close()


async def test_those_who_stay_go_on_showing_that_they_live(redis_url: str, admin: Any) -> None:
    names = [f"r{number}" for number in range(12)]
    async with responders(redis_url, *names, presence_ttl=0.3) as made:
        exporter = await in_thread(SignalExporter, "fio", url=redis_url, presence_ttl=0.3)
        assert await in_thread(exporter.initialize_and_wait, 12, ["go"], timeout=DEADLINE) == 0
        for responder, _ in made[:-1]:
            # Whenever it has just to show that all live.
            await responder.close()
        before = admin.zscore("state-signals:presence", names[-1])
        await eventually(lambda: admin.zscore("state-signals:presence", names[-1]) > before + 0.5, "proofs of life")
        assert exporter.subs == {names[-1]}
        assert (await in_thread(exporter.publish_signal, "go", timeout=DEADLINE)).ok
        await in_thread(exporter.close)


async def test_whoever_was_there_when_it_was_lost_has_to_ask_for_the_next_one(redis_url: str, admin: Any) -> None:
    one, two = shared(redis_url), shared(redis_url)
    await one.connect()
    await two.connect()
    assert await one.execute(PING) == await two.execute(PING) == [b"PONG"]
    admin.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises(ServerUnreachable):
        await one.execute(PING)
    await one.connect()
    assert await one.execute(PING) == [b"PONG"]
    with pytest.raises(ServerUnreachable):
        await two.execute(PING)
    await two.connect()
    assert await two.execute(PING) == [b"PONG"]
    await one.close()
    assert await two.execute(PING) == [b"PONG"]
    await two.close()
    with pytest.raises(Closed):
        await two.execute(PING)


async def test_one_who_gives_up_takes_nobody_elses_reply(redis_url: str) -> None:
    one, two = shared(redis_url), shared(redis_url)
    for number in range(20):
        impatient = asyncio.create_task(one.execute(Batch("", (("ECHO", f"one {number}"),))))
        patient = asyncio.create_task(two.execute(Batch("", (("ECHO", f"two {number}"),))))
        await asyncio.sleep(0)
        impatient.cancel()
        assert await asyncio.wait_for(patient, DEADLINE) == [f"two {number}".encode()]
    assert await one.execute(PING) == [b"PONG"]
    await one.close()
    await two.close()


async def test_a_channel_that_is_not_allowed_is_refused_to_whoever_asks(redis_url: str, admin: Any) -> None:
    admin.acl_setuser(
        "narrow", enabled=True, nopass=True, categories=["+@all"], keys=["*"], channels=["allowed"], reset_channels=True
    )
    try:
        url = redis_url.replace("redis://", "redis://narrow:x@")
        one, two = shared(url), shared(url)
        inbox = await one.subscribe(["allowed"])
        with pytest.raises(ServerRefused):
            await two.subscribe(["forbidden"])
        other = await two.subscribe(["allowed"])
        admin.publish("allowed", "news")
        assert await asyncio.wait_for(inbox.receive(), DEADLINE) == [b"news"]
        assert await asyncio.wait_for(other.receive(), DEADLINE) == [b"news"]
        await one.close()
        await two.close()
    finally:
        admin.acl_deluser("narrow")


async def test_a_subscription_that_is_given_up_leaves_the_others(redis_url: str, admin: Any) -> None:
    one, two = shared(redis_url), shared(redis_url)
    await one.subscribe(["warm"])
    giving_up = asyncio.create_task(one.subscribe(["x"]))
    staying = asyncio.create_task(two.subscribe(["x"]))
    await asyncio.sleep(0)
    giving_up.cancel()
    inbox = await asyncio.wait_for(staying, DEADLINE)
    again = await asyncio.wait_for(one.subscribe(["x"]), DEADLINE)
    admin.publish("x", "news")
    assert await asyncio.wait_for(inbox.receive(), DEADLINE) == [b"news"]
    assert await asyncio.wait_for(again.receive(), DEADLINE) == [b"news"]
    await again.close()
    await inbox.close()
    await eventually(lambda: admin.pubsub_numsub("x") == [(b"x", 0)], "that nobody is subscribed")
    await one.close()
    await two.close()


async def test_a_server_that_hangs_is_given_up_and_found_again() -> None:
    with EmbeddedServer() as server:
        async with responders(server.url, "a", "b", presence_ttl=1.5) as made:
            exporter = await in_thread(SignalExporter, "fio", url=server.url)
            assert await in_thread(exporter.initialize_and_wait, 2, ["go"], timeout=DEADLINE) == 0
            server.pause()
            try:
                round_ = asyncio.create_task(in_thread(exporter.publish_signal, "go", timeout=60))
                await eventually(lambda: not any(responder._link.is_up for responder, _ in made), "that it is given up")
            finally:
                server.resume()
            assert (await round_).ok
            await in_thread(exporter.close)
            await eventually(lambda: all(heard == ["initialization", "go", "shutdown"] for _, heard in made))


def test_each_loop_has_its_own(redis_url: str, admin: Any) -> None:
    async def use() -> None:
        transport = shared(redis_url)
        await transport.connect()
        assert await transport.execute(PING) == [b"PONG"]
        await transport.close()

    for _ in range(3):
        asyncio.run(use())
    wait_until(lambda: connections(admin) == 0)
