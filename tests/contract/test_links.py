"""The shells between the core and the server: what they do when something goes wrong there, or takes too long."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from state_signals import Closed, ServerRefused, ServerUnreachable, Signal
from state_signals.asyncio.reader import Reader as AsyncReader
from state_signals.outages import Outage
from state_signals.sync.reader import Reader
from tests.parties import EVENTS, Parties, eventually, in_thread

SLOWEST = 5.0
"""Seconds that something may take on a busy machine that ends within a fraction of one."""


def subject_of(party: Any) -> Any:
    return getattr(party, "subject", party)


def replace_execute(party: Any, monkeypatch: pytest.MonkeyPatch, before: Any, after: Any = None) -> None:
    """Have something done before and after the transport executes a batch."""
    transport = subject_of(party)._transport
    execute = transport.execute

    def called(batch: Any, *args: Any) -> Any:
        before(batch)
        found = execute(batch, *args)
        if after is not None:
            after(batch)
        return found

    async def awaited(batch: Any, *args: Any) -> Any:
        before(batch)
        found = await execute(batch, *args)
        if after is not None:
            await in_thread(after, batch)
        return found

    monkeypatch.setattr(transport, "execute", awaited if inspect.iscoroutinefunction(execute) else called)


def nothing(_: Any) -> None:
    pass


async def test_an_answer_is_not_taken_for_another_one_that_was_under_way(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter, (a,) = await parties.crew("a")
    responder, heard = a
    rounds = [parties.task(exporter.publish_signal(event, timeout=-1)) for event in ("start", "stop")]
    first, second = await heard.next(), await heard.next()
    is_there, may_return = threading.Event(), threading.Event()
    sent: list[bytes] = []

    def hold(batch: Any) -> None:
        if batch.commands[0][0] != "XADD":
            return
        sent.append(batch.commands[0][-1])
        if not is_there.is_set():
            is_there.set()
            assert may_return.wait(SLOWEST)

    replace_execute(responder, monkeypatch, nothing, hold)
    answering = parties.task(responder.srespond(first, 1))
    await eventually(is_there.is_set)
    # Somebody else has found the connection lost.
    subject_of(responder)._link.lost(ServerUnreachable("cut"))
    also_answering = parties.task(responder.srespond(second, 1))
    await eventually(lambda: len(subject_of(responder)._core._answers) >= 2 and subject_of(responder)._link.is_up)
    may_return.set()
    await asyncio.gather(answering, also_answering)
    # Not only once it is repeated, as all answers are after an outage.
    await eventually(lambda: any(b'"stop"' in data and b'"again"' not in data for data in sent), "the answer")
    for each in rounds:
        assert (await asyncio.wait_for(each, SLOWEST)).ok


async def test_an_answer_does_not_wait_for_a_look(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter, (a,) = await parties.crew("a")
    responder, heard = a
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    signal = await heard.next()
    is_looking, may_return = threading.Event(), threading.Event()

    def hold(batch: Any) -> None:
        if batch.commands[0][0] == "XREVRANGE":
            is_looking.set()
            assert may_return.wait(SLOWEST)

    replace_execute(responder, monkeypatch, nothing, hold)
    subject = subject_of(responder)
    subject._core._following.feed(exporter.pub_id)._look_at = time.monotonic()
    subject._link.wake()
    try:
        await eventually(is_looking.is_set, "the look")
        await asyncio.wait_for(responder.srespond(signal, 1), SLOWEST)
        assert (await asyncio.wait_for(publishing, SLOWEST)).ok
        assert not may_return.is_set()
    finally:
        may_return.set()


async def test_what_the_transport_refuses_is_a_lost_connection(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    responder = await parties.running("a", responder_id="a")
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(1, EVENTS, timeout=-1) == 0
    refusals = [ServerRefused("no more connections")] * 3
    seen: list[Any] = []

    def refuse(_: Any) -> None:
        if refusals:
            seen.append(refusals.pop())
            raise seen[-1]

    subject = subject_of(responder)
    replace_execute(responder, monkeypatch, refuse)
    # What listens, and what works in the background.
    subject._core._following._must_discover = True
    subject._core._beat_at = time.monotonic()
    subject._link.wake()
    assert (await exporter.publish_signal("start")).ok
    await eventually(lambda: len(seen) == 3)
    assert (await exporter.publish_signal("stop")).ok


async def test_nothing_begins_that_has_no_time_to_end(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = await parties.exporter(publisher_id="fio-1")
    subject = subject_of(exporter)
    await eventually(lambda: subject._core.next_upkeep() > time.monotonic())
    executed: list[Any] = []
    replace_execute(exporter, monkeypatch, executed.append)
    monkeypatch.setattr(subject._core, "next_request", lambda *_, **__: pytest.fail("it was asked for"))
    pumped = subject._link.pump(time.monotonic() + 0.03)
    if inspect.isawaitable(pumped):
        await pumped
    monkeypatch.undo()
    assert executed == []


@asynccontextmanager
async def held(lock: Any) -> AsyncIterator[None]:
    """Have somebody else hold a lock."""
    if isinstance(lock, asyncio.Lock):
        async with lock:
            yield
        return
    has_it, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        lock.acquire()
        has_it.set()
        may_go.wait()
        lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    has_it.wait()
    try:
        yield
    finally:
        may_go.set()
        thread.join()


@pytest.mark.parametrize("what", ["sending", "subscribing"])
async def test_an_initialization_ends_in_time_whoever_holds_it_up(parties: Parties, what: str) -> None:
    exporter = await parties.exporter()
    subject = subject_of(exporter)
    async with held(subject._link.sending if what == "sending" else subject._subscribing):
        waiting = asyncio.create_task(exporter.initialize_and_wait(1, EVENTS, timeout=0.2))
        done, _ = await asyncio.wait([waiting], timeout=SLOWEST)
    assert done
    with pytest.raises(ServerUnreachable, match="in time"):
        await waiting
    assert await exporter.initialize_and_wait(0, EVENTS, timeout=5) == 0


async def test_connect_ends_when_it_is_closed_while_it_asks(parties: Parties) -> None:
    if parties.shell == "sync":
        pytest.skip("nobody can close what is not made yet")
    responder = parties.unconnected("SignalResponder")

    async def ask(_: Any) -> bool:
        responder._stopping = True
        await asyncio.sleep(0)
        raise Closed("in the meantime")

    responder._link.ask = ask
    try:
        await asyncio.wait_for(responder.connect(), SLOWEST)
    finally:
        await responder.close()


async def test_a_refused_answer_does_not_end_run(parties: Parties, monkeypatch: pytest.MonkeyPatch) -> None:
    responder = await parties.running("a", responder_id="a")
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(1, EVENTS, timeout=-1) == 0
    subject = subject_of(responder)
    answer, is_full = subject._answer, [True]

    def refuse(signal: Signal, *args: Any) -> Any:
        if is_full:
            is_full.clear()
            raise ServerRefused("the server is full")
        return answer(signal, *args)

    monkeypatch.setattr(subject, "_answer", refuse)
    assert (await exporter.publish_signal("start", timeout=0.2)).missing.keys() == {"a"}
    assert (await exporter.publish_signal("stop")).ok


# Readers


class Inbox:
    """An inbox that fails at once, plain or awaited."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def receive(self, _: float | None) -> Sequence[bytes]:
        raise self.error

    def wake(self) -> None:
        pass

    def close(self) -> None:
        pass


