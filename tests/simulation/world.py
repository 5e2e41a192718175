"""A world without real time: one clock, one queue of what is to happen, one source of chance.

Processes are made of tasks: coroutines that wait for nothing but this world's futures. They can be frozen and thawed
(as by SIGSTOP and SIGCONT) and killed at any moment. The same seed makes the same world, event by event.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from tests.simulation.telling import Shown

__all__ = ["Bell", "Future", "Process", "Violation", "World"]

EPOCH = 1_700_000_000.0
"""What the wall clocks show when a world begins."""


_BUSY_FOR, _MOST_STEPS = 0.01, 50_000
"""Seconds in which so many steps are a busy loop."""


class Violation(AssertionError):
    """A guarantee is broken."""


class Future:
    """Something that will be known; one task may wait for it."""

    __slots__ = ("error", "is_known", "task", "value")

    def __init__(self) -> None:
        self.is_known = False
        self.value: Any = None
        self.error: Exception | None = None
        self.task: Task | None = None

    def know(self, value: Any = None) -> None:
        """Tell the value; what comes later is ignored."""
        self._settle(value, None)

    def fail(self, error: Exception) -> None:
        """Tell that there will be no value."""
        self._settle(None, error)

    def _settle(self, value: Any, error: Exception | None) -> None:
        if self.is_known:
            return
        self.is_known, self.value, self.error = True, value, error
        if self.task is not None:
            self.task.resume()

    def __await__(self) -> Generator[Future, None, Any]:
        if not self.is_known:
            yield self
        if self.error is not None:
            raise self.error
        return self.value


class World:
    """The clock, the queue and the trace.

    Attributes:
        now: seconds since the world began.
        rng: the source of chance.
        whims: another one, for what came to worlds later: without it they are what they were.
        lines: the trace, if it is kept.
    """

    def __init__(self, seed: int, *, is_traced: bool = False) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)
        self.whims = random.Random(-1 - seed)
        self.lines: list[str] | None = [] if is_traced else None
        self._queue: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, moment: float, call: Callable[..., object], *arguments: Any) -> None:
        """Have something done at a moment, after what was planned for it before."""
        self._count += 1
        heapq.heappush(self._queue, (max(moment, self.now), self._count, call, arguments))

    def after(self, delay: float, call: Callable[..., object], *arguments: Any) -> None:
        """Have something done in a while."""
        self.at(self.now + delay, call, *arguments)

    def run(self, until: float) -> None:
        """Let time pass."""
        queue, moment, steps = self._queue, self.now, 0
        while queue and queue[0][0] <= until:
            self.now, _, call, arguments = heapq.heappop(queue)
            steps = steps + 1 if self.now < moment + _BUSY_FOR else 0
            if steps == 0:
                moment = self.now
            elif steps > _MOST_STEPS:
                raise Violation(f"somebody is in a busy loop at {self.now:.4f}")
            call(*arguments)
        self.now = until

    def tell(self, party: str, what: str, *facts: Any) -> None:
        """Add a line to the trace."""
        if self.lines is not None:
            text = what % tuple(map(Shown, facts)) if facts else what
            self.lines.append(f"{self.now:10.4f}  {party:<14}  {text}")

    def new_id(self) -> str:
        """Return 32 hexadecimal digits."""
        return f"{self.rng.getrandbits(128):032x}"


class Task:
    """A coroutine of a process."""

    __slots__ = ("_coroutine", "_process")

    def __init__(self, process: Process, coroutine: Coroutine[Future, None, Any]) -> None:
        self._process = process
        self._coroutine = coroutine

    def resume(self) -> None:
        """Go on, once what happens now is over."""
        self._process.world.at(self._process.world.now, self.step)

    def step(self) -> None:
        """Go on until the next wait."""
        process = self._process
        if not process.is_alive:
            return
        if process.is_frozen:
            process.stalled.append(self)
            return
        try:
            future = self._coroutine.send(None)
        except StopIteration:
            process.tasks.pop(self, None)
        else:
            future.task = self

    def close(self) -> None:
        """End it where it is."""
        self._coroutine.close()


class Bell:
    """Wakes one task, at once or the next time that it listens."""

    __slots__ = ("_future", "_is_rung")

    def __init__(self) -> None:
        self._is_rung = False
        self._future: Future | None = None

    def ring(self) -> None:
        """Wake it."""
        self._is_rung = True
        if self._future is not None:
            self._future.know()

    async def wait(self, world: World, until: float) -> None:
        """Wait for the bell, or for a moment of the world's clock."""
        if not self._is_rung and until > world.now:
            self._future = future = Future()
            if until < float("inf"):
                world.at(until, future.know)
            await future
            self._future = None
        self._is_rung = False


