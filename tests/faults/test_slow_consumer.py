"""Consumers that are slower than the server's patience, and what they cost: nothing is lost, and memory stays flat."""

from __future__ import annotations

import asyncio
import subprocess
import threading
import time
from collections.abc import Iterator

import psutil
import pytest
import redis

from state_signals import Signal
from state_signals.codec import encode_signal
from state_signals.messages import Envelope
from state_signals.server import EmbeddedServer
from state_signals.transport.keys import Keys
from tests.faults.runs import PATIENCE, Run, command, held
from tests.parties import Parties, in_thread
from tests.programs import program

SIGNALS = 1500
SIZE = 20_000
BEHIND = 100_000
MEGABYTE = 1_000_000

RESPONDERS = {
    "sync": """
        import sys
        from state_signals import SignalResponder

        with SignalResponder(url=sys.argv[1], replay="all") as responder:
            print("subscribed", flush=True)
            for signal in responder.listen():
                if signal.sample_no == 1:
                    print("busy", flush=True)
                    sys.stdin.readline()
                print(signal.sample_no)
                if signal.event == "stop":
                    break
        """,
    "asyncio": """
        import asyncio, sys
        from state_signals.asyncio import SignalResponder

        async def main():
            async with SignalResponder(url=sys.argv[1], replay="all") as responder:
                print("subscribed", flush=True)
                async for signal in responder.listen():
                    if signal.sample_no == 1:
                        print("busy", flush=True)
                        await asyncio.to_thread(sys.stdin.readline)
                    print(signal.sample_no)
                    if signal.event == "stop":
                        break

        asyncio.run(main())
        """,
}

EXPORTERS = {
    "sync": """
        import sys, threading
        import psutil
        from state_signals import SignalExporter, SignalResponder

        with SignalResponder(url=sys.argv[1]) as responder, SignalExporter("fio", url=sys.argv[1]) as exporter:
            threading.Thread(target=responder.run, daemon=True).start()
            assert exporter.initialize_and_wait(1, ["start"], timeout=60) == 0
            for number in range(10_001):
                assert exporter.publish_signal("start", timeout=60).ok
                if number in (2_000, 10_000):
                    print(psutil.Process().memory_info().rss, flush=True)
        """,
    "asyncio": """
        import asyncio, sys
        import psutil
        from state_signals.asyncio import SignalExporter, SignalResponder

        async def main():
            url = sys.argv[1]
            async with SignalResponder(url=url) as responder, SignalExporter("fio", url=url) as exporter:
                running = asyncio.create_task(responder.run())
                assert await exporter.initialize_and_wait(1, ["start"], timeout=60) == 0
                for number in range(10_001):
                    assert (await exporter.publish_signal("start", timeout=60)).ok
                    if number in (2_000, 10_000):
                        print(psutil.Process().memory_info().rss, flush=True)
                await exporter.shutdown()
                await running

        asyncio.run(main())
        """,
}


@pytest.fixture
def impatient_server() -> Iterator[EmbeddedServer]:
    """A server that cuts off whoever is behind by 2 MB."""
    limit = ("--client-output-buffer-limit", "pubsub", "2mb", "2mb", "0")
    with EmbeddedServer(arguments=limit) as running:
        yield running


@pytest.fixture
def url(impatient_server: EmbeddedServer) -> str:
    return impatient_server.url


def subscribers(url: str) -> int:
    """Return how many connections are subscribed to channels."""
    return len(command(url, "CLIENT", "LIST", "TYPE", "pubsub").splitlines())


async def test_a_consumer_that_the_server_cuts_off_gets_everything_once_and_in_order(
    shell: str, parties: Parties, url: str
) -> None:
    gate = threading.Event()
    run = Run(parties)
    slow = await run.responder("slow", held(shell, gate))
    await run.begin()
    before = subscribers(url)
    for _ in range(SIGNALS):
        assert (await run.round(wait=False, metadata={"padding": "x" * SIZE})).ok
    # It is held up by the first of them, and will notice later.
    assert slow.seen[run.exporter.pub_id] == [1]
    assert subscribers(url) == before - 1
    gate.set()
    assert (await run.round()).ok
    await run.check()
    assert "missed" not in slow.responder.counters


def publish_many(url: str, publisher_id: str, count: int) -> None:
    """Have so many signals in the journal and on the channel of an exporter; its own way would take much longer."""
    keys = Keys()
    with redis.Redis.from_url(url) as client:
        for start in range(1, count + 1, 1000):
            pipeline = client.pipeline(transaction=False)
            for seq in range(start, start + 1000):
                event = "stop" if seq == count else "start"
                envelope = Envelope(id=f"{seq:032x}", seq=seq, sent=time.time(), reply=keys.reply(publisher_id))
                data = encode_signal(Signal(publisher_id, "fio", event, "here", seq, "", {"n": seq}), envelope)
                pipeline.xadd(keys.journal(publisher_id), {"s": data}, id=f"{seq}-0")
                pipeline.publish(keys.signals, data)
            pipeline.execute()


def read(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


async def test_a_responder_that_is_far_behind_needs_no_memory_for_that(shell: str, own_server: EmbeddedServer) -> None:
    with program(RESPONDERS[shell], own_server.url) as process:
        assert await in_thread(read, process) == "subscribed"
        memory = psutil.Process(process.pid)
        least = most = memory.memory_info().rss
        publishing = asyncio.create_task(in_thread(publish_many, own_server.url, "fio-1", BEHIND))
        assert await in_thread(read, process) == "busy"
        await publishing
        most = max(most, memory.memory_info().rss)
        assert process.stdin
        process.stdin.write("go on\n")
        process.stdin.flush()
        samples: list[int] = []

        def drain() -> None:
            while not samples or samples[-1] != BEHIND:
                samples.append(int(read(process)))

        draining = asyncio.create_task(in_thread(drain))
        async with asyncio.timeout(PATIENCE):
            while not draining.done():
                most = max(most, memory.memory_info().rss)
                await asyncio.sleep(0.02)
        await draining
    assert samples == list(range(1, BEHIND + 1))
    assert most - least < 50 * MEGABYTE


async def test_an_exporter_does_not_grow_with_the_number_of_its_rounds(shell: str, own_server: EmbeddedServer) -> None:
    with program(EXPORTERS[shell], own_server.url) as process:
        warm = int(await in_thread(read, process))
        end = int(await in_thread(read, process))
    assert end - warm < 3 * MEGABYTE
