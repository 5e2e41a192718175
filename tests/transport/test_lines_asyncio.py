"""Connections for asyncio: what nobody reads stays with the server, and what is written waits for room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import redis

from state_signals.transport.lines_asyncio import Dialer, Line
from tests.parties import DEADLINE, eventually

MESSAGE = b"*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$10000\r\n" + b"y" * 10_000 + b"\r\n"


class Server:
    """Takes one connection, and says what it is told to."""

    def __init__(self) -> None:
        self.sent = 0
        self.taken = asyncio.Event()
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        # What redis-py says of itself, in two commands.
        for name in (b"LIB-NAME", b"LIB-VER"):
            await reader.readuntil(name)
            for _ in range(3):
                # The rest of that line, and the value.
                await reader.readline()
            writer.write(b"+OK\r\n")
        self.taken.set()

    async def flood(self) -> None:
        """Say more than anybody wants to hear."""
        while True:
            self.writer.write(MESSAGE)
            await self.writer.drain()
            self.sent += len(MESSAGE)


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[Server, Line]]:
    server = Server()
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    pool = redis.asyncio.ConnectionPool(host="127.0.0.1", port=port, protocol=2)
    line = await Dialer(pool).dial(DEADLINE)
    await asyncio.wait_for(server.taken.wait(), DEADLINE)
    try:
        yield server, line
    finally:
        await line.close()
        listening.close()
        server.writer.transport.abort()
        # The loop closes sockets one turn later.
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_what_nobody_reads_stays_with_the_server() -> None:
    async with connected() as (server, line):
        flooding = asyncio.create_task(server.flood())
        try:
            await eventually(lambda: line._protocol._is_held_back, "that no more is read")
            before = -1
            while server.sent != before:
                # Until the system's buffers are full, too.
                before = server.sent
                await asyncio.sleep(0.2)
            assert line._protocol._unread < 1_000_000
            for _ in range(50):
                await line.take()
                line.replies()
            await eventually(lambda: server.sent > before, "that more is read")
        finally:
            flooding.cancel()
            with suppress(asyncio.CancelledError):
                await flooding


async def test_a_wait_that_is_cancelled_loses_nothing() -> None:
    async with connected() as (server, line):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await line.take()
        server.writer.write(b"+OK\r\n+MORE\r\n")
        assert await asyncio.wait_for(line.read(2), DEADLINE) == [b"OK", b"MORE"]


async def test_who_waits_hears_that_the_server_has_hung_up() -> None:
    async with connected() as (server, line):
        taking = asyncio.create_task(line.take())
        await asyncio.sleep(0)
        server.writer.close()
        with pytest.raises(redis.ConnectionError, match="closed"):
            await asyncio.wait_for(taking, DEADLINE)
        assert line.is_stale()
        with pytest.raises(redis.ConnectionError):
            await line.take()


async def test_what_came_before_the_end_is_still_read() -> None:
    async with connected() as (server, line):
        server.writer.write(b"+OK\r\n")
        server.writer.close()
        await eventually(line.is_stale)
        assert await line.read(1) == [b"OK"]


async def test_who_writes_waits_for_room_and_hears_of_the_end() -> None:
    async with connected() as (server, line):

        async def write() -> None:
            while True:
                await line.send(MESSAGE * 10)

        writing = asyncio.create_task(write())
        await eventually(lambda: line._protocol._room is not None, "that there is no more room")
        await server.reader.read(1_000_000)
        server.writer.transport.abort()
        with pytest.raises((redis.ConnectionError, OSError)):
            await asyncio.wait_for(writing, DEADLINE)


async def test_what_arrives_is_handed_over_at_once() -> None:
    async with connected() as (server, line):
        found: list[object] = []
        server.writer.write(b"+EARLY\r\n")
        await eventually(lambda: line._protocol._unread)
        line.hand_over(lambda: found.extend(line.replies()))
        assert found == [b"EARLY"]
        server.writer.write(b"+MORE\r\n")
        await eventually(lambda: len(found) == 2)
        assert not await line.take(0.01)
        line.hand_over(None)
        server.writer.write(b"+LAST\r\n")
        assert await line.read(1) == [b"LAST"]
        assert len(found) == 2


async def test_more_is_handed_over_when_others_have_had_their_turn() -> None:
    async with connected() as (server, line):
        order: list[str] = []

        def take() -> None:
            order.append("taken")
            if len(order) == 1:
                asyncio.get_running_loop().call_soon(order.append, "another's turn")
                line.hand_over_later()

        line.hand_over(take)
        server.writer.write(b"+OK\r\n")
        await eventually(lambda: len(order) == 3)
        assert order == ["taken", "another's turn", "taken"]
        line.hand_over_later()
        line.hand_over(None)
        # What was to be called later has had its turn by then.
        await asyncio.sleep(0)
        assert len(order) == 3


async def test_what_is_raised_by_who_takes_it_ends_the_connection() -> None:
    def refuse() -> None:
        raise ValueError("not that")

    async with connected() as (server, line):
        line.hand_over(refuse)
        taking = asyncio.create_task(line.take())
        server.writer.write(b"+OK\r\n")
        with pytest.raises(ValueError, match="not that"):
            await asyncio.wait_for(taking, DEADLINE)
        assert line.is_stale()
        with pytest.raises(ValueError, match="not that"):
            line.write(b"PING\r\n")
        # The loop has told by then that the connection is lost, which must not hide why.
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="not that"):
            await line.take()
