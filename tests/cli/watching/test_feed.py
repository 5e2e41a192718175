"""What is read of a server, and what is heard."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis.asyncio

from state_signals.asyncio import SignalExporter, SignalResponder
from state_signals.cli.options import Server
from state_signals.cli.watching import feed as feeding
from state_signals.cli.watching.feed import Feed
from state_signals.results import Outcome
from state_signals.runs.model import Run, RunState
from tests.parties import eventually


@asynccontextmanager
async def following(url: str, chosen: str | None = None) -> AsyncIterator[Feed]:
    """A feed that follows what happens on a server."""
    feed = Feed(Server(url, None, 5.0), lambda: None)
    await feed.connect()
    await feed.load()
    feed.wanted = None if chosen is None else (chosen, 0)
    task = asyncio.create_task(feed.run())
    try:
        yield feed
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await feed.close()


def run_of(feed: Feed, name: str) -> Run | None:
    return next((listed.run for listed in feed.runs if listed.run.publisher_id == name), None)


async def sees(feed: Feed, name: str, condition: Callable[[Run], object]) -> Run:
    def holds() -> object:
        run = run_of(feed, name)
        return run is not None and condition(run)

    await eventually(holds, f"the run of {name} as wanted")
    run = run_of(feed, name)
    assert run is not None
    return run


async def test_what_was_before_and_what_comes(redis_url: str) -> None:
    async with SignalExporter("fio", url=redis_url, publisher_id="fio") as exporter:
        await exporter.initialize(["tick"])
        await exporter.publish_signal("tick", sample=1, wait=False)
        async with following(redis_url, "fio") as feed, SignalResponder(url=redis_url, responder_id="perf") as perf:
            run = await sees(feed, "fio", lambda run: run.rounds)
            assert (run.state, run.rounds[0].sample_no) == (RunState.LIVE, 1)
            perf.on("tick")(lambda _: "done")
            working = asyncio.create_task(perf.run())
            await sees(feed, "fio", lambda run: "perf" in run.members)
            await eventually(lambda: "perf" in exporter.subs)
            await exporter.publish_signal("tick", sample=2)
            run = await sees(feed, "fio", lambda run: len(run.rounds) == 2 and run.rounds[1].ended_at is not None)
            assert run.rounds[1].actions["perf"].outcome is Outcome.SUCCEEDED
            assert run.rounds[1].actions["perf"].message == "done"
            assert abs(feed.now - run.rounds[1].published_at) < 60
            await exporter.shutdown()
            await sees(feed, "fio", lambda run: run.state is RunState.ENDED)
            await working


async def test_a_second_run_of_the_same_exporter_is_another_one(redis_url: str) -> None:
    async with following(redis_url) as feed, SignalExporter("fio", url=redis_url, publisher_id="fio") as exporter:
        for _ in range(2):
            await exporter.initialize(["tick"])
            await exporter.shutdown()
        await eventually(lambda: [listed.key for listed in feed.runs] == [("fio", 0), ("fio", 1)])


async def test_an_answer_of_version_1_counts_for_the_open_round(redis_url: str) -> None:
    async with SignalExporter("fio", url=redis_url, publisher_id="fio") as exporter:
        await exporter.initialize(["tick"])
        async with following(redis_url, "fio") as feed, redis.asyncio.Redis.from_url(redis_url) as client:

            async def answer(event: str, **more: Any) -> None:
                facts = {"responder_id": "old", "publisher_id": "fio", "event": event, **more}
                await client.publish("event-signal-response", json.dumps(facts))

            await answer("initialization")
            await eventually(lambda: "old" in exporter.subs)
            # Somebody else keeps the round open: nothing is written down of it yet.
            exporter.subs = {"old", "silent"}
            publishing = asyncio.create_task(exporter.publish_signal("tick"))
            await sees(feed, "fio", lambda run: run.rounds)
            await answer("tick", ras=0, message="no such device")
            run = await sees(
                feed, "fio", lambda run: any(each.ras is not None for each in run.rounds[0].actions.values())
            )
            assert run.rounds[0].actions["old"].outcome is Outcome.FAILED
            assert run.rounds[0].actions["old"].message == "no such device"
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)


async def test_an_exporter_that_dies_has_crashed(redis_url: str) -> None:
    async with redis.asyncio.Redis.from_url(redis_url) as client:
        envelope = {"v": 2, "id": "0" * 32, "seq": 1, "sent": 1.79e9}
        facts = {"publisher_id": "dead", "process_name": "p", "event": "initialization", "runner_host": "h"}
        signal = json.dumps({**facts, "metadata": {"_state_signals": envelope}})
        await client.xadd("state-signals:{dead}:signals", {"s": signal}, id="1-0")
        async with following(redis_url) as feed:
            await sees(feed, "dead", lambda run: run.state is RunState.CRASHED)


async def test_what_is_no_message_does_no_harm(redis_url: str) -> None:
    async with following(redis_url) as feed, redis.asyncio.Redis.from_url(redis_url) as client:
        await client.set("state-signals:{strange}:signals", "no stream")
        for channel in ("event-signal-pubsub", "event-signal-response"):
            for data in (b"", b"\xff", b"{}", b"[" * 100_000, b'{"publisher_id": 1}'):
                await client.publish(channel, data)
        async with SignalExporter("fio", url=redis_url, publisher_id="fio") as exporter:
            await exporter.initialize(["tick"])
            await sees(feed, "fio", lambda run: run.state is RunState.LIVE)
        assert run_of(feed, "strange") is None


async def test_the_newest_are_shown_when_there_are_too_many(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeding, "_MOST_EXPORTERS", 3)
    async with (
        SignalExporter("live", url=redis_url, publisher_id="live") as live,
        following(redis_url) as feed,
    ):
        await live.initialize(["tick"])
        for number in range(5):
            async with SignalExporter("fio", url=redis_url, publisher_id=f"fio-{number}") as exporter:
                await exporter.initialize(["tick"])
            await sees(feed, f"fio-{number}", lambda run: run.state is RunState.ENDED)
        assert {listed.run.publisher_id for listed in feed.runs} == {"live", "fio-3", "fio-4"}
