"""The same survey over nng, without a server: pynng's Surveyor and Respondents. It may lose answers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pynng  # type: ignore[import-untyped]

from benchmarks.contenders.base import Told, survey

_TIMEOUT = 1000
"""Milliseconds after which the answers that have not come are lost: far more than a round takes."""


class Surveyor:
    def __init__(self, told: Told) -> None:
        self._told = told
        self._number = 0
        self._count = 0

    async def open(self) -> None:
        self._socket = pynng.Surveyor0(listen=self._told.url, survey_time=_TIMEOUT)
        # One survey at a time, all answers of it: what is there must fit.
        self._socket.recv_buffer_size = 8192

    async def gather(self, count: int) -> None:
        """Return when as many are connected."""
        self._count = count
        while len(self._socket.pipes) < count:
            await asyncio.sleep(0.005)

    async def survey(self) -> int:
        self._number += 1
        await self._socket.asend(json.dumps(survey(self._number, "")).encode())
        answers: dict[str, int] = {}
        try:
            while len(answers) < self._count:
                answer = json.loads(await self._socket.arecv())
                answers[answer["responder_id"]] = answer["ras"]
        except pynng.Timeout:
            pass
        return len(answers)

    async def announce(self) -> None:
        raise NotImplementedError("a survey awaits answers")

    async def close(self) -> None:
        self._socket.close()


class Responders:
    """Each with a socket of its own."""

    def __init__(self, told: Told) -> None:
        self._told = told

    async def open(self) -> None:
        self._sockets = [pynng.Respondent0(dial=self._told.url, block_on_dial=True) for _ in self._told.names]
        self._tasks = [
            asyncio.create_task(_answer(socket, name))
            for socket, name in zip(self._sockets, self._told.names, strict=True)
        ]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for socket in self._sockets:
            socket.close()


async def _answer(socket: Any, name: str) -> None:
    while True:
        signal = json.loads(await socket.arecv())
        said = {"id": signal["id"], "publisher_id": signal["publisher_id"], "responder_id": name, "ras": 1}
        await socket.asend(json.dumps(said).encode())
