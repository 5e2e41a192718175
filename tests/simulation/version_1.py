"""Parties that speak version 1, written from the description of the protocol: they know of no envelope and no key."""

from __future__ import annotations

import json
import math
from typing import Any

from state_signals.transport.base import Batch
from tests.simulation.parties import EVENTS, Backoff, Scene
from tests.simulation.server import Line, Unreachable
from tests.simulation.world import Bell, Process, Violation

__all__ = ["ExporterV1", "ResponderV1"]


class _PartyV1(Process):
    """A process that hears one channel and publishes on another; what it misses is lost to it."""

    def __init__(self, scene: Scene, name: str, hears: str, says: str) -> None:
        super().__init__(scene.world, name, f"host-of-{name}")
        self.scene = scene
        self.server = scene.server
        self.is_listening = False
        self.name_on_the_wire = name
        self._says = says
        self._hears = hears
        self._line: Line | None = None
        self.trouble("inbox")
        self.start(self._listen())

    def heard(self, message: dict[str, Any]) -> None:
        """Take a message that is an object of JSON."""
        raise NotImplementedError

    async def _listen(self) -> None:
        backoff = Backoff(self.world)
        while True:
            try:
                inbox = await self.server.subscribe(self, "inbox", [self._hears])
                backoff = Backoff(self.world)
                self.is_listening = True
                while True:
                    for data in await inbox.receive(math.inf):
                        self._take(data)
            except Unreachable:
                self.is_listening = False
                await self.sleep(backoff.next())

    def _take(self, data: bytes) -> None:
        try:
            message = json.loads(data)
        except (ValueError, RecursionError):
            return
        if isinstance(message, dict) and isinstance(message.get("publisher_id"), str):
            self.heard(message)

    async def publish(self, message: dict[str, Any]) -> bool:
        """Say something; whether it went out."""
        data = json.dumps(message).encode()
        try:
            if self._line is None or not self._line.is_open:
                self._line = await self.server.connect(self, "commands")
            command = ("PUBLISH", self._says, data)
            await self._line.execute(Batch(self._says, (command,)), self.world.now + 5.0)
        except Unreachable:
            return False
        self.tell("> %s", data)
        return True


class ResponderV1(_PartyV1):
    """Acts on every signal that it receives, and answers on the channel."""

    def __init__(self, scene: Scene, name: str) -> None:
        super().__init__(scene, name, scene.server.keys.signals, scene.server.keys.responses)

    def heard(self, message: dict[str, Any]) -> None:
        if isinstance(message.get("event"), str) and message["event"] != "shutdown":
            self.start(self._act(message["publisher_id"], message["event"]))

    async def _act(self, publisher_id: str, event: str) -> None:
        rng = self.world.rng
        await self.sleep(rng.expovariate(10.0))
        response: dict[str, Any] = {"responder_id": self.name, "publisher_id": publisher_id, "event": event}
        if event != "initialization":
            response["ras"] = 1 if self.scene.is_calm else rng.choice([1, 1, 1, 0])
            self.scene.book.answers_v1[self.name, publisher_id, event].append((response["ras"], self.world.now))
        await self.publish(response)


class ExporterV1(_PartyV1):
    """Announces states without an envelope, and waits for the answers on the channel."""

    def __init__(self, scene: Scene, name: str) -> None:
        super().__init__(scene, name, scene.server.keys.responses, scene.server.keys.signals)
        self.subs: set[str] = set()
        self.answers: dict[str, Any] = {}
        self._event = ""
        self._bell = Bell()
        self.start(self._run())

    def heard(self, message: dict[str, Any]) -> None:
        if message["publisher_id"] != self.name or not isinstance(message.get("responder_id"), str):
            return
        if message.get("event") == "initialization":
            self.subs.add(message["responder_id"])
        elif message.get("event") == self._event:
            self.answers.setdefault(message["responder_id"], message.get("ras"))
            self._bell.ring()

    async def _run(self) -> None:
        while not self.is_listening:
            await self.sleep(0.1)
        while self.world.now < self.scene.ends_at:
            await self._say("initialization")
            await self.sleep(1.0)
            await self._round()
            await self.sleep(self.world.rng.expovariate(0.3))
        self.subs.clear()
        await self._say("initialization")
        await self.sleep(2.0)
        await self._round()
        self._check()
        await self._say("shutdown")
        self.kill("CLOSED")

    async def _say(self, event: str) -> bool:
        self._event, self.answers = event, {}
        message = {"publisher_id": self.name, "process_name": self.name, "event": event, "runner_host": self.host}
        return await self.publish({**message, "sample_no": -1, "tag": "No tag specified"})

    async def _round(self) -> None:
        if not await self._say(self.world.rng.choice(EVENTS)):
            return
        until = self.world.now + 5.0
        while self.world.now < until and not self.subs <= self.answers.keys():
            await self._bell.wait(self.world, until)

    def _check(self) -> None:
        """Whoever is there has answered, unless its user has still much to do before that."""
        for responder in self.scene.book.incarnations:
            is_there = responder.is_alive and not responder.is_leaving and not responder.is_behind
            if is_there and self.answers.get(responder.responder_id) != 1:
                raise Violation(f"{self.name} has no answer of {responder.name} to {self._event}")
