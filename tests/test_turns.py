"""Callers that wait for answers read them by themselves; whatever happens to them, nobody else misses anything."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis

from state_signals import Closed, PublishResult, SignalExporter, SignalResponder
from state_signals.sync.turns import News, Reading, Turns
from state_signals.transport.keys import Keys
from state_signals.transport.memory import MemoryTransport
from tests.conftest import wait_until

DEADLINE = 20.0


class Interruption(BaseException):
    """What a signal handler raises."""


class Responder:
    """Answers everything, once it is let."""

    def __init__(self, url: str, name: str) -> None:
        self.responder = SignalResponder(url=url, responder_id=name)
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.heard: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for each in self.responder.listen():
            self.heard.append(each.event)
            if each.event not in ("initialization", "shutdown"):
                assert self.may_answer.wait(DEADLINE)
            with suppress(Closed):
                if each.event != "shutdown":
                    self.responder.srespond(each, 1)

    def close(self) -> None:
        self.may_answer.set()
        self.responder.close()
        self._thread.join(DEADLINE)


@pytest.fixture
def responder(redis_url: str) -> Iterator[Responder]:
    made = Responder(redis_url, "a")
    yield made
    made.close()


@pytest.fixture
def exporter(redis_url: str, responder: Responder) -> Iterator[SignalExporter]:
    with SignalExporter("fio", url=redis_url) as made:
        assert made.initialize_and_wait(1, ["start", "stop"], timeout=DEADLINE) == 0
        yield made


def in_thread(exporter: SignalExporter, event: str, results: list[PublishResult]) -> threading.Thread:
    thread = threading.Thread(
        target=lambda: results.append(exporter.publish_signal(event, timeout=DEADLINE)), daemon=True
    )
    thread.start()
    return thread


def reads_by_itself(exporter: SignalExporter) -> bool:
    """Whether a caller reads the stream."""
    listener = exporter.init_listener
    turns = None if listener is None else listener.turns()
    return turns is not None and turns._borrower != 0


def test_who_waits_reads(exporter: SignalExporter, responder: Responder) -> None:
    responder.may_answer.clear()
    results: list[PublishResult] = []
    thread = in_thread(exporter, "start", results)
    wait_until(lambda: reads_by_itself(exporter))
    responder.may_answer.set()
    thread.join(DEADLINE)
    assert [result.ok for result in results] == [True]
    assert not reads_by_itself(exporter)


def test_several_wait_at_a_time(exporter: SignalExporter, responder: Responder) -> None:
    for _ in range(20):
        responder.may_answer.clear()
        results: list[PublishResult] = []
        threads = [in_thread(exporter, event, results) for event in ("start", "stop", "start")]
        responder.may_answer.set()
        for thread in threads:
            thread.join(DEADLINE)
        assert [result.ok for result in results] == [True] * 3


def test_who_subscribes_after_a_round_is_noticed(exporter: SignalExporter, redis_url: str) -> None:
    assert exporter.publish_signal("start", timeout=DEADLINE).ok
    late = Responder(redis_url, "late")
    try:
        wait_until(lambda: exporter.subs == {"a", "late"})
    finally:
        late.close()


def test_a_connection_that_is_lost_while_a_caller_reads_is_made_again(
    exporter: SignalExporter, responder: Responder, redis_url: str
) -> None:
    responder.may_answer.clear()
    results: list[PublishResult] = []
    thread = in_thread(exporter, "start", results)
    wait_until(lambda: reads_by_itself(exporter))
    with redis.Redis.from_url(redis_url) as client:
        assert client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") > 0
    responder.may_answer.set()
    thread.join(DEADLINE)
    assert [result.ok for result in results] == [True]
    assert exporter.publish_signal("stop", timeout=DEADLINE).ok


def test_an_interrupted_caller_takes_nothing_with_it(exporter: SignalExporter, responder: Responder) -> None:
    def interrupt(*_: object) -> None:
        raise Interruption

    previous = signal.signal(signal.SIGUSR1, interrupt)
    try:
        for _ in range(10):
            responder.may_answer.clear()
            me = threading.main_thread().ident
            assert me is not None

            def strike(ident: int = me) -> None:
                wait_until(lambda: reads_by_itself(exporter))
                signal.pthread_kill(ident, signal.SIGUSR1)
                responder.may_answer.set()

            striker = threading.Thread(target=strike, daemon=True)
            striker.start()
            with pytest.raises(Interruption):
                exporter.publish_signal("start", timeout=DEADLINE)
            striker.join(DEADLINE)
            assert exporter.publish_signal("stop", timeout=DEADLINE).ok
    finally:
        signal.signal(signal.SIGUSR1, previous)


def test_closing_in_a_signal_handler_ends_the_wait(redis_url: str, responder: Responder) -> None:
    with redis.Redis.from_url(redis_url) as client:
        before = len(client.client_list()) - 1
    exporter = SignalExporter("fio", url=redis_url)
    exporter.initialize_and_wait(1, ["start"], timeout=DEADLINE)
    responder.may_answer.clear()
    previous = signal.signal(signal.SIGUSR1, lambda *_: exporter.close())
    me = threading.main_thread().ident
    assert me is not None

    def strike() -> None:
        wait_until(lambda: reads_by_itself(exporter))
        signal.pthread_kill(me, signal.SIGUSR1)

    striker = threading.Thread(target=strike, daemon=True)
    striker.start()
    try:
        # The round ends as it stands, because the exporter shuts down.
        assert not exporter.publish_signal("start", timeout=DEADLINE).ok
    finally:
        signal.signal(signal.SIGUSR1, previous)
        striker.join(DEADLINE)
    with redis.Redis.from_url(redis_url) as client:
        # This one comes in addition.
        wait_until(lambda: len(client.client_list()) == before + 1)


def test_others_read_while_somebody_is_told_of_an_outcome(exporter: SignalExporter) -> None:
    told = threading.Event()
    is_done = threading.Event()

    def on_outcome(*_: object) -> None:
        told.set()
        assert is_done.wait(DEADLINE)

    thread = threading.Thread(
        target=lambda: exporter.publish_signal("start", timeout=DEADLINE, on_outcome=on_outcome), daemon=True
    )
    thread.start()
    try:
        assert told.wait(DEADLINE)
        assert exporter.publish_signal("stop", timeout=DEADLINE / 2).ok
    finally:
        is_done.set()
        thread.join(DEADLINE)


def test_what_arrives_while_somebody_is_told_of_an_outcome_is_in_time(
    exporter: SignalExporter, responder: Responder, redis_url: str
) -> None:
    late = Responder(redis_url, "late")
    wait_until(lambda: exporter.subs == {"a", "late"})
    late.may_answer.clear()

    def on_outcome(name: str, _: object) -> None:
        if name == "a":
            late.may_answer.set()
            time.sleep(2.5)

    try:
        assert exporter.publish_signal("start", timeout=2.0, on_outcome=on_outcome).ok
    finally:
        late.close()


def test_closing_when_told_of_an_outcome_waits_for_nobody(exporter: SignalExporter) -> None:
    took: list[float] = []

    def on_outcome(*_: object) -> None:
        began = time.monotonic()
        exporter.close()
        took.append(time.monotonic() - began)

    with suppress(Closed):
        exporter.publish_signal("start", timeout=DEADLINE, on_outcome=on_outcome)
    assert took[0] < 0.9


def test_a_signal_handler_can_publish_while_a_caller_reads(exporter: SignalExporter, responder: Responder) -> None:
    results: list[PublishResult] = []

    def handle(*_: object) -> None:
        responder.may_answer.set()
        results.append(exporter.publish_signal("stop", timeout=DEADLINE / 4))

    previous = signal.signal(signal.SIGUSR1, handle)
    me = threading.main_thread().ident
    assert me is not None

    def strike() -> None:
        wait_until(lambda: reads_by_itself(exporter))
        signal.pthread_kill(me, signal.SIGUSR1)

    try:
        for _ in range(5):
            responder.may_answer.clear()
            striker = threading.Thread(target=strike, daemon=True)
            striker.start()
            results.append(exporter.publish_signal("start", timeout=DEADLINE))
            striker.join(DEADLINE)
            assert "late" not in exporter.counters
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert [result.ok for result in results] == [True] * 10


def made(keys: Keys, name: str) -> tuple[MemoryTransport, Turns[Any], list[bytes]]:
    """Turns of an inbox in memory, and what was delivered."""
    transport = MemoryTransport(name, keys)
    delivered: list[bytes] = []
    return transport, Turns(transport.subscribe(["x"]), lambda _, batch: delivered.extend(batch)), delivered


def test_nobody_gets_the_turn_while_its_thread_has_it() -> None:
    transport, turns, _ = made(Keys(), "turns-1")
    news = News()
    assert not turns.take(news)
    assert turns.is_wanted()
    turns.forget(news)
    assert not turns.is_wanted()
    turns.close()
    assert not turns.take(news)
    transport.close()


def test_its_thread_gets_the_turn_back() -> None:
    transport, turns, _ = made(Keys(), "turns-2")
    news = News()
    reading = Reading(news, lambda: turns)
    lender = threading.Thread(target=turns.lend, daemon=True)
    assert reading.next(0.0) is None
    lender.start()
    assert reading.next(0.05) is None
    assert turns._borrower
    reading.end(is_urgent=True)
    lender.join(DEADLINE)
    assert turns._is_ours
    turns.close()
    transport.close()


def test_news_from_elsewhere_end_the_reading() -> None:
    transport, turns, _ = made(Keys(), "turns-3")
    news = News()
    reading = Reading(news, lambda: turns)
    reading.next(0.0)
    threading.Thread(target=turns.lend, daemon=True).start()
    wait_until(lambda: not turns._turn.locked())
    teller = threading.Timer(0.05, news.put_nowait, ["news"])
    teller.start()
    assert reading.next(DEADLINE) == "news"
    reading.end(is_urgent=True)
    wait_until(lambda: turns._is_ours)
    turns.close()
    transport.close()


def test_the_end_waits_for_whoever_reads() -> None:
    transport, turns, _ = made(Keys(), "turns-4")

    def lend() -> None:
        turns.lend()
        turns.close()

    lender = threading.Thread(target=lend, daemon=True)
    lender.start()
    reading = Reading(News(), lambda: turns)
    told: list[object] = []
    reader = threading.Thread(target=lambda: told.append(reading.next(1.0)), daemon=True)
    reader.start()
    wait_until(lambda: turns._borrower)
    turns.stop()
    lender.join(DEADLINE)
    reader.join(DEADLINE)
    assert not lender.is_alive()
    assert told == [None]
    transport.close()
