"""A simulated server, and the connections to it.

What the server does with a command is the keyspace's business. What can happen to it on its way is decided here, by a
`Network`: how long it takes, whether the connection is lost before or after the command is carried out, which
broadcast doesn't reach whom.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from state_signals.transport.base import IDLE, TIMEOUT, Batch
from state_signals.transport.commands import Commands
from state_signals.transport.keys import Keys
from state_signals.transport.keyspace import Keyspace
from tests.simulation.world import EPOCH, Bell, Future, Process, World

__all__ = ["Inbox", "Line", "Network", "Server", "Unreachable", "perform"]

RETENTION = 3600.0
"""Seconds; longer than any world lasts."""


class Unreachable(Exception):
    """There is no connection, or no reply in time."""


async def perform(line: Line, commands: Commands, request: Any, timeout: float = TIMEOUT) -> Any:
    """Carry out a request, and return the reply. Raises Unreachable and RequestRefused."""
    give_up = line.world.now + timeout
    steps = commands.steps(request)
    try:
        batch = next(steps)
        while True:
            batch = steps.send(await line.execute(batch, give_up))
    except StopIteration as end:
        return end.value


@dataclass(slots=True)
class Network:
    """How likely it is that something goes wrong. All is well once `is_calm`.

    Attributes:
        latency: seconds that something takes one way, at the most.
        lost_requests: share of commands that are lost, and the connection with them.
        lost_replies: share of commands that are carried out, and whose connection is lost before the reply.
        lost_broadcasts: share of broadcasts that do not reach one of the subscribers.
        duplicates: share of broadcasts that arrive twice.
        delays: share of broadcasts that come seconds later, and are overtaken.
        backlog: messages that a subscriber may leave unread before the server cuts it off.
    """

    latency: float = 0.003
    lost_requests: float = 0.0
    lost_replies: float = 0.0
    lost_broadcasts: float = 0.0
    duplicates: float = 0.0
    delays: float = 0.0
    backlog: int = 1000
    is_calm: bool = False


class Line:
    """A connection for commands, seen from its client."""

    def __init__(self, server: Server, process: Process, kind: str) -> None:
        self.world = server.world
        self.server = server
        self.process = process
        self.kind = kind
        self.is_open = True
        self.reaches = True
        self._epoch = server.epoch
        self._reply: Future | None = None
        self._give_up_at = 0.0
        self._arrived_at = 0.0
        server.lines[self] = None

    async def execute(self, batch: Batch, give_up: float) -> list[Any]:
        """Have commands carried out."""
        if not self.is_open:
            raise Unreachable("the connection is lost")
        network, rng = self.server.network, self.world.rng
        self._reply = reply = Future()
        self._give_up_at = give_up
        if not network.is_calm and rng.random() < network.lost_requests:
            self.cut(is_noticed=rng.random() < 0.8)
        else:
            arrival = self.arrival()
            self.world.at(arrival, self._arrive, batch, reply)
            if arrival >= give_up:
                self._no_reply(reply)
        replies: list[Any] = await reply
        return replies

    def arrival(self) -> float:
        """Return when something gets to the other side that is sent now."""
        latency = self.world.rng.random() * self.server.network.latency
        self._arrived_at = max(self._arrived_at, self.world.now + latency, self.process.lag_until + latency)
        return self._arrived_at

    def cut(self, *, is_noticed: bool) -> None:
        """Lose the connection. If nobody notices, nothing comes back any more."""
        self.reaches = False
        self.process.trouble(self.kind)
        if is_noticed:
            self.close()
        elif self._reply is not None:
            self._no_reply(self._reply)

    def close(self) -> None:
        """End the connection on the client's side."""
        self.is_open = False
        self.server.lines.pop(self, None)
        if self._reply is not None:
            self._reply.fail(Unreachable(f"connection {self.kind} is lost"))

    def _arrive(self, batch: Batch, reply: Future) -> None:
        if self._epoch != self.server.epoch or not self.reaches:
            self._no_reply(reply)
            return
        if self.server.is_stalled:
            self.server.waiting.append((self._arrive, batch, reply))
            self._no_reply(reply)
            return
        replies = self.server.execute(self.process, batch)
        network, rng = self.server.network, self.world.rng
        if not self.is_open:
            return
        if not network.is_calm and rng.random() < network.lost_replies:
            self.cut(is_noticed=rng.random() < 0.8)
            return
        arrival = self.arrival()
        if arrival < self._give_up_at:
            self.world.at(arrival, self._come_back, reply, replies)
        else:
            self._no_reply(reply)

    def _come_back(self, reply: Future, replies: list[Any]) -> None:
        if self.reaches:
            reply.know(replies)
        else:
            self._no_reply(reply)

    def _no_reply(self, reply: Future) -> None:
        self.world.at(self._give_up_at, self._give_up, reply)

    def _give_up(self, reply: Future) -> None:
        if not reply.is_known:
            self.process.trouble(self.kind)
            self.close()


