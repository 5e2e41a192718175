"""The contract of a transport, for threads and for asyncio.

A transport stands for one server (or Cluster, or Sentinel group) and one namespace. It moves commands and bytes and
knows nothing of what they mean; `state_signals.transport.commands` does. Every method that talks to the server raises
`ServerUnreachable` when there is no connection or no reply in time, `ServerRefused` when the server will not have us at
all (wrong password), and nothing else; the message says what was being done, to which server (password hidden), why it
failed, and what to try.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec

from state_signals.transport.keys import Keys

__all__ = [
    "IDLE",
    "TIMEOUT",
    "AsyncCollection",
    "AsyncHerald",
    "AsyncInbox",
    "AsyncTransport",
    "Batch",
    "Collection",
    "Herald",
    "Inbox",
    "Refusal",
    "Transport",
]

TIMEOUT = 5.0
"""Seconds after which a server that does not react counts as out of reach."""

IDLE = 5.0
"""Seconds of silence after which an inbox makes sure that its connection still lives."""


class Batch(msgspec.Struct, frozen=True, gc=False):
    """Commands that go out in one write.

    Attributes:
        key: a key of theirs; in a Cluster it says to which node they go.
        commands: each a tuple of text, bytes and numbers.
        is_atomic: carry them out in one step (`MULTI`, `EXEC`).
    """

    key: str
    commands: tuple[tuple[str | bytes | int | float, ...], ...]
    is_atomic: bool = False


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A server's error in place of a reply.

    Attributes:
        kind: its first word, such as `WRONGTYPE`; `NOPERM` for a missing permission, `ERR` if it has no kind.
        text: all that the server says.
    """

    kind: str
    text: str


class Inbox(Protocol):
    """One source of messages, read by one thread at a time."""

    def receive(self, timeout: float | None) -> Sequence[bytes]:
        """Return what has arrived, oldest first; wait up to `timeout` seconds (None: for ever) for the first of it.

        Empty when the time is up, after `wake()`, and from then on after `close()`. A connection that is silent for
        `IDLE` is tried, and counts as lost if the server does not react within `TIMEOUT`.

        Raises:
            ServerUnreachable: once the connection is lost; what follows is `close()`, and another inbox.
            ServerRefused: once the server does not allow it any more.
        """

    def wake(self) -> None:
        """End the `receive()` under way, or the next one. Safe from any thread and from a signal handler."""

    def close(self) -> None:
        """Give back the connection. Not while another thread is in `receive()`."""


class Collection(Inbox, Protocol):
    """The inbox of a stream's entries.

    Attributes:
        last: id of the newest entry that `receive` has returned, or was told to read after.
    """

    last: bytes


class Herald(Protocol):
    """Lets those that share a connection show together that they live, and look after exporters together."""

    def show(self, names: tuple[str, ...], act: Callable[[tuple[str, ...]], Any], timeout: float) -> None:
        """Show that responders live: by `act` with these names and perhaps others, unless that was done just now.

        `timeout` is how many seconds to wait for somebody else who does that.
        """

    def withdraw(self, names: tuple[str, ...], timeout: float) -> None:
        """Show them no longer. Wait up to `timeout` seconds for what somebody else is just saying of them."""

    def look(self, request: Any, act: Callable[[], Any], timeout: float) -> Any:
        """Return the reply to a request that changes nothing: from `act`, unless somebody else has had one just now.

        `timeout` is how many seconds to wait for somebody else who asks.
        """


