"""Threads share connections: who reads for whom, who sends for whom, and what signal handlers may do to that."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from state_signals import SignalExporter, SignalResponder
from state_signals.exceptions import Closed, ServerUnreachable
from state_signals.server import EmbeddedServer
from state_signals.sync.upkeep import Upkeep, upkeep_for
from state_signals.transport.base import Batch
from state_signals.transport.connect import transport
from state_signals.transport.lines import Deadline
from tests.conftest import wait_until
from tests.transport.sides import DEADLINE, connections

PING = Batch("", (("PING",),))


@pytest.fixture
def shared(redis_url: str) -> Iterator[Callable[[], Any]]:
    """Makes transports that share their connections."""
    with ExitStack() as stack:

        def make() -> Any:
            made = transport(url=redis_url, host="", port=0, namespace=None, is_shared=True)
            stack.callback(made.close)
            return made

        yield make


class Waiter(threading.Thread):
    """Reads an inbox once."""

    def __init__(self, inbox: Any, timeout: float | None = DEADLINE) -> None:
        super().__init__(daemon=True)
        self.inbox = inbox
        self.timeout = timeout
        self.found: Any = "nothing yet"
        self.start()

    def run(self) -> None:
        try:
            self.found = self.inbox.receive(self.timeout)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.found = error

    def result(self) -> Any:
        self.join(DEADLINE)
        assert not self.is_alive(), "it still waits"
        return self.found


def waiting(inbox: Any, count: int) -> None:
    """Wait until so many others wait for whoever reads."""
    wait_until(lambda: inbox._fanout._lead is not None and len(inbox._fanout._waiting) == count)


# Who reads


def test_one_reads_for_all(shared: Callable[[], Any], admin: Any) -> None:
    inboxes = [shared().subscribe(["news"]) for _ in range(20)]
    waiters = [Waiter(each) for each in inboxes]
    waiting(inboxes[0], 19)
    assert admin.publish("news", "hello") == 1
    assert [each.result() for each in waiters] == [[b"hello"]] * 20


def test_the_lead_goes_to_somebody_else_when_whoever_has_it_gets_what_it_waits_for(
    shared: Callable[[], Any], admin: Any
) -> None:
    one, other = shared().subscribe(["one"]), shared().subscribe(["other"])
    first = Waiter(one)
    waiting(one, 0)
    second = Waiter(other)
    waiting(one, 1)
    admin.publish("one", "1")
    assert first.result() == [b"1"]
    admin.publish("other", "2")
    assert second.result() == [b"2"]


def test_whoever_leads_and_gets_nothing_serves_the_others(shared: Callable[[], Any], admin: Any) -> None:
    one, other = shared().subscribe(["one"]), shared().subscribe(["other"])
    first = Waiter(one)
    waiting(one, 0)
    for number in range(5):
        second = Waiter(other)
        waiting(one, 1)
        admin.publish("other", str(number))
        assert second.result() == [str(number).encode()]
    admin.publish("one", "1")
    assert first.result() == [b"1"]


@pytest.mark.parametrize("place", [0, 1])
def test_any_of_them_can_be_woken(shared: Callable[[], Any], admin: Any, place: int) -> None:
    inboxes = [shared().subscribe(["news"]) for _ in range(2)]
    waiters = [Waiter(inboxes[0], None)]
    waiting(inboxes[0], 0)
    waiters.append(Waiter(inboxes[1], None))
    waiting(inboxes[0], 1)
    inboxes[place].wake()
    assert waiters[place].result() == []
    admin.publish("news", "hello")
    assert waiters[1 - place].result() == [b"hello"]


def test_the_time_of_each_is_its_own(shared: Callable[[], Any], admin: Any) -> None:
    inboxes = [shared().subscribe(["news"]) for _ in range(3)]
    patient = Waiter(inboxes[0])
    waiting(inboxes[0], 0)
    for timeout in (0.0, 0.01):
        assert [Waiter(each, timeout).result() for each in inboxes[1:]] == [[], []]
    assert patient.is_alive()
    admin.publish("news", "hello")
    assert patient.result() == [b"hello"]
    # Nobody has read that for the others, and yet it has come.
    assert [each.receive(0.0) for each in inboxes[1:]] == [[b"hello"]] * 2


def test_others_can_subscribe_while_somebody_reads(shared: Callable[[], Any], admin: Any) -> None:
    one = shared()
    first = Waiter(one.subscribe(["one"]))
    waiting(first.inbox, 0)
    later = [shared().subscribe([f"later {number}"]) for number in range(5)]
    for number, inbox in enumerate(later):
        admin.publish(f"later {number}", "hello")
        assert inbox.receive(DEADLINE) == [b"hello"]
    admin.publish("one", "1")
    assert first.result() == [b"1"]


def test_a_lost_connection_ends_the_wait_of_all(shared: Callable[[], Any], admin: Any) -> None:
    inboxes = [shared().subscribe(["news"]) for _ in range(5)]
    waiters = [Waiter(each) for each in inboxes]
    waiting(inboxes[0], 4)
    admin.client_kill_filter(_type="pubsub")
    errors = [each.result() for each in waiters]
    assert all(isinstance(each, ServerUnreachable) for each in errors)
    assert len({id(each) for each in errors}) == 5


def test_a_connection_that_was_lost_while_all_were_busy_is_made_again(shared: Callable[[], Any], admin: Any) -> None:
    old = shared().subscribe(["news"])
    admin.client_kill_filter(_type="pubsub")
    new = shared().subscribe(["news"])
    admin.publish("news", "hello")
    assert new.receive(DEADLINE) == [b"hello"]
    with pytest.raises(ServerUnreachable):
        old.receive(DEADLINE)


def test_the_last_one_leaves_while_it_is_read_for(shared: Callable[[], Any], admin: Any) -> None:
    one = shared()
    waiter = Waiter(one.subscribe(["news"]), None)
    waiting(waiter.inbox, 0)
    one.close()
    assert waiter.result() == []
    wait_until(lambda: connections(admin) == 0)


def test_the_main_thread_lets_others_lead(shared: Callable[[], Any], admin: Any) -> None:
    """It may have to run a signal handler that waits for them."""
    mine, other = shared().subscribe(["mine"]), shared().subscribe(["other"])
    seen: list[Any] = []

    def watch() -> None:
        wait_until(lambda: mine._fanout._lead is mine)
        waiter = Waiter(other)
        wait_until(lambda: mine._fanout._lead is other)
        admin.publish("other", "hello")
        seen.append(waiter.result())
        # Now it leads again, for want of anybody else.
        wait_until(lambda: mine._fanout._lead is mine)
        admin.publish("mine", "at last")

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert mine.receive(DEADLINE) == [b"at last"]
    watcher.join()
    assert seen == [[b"hello"]]


def test_a_reader_whom_a_signal_handler_ends_takes_nothing_with_it(
    shared: Callable[[], Any], admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = shared().subscribe(["news"]), shared().subscribe(["news"])

    def interrupted(_reply: Any) -> bytes:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(mine._fanout._board, "received", interrupted)
    admin.publish("news", "hello")
    with pytest.raises(KeyboardInterrupt):
        mine.receive(DEADLINE)
    # What was read is lost: whoever it was for has to know.
    with pytest.raises(ServerUnreachable, match="interrupted"):
        other.receive(DEADLINE)
    again = shared().subscribe(["news"])
    admin.publish("news", "more")
    assert again.receive(DEADLINE) == [b"more"]


def test_a_reader_whom_a_signal_handler_ends_while_it_hands_the_lead_on_does_hand_it_on(
    shared: Callable[[], Any], admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = shared().subscribe(["mine"]), shared().subscribe(["other"])
    notify = other.notify

    def interrupted() -> None:
        monkeypatch.setattr(other, "notify", notify)
        raise KeyboardInterrupt

    monkeypatch.setattr(other, "notify", interrupted)
    waiters: list[Waiter] = []

    def wait_too() -> None:
        wait_until(lambda: mine._fanout._lead is mine)
        waiters.append(Waiter(other, None))

    thread = threading.Thread(target=wait_too)
    thread.start()
    # The main thread hands it on as soon as anybody else waits.
    with pytest.raises(KeyboardInterrupt):
        mine.receive(DEADLINE)
    thread.join()
    admin.publish("other", "hello")
    assert waiters[0].result() == [b"hello"]


@pytest.mark.parametrize("place", [0, 1])
def test_a_transport_that_is_closed_ends_the_wait_of_its_inbox(
    shared: Callable[[], Any], admin: Any, place: int
) -> None:
    made = [shared(), shared()]
    waiters = [Waiter(made[0].subscribe(["news"]), None)]
    waiting(waiters[0].inbox, 0)
    waiters.append(Waiter(made[1].subscribe(["news"]), None))
    waiting(waiters[0].inbox, 1)
    made[place].close()
    assert waiters[place].result() == []
    admin.publish("news", "hello")
    assert waiters[1 - place].result() == [b"hello"]


# Who sends


class Held:
    """Holds up whatever a pipeline sends until it is let go, and remembers how many replies it waited for at once."""

    def __init__(self, pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: list[int] = []
        self.gate = threading.Event()
        self.is_held = threading.Event()
        line = pipeline._idle
        exchange = line.exchange

        def held(data: bytes, count: int, deadline: Deadline) -> Any:
            self.counts.append(count)
            self.is_held.set()
            assert self.gate.wait(DEADLINE)
            return exchange(data, count, deadline)

        monkeypatch.setattr(line, "exchange", held)


class Sender(threading.Thread):
    """Has something sent."""

    def __init__(self, made: Any, text: str, timeout: float = DEADLINE) -> None:
        super().__init__(daemon=True)
        self.made = made
        self.batch = Batch("", (("ECHO", text),))
        self.timeout = timeout
        self.found: Any = "nothing yet"
        self.start()

    def run(self) -> None:
        try:
            self.found = self.made.execute(self.batch, self.timeout)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.found = error

    def result(self) -> Any:
        self.join(DEADLINE)
        assert not self.is_alive(), "it still waits"
        return self.found


def test_what_comes_meanwhile_goes_out_together(shared: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made = [shared() for _ in range(10)]
    for each in made:
        each.execute(PING)
    pipeline = made[0]._hub.pipeline
    held = Held(pipeline, monkeypatch)
    senders = [Sender(made[0], "0")]
    assert held.is_held.wait(DEADLINE)
    senders += [Sender(each, str(number)) for number, each in enumerate(made[1:], 1)]
    wait_until(lambda: len(pipeline._unsent) == 9)
    held.gate.set()
    assert [each.result() for each in senders] == [[str(number).encode()] for number in range(10)]
    assert held.counts == [1, 9]


def test_who_gives_up_before_it_is_sent_is_not_carried_out(
    shared: Callable[[], Any], admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = shared(), shared()
    one.execute(PING)
    two.execute(PING)
    held = Held(one._hub.pipeline, monkeypatch)
    sender = Sender(one, "1")
    assert held.is_held.wait(DEADLINE)
    with pytest.raises(ServerUnreachable, match="within"):
        two.execute(Batch("k", (("SET", "k", "v"),)), 0.05)
    held.gate.set()
    assert sender.result() == [b"1"]
    assert two.execute(PING) == [b"PONG"]
    assert admin.get("k") is None


def test_a_reply_that_has_come_is_returned_even_if_the_next_one_is_sending(shared: Callable[[], Any]) -> None:
    one, two = shared(), shared()
    one.execute(PING)
    two.execute(PING)
    pipeline = one._hub.pipeline
    with pipeline._lock:
        sender = Sender(two, "2", 0.2)
        wait_until(lambda: len(pipeline._unsent) == 1)
        assert one.execute(PING) == [b"PONG"]
        assert sender.result() == [b"2"]


def test_a_lost_connection_is_lost_for_all_who_have_said_something(
    shared: Callable[[], Any], admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [shared() for _ in range(4)]
    for each in made:
        each.execute(PING)
    held = Held(made[0]._hub.pipeline, monkeypatch)
    senders = [Sender(made[0], "0")]
    assert held.is_held.wait(DEADLINE)
    senders += [Sender(each, "more") for each in made[1:]]
    admin.client_kill_filter(_type="normal", skipme=True)
    held.gate.set()
    assert all(isinstance(each.result(), ServerUnreachable) for each in senders)
    for each in made:
        with pytest.raises(ServerUnreachable):
            each.execute(PING)
        each.connect()
        assert each.execute(PING) == [b"PONG"]


def test_more_than_fits_goes_out_in_pieces(shared: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    made = [shared() for _ in range(5)]
    for each in made:
        each.execute(PING)
    held = Held(made[0]._hub.pipeline, monkeypatch)
    senders = [Sender(made[0], "0")]
    assert held.is_held.wait(DEADLINE)
    senders += [Sender(each, "x" * 200_000) for each in made[1:]]
    wait_until(lambda: len(made[0]._hub.pipeline._unsent) == 4)
    held.gate.set()
    assert [len(each.result()[0]) for each in senders] == [1, *[200_000] * 4]
    assert held.counts == [1, 2, 2]


def test_an_error_that_passes_by_itself_is_whose_command_it_met_and_ends_the_connection(
    shared: Callable[[], Any], admin: Any
) -> None:
    one, two = shared(), shared()
    assert two.execute(PING) == [b"PONG"]
    admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(ServerUnreachable, match="READONLY"):
            one.execute(Batch("k", (("SET", "k", "v"),)))
        with pytest.raises(ServerUnreachable, match="READONLY"):
            two.execute(PING)
    finally:
        admin.execute_command("REPLICAOF", "NO", "ONE")
    two.connect()
    assert two.execute(PING) == [b"PONG"]


def test_a_sender_whom_a_signal_handler_ends_leaves_nobody_waiting(
    shared: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = shared(), shared()
    one.execute(PING)
    two.execute(PING)
    pipeline = one._hub.pipeline
    line = pipeline._idle
    senders: list[Sender] = []

    def interrupted(*_: Any) -> Any:
        senders.append(Sender(two, "2"))
        wait_until(lambda: len(pipeline._unsent) == 1)
        pipeline._unsent.popleft()  # As if we had taken it along.
        raise KeyboardInterrupt

    monkeypatch.setattr(line, "exchange", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.execute(PING)
    assert isinstance(senders[0].result(), ServerUnreachable)
    assert one.execute(PING) == [b"PONG"]


def test_who_waits_for_the_connection_to_be_made_again_has_a_deadline(
    shared: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = shared(), shared()
    one.execute(PING)
    two.execute(PING)
    held = Held(one._hub.pipeline, monkeypatch)
    sender = Sender(one, "1")
    assert held.is_held.wait(DEADLINE)
    with pytest.raises(ServerUnreachable, match="within"):
        two.connect(0.05)
    held.gate.set()
    assert sender.result() == [b"1"]
    two.connect()


# Who keeps them up


class Charge:
    """Counts how often it was called."""

    def __init__(self, wait: float) -> None:
        self.is_stopping = False
        self.busy = threading.Lock()
        self.wait = wait
        self.calls: list[float] = []
        self.came_in: list[int] = []
        self.upkeep: Upkeep = upkeep_for(self, "own", "somewhere")

    def keep_up(self) -> float:
        self.calls.append(time.monotonic())
        return self.calls[-1] + self.wait


def test_one_thread_keeps_all_up_and_ends_with_the_last() -> None:
    before = threading.active_count()
    charges = [Charge(0.02) for _ in range(10)]
    assert len({each.upkeep for each in charges}) == 1
    for each in charges:
        each.upkeep.begin(each)
    wait_until(lambda: all(len(each.calls) >= 3 for each in charges))
    assert threading.active_count() == before + 1
    for each in charges[:-1]:
        assert each.upkeep.dismiss(each)
    said = [len(each.calls) for each in charges]
    wait_until(lambda: len(charges[-1].calls) > said[-1] + 3)
    assert [len(each.calls) for each in charges[:-1]] == said[:-1]
    assert charges[-1].upkeep.dismiss(charges[-1])
    assert threading.active_count() == before
    other = Charge(1.0)
    assert other.upkeep is not charges[-1].upkeep
    other.upkeep.dismiss(other)


def test_what_is_due_at_about_the_same_time_is_done_together(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = 0
    pause = Upkeep.pause

    def counted(upkeep: Upkeep, seconds: float) -> None:
        nonlocal turns
        turns += 1
        pause(upkeep, seconds)

    monkeypatch.setattr(Upkeep, "pause", counted)
    soon = time.monotonic() + 1.5

    class Soon(Charge):
        def keep_up(self) -> float:
            super().keep_up()
            self.came_in.append(turns)
            return soon + self.wait if len(self.calls) == 1 else math.inf

    charges = [Soon(each / 1000) for each in range(10)]
    for each in charges:
        each.upkeep.begin(each)
        wait_until(lambda each=each: bool(each.came_in))  # type: ignore[misc]
    wait_until(lambda: all(len(each.came_in) == 2 for each in charges))
    for each in charges:
        each.upkeep.dismiss(each)
    assert len({each.came_in[0] for each in charges}) == len(charges)
    assert len({each.came_in[1] for each in charges}) == 1
    assert min(each.calls[1] for each in charges) >= soon + 0.009


def test_one_that_takes_long_is_waited_for_when_it_is_dismissed_but_not_for_ever() -> None:
    gate, entered = threading.Event(), threading.Event()

    class Slow(Charge):
        def keep_up(self) -> float:
            entered.set()
            assert gate.wait(DEADLINE)
            return super().keep_up()

    slow, other = Slow(1.0), Charge(1.0)
    for each in (slow, other):
        each.upkeep.begin(each)
    assert entered.wait(DEADLINE)
    assert not slow.upkeep.dismiss(slow, timeout=0.05)
    gate.set()
    assert slow.upkeep.dismiss(slow, timeout=DEADLINE)
    assert other.upkeep.dismiss(other)


def test_one_that_fails_is_no_affair_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", failures.append)

    class Failing(Charge):
        def keep_up(self) -> float:
            super().keep_up()
            raise ValueError("on purpose")

    failing, other = Failing(1.0), Charge(0.02)
    for each in (failing, other):
        each.upkeep.begin(each)
    wait_until(lambda: bool(failures))
    said = len(other.calls)
    wait_until(lambda: len(other.calls) > said + 2)
    assert [str(each.exc_value) for each in failures] == ["on purpose"]
    assert len(failing.calls) == 1
    for each in (failing, other):
        assert each.upkeep.dismiss(each, timeout=DEADLINE)


def test_those_who_come_and_go_before_anything_was_due_are_forgotten() -> None:
    stays = Charge(1.0)
    for _ in range(10):
        gone = Charge(1.0)
        assert gone.upkeep.dismiss(gone)
    assert not stays.upkeep._called
    assert stays.upkeep.dismiss(stays)


def test_nobody_waits_longer_than_allowed_for_whoever_gives_proofs_of_life(shared: Callable[[], Any]) -> None:
    one, two = shared(), shared()
    gate, entered = threading.Event(), threading.Event()
    shown: list[tuple[str, ...]] = []
    one.show(("one",), shown.append, 1.0)
    two.show(("two",), shown.append, 1.0)

    def slow(names: tuple[str, ...]) -> None:
        shown.append(names)
        entered.set()
        assert gate.wait(DEADLINE)

    thread = threading.Thread(target=one.show, args=(("one",), slow, 1.0))
    thread.start()
    try:
        assert entered.wait(DEADLINE)
        two.show(("two",), shown.append, 0.05)
        two.withdraw(("two",), 0.05)
        two.close()
    finally:
        gate.set()
        thread.join()
    assert shown == [("one",), ("two",), ("one", "two"), ("two",)]


def test_one_that_is_long_about_sending_something_holds_nobody_up(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SignalResponder(url=redis_url) as stuck, SignalResponder(url=redis_url) as other:
        called = threading.Event()

        def keep_up() -> float:
            called.set()
            return math.inf

        monkeypatch.setattr(other._link, "keep_up", keep_up)
        # As if a signal handler had interrupted that.
        with stuck._link.sending:
            stuck._link.begin()
            wait_until(stuck._link.busy.locked)
            other._link.begin()
            assert called.wait(2.0)


def test_what_is_due_earlier_from_now_on_is_not_overlooked(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with SignalResponder(url=redis_url) as responder:
        link: Any = responder._link
        woken: list[bool] = []
        monkeypatch.setattr(link, "wake", lambda: woken.append(True))
        lock = link._lock

        class Watched:
            """Somebody else says that something is due as soon as the lock is free."""

            def __enter__(self) -> None:
                lock.acquire()

            def __exit__(self, *_: object) -> None:
                lock.release()
                link.expect(time.monotonic())

        monkeypatch.setattr(link, "_lock", Watched())
        assert link.keep_up() > time.monotonic()
        assert woken


# Responders


def test_responders_have_no_thread_each(redis_url: str) -> None:
    before = threading.active_count()
    made = [SignalResponder(url=redis_url) for _ in range(10)]
    threads = [threading.Thread(target=each.run) for each in made]
    for thread in threads:
        thread.start()
    exporter = SignalExporter("fio", url=redis_url)
    assert exporter.initialize_and_wait(10, ["go"], timeout=DEADLINE) == 0
    assert exporter.publish_signal("go", timeout=DEADLINE).ok
    exporter.close()
    # Those that call run(), and one.
    wait_until(lambda: threading.active_count() <= before + 11)
    for each in made:
        each.close()
    for thread in threads:
        thread.join(DEADLINE)
    assert threading.active_count() == before


def test_a_fork_makes_connections_of_its_own(redis_url: str, admin: Any) -> None:
    with SignalResponder(url=redis_url) as parent, SignalExporter("fio", url=redis_url) as exporter:
        child = os.fork()
        if not child:
            # In here nothing may be raised, for pytest runs here, too.
            with suppress(BaseException), SignalResponder(url=redis_url, responder_id="child") as responder:
                for heard in responder.listen():
                    responder.srespond(heard, 1)
                    if heard.event == "go":
                        os._exit(0)
            os._exit(1)
        assert exporter.initialize_and_wait(1, ["go"], timeout=DEADLINE) == 0
        assert exporter.publish_signal("go", timeout=DEADLINE).ok
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        signals = parent.listen()
        assert [next(signals).event for _ in range(2)] == ["initialization", "go"]


def test_a_signal_handler_may_close_others_that_share(redis_url: str) -> None:
    with SignalResponder(url=redis_url) as mine:
        others = [SignalResponder(url=redis_url) for _ in range(3)]
        threads = [threading.Thread(target=each.run) for each in others]
        for thread in threads:
            thread.start()

        def close(*_: object) -> None:
            for each in (*others, mine):
                each.close()

        previous = signal.signal(signal.SIGUSR1, close)
        try:
            waiting(others[0]._inbox, 2)
            sender = threading.Thread(target=_interrupt_when_it_waits, args=(mine,))
            sender.start()
            assert list(mine.listen()) == []
            sender.join()
        finally:
            signal.signal(signal.SIGUSR1, previous)
        for thread in threads:
            thread.join(DEADLINE)
            assert not thread.is_alive()


def _interrupt_when_it_waits(responder: Any) -> None:
    wait_until(lambda: responder._inbox in responder._inbox._fanout._waiting)
    os.kill(os.getpid(), signal.SIGUSR1)


def test_a_server_that_hangs_holds_up_no_close_for_long() -> None:
    with EmbeddedServer() as server:
        made = [SignalResponder(url=server.url) for _ in range(2)]
        exporter = SignalExporter("fio", url=server.url)
        threads = [threading.Thread(target=each.run) for each in made]
        for thread in threads:
            thread.start()
        assert exporter.initialize_and_wait(2, ["go"], timeout=DEADLINE) == 0
        server.pause()
        began = time.monotonic()
        try:
            for each in made:
                each.close()
            for thread in threads:
                thread.join(DEADLINE)
        finally:
            server.resume()
        # Each may try to say good-bye for two seconds.
        assert time.monotonic() - began < 10
        exporter.close()


def test_an_answer_after_close_is_an_error(redis_url: str) -> None:
    with SignalResponder(url=redis_url) as stays:
        gone = SignalResponder(url=redis_url)
        gone.close()
        with pytest.raises(Closed):
            gone.respond("fio", "go", 1)
        assert stays._link.is_up


def test_close_does_not_wait_for_ever_for_who_subscribes_again(
    redis_url: str, admin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("state_signals.sync.responder.CLOSE_TIMEOUT", 0.1)
    entered, gate = threading.Event(), threading.Event()
    with SignalResponder(url=redis_url):
        mine = SignalResponder(url=redis_url)
        subscribe = mine._subscribe

        def slow() -> Any:
            entered.set()
            assert gate.wait(DEADLINE)
            return subscribe()

        monkeypatch.setattr(mine, "_subscribe", slow)
        thread = threading.Thread(target=mine.run)
        thread.start()
        wait_until(lambda: mine._reader is not None)
        admin.client_kill_filter(_type="pubsub")
        assert entered.wait(DEADLINE)
        mine.close()
        assert thread.is_alive()
        gate.set()
        thread.join(DEADLINE)
        assert not thread.is_alive()
    wait_until(lambda: connections(admin) == 0)