class Inbox(Line):
    """A connection on which messages arrive: broadcasts, or the entries of a stream.

    Attributes:
        last: id of the newest entry that was received.
    """

    def __init__(self, server: Server, process: Process, kind: str) -> None:
        super().__init__(server, process, kind)
        self.bell = Bell()
        self.last = b"0-0"
        self._arrived: deque[tuple[bytes | None, bytes]] = deque()
        self._unread = 0
        self._sent_up_to = b"0-0"
        self._reads: str | None = None
        self._channels: Sequence[str] = ()
        process.at_death.append(self._forget)

    def subscribe(self, channels: Sequence[str]) -> None:
        """Have what is published on channels."""
        self._channels = channels
        for channel in channels:
            self.server.keyspace.subscribe(channel, self._published)

    def collect(self, key: str, after: bytes) -> None:
        """Have the entries of a stream."""
        self._reads, self.last, self._sent_up_to = key, after, after
        self.server.keyspace.subscribe(key, self._added)
        self._added()

    @property
    def has_arrived(self) -> bool:
        """Whether there is something to receive."""
        return bool(self._arrived)

    async def receive(self, until: float) -> list[bytes]:
        """Return what has arrived; wait for it until then. Empty if the time is up."""
        if not self._arrived and self.is_open:
            await self.bell.wait(self.world, until)
        if not self._arrived:
            if not self.is_open:
                raise Unreachable(f"connection {self.kind} is lost")
            return []
        arrived = []
        while self._arrived:
            position, data = self._arrived.popleft()
            arrived.append(data)
            if position is not None:
                self.last = position
        self._unread = 0
        return arrived

    def cut(self, *, is_noticed: bool) -> None:
        """Lose the connection. It is noticed in the end: whoever hears nothing tries it."""
        self._forget()
        super().cut(is_noticed=is_noticed)
        if not is_noticed:
            self.world.after(IDLE + TIMEOUT, self.close)
        elif self.world.rng.random() < 0.5:
            # What had arrived and was not read yet goes with it.
            self._arrived.clear()

    def close(self) -> None:
        """End the connection on the client's side."""
        self._forget()
        super().close()
        self.bell.ring()

    def _forget(self) -> None:
        for channel in self._channels:
            self.server.keyspace.unsubscribe(channel, self._published)
        if self._reads is not None:
            self.server.keyspace.unsubscribe(self._reads, self._added)
        self.server.lines.pop(self, None)

    def _published(self, data: bytes) -> None:
        network, rng = self.server.network, self.world.rng
        delay, copies = 0.0, 1
        if not network.is_calm:
            if rng.random() < network.lost_broadcasts:
                self.process.tell("  (a broadcast does not arrive)")
                return
            copies += rng.random() < network.duplicates
            if rng.random() < network.delays:
                delay = rng.expovariate(1.0)
        for _ in range(copies):
            self.world.at(self.arrival() + delay, self._deliver, None, data)
        self._unread += copies
        if self._unread > network.backlog and not network.is_calm:
            self.process.tell("CUT OFF: too slow")
            self.cut(is_noticed=True)

    def _added(self, _: bytes = b"") -> None:
        if self._reads is None or not self.reaches:
            return
        for position, fields in self.server.entries(self._reads, self._sent_up_to):
            self._sent_up_to = position
            if fields[0] == b"r":
                self.world.at(self.arrival(), self._deliver, position, fields[1])

    def _deliver(self, position: bytes | None, data: bytes) -> None:
        if not self.reaches or not self.is_open:
            return
        self._arrived.append((position, data))
        self.bell.ring()


