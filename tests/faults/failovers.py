"""A run through a failover: an exporter, its responders, and what each of them has to see."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import signal as process_signals
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from state_signals import PublishResult, Signal
from state_signals.transport.keys import Keys
from tests.faults.groups import Node
from tests.parties import DEADLINE, Parties, eventually, in_thread
from tests.programs import program

__all__ = [
    "OTHER",
    "PATIENCE",
    "RESTORED",
    "Run",
    "begun",
    "ended",
    "finished",
    "lost_answers",
    "measured",
    "rounds",
    "started",
]

PATIENCE = 60.0
"""Seconds that a round may take: much more than a failover, and than a busy machine adds to it."""

OTHER = {"sync": "asyncio", "asyncio": "sync"}

RESTORED = "the server had lost data"
"""What an exporter logs that has put back what is gone."""


class Run:
    """An exporter of one shell, and three responders, one of them of the other shell.

    A round with `gated` in its tag ends in two steps: `quick` answers at once, `slow` and `failing` when the gate
    opens.

    Args:
        shell: of the exporter.
        url: the servers.
        publisher_id: of the exporter.
        clients: by shell, what to use instead of the URL.
        options: of every party.
    """

    def __init__(
        self,
        shell: str,
        url: str,
        publisher_id: str = "fio",
        *,
        clients: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        self.shell = shell
        self.url = url
        self.publisher_id = publisher_id
        self.namespace = f"{publisher_id}-{shell}-{secrets.token_hex(4)}"
        self.keys = Keys(self.namespace)
        self.gate = threading.Event()
        self.names = [f"{name}-{shell}" for name in ("quick", "slow", "failing")]
        self.seen: dict[str, list[tuple[str, int]]] = {name: [] for name in self.names}
        self.known: list[str] = []
        self.exporter: Any = None
        self._options = options
        self._clients = clients
        self._sent: list[tuple[str, int]] = []
        self._parties = {each: Parties(each, url) for each in OTHER}

    async def follow(self) -> None:
        """Start the responders."""
        for name in self.names:
            await self.responder(name)

    async def start(self) -> None:
        """Start the responders and the exporter."""
        await self.follow()
        self.exporter = await self._parties[self.shell].exporter(
            publisher_id=self.publisher_id, **self._options_of(self.shell)
        )
        assert await self.exporter.initialize_and_wait(3, ["start"], timeout=PATIENCE) == 0
        self._sent.append(("initialization", -1))

    async def responder(self, name: str, **options: Any) -> Any:
        """Start one more responder."""
        shell = OTHER[self.shell] if name.startswith("slow") else self.shell
        seen = self.seen.setdefault(name, [])

        def record(signal: Signal) -> None:
            seen.append((signal.event, signal.sample_no))

        def act(signal: Signal) -> str:
            record(signal)
            if "gated" in signal.tag and not name.startswith("quick"):
                assert self.gate.wait(PATIENCE)
                if name.startswith("failing"):
                    raise RuntimeError("no disk")
            return f"did {signal.sample_no}"

        async def act_in_thread(signal: Signal) -> Any:
            return await in_thread(act, signal)

        functions: dict[str | None, Callable[[Signal], Any]] = {
            "start": act if shell == "sync" else act_in_thread,
            "initialization": record,
            "shutdown": record,
        }
        return await self._parties[shell].running(
            name, functions, responder_id=name, **{**self._options_of(shell), **options}
        )

    async def observe(self, name: str = "observer") -> None:
        """Start a responder that sees everything from the beginning, and answers nothing."""
        responder = await self._parties[self.shell].responder(name, replay="all", **self._options_of(self.shell))
        seen = self.seen.setdefault(name, [])

        async def look() -> None:
            async for signal in responder.listen():
                seen.append((signal.event, signal.sample_no))

        self._parties[self.shell].task(look())

    async def publish(self, sample: int, **options: Any) -> PublishResult:
        """Publish one signal."""
        self._sent.append(("start", sample))
        result: PublishResult = await self.exporter.publish_signal(
            "start", sample=sample, **{"timeout": PATIENCE, **options}
        )
        return result

    async def round(self, sample: int) -> float:
        """Go through a round in which all goes well; return the seconds it took."""
        began = time.monotonic()
        result = await self.publish(sample)
        assert result.ok, result
        assert dict(result.messages) == dict.fromkeys(self.names, f"did {sample}")
        return time.monotonic() - began

    async def begin(self, sample: int) -> asyncio.Task[PublishResult]:
        """Begin a gated round; return when one answer is there and the others are being worked on."""
        self.gate.clear()
        self.known.clear()
        round_ = self._parties[self.shell].task(
            self.publish(sample, tag="gated", on_outcome=lambda name, _: self.known.append(name))
        )
        await eventually(lambda: self.known, "the first answer")
        await self.has_arrived(sample)
        assert self.known == self.names[:1]
        return round_

    async def has_arrived(self, sample: int) -> None:
        """Wait until every responder acts on a signal."""
        await eventually(lambda: all(("start", sample) in seen for seen in self.seen.values()), "the signal")

    async def end(self, round_: asyncio.Task[PublishResult], sample: int) -> float:
        """Open the gate, and see that each outcome is the true one; return the seconds it took."""
        began = time.monotonic()
        self.gate.set()
        result = await round_
        quick, slow, failing = self.names
        assert {name: report.message for name, report in result.succeeded.items()} == dict.fromkeys(
            (quick, slow), f"did {sample}"
        ), result
        assert set(result.failed) == {failing}, result
        assert not result.missing, result
        assert not result.lost, result
        return time.monotonic() - began

    async def finish(self) -> None:
        """End the run: every responder has seen every signal once, in order."""
        await self.exporter.shutdown()
        self._sent.append(("shutdown", -1))
        await eventually(
            lambda: all(seen and seen[-1][0] == "shutdown" for seen in self.seen.values()),
            f"the shutdown for all of {list(self.seen)}",
        )
        for name, seen in self.seen.items():
            assert seen == self._sent, name

    async def close(self) -> None:
        """End all parties."""
        self.gate.set()
        for parties in self._parties.values():
            await parties.close()

    def _options_of(self, shell: str) -> dict[str, Any]:
        client = {} if self._clients is None else {"existing_redis_conn": self._clients[shell]}
        return {"namespace": self.namespace, **client, **self._options}


@asynccontextmanager
async def started(*runs: Run) -> AsyncIterator[Sequence[Run]]:
    """Several runs at the same time, to be finished by the body."""
    try:
        await asyncio.gather(*(each.start() for each in runs))
        yield runs
    finally:
        async with asyncio.timeout(3 * DEADLINE):
            await asyncio.gather(*(each.close() for each in runs))


def measured(seconds: float) -> None:
    """Log how long it took to recover; shown with `-o log_cli=true -o log_cli_level=INFO`."""
    logging.getLogger("tests.faults").info("recovered within %.2f s", seconds)


async def rounds(runs: Sequence[Run], sample: int) -> float:
    """Go through a round in each of several runs; return the seconds until the last one ends."""
    return max(await asyncio.gather(*(each.round(sample) for each in runs)))


async def begun(runs: Sequence[Run], sample: int) -> list[asyncio.Task[PublishResult]]:
    """Begin a gated round in each of several runs."""
    return [await each.begin(sample) for each in runs]


async def ended(runs: Sequence[Run], begun: list[asyncio.Task[PublishResult]], sample: int) -> float:
    """End the gated rounds of several runs; return the seconds until the last one ends."""
    return max(await asyncio.gather(*(each.end(round_, sample) for each, round_ in zip(runs, begun, strict=True))))


async def finished(runs: Sequence[Run]) -> None:
    """Finish several runs."""
    await asyncio.gather(*(each.finish() for each in runs))


EXPORTER = """
    import json, sys
    from state_signals import SignalExporter
    url, namespace, publisher_id = sys.argv[1:]
    with SignalExporter("fio", url=url, namespace=namespace, publisher_id=publisher_id) as exporter:
        exporter.initialize_and_wait(3, ["start"], timeout=60)
        result = exporter.publish_signal("start", sample=1, tag="gated", timeout=60)
        print(json.dumps([sorted(result.succeeded), sorted(result.failed)]), flush=True)
        input()
