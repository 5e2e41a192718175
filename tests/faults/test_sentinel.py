"""A master that Sentinels look after: whoever takes over, nothing is lost and nothing happens twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from tests.faults.failovers import OTHER, RESTORED, Run, begun, ended, finished, lost_answers, measured, rounds, started
from tests.faults.groups import HOST, SERVICE, Node, Sentinels
from tests.parties import eventually, in_thread


@pytest.fixture
def group() -> Iterator[Sentinels]:
    with Sentinels() as started:
        yield started


def both(group: Sentinels) -> tuple[Run, Run]:
    """A run of each shell."""
    return Run("sync", group.url), Run("asyncio", group.url)


async def test_the_master_dies_in_the_middle_of_a_round(group: Sentinels, caplog: pytest.LogCaptureFixture) -> None:
    async with started(*both(group)) as runs:
        await rounds(runs, 0)
        pending = await begun(runs, 1)
        group.master.kill()
        measured(await ended(runs, pending, 1))
        await rounds(runs, 2)
        # Eight parties say when it begins and when it is over, at most twice: connections are not lost at one moment.
        await eventually(
            lambda: caplog.text.count("connection lost: ") == caplog.text.count("; nothing else is to be done"),
            "all are connected again",
        )
        assert 8 <= caplog.text.count("connection lost: ") <= 16
        await finished(runs)


async def test_the_master_is_replaced_in_the_middle_of_a_round(group: Sentinels) -> None:
    async with started(*both(group)) as runs:
        await rounds(runs, 0)
        pending = await begun(runs, 1)
        old, new = group.master, group.replica
        group.fail_over()
        longest = await ended(runs, pending, 1)
        await in_thread(group.await_master, new)
        # For some seconds there are two masters: those who have a connection stay at the old one, which will forget
        # all that it acknowledges now, and whoever comes finds the new one.
        for run in runs:
            await run.observe()
        sample = 2
        while old.info("replication")["role"] == "master":
            longest = max(longest, await rounds(runs, sample))
            sample += 1
            await asyncio.sleep(0.05)
        measured(max(longest, await rounds(runs, sample)))
        await finished(runs)


async def test_acknowledged_signals_that_vanish_in_the_middle_of_a_round_are_restored(
    group: Sentinels, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(*both(group)) as runs:
        await rounds(runs, 0)
        await in_thread(group.replica.lag)
        await rounds(runs, 1)
        pending = await begun(runs, 2)
        group.master.kill()
        measured(await ended(runs, pending, 2))
        await eventually(lambda: caplog.text.count(RESTORED) == 2, "both have noticed")
        await rounds(runs, 3)
        for run in runs:
            await run.observe()
        await finished(runs)


async def test_acknowledged_signals_that_vanish_while_nobody_waits_are_restored(
    group: Sentinels, caplog: pytest.LogCaptureFixture
) -> None:
    async with started(*both(group)) as runs:
        await rounds(runs, 0)
        await in_thread(group.replica.lag)
        await rounds(runs, 1)
        began, replica = time.monotonic(), group.replica
        group.master.kill()
        await in_thread(group.await_master, replica)
        await eventually(lambda: caplog.text.count(RESTORED) == 2, "both have noticed")
        measured(time.monotonic() - began)
        await rounds(runs, 2)
        for run in runs:
            await run.observe()
        await finished(runs)


async def test_acknowledged_answers_that_vanish_unread_are_given_again(group: Sentinels) -> None:
    run = Run("sync", group.url)

    async def taken_over(node: Node) -> None:
        await in_thread(group.await_master, node)

    try:
        measured(await lost_answers(run, group.master, group.replica, taken_over))
    finally:
        await run.close()


async def test_the_master_hangs_in_the_middle_of_a_round(group: Sentinels, impatient: None) -> None:
    async with started(*both(group)) as runs:
        await rounds(runs, 0)
        pending = await begun(runs, 1)
        hung = group.master
        hung.pause()
        measured(await ended(runs, pending, 1))
        await rounds(runs, 2)
        hung.resume()
        # It takes itself for the master until a Sentinel tells it: nobody may ask it any more.
        for sample in range(3, 13):
            await rounds(runs, sample)
        await finished(runs)


async def test_clients_of_the_users_follow_the_master(group: Sentinels) -> None:
    places = [(HOST, each.port) for each in group.sentinels]
    # By default redis-py is patient with what is gone.
    one = Sentinel(places, sentinel_kwargs={"retry": Retry(NoBackoff(), 0)})
    other = redis.asyncio.Sentinel(places, sentinel_kwargs={"retry": AsyncRetry(NoBackoff(), 0)})
    clients = {"sync": one.master_for(SERVICE, decode_responses=True), "asyncio": other.master_for(SERVICE)}
    runs = [Run(shell, "", clients=clients) for shell in OTHER]
    async with started(*runs):
        assert [run.exporter.redis for run in runs] == list(clients.values())
        await rounds(runs, 0)
        pending = await begun(runs, 1)
        # Of the Sentinels, too, one may be gone.
        group.sentinels[0].kill()
        group.master.kill()
        measured(await ended(runs, pending, 1))
        await rounds(runs, 2)
        await finished(runs)
    assert clients["sync"].set("k", "ä")
    assert clients["sync"].get("k") == "ä"
    assert await clients["asyncio"].get("k") == "ä".encode()
    clients["sync"].close()
    await clients["asyncio"].aclose()
    for each in one.sentinels:
        each.close()
    await asyncio.gather(*(each.aclose() for each in other.sentinels))


async def test_passwords_are_told_to_servers_and_sentinels():
    with Sentinels("p@ss/w:rd?") as group:
        async with started(*both(group)) as runs:
            await rounds(runs, 0)
            await finished(runs)
