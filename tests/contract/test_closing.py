"""`close()`, from anywhere: it ends what is under way, and leaves nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from state_signals import Closed, ServerRefused, Signal, SignalExporter, SignalResponder
from state_signals.asyncio import SignalExporter as AsyncExporter
from state_signals.asyncio import SignalResponder as AsyncResponder
from state_signals.transport.base import Batch
from tests.conftest import wait_until
from tests.parties import EVENTS, Parties, Wire, eventually, in_thread
from tests.programs import DEADLINE, finished, program

USES = ["initialize", "initialize_and_wait", "publish_signal", "shutdown", "phase"]


async def use(exporter: Any, what: str) -> None:
    if what == "phase":
        async with exporter.phase("iteration"):
            pass
    else:
        arguments = {"initialize": (EVENTS,), "initialize_and_wait": (1, EVENTS), "publish_signal": ("start",)}
        await getattr(exporter, what)(*arguments.get(what, ()))


@pytest.mark.parametrize("what", USES)
async def test_a_closed_exporter_says_so(parties: Parties, wire: Wire, what: str) -> None:
    exporter = await parties.exporter()
    await exporter.close()
    await exporter.close()
    with pytest.raises(Closed, match="SignalExporter is closed"):
        await use(exporter, what)
    assert wire.signals() == []


@pytest.mark.parametrize("what", ["listen", "respond", "srespond", "run"])
async def test_a_closed_responder_says_so(parties: Parties, wire: Wire, what: str) -> None:
    responder = await parties.responder()
    await responder.close()
    await responder.close()
    with pytest.raises(Closed, match="SignalResponder is closed"):
        if what == "listen":
            await anext(responder.listen())
        elif what == "run":
            await responder.run()
        elif what == "respond":
            await responder.respond("fio-1", "start", 1)
        else:
            await responder.srespond(Signal("fio-1", "fio", "start", "h"), 1)
    assert wire.responses() == []


async def test_close_ends_listen_of_another_thread_or_task(parties: Parties) -> None:
    responder, heard = await parties.listening()
    exporter = await parties.exporter()
    await exporter.publish_signal("start")
    await heard.next()
    await responder.close()
    await heard.ended


async def test_close_ends_listen_while_it_asks_for_what_it_has_missed(parties: Parties) -> None:
    responder = await parties.responder()
    subject = getattr(responder, "subject", responder)
    ask = subject._link.ask

    def close_and_ask(request: Any) -> Any:
        subject.close()
        return ask(request)

    async def close_and_ask_async(request: Any) -> Any:
        await subject.close()
        return await ask(request)

    subject._link.ask = close_and_ask if parties.shell == "sync" else close_and_ask_async
    subject._core._following._must_discover = True
    assert [signal async for signal in responder.listen()] == []


async def test_close_ends_run(parties: Parties) -> None:
    responder = await parties.responder()
    running = parties.task(responder.run())
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(1, EVENTS, timeout=-1) == 0
    await responder.close()
    await running


async def test_a_handler_may_close_its_responder(parties: Parties) -> None:
    responder = await parties.responder()
    closing: list[Any] = []

    def act(_: Signal) -> None:
        if parties.shell == "sync":
            responder.subject.close()
        else:
            closing.append(asyncio.ensure_future(responder.close()))

    responder.on("start")(act)
    running = parties.task(responder.run())
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(1, EVENTS, timeout=-1) == 0
    await exporter.publish_signal("start", wait=False)
    await running
    await asyncio.gather(*closing)


async def test_close_ends_the_waits_of_an_exporter(parties: Parties) -> None:
    exporter = await parties.exporter()
    await exporter.initialize(EVENTS, None, ["pcp"])
    publishing = parties.task(exporter.publish_signal("start", timeout=-1))
    subscribing = parties.task(exporter.initialize_and_wait(1, EVENTS, expected_resps=["pcp"], timeout=-1))
    core = getattr(exporter, "subject", exporter)._core
    await eventually(lambda: core._responses.has_open_rounds and core._roster.is_awaited)
    await exporter.close()
    result = await publishing
    assert (result.ok, result.pending) == (False, {"pcp"})
    assert await subscribing == 1


async def test_a_with_block_closes_both(parties: Parties) -> None:
    _, heard = await parties.listening()
    async with await parties.exporter() as exporter, await parties.responder() as responder:
        await exporter.initialize(EVENTS)
        assert (await heard.next()).event == "initialization"
    # The responders are told, though nobody called shutdown().
    assert (await heard.next()).event == "shutdown"
    with pytest.raises(Closed):
        await exporter.shutdown()
    with pytest.raises(Closed):
        await responder.respond("fio-1", "start")


async def test_a_with_block_closes_when_its_body_raises(parties: Parties, wire: Wire) -> None:
    exporter = await parties.exporter()
    with pytest.raises(LookupError):
        async with exporter:
            await exporter.initialize(EVENTS)
            raise LookupError
    assert len(wire.signals()) == 2
    # What it has said, and what was said to it, stays for whoever looks back, and expires.
    kept = {f"state-signals:{{{exporter.pub_id}}}:{name}" for name in ("signals", "responses")}
    assert set(wire.stored()) == kept
    assert all(wire.lifetime(key) > 0 for key in kept)
    assert not exporter.init_listener.is_alive()


async def test_closing_from_many_threads_or_tasks_at_once_is_fine(parties: Parties) -> None:
    exporter = await parties.exporter()
    responder, _ = await parties.listening()
    await exporter.initialize(EVENTS)
    await asyncio.gather(*(party.close() for party in (exporter, responder) for _ in range(10)))


# Signals of the operating system

RUN = {
    "sync": """
        import sys, state_signals
        responder = state_signals.SignalResponder(url=sys.argv[1])
        exporter = state_signals.SignalExporter("fio", url=sys.argv[1])
        responder.on("initialization")(lambda signal: print("running", flush=True))
        exporter.initialize(["start"])
        responder.run()
        print("ended", flush=True)
    """,
    # Two at once: the signal is for both.
    "asyncio": """
        import asyncio, sys
        from state_signals.asyncio import SignalExporter, SignalResponder
        async def main():
            responders = [SignalResponder(url=sys.argv[1]) for _ in range(2)]
            for responder in responders:
                await responder.connect()
            exporter = SignalExporter("fio", url=sys.argv[1])
            runs = [asyncio.create_task(responder.run()) for responder in responders]
            assert await exporter.initialize_and_wait(2, ["start"]) == 0
            print("running", flush=True)
            await asyncio.gather(*runs)
            print("ended", flush=True)
            for party in (exporter, *responders):
                await party.close()
        asyncio.run(main())
    """,
}


FORKS = """
import asyncio, multiprocessing, sys, threading, time
import redis.asyncio, redis.sentinel
import state_signals, state_signals.asyncio
fork = multiprocessing.get_context("fork")