"""


async def lost_answers(run: Run, master: Node, replica: Node, taken_over: Callable[[Node], Awaitable[None]]) -> float:
    """Have a master acknowledge answers and die before anybody has read them or has a copy.

    The exporter is a process of its own, which is frozen meanwhile. Return the seconds until its round ends.
    """
    await run.follow()
    with program(EXPORTER, run.url, run.namespace, run.publisher_id) as process:
        try:
            await run.has_arrived(1)
            await in_thread(replica.lag)
            process.send_signal(process_signals.SIGSTOP)
            # Not even what waits for it in its socket is to reach it.
            for client in master.client.client_list():
                if client["cmd"] == "xread":
                    master.client.client_kill_filter(_id=client["id"])
            run.gate.set()
            reply = run.keys.reply(run.publisher_id)
            # The opening, three subscriptions and three answers.
            await eventually(lambda: master.client.xlen(reply) >= 7, "the answers")
            master.kill()
            began = time.monotonic()
            await taken_over(replica)
        finally:
            process.send_signal(process_signals.SIGCONT)
        assert process.stdout
        assert process.stdin
        said = await asyncio.wait_for(in_thread(process.stdout.readline), PATIENCE)
        took = time.monotonic() - began
        quick, slow, failing = run.names
        assert json.loads(said) == [[quick, slow], [failing]]
        process.stdin.write("\n")
        process.stdin.flush()
        assert await in_thread(process.wait, DEADLINE) == 0
    await eventually(lambda: all(seen[-1][0] == "shutdown" for seen in run.seen.values()), "the shutdown")
    for seen in run.seen.values():
        assert seen == [("initialization", -1), ("start", 1), ("shutdown", -1)]
    return took
