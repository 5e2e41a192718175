"""A master that Sentinels look after: whoever takes over, nothing is lost and nothing happens twice."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from tests.faults.failovers import runs
from tests.faults.groups import Sentinels
from tests.parties import eventually, in_thread

RESTORED = "the server had lost data"


@pytest.fixture
def group() -> Iterator[Sentinels]:
    with Sentinels() as started:
        yield started


async def test_the_master_dies_in_the_middle_of_a_round(group: Sentinels) -> None:
    async with runs(group.url) as both:
        await asyncio.gather(*(run.round(0) for run in both))
        rounds = [await run.begin(1) for run in both]
        group.master.kill()
        took = await asyncio.gather(*(run.end(round_, 1) for run, round_ in zip(both, rounds, strict=True)))
        print("took", took)
        took = await asyncio.gather(*(run.round(2) for run in both))
        print("took", took)
        await asyncio.gather(*(run.finish() for run in both))


async def test_the_master_is_replaced_in_the_middle_of_a_round(group: Sentinels) -> None:
    async with runs(group.url) as both:
        await asyncio.gather(*(run.round(0) for run in both))
        rounds = [await run.begin(1) for run in both]
        replica = group.replica
        group.fail_over()
        took = await asyncio.gather(*(run.end(round_, 1) for run, round_ in zip(both, rounds, strict=True)))
        print("took", took)
        # Signals go out while roles change.
        sample = 2
        while group.master is not replica:
            print(sample, await asyncio.gather(*(run.round(sample) for run in both)))
            sample += 1
        took = await asyncio.gather(*(run.round(sample) for run in both))
        print("took", took)
        await asyncio.gather(*(run.finish() for run in both))


async def test_acknowledged_signals_that_vanish_are_restored(
    group: Sentinels, caplog: pytest.LogCaptureFixture
) -> None:
    async with runs(group.url) as both:
        await asyncio.gather(*(run.round(0) for run in both))
        await in_thread(group.replica.lag)
        await asyncio.gather(*(run.round(1) for run in both))
        rounds = [await run.begin(2) for run in both]
        began = time.monotonic()
        group.master.kill()
        took = await asyncio.gather(*(run.end(round_, 2) for run, round_ in zip(both, rounds, strict=True)))
        await eventually(lambda: caplog.text.count(RESTORED) == 2, "both have noticed")
        print("took", took, time.monotonic() - began)
        took = await asyncio.gather(*(run.round(3) for run in both))
        for run in both:
            await run.responder("quick-late", replay="all")
        await asyncio.gather(*(run.finish() for run in both))


async def test_signals_that_vanish_while_nobody_waits_are_restored(
    group: Sentinels, caplog: pytest.LogCaptureFixture
) -> None:
    async with runs(group.url) as both:
        await asyncio.gather(*(run.round(0) for run in both))
        await in_thread(group.replica.lag)
        await asyncio.gather(*(run.round(1) for run in both))
        replica = group.replica
        group.master.kill()
        await in_thread(group.await_master, replica)
        took = await asyncio.gather(*(run.round(2) for run in both))
        print("took", took)
        await eventually(lambda: caplog.text.count(RESTORED) == 2, "both have noticed")
        for run in both:
            await run.responder("quick-late", replay="all")
        await asyncio.gather(*(run.finish() for run in both))
