"""What `bench` does: an exporter here, responders elsewhere, and nothing left of them on the server."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

from state_signals.asyncio import SignalExporter
from state_signals.cli.benching.plan import Account, Plan, shares
from state_signals.cli.benching.responders import answer, reason
from state_signals.cli.exit_codes import by_signal
from state_signals.cli.options import Server
from state_signals.cli.session import Interrupted, Interrupts, connected
from state_signals.exceptions import ServerRefused, TransportError
from state_signals.transport.base import AsyncTransport, Batch
from state_signals.transport.connect import async_transport
from state_signals.transport.keys import Keys
from state_signals.transport.urls import redacted

__all__ = ["Benchmark", "Missing", "Stopped", "measure"]

_EVENT = "bench"

_PINGS = 200

_LONGEST = 3.0
"""Seconds after which PINGs, or signals that nobody waits for, are enough."""

_TO_SUBSCRIBE = 60.0
"""Seconds in which all responders have to be there."""

_RETENTION = 60.0
"""Seconds after which the server forgets what could not be deleted."""

_GRACE = 5.0
"""Seconds that processes have to end, and that deleting may take."""

_LONGEST_NAMESPACE = 64


class Missing(Exception):
    """Not all responders have come, or some have gone."""


class Stopped(Exception):
    """A signal of the operating system has ended it.

    Attributes:
        exit_code: the exit code that is due.
    """

    def __init__(self, exit_code: int) -> None:
        super().__init__("interrupted; nothing is left on the server")
        self.exit_code = exit_code


def measure(benchmark: Benchmark) -> None:
    """Run a benchmark.

    Raises:
        Missing: if responders are.
        Stopped: upon Ctrl-C, SIGTERM and SIGHUP.
        TransportError: without a connection.
    """
    # What the library would warn of shows in the numbers.
    logging.getLogger("state_signals").setLevel(logging.CRITICAL)
    asyncio.run(_measured(benchmark))


async def _measured(benchmark: Benchmark) -> None:
    with Interrupts() as interrupts:
        try:
            await interrupts.cancelling(benchmark.run())
        except Interrupted:
            raise Stopped(by_signal(interrupts.first or 0)) from None


class Benchmark:
    """One exporter that goes through rounds with responders of its own.

    Args:
        server: where.
        plan: what to do.
        progress: is told how many rounds are done.

    Attributes:
        account: what has been measured so far.
        where: the server and the namespace, to be shown.

    Raises:
        InvalidArgument, InvalidType: for a server that cannot be.
    """

    def __init__(self, server: Server, plan: Plan, progress: Callable[[int], object]) -> None:
        self.plan = plan
        self.account = Account()
        token = f"bench-{secrets.token_hex(4)}"
        # Checked before it is made longer.
        given = Keys(server.namespace).namespace
        self._namespace = token if given is None else f"{given[: _LONGEST_NAMESPACE - len(token) - 1]}.{token}"
        self.where = {"url": redacted(server.url), "namespace": self._namespace}
        self._server = server
        self._progress = progress
        self._publisher_id = token

    async def run(self) -> None:
        """Do it, and clean up, whatever happens.

        Raises:
            Missing: if not all responders come, or some go before the end.
            TransportError: without a connection.
        """
        bystander = async_transport(url=self._server.url, host="", port=0, namespace=self._namespace)
        exporter = SignalExporter(
            "state-signals-bench",
            url=self._server.url,
            namespace=self._namespace,
            publisher_id=self._publisher_id,
            conn_timeout=1,
            retention=_RETENTION,
        )
        has_begun = False
        try:
            await connected(bystander.connect, self._server)
            has_begun = True
            await connected(exporter.connect, self._server)
            async with self._responders() as ended:
                await _unless(ended, self._measure(exporter, bystander))
        finally:
            if has_begun:
                await _in_the_end(exporter.close())
                await _in_the_end(self._forget(bystander))
            await exporter.close()
            await bystander.close()

    async def _measure(self, exporter: SignalExporter, bystander: AsyncTransport) -> None:
        count = self.plan.responders
        if await exporter.initialize_and_wait(count, [_EVENT], timeout=_TO_SUBSCRIBE):
            raise Missing(f"{len(exporter.subs)} of {count} responders have come within {_TO_SUBSCRIBE:g} s")
        await self._pinged(bystander)
        await self._rounds(exporter)
        await self._unawaited(exporter)

    async def _pinged(self, bystander: AsyncTransport) -> None:
        until = time.perf_counter() + _LONGEST
        for _ in range(_PINGS):
            before = time.perf_counter()
            await bystander.execute(Batch("", (("PING",),)))
            self.account.pings.append(time.perf_counter() - before)
            if time.perf_counter() > until:
                return

    async def _rounds(self, exporter: SignalExporter) -> None:
        for number in range(-self.plan.warm_up, self.plan.rounds):
            before = time.perf_counter()
            result = await exporter.publish_signal(_EVENT, sample=max(0, number), timeout=self.plan.timeout)
            took = time.perf_counter() - before
            if number < 0:
                continue
            account = self.account
            account.rounds.append(took)
            account.answers += sum(report.ras is not None for report in result.reports.values())
            account.failed += not result.ok and not (result.missing or result.lost)
            account.missing += bool(result.missing or result.lost)
            self._progress(number + 1)

    async def _unawaited(self, exporter: SignalExporter) -> None:
        began = time.perf_counter()
        for _ in range(self.plan.unawaited):
            await exporter.publish_signal(_EVENT, wait=False)
            self.account.unawaited += 1
            self.account.unawaited_seconds = time.perf_counter() - began
            if self.account.unawaited_seconds > _LONGEST:
                return

    @asynccontextmanager
    async def _responders(self) -> AsyncIterator[asyncio.Future[str]]:
        """Start the responders; yield what is done when one of them has ended early, and why. Afterwards all have."""
        ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        works = []
        if self.plan.processes:
            works = [self._in_process(share) for share in shares(self.plan.responders, self.plan.processes)]
        elif self.plan.responders:
            works = [self._in_tasks()]
        tasks = [asyncio.ensure_future(_reported(work, ended)) for work in works]
        try:
            yield ended
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _in_tasks(self) -> str:
        names = [f"responder-{number}" for number in range(self.plan.responders)]
        await answer(names, url=self._server.url, namespace=self._namespace, publisher_id=self._publisher_id)
        return "they were told to"

    async def _in_process(self, share: range) -> str:
        told = {
            "first": share.start,
            "end": share.stop,
            "url": self._server.url,
            "namespace": self._namespace,
            "publisher_id": self._publisher_id,
        }
        process = await asyncio.create_subprocess_exec(
            # -P: what lies in the current folder is not meant.
            *(sys.executable, "-P", "-m", "state_signals.cli.benching.responders"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        stdin: Any = process.stdin
        stderr: Any = process.stderr
        try:
            with suppress(ConnectionError):
                stdin.write(json.dumps(told).encode() + b"\n")
                await stdin.drain()
            said = (await stderr.read()).decode(errors="replace").strip()
            await process.wait()
        finally:
            await _end(process)
            stdin.close()
        return said.splitlines()[-1] if said else f"exit code {process.returncode}"

    async def _forget(self, bystander: AsyncTransport) -> None:
        """Delete all that there was in the namespace. Without the server or the permission, it expires soon."""
        keys, name = bystander.keys, self._publisher_id
        own = (keys.journal, keys.reply, keys.rounds, keys.roster, keys.record, keys.owner)
        # In a Cluster, these are in three places.
        for place in ([each(name) for each in own], [keys.exporters], [keys.presence]):
            with suppress(TransportError, ServerRefused):
                await bystander.execute(Batch(place[0], (("DEL", *place),)), _GRACE)


async def _reported(work: Any, ended: asyncio.Future[str]) -> None:
    """Do the work of some responders; say when it has ended, and why."""
    why = "it was cancelled"
    try:
        why = await work
    except Exception as error:  # noqa: BLE001 - whatever it was, the exporter need not wait for them
        why = reason(error)
    finally:
        if not ended.done():
            ended.set_result(why)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process: politely first."""
    if process.returncode is None:
        process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await asyncio.shield(process.wait())
    if process.returncode is None:
        process.kill()
        await asyncio.shield(process.wait())


async def _unless(ended: asyncio.Future[str], work: Coroutine[Any, Any, None]) -> None:
    """Do some work, unless responders end meanwhile.

    Raises:
        Missing: if they do.
    """
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait((working, ended), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Missing(f"some responders have ended: {ended.result()}")
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    working.result()


async def _in_the_end(work: Any) -> None:
    """Do what has to be done even while everything is being cancelled, within limits."""
    task = asyncio.ensure_future(work)
    with suppress(TimeoutError, TransportError):
        async with asyncio.timeout(_GRACE):
            await asyncio.shield(task)
