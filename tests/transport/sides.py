"""One face for the transports for threads and for asyncio, so that their contract is written down once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from state_signals.transport.base import TIMEOUT, Batch
from state_signals.transport.connect import async_transport, transport
from tests.parties import in_thread

__all__ = ["DEADLINE", "Side", "connections"]

DEADLINE = 20.0
"""Seconds after which something that has to happen counts as not happening."""


class Side:
    """A transport of one shell, and its inboxes, as seen by asyncio.

    Args:
        shell: which.
        client: a client of the user's.
        where: the URL, or host and port.
    """

    def __init__(self, shell: str, client: Any = None, **where: Any) -> None:
        self.shell = shell
        make: Callable[..., Any] = transport if shell == "sync" else async_transport
        self.transport = make(client, **{"url": None, "host": "localhost", "port": 6379, "namespace": None, **where})
        self.inboxes: list[Any] = []

    async def call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        """Call a method that may block."""
        found = await in_thread(method, *arguments) if self.shell == "sync" else method(*arguments)
        return await found if isinstance(found, Awaitable) else found

    async def connect(self, timeout: float = TIMEOUT) -> None:
        await self.call(self.transport.connect, timeout)

    async def execute(self, *command: str | bytes | float, timeout: float = TIMEOUT) -> Any:
        """Return the reply to one command."""
        (reply,) = await self.batch(command, timeout=timeout)
        return reply

    async def batch(self, *commands: tuple[Any, ...], is_atomic: bool = False, timeout: float = TIMEOUT) -> list[Any]:
        """Return the replies to commands that go out together."""
        key = next((str(command[1]) for command in commands if len(command) > 1), "k")
        batch = Batch(key, commands, is_atomic=is_atomic)
        replies: list[Any] = await self.call(self.transport.execute, batch, timeout)
        return replies

    async def subscribe(self, *channels: str, timeout: float = TIMEOUT) -> Any:
        return await self._opened(self.transport.subscribe, channels, timeout)

    async def collect(self, key: str, after: bytes = b"0-0", timeout: float = TIMEOUT) -> Any:
        return await self._opened(self.transport.collect, key, after, timeout)

    async def receive(self, inbox: Any, timeout: float = DEADLINE) -> list[bytes]:
        """Return what has arrived; wait so long for it."""
        return list(await self.call(inbox.receive, timeout))

    async def receive_all(self, inbox: Any, count: int) -> list[bytes]:
        """Return what arrives, so many messages at least."""
        arrived: list[bytes] = []
        while len(arrived) < count and (more := await self.receive(inbox)):
            arrived += more
        return arrived

    async def close(self) -> None:
        for inbox in self.inboxes:
            await self.call(inbox.close)
        await self.call(self.transport.close)

    async def _opened(self, method: Callable[..., Any], *arguments: Any) -> Any:
        self.inboxes.append(await self.call(method, *arguments))
        return self.inboxes[-1]


def connections(admin: Any) -> int:
    """How many there are but for the tests' own, which were there before."""
    return sum(int(each["id"]) > admin.client_id() for each in admin.client_list())
