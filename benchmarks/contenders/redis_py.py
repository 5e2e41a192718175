"""The floor of those who use redis-py with threads: what one would write without this project."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import redis

from benchmarks.contenders.base import CHANNEL, ROUND_TIMEOUT, Told, survey


class Surveyor:
    def __init__(self, told: Told) -> None:
        self._told = told
        self._reply = f"{CHANNEL}-{told.name}"
        self._number = 0
        self._count = 0

    def open(self) -> None:
        self._client: Any = redis.Redis.from_url(self._told.url)
        self._pubsub: Any = self._client.pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(self._reply)
        self._pubsub.get_message(timeout=1)

    def gather(self, count: int) -> None:
        self._count = count
        connections = 1 if self._told.shared else count
        while self._client.pubsub_numsub(CHANNEL)[0][1] < connections:
            time.sleep(0.005)

    def survey(self) -> int:
        self.announce()
        answers: dict[str, int] = {}
        until = time.monotonic() + ROUND_TIMEOUT
        while len(answers) < self._count and time.monotonic() < until:
            message = self._pubsub.get_message(timeout=ROUND_TIMEOUT)
            if message is not None:
                answer = json.loads(message["data"])
                if answer["id"] == self._number:
                    answers[answer["responder_id"]] = answer["ras"]
        return len(answers)

    def announce(self) -> None:
        self._number += 1
        self._client.publish(CHANNEL, json.dumps(survey(self._number, self._reply)))

    def close(self) -> None:
        self._pubsub.close()
        self._client.close()


class Responders:
    """Each in a thread with connections of its own; or all sharing one thread and its connections."""

    def __init__(self, told: Told) -> None:
        self._told = told

    def open(self) -> None:
        told = self._told
        self._pubsubs = []
        for names in [told.names] if told.shared else [[name] for name in told.names]:
            client: Any = redis.Redis.from_url(told.url)
            pubsub = client.pubsub(ignore_subscribe_messages=True)
            pubsub.subscribe(CHANNEL)
            self._pubsubs.append(pubsub)
            threading.Thread(target=_answer, args=(client, pubsub, names), daemon=True).start()

    def close(self) -> None:
        for pubsub in self._pubsubs:
            pubsub.unsubscribe()


def _answer(client: Any, pubsub: Any, names: list[str]) -> None:
    for message in pubsub.listen():
        signal = json.loads(message["data"])
        answers = [
            json.dumps({"id": signal["id"], "publisher_id": signal["publisher_id"], "responder_id": name, "ras": 1})
            for name in names
        ]
        if len(answers) == 1:
            client.publish(signal["reply"], answers[0])
            continue
        with client.pipeline(transaction=False) as pipeline:
            for answer in answers:
                pipeline.publish(signal["reply"], answer)
            pipeline.execute()
