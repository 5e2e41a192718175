"""The output of a command: copied to ours as it comes, and its last line kept."""

from __future__ import annotations

import asyncio
import os
import select
from collections import deque

__all__ = ["LONGEST_MESSAGE", "LastLine", "Pipe", "Sink"]

LONGEST_MESSAGE = 1_000
"""Characters of a command's last line that are sent as a message."""

_LONGEST_LINE = 4 * LONGEST_MESSAGE
"""Bytes of a line that are kept: a character takes four at the most."""


class LastLine:
    """The last line of some output that is not empty, in bounded memory."""

    def __init__(self) -> None:
        self._last = b""
        self._unfinished = b""

    def feed(self, data: bytes) -> None:
        """Take the next piece of the output."""
        # A progress bar ends its lines with carriage returns.
        *lines, rest = (self._unfinished + data.replace(b"\r", b"\n")).split(b"\n")
        self._last = next((line for line in reversed(lines) if line.strip()), self._last)[:_LONGEST_LINE]
        self._unfinished = rest[:_LONGEST_LINE]

    @property
    def text(self) -> str:
        """The line as text, without what no message needs; empty if there is none."""
        line = self._unfinished if self._unfinished.strip() else self._last
        return line.decode(errors="replace").strip()[:LONGEST_MESSAGE]


class Sink:
    """One of our standard streams, which many commands write to.

    Whoever reads it may be slow, or a terminal be halted (Ctrl-S): then the commands wait, as they would if they wrote
    there themselves. We do not, for we have to show that we live.

    Args:
        descriptor: the stream.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLOUT)
        self._backlog: deque[tuple[bytes, asyncio.ReadTransport]] = deque()

    def write(self, data: bytes, source: asyncio.ReadTransport) -> None:
        """Write some data; its source is not read from until that is done."""
        rest = data if self._backlog else self._unwritten(data)
        if not rest:
            return
        source.pause_reading()
        if not self._backlog:
            asyncio.get_running_loop().add_writer(self._descriptor, self._drain)
        self._backlog.append((rest, source))

    def _drain(self) -> None:
        while self._backlog:
            data, source = self._backlog[0]
            rest = self._unwritten(data)
            if rest:
                self._backlog[0] = (rest, source)
                return
            self._backlog.popleft()
            source.resume_reading()
        asyncio.get_running_loop().remove_writer(self._descriptor)

    def _unwritten(self, data: bytes) -> bytes:
        """Write what can be written at once. Return the rest."""
        while data and self._poll.poll(0):
            try:
                # So much a pipe takes without waiting once it takes anything.
                data = data[os.write(self._descriptor, data[: select.PIPE_BUF]) :]
            except BlockingIOError:
                break
            except OSError:
                # Nobody is there to read it; the command does its work all the same.
                return b""
        return data


class Pipe(asyncio.Protocol):
    """One output stream of a command.

    Args:
        sink: what it is copied to.

    Attributes:
        last: its last line.
        received: how many bytes there were.
        ended: is done when nobody can write to it any more.
    """

    _transport: asyncio.ReadTransport

    def __init__(self, sink: Sink) -> None:
        self.last = LastLine()
        self.received = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sink = sink

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take what reads it."""
        assert isinstance(transport, asyncio.ReadTransport)  # noqa: S101 - tells mypy
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take the next piece."""
        self.received += len(data)
        self.last.feed(data)
        self._sink.write(data, self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Take note of its end."""
        if not self.ended.done():
            self.ended.set_result(None)
