"""`memory://NAME`: parties in one process, without a server.

For programs that want signals between their own threads and tasks, and for tests. Parties that name the same NAME
share a hub, whether they use threads or asyncio, and it behaves as a Redis server that all of them are connected with.
It is there as long as somebody uses it; whoever comes later finds an empty one.
"""

from __future__ import annotations

import asyncio
import math
import queue
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from state_signals.exceptions import Closed, ServerUnreachable
from state_signals.transport.base import TIMEOUT, AsyncHerald, Batch, Herald, Refusal
from state_signals.transport.commands import RESPONSE
from state_signals.transport.keys import Keys
from state_signals.transport.keyspace import Keyspace

__all__ = ["AsyncMemoryTransport", "MemoryTransport"]

_MOST_MESSAGES = 10_000
"""Messages that wait for one subscriber, before it counts as too slow."""

_MOST_BYTES = 8 * 1024 * 1024
"""Bytes that wait for one subscriber, before it counts as too slow; a single message may have more."""

_ENTRIES_AT_ONCE = 500

_LONGEST_WAIT = 86_400.0
"""Seconds that are waited in one go: the platform's clock takes no more than some centuries."""


class _Hub:
    """The server of one NAME."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._keyspace = Keyspace(time.time)
        # Reentrant, because a signal handler may have something to say while it interrupts a command.
        self._lock = threading.RLock()
        self._leaving: deque[tuple[Sequence[str], Callable[[bytes], object]]] = deque()

    def execute(self, batch: Batch, timeout: float) -> list[Any]:
        with self._locked("carry out commands", timeout):
            return self._keyspace.execute(batch)

    def read(self, key: str, after: bytes) -> tuple[bytes, list[bytes]]:
        """Return the id of the newest entry of a stream that was read, and the responses after the id `after`.

        Without the lock: a signal handler that has interrupted whoever holds it may be waiting for responses.

        Raises:
            ServerUnreachable: if it is no stream.
        """
        while True:
            command = ("XRANGE", key, b"(" + after, "+", "COUNT", _ENTRIES_AT_ONCE)
            (found,) = self._keyspace.execute(Batch(key, (command,)))
            if isinstance(found, Refusal):
                raise ServerUnreachable(f"cannot collect responses at {self.address}: {found.text}.")
            if not found:
                return after, []
            after = found[-1][0]
            responses = [
                fields[place + 1]
                for _, fields in found
                for place in range(0, len(fields), 2)
                if fields[place] == RESPONSE
            ]
            if responses:
                return after, responses

    def attach(self, names: Sequence[str], deliver: Callable[[bytes], object], timeout: float) -> None:
        """Call `deliver` with what is published on channels, and with the id of each entry added to streams."""
        with self._locked(f"subscribe to {', '.join(names)}", timeout):
            for name in names:
                self._keyspace.subscribe(name, deliver)

    def detach(self, names: Sequence[str], deliver: Callable[[bytes], object]) -> None:
        """Undo `attach`, at the latest before the next commands. Never waits."""
        self._leaving.append((names, deliver))
        if self._lock.acquire(blocking=False):
            try:
                self._let_leave()
            finally:
                self._lock.release()

    @contextmanager
    def _locked(self, action: str, timeout: float) -> Generator[None]:
        # Not for ever: a signal handler that has interrupted whoever holds the lock may be waiting for us.
        if not self._lock.acquire(timeout=min(max(0.0, timeout), _LONGEST_WAIT)):
            raise ServerUnreachable(
                f"cannot {action} at {self.address}: it was busy for {timeout:.3g} seconds. Give it more time."
            )
        try:
            self._let_leave()
            yield
        finally:
            self._lock.release()

    def _let_leave(self) -> None:
        while self._leaving:
            names, deliver = self._leaving.popleft()
            for name in names:
                self._keyspace.unsubscribe(name, deliver)


# Transports and inboxes hold on to their hub until they are closed.
_hubs: weakref.WeakValueDictionary[str, _Hub] = weakref.WeakValueDictionary()
_naming = threading.RLock()


def _hub(name: str) -> _Hub:
    with _naming:
        found = _hubs.get(name)
        if found is None:
            found = _hubs[name] = _Hub(f"memory://{name}")
        return found


class _Mail:
    """What waits for one subscriber: as much as a server would keep for it."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        # Two counts, because each has a thread of its own.
        self._bytes_put = 0
        self._bytes_taken = 0
        self.is_full = False

    def put(self, data: bytes) -> None:
        if self.is_full:
            return
        self._bytes_put += len(data)
        waiting = len(self._waiting)
        if waiting >= _MOST_MESSAGES or (waiting and self._bytes_put - self._bytes_taken > _MOST_BYTES):
            self.is_full = True
            self._waiting.clear()
        else:
            self._waiting.append(data)

    def take(self, address: str) -> list[bytes]:
        taken: list[bytes] = []
        # Whoever finds it full may empty it at the same time.
        with suppress(IndexError):
            for _ in range(len(self._waiting)):
                data = self._waiting.popleft()
                self._bytes_taken += len(data)
                taken.append(data)
        if self.is_full:
            raise ServerUnreachable(
                f"cannot receive at {address}: more than {_MOST_MESSAGES:,} messages or {_MOST_BYTES:,} bytes were "
                "waiting, and are dropped. Read faster, or publish less."
            )
        return taken