class AsyncInbox(Inbox):
    async def hand_over(self, _: Any) -> None:
        raise self.error

    async def close(self) -> None:  # type: ignore[override]
        pass


class Reading:
    """A reader whose inboxes all open, and fail at the first look."""

    def __init__(self, shell: str, error: Exception) -> None:
        self.opened: list[float] = []
        self.refused: list[ServerRefused] = []
        self._error = error
        kind: Any = Reader if shell == "sync" else AsyncReader
        opening = self._open if shell == "sync" else self._open_async
        outage = Outage(logging.getLogger(__name__), "redis://there")
        self.reader = kind("state-signals-reader", opening, lambda *_: None, self.refused.append, outage)

    async def stop(self) -> None:
        stopped = self.reader.stop()
        if inspect.isawaitable(stopped):
            await stopped

    def _open(self) -> Inbox:
        self.opened.append(time.monotonic())
        return Inbox(self._error)

    async def _open_async(self) -> AsyncInbox:
        self.opened.append(time.monotonic())
        return AsyncInbox(self._error)


async def test_a_reader_whose_inbox_fails_at_once_is_patient(shell: str) -> None:
    reading = Reading(shell, ServerUnreachable("cut"))
    reading.reader.start()
    await eventually(lambda: len(reading.opened) >= 7)
    await reading.stop()
    # The shortest waits that jitter makes of 0, 20, 40, 80, 160 and 320 ms.
    assert reading.opened[6] - reading.opened[0] > 0.3
    if shell == "sync":
        assert reading.reader._opened.qsize() == 1


async def test_a_reader_that_may_not_read_any_more_ends(shell: str) -> None:
    reading = Reading(shell, ServerRefused("NOPERM"))
    reading.reader.start()
    await eventually(lambda: reading.refused)
    await eventually(lambda: not reading.reader.is_alive())
    await reading.stop()
    assert len(reading.opened) == 1


async def test_who_comes_when_the_lock_is_handed_over_does_not_wait_for_ever(
    parties: Parties, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    if shell == "sync":
        pytest.skip("threads have a lock that knows timeouts")
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS)
    link = exporter._link
    may_go = asyncio.Event()

    async def hang(batch: Any, *_: Any) -> Any:
        await may_go.wait()
        raise ServerUnreachable("it hangs")

    await link.sending.acquire()
    other = parties.task(exporter.publish_signal("start", timeout=SLOWEST * 4, wait=False))
    await eventually(lambda: not link.sending.is_free and link.sending._waiters)
    monkeypatch.setattr(exporter._transport, "execute", hang)
    link.sending.release()
    assert not link.sending.locked()
    # Not in a task of its own, which would come after the one that the lock is promised to.
    async with asyncio.timeout(SLOWEST):
        with pytest.raises(ServerUnreachable):
            await exporter.publish_signal("start", timeout=0.1, wait=False)
    monkeypatch.undo()
    may_go.set()
    assert (await other).code == 0
