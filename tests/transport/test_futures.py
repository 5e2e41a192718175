"""Waiting for one thing until a time."""

from __future__ import annotations

import asyncio
import math

import pytest

from state_signals.asyncio.news import News
from state_signals.transport.futures import Bell, Lock, happened, settle
from tests.parties import DEADLINE


def future() -> asyncio.Future[bool]:
    return asyncio.get_running_loop().create_future()


@pytest.mark.parametrize("seconds", [None, DEADLINE, math.inf])
async def test_what_happens_in_time_has_happened(seconds: float | None) -> None:
    waited = future()
    asyncio.get_running_loop().call_soon(settle, waited)
    assert await happened(waited, seconds)


@pytest.mark.parametrize("seconds", [0.01, 0.0, -1.0])
async def test_what_does_not_happen_in_time_has_not(seconds: float) -> None:
    waited = future()
    assert not await happened(waited, seconds)
    # Too late: nobody minds.
    settle(waited)
    settle(None)


async def test_a_wait_may_be_cancelled() -> None:
    waited = future()
    task = asyncio.create_task(happened(waited, DEADLINE))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    settle(waited)


async def test_a_bell_rings_in_time_or_not() -> None:
    bell = Bell()
    loop = asyncio.get_running_loop()
    bell.ring()
    assert not await bell.wait(0.01)
    for seconds in (None, DEADLINE, math.inf, 3 * DEADLINE):
        loop.call_soon(bell.ring)
        assert await bell.wait(seconds)
    # Sooner than the times before.
    assert not await bell.wait(0.01)
    assert not await bell.wait(-1.0)


async def test_a_bell_that_was_waited_for_before_rings_no_earlier() -> None:
    bell = Bell()
    loop = asyncio.get_running_loop()
    loop.call_soon(bell.ring)
    assert await bell.wait(0.02)
    began = loop.time()
    assert not await bell.wait(0.1)
    assert loop.time() - began > 0.09
    # Its timer goes off while somebody waits for ever, and while nobody does.
    loop.call_soon(bell.ring)
    assert await bell.wait(0.02)
    loop.call_later(0.05, bell.ring)
    assert await bell.wait(None)
    loop.call_soon(bell.ring)
    assert await bell.wait(0.02)
    await asyncio.sleep(0.05)


async def test_a_bell_that_is_put_away_rings_for_the_last_time() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(DEADLINE))
    await asyncio.sleep(0)
    bell.put_away()
    assert await waiting
    assert bell._timer is None
    bell.put_away()


async def test_a_wait_for_a_bell_may_be_cancelled() -> None:
    bell = Bell()
    waiting = asyncio.create_task(bell.wait(DEADLINE))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    asyncio.get_running_loop().call_soon(bell.ring)
    assert await bell.wait(DEADLINE)


async def test_a_lock_knows_whether_it_can_be_had_at_once() -> None:
    lock = Lock()
    assert lock.is_free
    await lock.acquire()
    assert not lock.is_free
    waiting = asyncio.create_task(lock.acquire())
    await asyncio.sleep(0)
    lock.release()
    # It is handed over: nobody has it, and yet nobody else can have it.
    assert not lock.locked()
    assert not lock.is_free
    await waiting
    assert not lock.take()
    lock.release()
    assert lock.is_free
    assert lock.take()
    assert lock.locked()
    waiting = asyncio.create_task(lock.acquire())
    await asyncio.sleep(0)
    assert not lock.take()
    lock.release()
    await waiting
    lock.release()


async def test_news_come_in_their_order_and_none_is_lost() -> None:
    news = News()
    assert news.empty()
    assert await news.get(0.01) is None
    getting = asyncio.create_task(news.get(None))
    await asyncio.sleep(0)
    getting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await getting
    news.put_nowait(1)
    news.put_nowait(2)
    assert not news.empty()
    assert [await news.get(DEADLINE), await news.get(0.0)] == [1, 2]
    getting = asyncio.create_task(news.get(DEADLINE))
    await asyncio.sleep(0)
    news.put_nowait(3)
    assert await getting == 3
