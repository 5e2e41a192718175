"""`memory://NAME`: parties in one process, without a server.

For programs that want signals between their own threads and tasks, and for tests. Parties that name the same NAME
share a hub, whether they use threads or asyncio. It behaves as a Redis does: broadcasts reach whoever listens at that
moment, an answer to an exporter that is gone is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Protocol

from state_signals.transport.keys import Keys

__all__ = ["AsyncMemoryTransport", "MemoryTransport"]


class _Mailbox(Protocol):
    def put(self, data: bytes) -> None: ...


class _Hub:
    """The channels and streams of one NAME."""

    def __init__(self) -> None:
        # Reentrant, because a signal handler may have something to say while it interrupts a message.
        self._lock = threading.RLock()
        self._mailboxes: defaultdict[str, list[_Mailbox]] = defaultdict(list)

    def attach(self, place: str, mailbox: _Mailbox) -> None:
        with self._lock:
            self._mailboxes[place].append(mailbox)

    def detach(self, place: str, mailbox: _Mailbox) -> None:
        with self._lock:
            if mailbox in self._mailboxes[place]:
                self._mailboxes[place].remove(mailbox)
            if not self._mailboxes[place]:
                del self._mailboxes[place]

    def discard(self, place: str) -> None:
        with self._lock:
            self._mailboxes.pop(place, None)

    def put(self, place: str, data: bytes) -> None:
        with self._lock:
            for mailbox in tuple(self._mailboxes.get(place, ())):
                mailbox.put(data)


_hubs: dict[str, _Hub] = {}


def _hub(name: str) -> _Hub:
    # Atomic, unlike a defaultdict: threads that come at once get the same hub.
    return _hubs.setdefault(name, _Hub())


class _Inbox:
    def __init__(self, hub: _Hub, place: str) -> None:
        self._hub = hub
        self._place = place
        # None wakes. No Condition: a signal handler that interrupts its wait just before it begins would not be heard.
        self._arrived: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._is_closed = False
        hub.attach(place, self)

    def put(self, data: bytes) -> None:
        self._arrived.put(data)

    def receive(self, timeout: float | None) -> Sequence[bytes]:
        if self._is_closed:
            return []
        arrived: list[bytes | None] = []
        with contextlib.suppress(queue.Empty):
            arrived.append(self._arrived.get(timeout=timeout))
            while True:
                arrived.append(self._arrived.get_nowait())
        return [data for data in arrived if data is not None]

    def wake(self) -> None:
        self._arrived.put(None)

    def close(self) -> None:
        self._is_closed = True
        self.wake()
        self._hub.detach(self._place, self)


class _AsyncInbox:
    def __init__(self, hub: _Hub, place: str) -> None:
        self._hub = hub
        self._place = place
        self._arrived: deque[bytes] = deque()
        self._ready = asyncio.Event()
        self._is_ending = False
        self._loop = asyncio.get_running_loop()
        hub.attach(place, self)

    def put(self, data: bytes) -> None:
        self._arrived.append(data)
        try:
            self._loop.call_soon_threadsafe(self._ready.set)
        except RuntimeError:
            # The sender may be another thread, and has outlived this loop.
            self._hub.detach(self._place, self)

    async def receive(self) -> Sequence[bytes]:
        while not self._arrived and not self._is_ending:
            self._ready.clear()
            # It may have arrived between the look and the clearing.
            if not self._arrived:
                await self._ready.wait()
        return [self._arrived.popleft() for _ in range(len(self._arrived))]

    def wake(self) -> None:
        self._is_ending = True
        self._ready.set()

    async def close(self) -> None:
        self.wake()
        self._hub.detach(self._place, self)


class MemoryTransport:
    """The contract of `Transport` over a hub of this process."""

    def __init__(self, name: str, keys: Keys) -> None:
        self.keys = keys
        self.address = f"memory://{name}"
        self.client = None
        self._hub = _hub(name)

    def connect(self) -> None:
        pass

    def broadcast(self, publisher_id: str, signal: bytes) -> None:
        self._hub.put(self.keys.signals, signal)

    def answer(self, response: bytes, reply: str | None) -> None:
        self._hub.put(reply or self.keys.responses, response)

    def listen_for_signals(self) -> _Inbox:
        return _Inbox(self._hub, self.keys.signals)

    def listen_for_responses(self) -> _Inbox:
        return _Inbox(self._hub, self.keys.responses)

    def collect(self, publisher_id: str) -> _Inbox:
        return _Inbox(self._hub, self.keys.reply(publisher_id))

    def discard(self, publisher_id: str) -> None:
        self._hub.discard(self.keys.reply(publisher_id))

    def close(self) -> None:
        pass


class AsyncMemoryTransport:
    """The contract of `AsyncTransport` over a hub of this process."""

    def __init__(self, name: str, keys: Keys) -> None:
        self.keys = keys
        self.address = f"memory://{name}"
        self.client = None
        self._hub = _hub(name)

    async def connect(self) -> None:
        pass

    async def broadcast(self, publisher_id: str, signal: bytes) -> None:
        self._hub.put(self.keys.signals, signal)

    async def answer(self, response: bytes, reply: str | None) -> None:
        self._hub.put(reply or self.keys.responses, response)

    async def listen_for_signals(self) -> _AsyncInbox:
        return _AsyncInbox(self._hub, self.keys.signals)

    async def listen_for_responses(self) -> _AsyncInbox:
        return _AsyncInbox(self._hub, self.keys.responses)

    async def collect(self, publisher_id: str) -> _AsyncInbox:
        return _AsyncInbox(self._hub, self.keys.reply(publisher_id))

    async def discard(self, publisher_id: str) -> None:
        self._hub.discard(self.keys.reply(publisher_id))

    async def close(self) -> None:
        pass