def wait(is_there):
    is_there.set()
    for _ in range(1200):
        # Not in one go: a signal that comes just before a sleep is handled after it.
        time.sleep(0.05)

def act(signal):
    is_there = fork.Event()
    child = fork.Process(target=wait, args=(is_there,), daemon=True)
    child.start()
    is_there.wait()
    child.terminate()
    child.join(10)
    if child.exitcode is None:
        child.kill()
    return str(child.exitcode)

module = state_signals if sys.argv[2] == "sync" else state_signals.asyncio

def publish(url):
    exporter = state_signals.SignalExporter("fio", url=url)
    exporter.initialize_and_wait(1, ["start"], timeout=-1)
    for _ in range(2):
        result = exporter.publish_signal("start", timeout=20)
        print(*[report.message for report in result.reports.values()], flush=True)
    exporter.close()

async def run():
    async with module.SignalResponder(url=sys.argv[1]) as responder:
        responder.on("start")(act)
        await responder.run()

threading.Thread(target=publish, args=(sys.argv[1],), daemon=False).start()
if sys.argv[2] == "asyncio":
    asyncio.run(run())
else:
    with module.SignalResponder(url=sys.argv[1]) as responder:
        responder.on("start")(act)
        responder.run()
"""


def test_a_process_that_a_handler_forks_ends_upon_sigterm(shell: str, redis_url: str) -> None:
    ended = finished(FORKS, redis_url, shell)
    assert ended.stdout.split() == ["-15", "-15"], ended.stderr


def test_run_ends_upon_sigterm(shell: str, url: str) -> None:
    with program(RUN[shell], url) as process:
        assert process.stdout
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=DEADLINE) == ("ended\n", "")
        assert process.returncode == 0


@pytest.fixture
def on_sigusr1() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Sets what this process does upon SIGUSR1."""
    previous = signal.getsignal(signal.SIGUSR1)

    def upon(act: Callable[[], object]) -> None:
        signal.signal(signal.SIGUSR1, lambda *_: act())

    yield upon
    signal.signal(signal.SIGUSR1, previous)


def when(condition: Callable[[], object], number: int = signal.SIGUSR1) -> threading.Thread:
    """Send a signal to this process once a condition holds."""

    def send() -> None:
        while not condition():
            threading.Event().wait(0.002)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


