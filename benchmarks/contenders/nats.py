"""The same survey over NATS: nats-py with callbacks, and nats-server."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import nats

from benchmarks.contenders.base import CHANNEL, ROUND_TIMEOUT, Told, survey

_TO_TRY = 0.5
"""Seconds after which to ask again whether all are there."""


class Surveyor:
    def __init__(self, told: Told) -> None:
        self._told = told
        self._number = 0
        self._count = 0
        self._answers: dict[str, int] = {}
        self._done: asyncio.Future[None]

    async def open(self) -> None:
        self._client = await nats.connect(self._told.url)
        self._reply = self._client.new_inbox()
        await self._client.subscribe(self._reply, cb=self._heard)

    async def gather(self, count: int) -> None:
        """Return when as many answer: nobody else can be asked how many there are."""
        self._count = count
        while await self._survey(_TO_TRY) < count:
            pass

    async def survey(self) -> int:
        return await self._survey(ROUND_TIMEOUT)

    async def _survey(self, timeout: float) -> int:
        self._answers = {}
        self._done = asyncio.get_running_loop().create_future()
        self._number += 1
        said = json.dumps(survey(self._number, self._reply)).encode()
        await self._client.publish(CHANNEL, said, reply=self._reply)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._done
        return len(self._answers)

    async def announce(self) -> None:
        raise NotImplementedError("without waiting for the server, this would measure nothing")

    async def close(self) -> None:
        await self._client.close()

    async def _heard(self, message: Any) -> None:
        if not message.data:
            # Nobody has subscribed yet, says the server.
            return
        answer = json.loads(message.data)
        if answer["id"] == self._number:
            self._answers[answer["responder_id"]] = answer["ras"]
            if len(self._answers) == self._count and not self._done.done():
                self._done.set_result(None)


class Responders:
    """Each with a connection of its own; or all sharing one."""

    def __init__(self, told: Told) -> None:
        self._told = told

    async def open(self) -> None:
        told = self._told
        self._clients = [await nats.connect(told.url) for _ in ([0] if told.shared else told.names)]
        for number, name in enumerate(told.names):
            client = self._clients[number % len(self._clients)]
            await client.subscribe(CHANNEL, cb=_answering(name))
        for client in self._clients:
            await client.flush()

    async def close(self) -> None:
        for client in self._clients:
            await client.close()


def _answering(name: str) -> Any:
    async def answer(message: Any) -> None:
        signal = json.loads(message.data)
        said = {"id": signal["id"], "publisher_id": signal["publisher_id"], "responder_id": name, "ras": 1}
        await message.respond(json.dumps(said).encode())

    return answer
