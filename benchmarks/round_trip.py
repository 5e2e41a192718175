"""How long a round takes with one responder in another process, beside the same survey written by hand.

    python benchmarks/round_trip.py [--rounds N] [--repeat N] [--url URL] [--json]

Contenders take turns on one embedded server, several times, so that whatever else the machine does hits all of them.
`hand-written` publishes a JSON signal with redis-py and waits for the JSON answer on a subscribed channel: what one
would write without this project. 1.0.1 takes part if STATE_SIGNALS_PEER names a Python that has it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import redis
import redis.asyncio

import state_signals
import state_signals.asyncio

SIGNALS, RESPONSES = "bench-signals", "bench-responses"
ANSWER = json.dumps({"responder_id": "r", "publisher_id": "p", "event": "e", "ras": 1})
SIGNAL = json.dumps(
    {"publisher_id": "p", "process_name": "bench", "event": "e", "runner_host": "h", "sample_no": 1, "tag": "t"}
)


def hand_written_responder(url: str) -> None:
    client: Any = redis.Redis.from_url(url)
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(SIGNALS)
        client.set("bench-ready", 1)
        for message in pubsub.listen():
            if message["data"] == b"stop":
                return
            json.loads(message["data"])
            client.publish(RESPONSES, ANSWER)


def hand_written(url: str, rounds: int) -> list[float]:
    client: Any = redis.Redis.from_url(url)
    with client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(RESPONSES)
        pubsub.get_message(timeout=1)
        client.delete("bench-ready")
        with responder("hand_written_responder", url):
            while not client.get("bench-ready"):
                time.sleep(0.01)

            def one() -> None:
                client.publish(SIGNALS, SIGNAL)
                while (message := pubsub.get_message(timeout=5)) is None:
                    pass
                json.loads(message["data"])

            times = timed(one, rounds)
            client.publish(SIGNALS, "stop")
    client.close()
    return times


def hand_written_asyncio(url: str, rounds: int) -> list[float]:
    async def main() -> list[float]:
        client = redis.asyncio.Redis.from_url(url)
        async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(RESPONSES)
            await pubsub.get_message(timeout=1)
            await client.delete("bench-ready")
            with responder("hand_written_responder", url):
                while not await client.get("bench-ready"):
                    await asyncio.sleep(0.01)

                async def one() -> None:
                    await client.publish(SIGNALS, SIGNAL)
                    while (message := await pubsub.get_message(timeout=5)) is None:
                        pass
                    json.loads(message["data"])

                times = await async_timed(one, rounds)
                await client.publish(SIGNALS, "stop")
        await client.aclose()
        return times

    return asyncio.run(main())


def ours_responder(url: str) -> None:
    with state_signals.SignalResponder(url=url) as answering:
        answering.run()


def ours(url: str, rounds: int) -> list[float]:
    with state_signals.SignalExporter("bench", url=url) as exporter, responder("ours_responder", url):
        if exporter.initialize_and_wait(1, ["e"], timeout=10, periodic=True):
            raise SystemExit("no responder")
        times = timed(lambda: exporter.publish_signal("e", sample=1, tag="t"), rounds)
        exporter.shutdown()
    return times


def ours_asyncio(url: str, rounds: int) -> list[float]:
    async def main() -> list[float]:
        async with state_signals.asyncio.SignalExporter("bench", url=url) as exporter:
            with responder("ours_responder", url):
                if await exporter.initialize_and_wait(1, ["e"], timeout=10, periodic=True):
                    raise SystemExit("no responder")
                times = await async_timed(lambda: exporter.publish_signal("e", sample=1, tag="t"), rounds)
                await exporter.shutdown()
        return times

    return asyncio.run(main())


PEER = """
import json, sys, threading, time, urllib.parse, state_signals
where = urllib.parse.urlsplit(sys.argv[1])
server = dict(redis_host=where.hostname, redis_port=where.port)
def answer():
    responder = state_signals.SignalResponder(**server)
    for signal in responder.listen():
        if signal.event == "shutdown":
            return
        responder.srespond(signal, 1)