@dataclass(eq=False)
class Server:
    """The server.

    Attributes:
        keyspace: what it holds.
        epoch: counts its starts.
        is_up: whether it runs.
        is_stalled: whether it runs and does nothing.
        waiting: the commands that it will carry out once it goes on.
        executed: told of each batch that was carried out, with the replies.
    """

    world: World
    network: Network
    executed: Callable[[Process, Batch, list[Any]], None] = lambda *_: None
    keys: Keys = field(default_factory=Keys)
    epoch: int = 0
    is_up: bool = True
    is_stalled: bool = False
    refuses_at_once: bool = True
    offset: float = 0.0
    lines: dict[Line, None] = field(default_factory=dict)
    waiting: deque[tuple[Callable[..., None], Batch, Future]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.keyspace = Keyspace(self.time)
        self.commands = Commands(self.keys, RETENTION)

    def time(self) -> float:
        """Return what its clock shows."""
        return EPOCH + self.world.now + self.offset

    def execute(self, process: Process, batch: Batch) -> list[Any]:
        """Carry out commands."""
        replies = self.keyspace.execute(batch)
        self.executed(process, batch, replies)
        return replies

    def entries(self, key: str, after: bytes = b"0-0") -> list[tuple[bytes, list[bytes]]]:
        """Return what a stream holds after an id."""
        first, _, second = after.partition(b"-")
        start = b"%s-%d" % (first, int(second) + 1)
        (found,) = self.keyspace.execute(Batch(key, (("XRANGE", key, start, "+"),)))
        return found if isinstance(found, list) else []

    async def connect(self, process: Process, kind: str) -> Line:
        """Open a connection for commands."""
        await self._reach(process)
        line = Line(self, process, kind)
        process.is_well(kind)
        return line

    async def subscribe(self, process: Process, kind: str, channels: Sequence[str]) -> Inbox:
        """Open a connection for broadcasts: what is published after the return is received."""
        await self._reach(process)
        inbox = Inbox(self, process, kind)
        inbox.subscribe(channels)
        process.is_well(kind)
        await process.sleep(max(0.0, inbox.arrival() - self.world.now))
        return inbox

    async def collect(self, process: Process, kind: str, key: str, after: bytes) -> Inbox:
        """Open a connection for the entries of a stream."""
        await self._reach(process)
        inbox = Inbox(self, process, kind)
        inbox.collect(key, after)
        process.is_well(kind)
        return inbox

    async def _reach(self, process: Process) -> None:
        latency = 2 * self.world.rng.random() * self.network.latency
        lag = max(0.0, process.lag_until - self.world.now)
        await process.sleep(min(TIMEOUT, latency + lag))
        if lag >= TIMEOUT:
            raise Unreachable("the network is slow")
        give_up = self.world.now + TIMEOUT - latency - lag
        while self.is_stalled and self.world.now < give_up:
            # It answers as soon as it goes on.
            await process.sleep(min(0.1, give_up - self.world.now))
        if not self.is_up or self.is_stalled:
            if not self.refuses_at_once:
                await process.sleep(max(0.0, give_up - self.world.now))
            raise Unreachable("the server is not there")

    # What befalls it

    def stop(self, *, is_noticed: bool) -> None:
        """End all connections, and run no more."""
        self.is_up = False
        self.is_stalled = False
        self.epoch += 1
        self.waiting.clear()
        for line in list(self.lines):
            line.cut(is_noticed=is_noticed)

    def start(self) -> None:
        """Run again."""
        self.is_up = True

    def go_on(self) -> None:
        """Carry out what has waited."""
        self.is_stalled = False
        while self.waiting:
            arrive, batch, reply = self.waiting.popleft()
            arrive(batch, reply)

    def snapshot(self) -> tuple[Any, Any]:
        """Return what it holds now."""
        return copy.deepcopy((self.keyspace._data, self.keyspace._expiries))

    def go_back(self, snapshot: tuple[Any, Any]) -> None:
        """Hold what it held then."""
        data, expiries = copy.deepcopy(snapshot)
        self.keyspace.flush()
        self.keyspace._data.update(data)
        self.keyspace._expiries.update(expiries)