class Process:
    """One incarnation of a program.

    Attributes:
        name: what the trace calls it.
        host: where it runs; what is on another host is out of sight.
        troubles: what keeps it from working as it should, at the moment.
        well_since: when the last trouble ended.
        lag_until: until when nothing gets through between it and the server.
        is_finished: whether it has ended by itself.
    """

    def __init__(self, world: World, name: str, host: str) -> None:
        self.world = world
        self.name = name
        self.host = host
        self.is_alive = True
        self.is_frozen = False
        self.is_finished = False
        self.died_at = float("inf")
        self.thawed_at = -float("inf")
        self.tasks: dict[Task, None] = {}
        self.stalled: deque[Task] = deque()
        self.troubles: set[str] = set()
        self.well_since = world.now
        self.lag_until = 0.0
        self.at_death: list[Callable[[], object]] = []
        # The clocks of hosts differ: the steady ones by anything, those on the wall by a little.
        self._steady = world.rng.uniform(0.0, 1e6)
        self._skew = world.rng.gauss(0.0, 0.05)

    @property
    def now(self) -> float:
        """What its steady clock shows."""
        return self.world.now + self._steady

    @property
    def wall(self) -> float:
        """What its clock on the wall shows."""
        return EPOCH + self.world.now + self._skew

    def moment(self, now: float) -> float:
        """Return what the world's clock shows when the steady one shows `now`."""
        return now - self._steady

    def start(self, coroutine: Coroutine[Future, None, Any]) -> None:
        """Start a task."""
        task = Task(self, coroutine)
        self.tasks[task] = None
        task.resume()

    async def sleep(self, delay: float) -> None:
        """Let time pass."""
        future = Future()
        self.world.after(delay, future.know)
        await future

    def tell(self, what: str, *facts: Any) -> None:
        """Add a line to the trace."""
        if self.world.lines is not None:
            self.world.tell(self.name, what, *facts)

    def trouble(self, what: str) -> None:
        """Take note of something that keeps it from working."""
        self.troubles.add(what)

    def is_well(self, what: str) -> None:
        """Take note that this is over."""
        if what in self.troubles:
            self.troubles.remove(what)
            self.well_since = self.world.now

    def was_well_since(self, moment: float) -> bool:
        """Whether it has worked as it should since a moment."""
        return self.is_alive and not self.troubles and self.well_since <= moment

    def freeze(self) -> None:
        """Stop it in its tracks."""
        self.tell("FROZEN")
        self.is_frozen = True
        self.trouble("frozen")

    def thaw(self) -> None:
        """Let it go on."""
        if not self.is_frozen:
            return
        self.tell("THAWED")
        self.is_frozen = False
        self.thawed_at = self.world.now
        self.is_well("frozen")
        for task in self.stalled:
            task.resume()
        self.stalled.clear()

    def kill(self, why: str = "KILLED") -> None:
        """End it."""
        if not self.is_alive:
            return
        self.tell(why)
        self.is_alive = False
        self.died_at = self.world.now
        for call in self.at_death:
            call()
        for task in self.tasks:
            # Whoever ends itself is at work: what it still does is to return.
            self.world.at(self.world.now, task.close)
        self.tasks.clear()
