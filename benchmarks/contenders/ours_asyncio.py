"""This project, with asyncio."""

from __future__ import annotations

import asyncio
import random

from benchmarks.contenders.base import EVENT, ROUND_TIMEOUT, SLOW_EVENT, SLOWEST, Told
from state_signals import TransportError
from state_signals.asyncio import SignalExporter, SignalResponder


class Surveyor:
    def __init__(self, told: Told) -> None:
        self._told = told

    async def open(self) -> None:
        told = self._told
        self._exporter = SignalExporter("bench", url=told.url, namespace=told.namespace, publisher_id=told.name)
        await self._exporter.connect()

    async def gather(self, count: int) -> None:
        if await self._exporter.initialize_and_wait(count, [EVENT, SLOW_EVENT], timeout=60):
            raise TimeoutError(f"{len(self._exporter.subs)} of {count} responders have come")

    async def survey(self) -> int:
        return len((await self._exporter.publish_signal(EVENT, sample=1, tag="bench", timeout=ROUND_TIMEOUT)).succeeded)

    async def hurry(self, timeout: float) -> int:
        try:
            return len((await self._exporter.publish_signal(SLOW_EVENT, tag="bench", timeout=timeout)).succeeded)
        except TransportError:
            # The server has not even had the time to tell all.
            return 0

    async def announce(self) -> None:
        await self._exporter.publish_signal(EVENT, sample=1, tag="bench", wait=False)

    async def close(self) -> None:
        await self._exporter.close()


class Responders:
    def __init__(self, told: Told) -> None:
        self._told = told

    async def open(self) -> None:
        told = self._told
        self._all = [
            SignalResponder(url=told.url, namespace=told.namespace, responder_id=name, conn_timeout=60)
            for name in told.names
        ]
        for responder in self._all:
            if told.follows is not None:
                responder.lock_id(told.follows)
            responder.on(EVENT)(lambda _signal: None)
            responder.on(SLOW_EVENT)(_slowly)
        await asyncio.gather(*(responder.connect() for responder in self._all))
        self._tasks = [asyncio.create_task(responder.run()) for responder in self._all]

    async def close(self) -> None:
        await asyncio.gather(*(responder.close() for responder in self._all))
        await asyncio.gather(*self._tasks)


async def _slowly(_signal: object) -> None:
    await asyncio.sleep(random.uniform(0, SLOWEST))
