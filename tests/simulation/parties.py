"""What all parties of a world have in common: the scene, and a process with a core that it drives as the shells do."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from state_signals.protocol.exporter import ExporterProtocol
from state_signals.protocol.responder import ResponderProtocol
from state_signals.transport.base import TIMEOUT
from state_signals.transport.commands import RequestRefused
from tests.simulation.invariants import Book
from tests.simulation.server import Line, Server, Unreachable, perform
from tests.simulation.world import Bell, Future, Process, World

__all__ = ["EVENTS", "Backoff", "Party", "Scene"]

EVENTS = ["start", "work", "stop"]


@dataclass
class Scene:
    """What all parties of a world share.

    Attributes:
        calm_at: when the last fault has ended; from then on users are quick and answer.
        ends_at: when exporters come to their last round.
        core: what to make the cores of; tests plant bugs here.
    """

    world: World
    server: Server
    book: Book
    calm_at: float
    ends_at: float
    exporter_core: Callable[..., ExporterProtocol] = ExporterProtocol
    responder_core: Callable[..., ResponderProtocol] = ResponderProtocol

    @property
    def is_calm(self) -> bool:
        """Whether nothing goes wrong any more."""
        return self.world.now >= self.calm_at


class Backoff:
    """The waits between attempts to connect."""

    def __init__(self, world: World) -> None:
        self._rng = world.rng
        self._wait = 0.02

    def next(self) -> float:
        """Return how many seconds to wait."""
        wait, self._wait = self._wait, min(2 * self._wait, 2.0)
        return wait * self._rng.uniform(0.5, 1.0)


class Party(Process):
    """A process with a core, and a connection for what the core asks for."""

    def __init__(self, scene: Scene, name: str, host: str, core: Any) -> None:
        super().__init__(scene.world, name, host)
        self.scene = scene
        self.server = scene.server
        self.book = scene.book
        self.core = core
        self.is_up = False
        self.is_held = False
        self.is_impatient = scene.world.rng.random() < 0.2
        self.bell = Bell()
        self.stopping = False
        self.stopped = Future()
        self._turn = 0
        self._is_asking = False
        self.trouble("commands")
        if not (scene.server.is_up and not scene.server.is_stalled):
            self.trouble("server")

    def changed(self) -> None:
        """Look at what the core has to tell."""

    async def keep_up(self) -> None:
        """Connect if that is due, and carry out what the core asks for."""
        backoff = Backoff(self.world)
        line: Line | None = None
        while True:
            if line is None or not self.is_up:
                try:
                    line = await self.server.connect(self, "commands")
                except Unreachable:
                    if self.stopping:
                        self.stopped.know()
                        return
                    await self.sleep(backoff.next())
                    continue
                backoff = Backoff(self.world)
                self.is_up = True
                self.tell("connected")
                self.core.connection_restored(self.now)
            await self._pump(line)
            if not line.is_open:
                self.lost()
            if self.stopping:
                self.stopped.know()
                return
            if self.is_up:
                await self.bell.wait(self.world, self.next_pump())

    async def stop(self) -> None:
        """Ask for nothing any more, once what is under way has ended."""
        self.stopping = True
        self.bell.ring()
        await self.stopped

    def next_pump(self) -> float:
        """Return when the core has something to ask for though nothing happens."""
        if self.is_held:
            return math.inf
        return self.moment(self.core.next_upkeep())

    def is_idle(self) -> bool:
        """Whether the core has nothing to ask for now."""
        if self._is_asking:
            return False
        return self.core.next_request(self.now) is None and self.core.next_aside(self.now) is None

    def lost(self) -> None:
        """Take note that the connection is lost."""
        self.tell("connection lost")
        self._turn += 1
        self.is_up = False
        self.core.connection_lost()
        self.bell.ring()

    def patience(self) -> float:
        """Return how long a request may take."""
        return TIMEOUT

    async def _pump(self, line: Line) -> None:
        while self.is_up and not self.is_held and not self.stopping:
            request = self.core.next_request(self.now, is_urgent=self.world.rng.random() < 0.5)
            if request is None:
                request = self.core.next_request(self.now) or self.core.next_aside(self.now)
            if request is None:
                return
            self._turn += 1
            turn = self._turn
            self._is_asking = True
            try:
                reply = await perform(line, self.server.commands, request, self.patience())
            except RequestRefused as refused:
                self.tell("REFUSED %s: %s", type(request).__name__, refused)
                if turn == self._turn:
                    self.core.request_refused(request, refused.refusal.kind, refused.refusal.text, self.now)
            except Unreachable:
                self.tell("no reply to %s", request)
                self.lost()
                return
            else:
                if turn == self._turn:
                    self.tell("%s -> %s", request, reply)
                    self.core.reply_received(request, reply, self.now)
            finally:
                self._is_asking = False
            self.changed()