class Transport(Protocol):
    """One server, for threads.

    Attributes:
        herald: shows responders as alive together with others that share the connections; None: nobody does.
    """

    keys: Keys
    address: str
    herald: Herald | None

    @property
    def client(self) -> Any:
        """The client of redis-py; None without a server."""

    def connect(self, timeout: float = TIMEOUT) -> None:
        """Make sure that the server answers. One attempt. Where connections for commands were lost, make them anew."""

    def execute(self, batch: Batch, timeout: float = TIMEOUT) -> list[Any]:
        """Send commands once, and return a reply for each, a `Refusal` where there is an error.

        Once a connection for commands is lost (in a Cluster also: once keys have moved to another node), everything is
        out of reach until `connect()`: the server may have lost data, and who has written them has to know first.

        An atomic batch that is refused as a whole has a `Refusal` for each command. Replies are as redis-py returns
        them undecoded: bytes, ints, None, lists. Errors that pass by themselves (a replica that is not a master yet, a
        server that is loading its data, a Cluster that is moving its slots) count as out of reach.
        """

    def subscribe(self, channels: Sequence[str], timeout: float = TIMEOUT) -> Inbox:
        """Subscribe to channels. Whatever is published after the return is received.

        Raises:
            ServerRefused: also without the permission for a channel.
        """

    def collect(self, key: str, after: bytes, timeout: float = TIMEOUT) -> Collection:
        """Read the field `r` of a stream's entries that come after the one with the id `after`."""

    def close(self) -> None:
        """Close the connections that are our own. Idempotent."""


class AsyncHerald(Protocol):
    """Lets those that share a connection say and ask the same things together."""

    async def show(self, names: tuple[str, ...], act: Callable[[tuple[str, ...]], Awaitable[Any]]) -> Any:
        """Call `act` with these names and those of others that come just now; return, or raise, what that does.

        Once they were shown, it may return before that: if it fails, they are shown with the next ones.
        """

    def withdraw(self, names: tuple[str, ...]) -> None:
        """Show them no longer."""

    async def look(self, request: Any, act: Callable[[], Awaitable[Any]]) -> Any:
        """Return the reply to a request that changes nothing: from `act`, unless somebody else has had one just now."""


class AsyncInbox(Protocol):
    """One source of messages, read by one task at a time."""

    async def receive(self, timeout: float | None = None) -> Sequence[bytes]:
        """Return what has arrived, oldest first; wait up to `timeout` seconds (None: for ever) for the first of it.

        Raises as `Inbox.receive`. May be cancelled, and called again, without loss. Empty when the time is up, after
        `wake()`, and from then on after `close()`.
        """

    async def hand_over(self, take: Callable[[Sequence[bytes]], object]) -> None:
        """Call `take` with what arrives, oldest first, as soon as it does, until `close()`.

        Raises as `Inbox.receive`, and what `take` does, which is called in the loop and not in a task.
        """

    def wake(self) -> None:
        """End the `receive()` under way, or the next one."""

    async def close(self) -> None:
        """Give back the connection, and end the `receive()` or `hand_over()` of another task."""


class AsyncCollection(AsyncInbox, Protocol):
    """The inbox of a stream's entries; see `Collection`."""

    last: bytes


class AsyncTransport(Protocol):
    """One server, for asyncio. The methods are those of `Transport`.

    Attributes:
        herald: shows responders as alive together with others that share the connections; None: nobody does.
    """

    keys: Keys
    address: str
    herald: AsyncHerald | None

    @property
    def client(self) -> Any:
        """The client of redis-py; None without a server."""

    async def connect(self, timeout: float = TIMEOUT) -> None:
        """Make sure that the server answers. One attempt."""

    async def execute(self, batch: Batch, timeout: float = TIMEOUT) -> list[Any]:
        """Send commands once, and return a reply for each. May be cancelled: then the connection is given up."""

    async def subscribe(self, channels: Sequence[str], timeout: float = TIMEOUT) -> AsyncInbox:
        """Subscribe to channels. Whatever is published after the return is received."""

    async def collect(self, key: str, after: bytes, timeout: float = TIMEOUT) -> AsyncCollection:
        """Read the field `r` of a stream's entries that come after the one with the id `after`."""

    async def close(self) -> None:
        """Close the connections that are our own. Idempotent."""