class _BaseInbox(ABC):
    """What inboxes for threads and for asyncio have in common."""

    def __init__(self, hub: _Hub, names: Sequence[str], timeout: float) -> None:
        self._names = tuple(dict.fromkeys(names))
        # None: closed.
        self._hub: _Hub | None = hub
        hub.attach(self._names, self.deliver, timeout)

    @abstractmethod
    def deliver(self, data: bytes) -> None:
        """Take what the hub has. Called by any thread."""

    @abstractmethod
    def _call(self) -> None:
        """Have whoever reads take a look. Called by any thread."""

    @abstractmethod
    def _take(self, hub: _Hub) -> list[bytes]:
        """Return what there is, without waiting."""

    def _leave(self) -> None:
        hub, self._hub = self._hub, None
        if hub is not None:
            hub.detach(self._names, self.deliver)


class _Channels(_BaseInbox):
    """What is published on channels."""

    def __init__(self, hub: _Hub, channels: Sequence[str], timeout: float) -> None:
        self._mail = _Mail()
        super().__init__(hub, channels, timeout)

    def deliver(self, data: bytes) -> None:
        self._mail.put(data)
        self._call()

    def _take(self, hub: _Hub) -> list[bytes]:
        return self._mail.take(hub.address)


class _Stream(_BaseInbox):
    """What is appended to a stream."""

    def __init__(self, hub: _Hub, key: str, after: bytes, timeout: float) -> None:
        self._key = key
        self.last = after
        super().__init__(hub, (key,), timeout)

    def deliver(self, data: bytes) -> None:
        self._call()

    def _take(self, hub: _Hub) -> list[bytes]:
        self.last, found = hub.read(self._key, self.last)
        return found


class _Inbox(_BaseInbox):
    def __init__(self, hub: _Hub, names: Sequence[str], timeout: float) -> None:
        # True: wake(); False: there may be something. No Condition: a signal handler that interrupts its wait just
        # before it begins would not be heard.
        self._calls: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._is_called = False
        super().__init__(hub, names, timeout)

    def receive(self, timeout: float | None) -> Sequence[bytes]:
        until = math.inf if timeout is None else time.monotonic() + timeout
        while (hub := self._hub) is not None:
            arrived = self._take(hub)
            if arrived:
                return arrived
            if self._wait(until):
                break
        return []

    def wake(self) -> None:
        self._calls.put(True)

    def close(self) -> None:
        self._leave()
        self.wake()

    def _call(self) -> None:
        if not self._is_called:
            self._is_called = True
            self._calls.put(False)

    def _wait(self, until: float) -> bool:
        """Wait until there may be something. Return whether the time is up, or somebody wakes us."""
        try:
            is_over = self._calls.get(timeout=min(max(0.0, until - time.monotonic()), _LONGEST_WAIT))
        except queue.Empty:
            return time.monotonic() >= until
        with suppress(queue.Empty):
            while True:
                is_over |= self._calls.get_nowait()
        # Before the next look: what comes after that calls again.
        self._is_called = False
        return is_over


