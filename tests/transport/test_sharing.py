"""Responders of one process share their connections, and nobody notices but the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import redis

from state_signals import SignalExporter
from state_signals.exceptions import Closed, ServerRefused, ServerUnreachable
from state_signals.server import EmbeddedServer
from state_signals.transport import switchboard
from tests.parties import DEADLINE, Parties, eventually, in_thread
from tests.transport.sides import Side, connections


@asynccontextmanager
async def responders(shell: str, url: str, *names: str, **options: Any) -> AsyncIterator[list[tuple[Any, list[str]]]]:
    """Responders that answer everything, and what each has heard."""
    parties, made = Parties(shell, url), []
    try:
        for name in names:
            responder, heard = await parties.responder(responder_id=name, **options), list[str]()
            parties.task(_answering(responder, heard))
            made.append((responder, heard))
        yield made
    finally:
        await parties.close()


async def _answering(responder: Any, heard: list[str]) -> None:
    async for signal in responder.listen():
        heard.append(signal.event)
        with suppress(Closed):
            if signal.event != "shutdown":
                await responder.srespond(signal, 1)


@asynccontextmanager
async def two_sides(shell: str, url: str) -> AsyncIterator[tuple[Side, Side]]:
    """Two transports that share their connections."""
    sides = Side(shell, url=url, is_shared=True), Side(shell, url=url, is_shared=True)
    try:
        yield sides
    finally:
        for side in sides:
            await side.close()


async def test_many_have_two_connections(shell: str, redis_url: str, admin: Any) -> None:
    async with responders(shell, redis_url, *(f"r{number}" for number in range(20))) as made:
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


async def test_who_closes_leaves_the_others_alone(shell: str, redis_url: str, admin: Any) -> None:
    async with responders(shell, redis_url, "a", "b", "c") as made:
        await made[0][0].close()
        exporter = await in_thread(SignalExporter, "fio", url=redis_url)
        assert await in_thread(exporter.initialize_and_wait, 2, ["go"], timeout=DEADLINE) == 0
        assert exporter.subs == {"b", "c"}
        await made[1][0].close()
        await eventually(lambda: exporter.subs == {"c"})
        assert (await in_thread(exporter.publish_signal, "go", timeout=DEADLINE)).ok
        await in_thread(exporter.close)


async def test_namespaces_share_connections_and_nothing_else(shell: str, redis_url: str, admin: Any) -> None:
    async with (
        responders(shell, redis_url, "a", namespace="one") as one,
        responders(shell, redis_url, "a", namespace="two") as two,
    ):
        assert connections(admin) == 2
        exporter = await in_thread(SignalExporter, "fio", url=redis_url, namespace="one")
        assert await in_thread(exporter.initialize_and_wait, 1, ["go"], timeout=DEADLINE) == 0
        assert (await in_thread(exporter.publish_signal, "go", timeout=DEADLINE)).ok
        await in_thread(exporter.close)
        await eventually(lambda: one[0][1] == ["initialization", "go", "shutdown"])
        assert two[0][1] == []
        assert admin.exists("state-signals:one:presence") == 1
        assert admin.exists("state-signals:two:presence") == 0


async def test_all_come_back_when_the_connections_are_cut(shell: str, redis_url: str, admin: Any) -> None:
    async with responders(shell, redis_url, *(f"r{number}" for number in range(10))) as made:
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


async def test_who_falls_behind_catches_up_and_holds_nobody_up(
    shell: str, parties: Parties, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(switchboard, "_MOST_MESSAGES", 10)
    slow = await parties.responder(url=redis_url, responder_id="slow")
    signals = slow.listen()
    async with responders(shell, redis_url, "quick") as made:
        exporter = await in_thread(SignalExporter, "fio", url=redis_url)
        assert await in_thread(exporter.initialize_and_wait, 1, ["go"], timeout=DEADLINE) == 0
        for number in range(100):
            await in_thread(exporter.publish_signal, "go", number, timeout=DEADLINE)
        assert made[0][1].count("go") == 100
        seen = [await asyncio.wait_for(anext(signals), DEADLINE) for _ in range(101)]
        assert [each.sample_no for each in seen] == [-1, *range(100)]
        await in_thread(exporter.close)


async def test_proofs_of_life_go_out_together(shell: str, redis_url: str, admin: Any) -> None:
    async with responders(shell, redis_url, *(f"r{number}" for number in range(30)), presence_ttl=0.6):
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


async def test_those_who_stay_go_on_showing_that_they_live(shell: str, redis_url: str, admin: Any) -> None:
    names = [f"r{number}" for number in range(12)]
    async with responders(shell, redis_url, *names, presence_ttl=0.3) as made:
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


async def test_a_server_that_hangs_is_given_up_and_found_again(shell: str) -> None:
    with EmbeddedServer() as server:
        async with responders(shell, server.url, "a", "b", presence_ttl=1.5) as made:
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


async def test_whoever_was_there_when_it_was_lost_has_to_ask_for_the_next_one(
    shell: str, redis_url: str, admin: Any
) -> None:
    async with two_sides(shell, redis_url) as (one, two):
        await one.connect()
        await two.connect()
        assert await one.execute("PING") == await two.execute("PING") == b"PONG"
        admin.client_kill_filter(_type="normal", skipme=True)
        with pytest.raises(ServerUnreachable):
            await one.execute("PING")
        await one.connect()
        assert await one.execute("PING") == b"PONG"
        with pytest.raises(ServerUnreachable):
            await two.execute("PING")
        await two.connect()
        assert await two.execute("PING") == b"PONG"
        await one.close()
        assert await two.execute("PING") == b"PONG"
        await two.close()
        with pytest.raises(Closed):
            await two.execute("PING")


async def test_a_channel_that_is_not_allowed_is_refused_to_whoever_asks(shell: str, redis_url: str, admin: Any) -> None:
    admin.acl_setuser(
        "narrow", enabled=True, nopass=True, categories=["+@all"], keys=["*"], channels=["allowed"], reset_channels=True
    )
    try:
        async with two_sides(shell, redis_url.replace("redis://", "redis://narrow:x@")) as (one, two):
            inbox = await one.subscribe("allowed")
            with pytest.raises(ServerRefused):
                await two.subscribe("forbidden")
            other = await two.subscribe("allowed")
            admin.publish("allowed", "news")
            assert await one.receive(inbox) == [b"news"]
            assert await two.receive(other) == [b"news"]
    finally:
        admin.acl_deluser("narrow")


async def test_who_asks_for_a_channel_again_waits_for_the_right_confirmation(
    shell: str, redis_url: str, admin: Any
) -> None:
    async with two_sides(shell, redis_url) as (one, two):
        stays = await one.subscribe("warm")
        for _ in range(20):
            left = await two.subscribe("x")
            await two.call(left.close)
        again = await two.subscribe("x")
        admin.publish("x", "news")
        assert await two.receive(again) == [b"news"]
        admin.publish("warm", "more")
        assert await one.receive(stays) == [b"more"]


async def test_two_inboxes_of_one_hear_what_each_asked_for(shell: str, redis_url: str, admin: Any) -> None:
    async with two_sides(shell, redis_url) as (one, _):
        a, both = await one.subscribe("a"), await one.subscribe("a", "b")
        admin.publish("a", "1")
        admin.publish("b", "2")
        assert await one.receive_all(both, 2) == [b"1", b"2"]
        assert await one.receive(a) == [b"1"]
        await one.call(both.close)
        # It is said by whoever reads next.
        admin.publish("a", "3")
        assert await one.receive(a) == [b"3"]
        await eventually(lambda: admin.pubsub_numsub("a", "b") == [(b"a", 1), (b"b", 0)], "that one is left")