def test_a_signal_handler_may_end_listen(url: str, on_sigusr1: Callable[[Callable[[], object]], None]) -> None:
    responder = SignalResponder(url=url)
    on_sigusr1(responder.close)
    sender = when(lambda: responder._reader is not None)
    assert list(responder.listen()) == []
    sender.join()


def test_a_signal_handler_may_end_the_body_of_a_listen_loop(
    url: str, on_sigusr1: Callable[[Callable[[], object]], None]
) -> None:
    responder = SignalResponder(url=url)
    on_sigusr1(responder.close)
    with SignalExporter("fio", url=url) as exporter:
        exporter.publish_signal("start")
        for heard in responder.listen():
            assert heard.event == "start"
            signal.raise_signal(signal.SIGUSR1)


def test_a_signal_handler_may_end_a_round(url: str, on_sigusr1: Callable[[Callable[[], object]], None]) -> None:
    exporter = SignalExporter("fio", url=url)
    exporter.initialize(EVENTS, expected_resps=["pcp"])
    on_sigusr1(exporter.close)
    sender = when(lambda: exporter._core._responses.has_open_rounds)
    # The signal may still be on its way when the handler comes; then there is no round whose result could be told.
    with contextlib.suppress(Closed):
        assert exporter.publish_signal("start", timeout=-1).pending == {"pcp"}
    sender.join()


