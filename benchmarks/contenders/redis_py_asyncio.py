"""The floor of those who use redis-py with asyncio: what one would write without this project."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import redis.asyncio

from benchmarks.contenders.base import CHANNEL, ROUND_TIMEOUT, Told, survey


class Surveyor:
    def __init__(self, told: Told) -> None:
        self._told = told
        self._reply = f"{CHANNEL}-{told.name}"
        self._number = 0
        self._count = 0

    async def open(self) -> None:
        self._client: Any = redis.asyncio.Redis.from_url(self._told.url)
        self._pubsub: Any = self._client.pubsub(ignore_subscribe_messages=True)
        await self._pubsub.subscribe(self._reply)
        await self._pubsub.get_message(timeout=1)

    async def gather(self, count: int) -> None:
        self._count = count
        connections = 1 if self._told.shared else count
        while (await self._client.pubsub_numsub(CHANNEL))[0][1] < connections:
            await asyncio.sleep(0.005)

    async def survey(self) -> int:
        await self.announce()
        answers: dict[str, int] = {}
        until = time.monotonic() + ROUND_TIMEOUT
        while len(answers) < self._count and time.monotonic() < until:
            message = await self._pubsub.get_message(timeout=ROUND_TIMEOUT)
            if message is not None:
                answer = json.loads(message["data"])
                if answer["id"] == self._number:
                    answers[answer["responder_id"]] = answer["ras"]
        return len(answers)

    async def announce(self) -> None:
        self._number += 1
        await self._client.publish(CHANNEL, json.dumps(survey(self._number, self._reply)))

    async def close(self) -> None:
        await self._pubsub.aclose()
        await self._client.aclose()


class Responders:
    """Each in a task with connections of its own; or all sharing one task and its connections."""

    def __init__(self, told: Told) -> None:
        self._told = told

    async def open(self) -> None:
        told = self._told
        self._tasks, self._clients, self._pubsubs = [], [], []
        for names in [told.names] if told.shared else [[name] for name in told.names]:
            client: Any = redis.asyncio.Redis.from_url(told.url)
            pubsub = client.pubsub(ignore_subscribe_messages=True)
            await pubsub.subscribe(CHANNEL)
            self._clients.append(client)
            self._pubsubs.append(pubsub)
            self._tasks.append(asyncio.create_task(_answer(client, pubsub, names)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for each in (*self._pubsubs, *self._clients):
            await each.aclose()


async def _answer(client: Any, pubsub: Any, names: list[str]) -> None:
    async for message in pubsub.listen():
        signal = json.loads(message["data"])
        answers = [
            json.dumps({"id": signal["id"], "publisher_id": signal["publisher_id"], "responder_id": name, "ras": 1})
            for name in names
        ]
        if len(answers) == 1:
            await client.publish(signal["reply"], answers[0])
            continue
        async with client.pipeline(transaction=False) as pipeline:
            for answer in answers:
                pipeline.publish(signal["reply"], answer)
            await pipeline.execute()
