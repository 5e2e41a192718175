"""The contract of a transport, for threads and for asyncio.

A transport stands for one server and one namespace. It moves bytes and knows nothing of what they mean. Every method
that talks to the server raises `TransportError`, and nothing else, when that does not work; the message says what was
being done, to which server (password hidden), why it failed, and what to try.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from state_signals.transport.keys import Keys

__all__ = ["AsyncInbox", "AsyncTransport", "Inbox", "Transport"]


class Inbox(Protocol):
    """One source of messages, read by one thread at a time."""

    def receive(self, timeout: float | None) -> Sequence[bytes]:
        """Return what has arrived, oldest first; wait up to `timeout` seconds (None: for ever) for the first of it.

        Empty when the time is up, after `wake()`, and from then on after `close()`.
        """

    def wake(self) -> None:
        """End the `receive()` under way, or the next one. Safe from any thread and from a signal handler."""

    def close(self) -> None:
        """Give back the connection. Not while another thread is in `receive()`."""


class Transport(Protocol):
    """One server, for threads."""

    keys: Keys
    address: str
    client: Any

    def connect(self) -> None:
        """Make sure that the server answers. One attempt."""

    def broadcast(self, publisher_id: str, signal: bytes) -> None:
        """Send a signal to every responder, and keep what belongs to its exporter from expiring."""

    def answer(self, response: bytes, reply: str | None) -> None:
        """Send a response to the stream `reply`, where it is lost if that is gone, or else to the version 1 channel."""

    def listen_for_signals(self) -> Inbox:
        """Subscribe to signals. Whatever is broadcast after the return is received."""

    def listen_for_responses(self) -> Inbox:
        """Subscribe to the version 1 channel of responses. Whatever is published after the return is received."""

    def collect(self, publisher_id: str) -> Inbox:
        """Create the stream of responses to an exporter, empty, and read it."""

    def discard(self, publisher_id: str) -> None:
        """Delete whatever belongs to an exporter."""

    def close(self) -> None:
        """Close the connections that are our own. Idempotent."""


class AsyncInbox(Protocol):
    """One source of messages, read by one task at a time."""

    async def receive(self) -> Sequence[bytes]:
        """Return what has arrived, oldest first; wait for the first of it.

        May be cancelled, and called again, without loss. Empty after `wake()`, and from then on after that.
        """

    def wake(self) -> None:
        """End the `receive()` under way, for good: what follows is `close()`."""

    async def close(self) -> None:
        """Give back the connection, and end the `receive()` of another task."""


class AsyncTransport(Protocol):
    """One server, for asyncio. The methods are those of `Transport`."""

    keys: Keys
    address: str
    client: Any

    async def connect(self) -> None:
        """Make sure that the server answers. One attempt."""

    async def broadcast(self, publisher_id: str, signal: bytes) -> None:
        """Send a signal to every responder, and keep what belongs to its exporter from expiring."""

    async def answer(self, response: bytes, reply: str | None) -> None:
        """Send a response to the stream `reply`, where it is lost if that is gone, or else to the version 1 channel."""

    async def listen_for_signals(self) -> AsyncInbox:
        """Subscribe to signals. Whatever is broadcast after the return is received."""

    async def listen_for_responses(self) -> AsyncInbox:
        """Subscribe to the version 1 channel of responses. Whatever is published after the return is received."""

    async def collect(self, publisher_id: str) -> AsyncInbox:
        """Create the stream of responses to an exporter, empty, and read it."""

    async def discard(self, publisher_id: str) -> None:
        """Delete whatever belongs to an exporter."""

    async def close(self) -> None:
        """Close the connections that are our own. Idempotent."""