@pytest.mark.parametrize("url", ["redis"], indirect=True)
def test_a_signal_handler_may_close_in_the_middle_of_a_command(
    url: str, monkeypatch: pytest.MonkeyPatch, on_sigusr1: Callable[[Callable[[], object]], None]
) -> None:
    exporter = SignalExporter("fio", url=url)
    exporter.initialize(EVENTS, expected_resps=["pcp"])
    on_sigusr1(exporter.close)
    commands = exporter._transport._commands  # type: ignore[attr-defined]
    # Its own thread may have something to say, and would say ours with that.
    wait_until(lambda: exporter._core.next_upkeep() > time.monotonic() + 0.5 and commands._idle is not None)
    line = commands._idle
    read = line.read

    def interrupted(*args: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return read(*args)
        monkeypatch.undo()
        signal.raise_signal(signal.SIGUSR1)
        return read(*args)

    monkeypatch.setattr(line, "read", interrupted)
    with pytest.raises(Closed, match="in the meantime"):
        exporter.publish_signal("start", timeout=-1)
    assert not exporter.init_listener.is_alive()  # type: ignore[union-attr]


# What a server sees


def audience(wire: Wire) -> dict[str, int]:
    """How many subscribers each channel has, and readers each stream, of a server in memory."""
    assert wire._memory
    wire.ask("PING")
    return {name.decode(): len(them) for name, them in wire._memory._open_hub()._keyspace._subscribers.items()}


@pytest.fixture
def clients(redis_url: str) -> Iterator[Callable[[], int]]:
    """Counts the clients that were not connected yet when the test began."""
    with redis.Redis.from_url(redis_url) as admin:
        before = {client["id"] for client in admin.client_list()}
        yield lambda: sum(client["id"] not in before for client in admin.client_list())


async def test_an_answer_after_close_opens_no_connection_again(
    shell: str, redis_url: str, clients: Callable[[], int]
) -> None:
    parties = Parties(shell, redis_url)
    responder = await parties.responder()
    transport = getattr(responder, "subject", responder)._transport
    await responder.close()
    with pytest.raises(Closed):
        executing = transport.execute(Batch("event-signal-response", (("PUBLISH", "event-signal-response", "{}"),)))
        await executing
    await eventually(lambda: clients() == 0)
    await parties.close()


async def test_a_subscription_that_is_refused_leaves_nothing(
    shell: str, redis_url: str, clients: Callable[[], int]
) -> None:
    with redis.Redis.from_url(redis_url) as admin:
        admin.execute_command("ACL SETUSER blind on >pass ~* resetchannels +@all")
        try:
            parties = Parties(shell, redis_url.replace("://", "://blind:pass@"))
            said = r"subscribe to event-signal-pubsub at redis://blind@127.*permission"
            with pytest.raises(ServerRefused, match=said) as raised:
                await parties.responder()
            assert "pass@" not in str(raised.value)
            await parties.close()
        finally:
            admin.acl_deluser("blind")
    await eventually(lambda: clients() == 0)


async def test_a_cancellation_at_any_moment_leaves_nothing(url: str, wire: Wire, request: Any) -> None:
    """Cancel a whole life after one step of the event loop, after two, ...; close then finds everything."""
    count = request.getfixturevalue("clients") if url.startswith("redis") else lambda: 0
    wire.stored()
    others = count()

    async def live(exporter: AsyncExporter, responder: AsyncResponder) -> None:
        async with responder:
            running = asyncio.create_task(responder.run())
            try:
                async with exporter:
                    await exporter.initialize_and_wait(1, EVENTS, timeout=-1)
                    await exporter.publish_signal("start", timeout=-1)
            finally:
                await responder.close()
                await asyncio.gather(running, return_exceptions=True)

    def may_stray(key: str) -> bool:
        # A command that was cancelled on its way may be carried out after the good-bye; what it leaves ends by itself.
        return key.endswith(("exporters", "owner")) and wire.lifetime(key) > 0

    strays: set[str] = set()
    steps, is_cancelled = 0, True
    while is_cancelled:
        exporter, responder = AsyncExporter("fio", url=url), AsyncResponder(url=url)
        task = asyncio.create_task(live(exporter, responder))
        for _ in range(steps):
            await asyncio.sleep(0)
        # Each step is one turn of the loop; where the server is slow, many turns pass at one place.
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        is_cancelled = isinstance(result, asyncio.CancelledError)
        assert is_cancelled or result is None
        await exporter.close()
        await responder.close()
        steps += 1 if steps < 60 else 37
        left = set(wire.leftovers()) - strays
        assert not left or (not wire._memory and all(map(may_stray, left))), left
        strays |= left
        assert [other for other in asyncio.all_tasks() if other is not asyncio.current_task()] == []
    assert steps > 10
    assert len(strays) < 5
    await eventually(lambda: count() == others, "the end of every connection")
    if wire._memory:
        # Nobody but the bystander listens any more.
        assert audience(wire) == {wire.keys.signals: 1, wire.keys.responses: 1}


async def test_a_memory_exporter_that_ends_at_once_leaves_nothing() -> None:
    wire = Wire("memory://at-once")
    async with AsyncExporter("fio", url="memory://at-once") as exporter:
        await exporter.initialize(EVENTS)
    assert audience(wire) == {wire.keys.signals: 1, wire.keys.responses: 1}
    wire.close()


async def test_closing_in_one_thread_while_others_publish(url: str) -> None:
    exporter = SignalExporter("fio", url=url)
    exporter.initialize(EVENTS, expected_resps=["pcp"])
    publishing = [asyncio.create_task(in_thread(exporter.publish_signal, "start", timeout=-1)) for _ in range(10)]
    await eventually(lambda: exporter._core._responses.has_open_rounds)
    await in_thread(exporter.close)
    for result in await asyncio.gather(*publishing, return_exceptions=True):
        assert isinstance(result, Closed) or getattr(result, "pending", None) == {"pcp"}, result


def test_nothing_of_a_unix_socket_is_left(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="nowhere"):
        SignalExporter("fio", url=f"unix://{tmp_path}/nowhere", conn_timeout=1)


def test_a_signal_handler_may_close_just_before_the_round_is_waited_for(
    url: str, monkeypatch: pytest.MonkeyPatch, on_sigusr1: Callable[[Callable[[], object]], None]
) -> None:
    exporter = SignalExporter("fio", url=url)
    exporter.initialize(EVENTS, expected_resps=["pcp"])
    on_sigusr1(exporter.close)
    publish = exporter._core.publish

    def interrupted(*args: Any, **options: Any) -> str:
        signal_id = publish(*args, **options)
        signal.raise_signal(signal.SIGUSR1)
        return signal_id

    monkeypatch.setattr(exporter._core, "publish", interrupted)
    with pytest.raises(Closed):
        exporter.publish_signal("start", timeout=-1)


async def test_run_gives_sigterm_back(url: str) -> None:
    previous = signal.signal(signal.SIGTERM, mine := lambda *_: None)
    try:
        async with AsyncResponder(url=url) as first, AsyncResponder(url=url) as second:
            runs = [asyncio.create_task(responder.run()) for responder in (first, second)]
            await eventually(lambda: signal.getsignal(signal.SIGTERM) is not mine)
            await second.close()
            await runs[1]
            assert signal.getsignal(signal.SIGTERM) is not mine
            os.kill(os.getpid(), signal.SIGTERM)
            await runs[0]
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, previous)


def test_run_in_the_main_thread_gives_sigterm_back(url: str) -> None:
    previous = signal.signal(signal.SIGTERM, mine := lambda *_: None)
    try:
        with SignalResponder(url=url) as responder:
            sender = when(lambda: responder._reader is not None, signal.SIGTERM)
            responder.run()
            sender.join()
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, previous)