class _AsyncInbox(_BaseInbox):
    def __init__(self, hub: _Hub, names: Sequence[str], timeout: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._is_called = self._is_woken = self._is_closed = False
        super().__init__(hub, names, timeout)

    async def receive(self, timeout: float | None = None) -> Sequence[bytes]:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                return await self._receive()
        return []

    async def hand_over(self, take: Callable[[Sequence[bytes]], object]) -> None:
        while not self._is_closed:
            if arrived := await self._receive():
                take(arrived)

    async def _receive(self) -> Sequence[bytes]:
        # Other tasks have their turn, too, if there is always something.
        await asyncio.sleep(0)
        while not self._is_closed and (hub := self._hub) is not None:
            # Before the look: what comes after it calls again.
            self._ready.clear()
            self._is_called = False
            arrived = self._take(hub)
            if arrived:
                return arrived
            if self._is_woken:
                self._is_woken = False
                break
            await self._ready.wait()
        return []

    def wake(self) -> None:
        self._is_woken = True
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._ready.set)

    async def close(self) -> None:
        self._is_closed = True
        self.wake()
        self._leave()

    def _call(self) -> None:
        if self._is_called and not self._loop.is_closed():
            return
        self._is_called = True
        try:
            self._loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:
            # The sender may be another thread, and has outlived this loop.
            self._leave()


class _Subscription(_Channels, _Inbox):
    pass


class _Collection(_Stream, _Inbox):
    pass


class _AsyncSubscription(_Channels, _AsyncInbox):
    pass


class _AsyncCollection(_Stream, _AsyncInbox):
    pass


class _BaseTransport:
    """What transports for threads and for asyncio have in common."""

    def __init__(self, name: str, keys: Keys) -> None:
        self.keys = keys
        self.address = f"memory://{name}"
        self.client: Any = None
        # None: closed.
        self._hub: _Hub | None = _hub(name)

    def _open_hub(self) -> _Hub:
        hub = self._hub
        if hub is None:
            raise Closed("it was closed in the meantime; make a new one")
        return hub


class MemoryTransport(_BaseTransport):
    """The contract of `Transport` over a hub of this process."""

    herald: Herald | None = None

    def connect(self, timeout: float = TIMEOUT) -> None:
        self._open_hub()

    def execute(self, batch: Batch, timeout: float = TIMEOUT) -> list[Any]:
        return self._open_hub().execute(batch, timeout)

    def subscribe(self, channels: Sequence[str], timeout: float = TIMEOUT) -> _Subscription:
        return _Subscription(self._open_hub(), channels, timeout)

    def collect(self, key: str, after: bytes, timeout: float = TIMEOUT) -> _Collection:
        return _Collection(self._open_hub(), key, after, timeout)

    def close(self) -> None:
        self._hub = None


class AsyncMemoryTransport(_BaseTransport):
    """The contract of `AsyncTransport` over a hub of this process."""

    herald: AsyncHerald | None = None

    async def connect(self, timeout: float = TIMEOUT) -> None:
        self._open_hub()

    async def execute(self, batch: Batch, timeout: float = TIMEOUT) -> list[Any]:
        return self._open_hub().execute(batch, timeout)

    async def subscribe(self, channels: Sequence[str], timeout: float = TIMEOUT) -> _AsyncSubscription:
        return _AsyncSubscription(self._open_hub(), channels, timeout)

    async def collect(self, key: str, after: bytes, timeout: float = TIMEOUT) -> _AsyncCollection:
        return _AsyncCollection(self._open_hub(), key, after, timeout)

    async def close(self) -> None:
        self._hub = None