if sys.argv[2] == "responder":
    answer()
else:
    import subprocess
    child = subprocess.Popen([sys.executable, __file__, sys.argv[1], "responder"])
    exporter = state_signals.SignalExporter("bench", **server)
    exporter.initialize_and_wait(1, ["e"], periodic=True)
    times = []
    for _ in range(int(sys.argv[2])):
        start = time.perf_counter()
        exporter.publish_signal("e", sample=1, tag="t")
        times.append(time.perf_counter() - start)
    exporter.shutdown()
    child.wait()
    print(json.dumps(times))
"""


def version_1(url: str, rounds: int) -> list[float]:
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(PEER)
        script.flush()
        # A round takes a tenth of a second: a few of them say it all.
        command = [os.environ["STATE_SIGNALS_PEER"], script.name, url, str(max(10, rounds // 100))]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    times: list[float] = json.loads(done.stdout)
    return times


class responder:  # noqa: N801 - reads as a function
    """A process that runs one of the functions above, for as long as the body lasts."""

    def __init__(self, function: str, url: str) -> None:
        self.process = subprocess.Popen([sys.executable, __file__, "--responder", function, url])

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def timed(one: Callable[[], object], rounds: int) -> list[float]:
    for _ in range(50):
        one()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        one()
        times.append(time.perf_counter() - start)
    return times


async def async_timed(one: Callable[[], Any], rounds: int) -> list[float]:
    for _ in range(50):
        await one()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        await one()
        times.append(time.perf_counter() - start)
    return times


def embedded_server() -> Any:
    from state_signals.server import EmbeddedServer

    return EmbeddedServer()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000, help="rounds of each contender in each repetition")
    parser.add_argument("--repeat", type=int, default=5, help="repetitions")
    parser.add_argument("--url", help="measure on this server instead of an embedded one")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--responder", nargs=2, metavar=("FUNCTION", "URL"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.responder:
        globals()[options.responder[0]](options.responder[1])
        return
    contenders = {
        "hand-written, redis-py": hand_written,
        "state-signals": ours,
        "hand-written, redis-py asyncio": hand_written_asyncio,
        "state-signals asyncio": ours_asyncio,
    }
    if os.environ.get("STATE_SIGNALS_PEER"):
        contenders["state-signals 1.0.1"] = version_1
    floors = {
        "state-signals": "hand-written, redis-py",
        "state-signals asyncio": "hand-written, redis-py asyncio",
        "state-signals 1.0.1": "hand-written, redis-py",
    }
    medians: dict[str, list[float]] = {name: [] for name in contenders}
    tails: dict[str, list[float]] = {name: [] for name in contenders}
    with contextlib.ExitStack() as stack:
        url = options.url or stack.enter_context(embedded_server()).url
        for _ in range(options.repeat):
            for name, contender in contenders.items():
                times = contender(url, options.rounds)
                medians[name].append(statistics.median(times) * 1000)
                tails[name].append(statistics.quantiles(times, n=100)[98] * 1000)
    ratios = {
        name: statistics.median(a / b for a, b in zip(medians[name], medians[floor], strict=True))
        for name, floor in floors.items()
        if name in medians
    }
    if options.json:
        print(json.dumps({"p50_ms": medians, "p99_ms": tails, "p50_ratio_to_hand_written": ratios}))
        return
    print(f"{'one responder, own process':32} {'p50 ms (min..max)':>24} {'p99 ms':>8}  ratio of p50")
    for name, values in medians.items():
        spread = f"{statistics.median(values):.3f} ({min(values):.3f}..{max(values):.3f})"
        ratio = f"{ratios[name]:.2f} x {floors[name]}" if name in ratios else ""
        print(f"{name:32} {spread:>24} {statistics.median(tails[name]):8.3f}  {ratio}")


if __name__ == "__main__":
    main()
