"""The floor: the same survey written by hand, RESP over an asyncio socket, parsed by hiredis, JSON by msgspec.

Nothing is kept, nobody is known by name before answering, nothing is done about lost connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import hiredis
import msgspec

from benchmarks.contenders.base import CHANNEL, ROUND_TIMEOUT, Told, survey

_TIMES_TO_LOOK = 0.005
"""Seconds between two looks at how many have subscribed."""


_BUFFER = bytearray(256 * 1024)
"""For all connections: what is read is parsed before the next is. A buffer for each read would cost as much again."""


packed: Any = hiredis.pack_command


class Connection(asyncio.BufferedProtocol):
    """One connection that speaks RESP 3: what is published comes between the replies, most of which nobody awaits.

    Args:
        heard: called with channel and payload of what is published.
    """

    def __init__(self, heard: Callable[[bytes, bytes], object]) -> None:
        self._heard = heard
        self._reader: Any = hiredis.Reader()
        self._replies: asyncio.Queue[object] = asyncio.Queue()
        self._awaited = 0
        self.write: Callable[[bytes], None]
        self._transport: asyncio.Transport

    @classmethod
    async def to(cls, address: tuple[str, int], heard: Callable[[bytes, bytes], object]) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(lambda: cls(heard), *address)
        await connection.ask("HELLO", 3)
        return connection

    async def ask(self, *command: str | int) -> object:
        """Send a command and return its reply, if no earlier one is still to come."""
        self._awaited = 1
        self.write(packed(command))
        return await self._replies.get()

    async def subscribe(self, *channels: str) -> None:
        self._awaited = len(channels)
        self.write(packed(("SUBSCRIBE", *channels)))
        for _ in channels:
            await self._replies.get()

    def close(self) -> None:
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self.write = transport, transport.write

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - asyncio's
        return _BUFFER

    def buffer_updated(self, nbytes: int) -> None:
        reader = self._reader
        reader.feed(_BUFFER, 0, nbytes)
        while (reply := reader.gets()) is not False:
            if type(reply) is hiredis.PushNotification and reply[0] == b"message":
                self._heard(reply[1], reply[2])
            elif self._awaited:
                self._awaited -= 1
                self._replies.put_nowait(reply)


class Surveyor:
    def __init__(self, told: Told) -> None:
        self._told = told
        self._reply = f"{CHANNEL}-{told.name}"
        self._number = 0
        self._count = 0
        self._answers: dict[str, int] = {}
        self._decode = msgspec.json.Decoder().decode
        self._done: asyncio.Future[None]

    async def open(self) -> None:
        self._connection = await Connection.to(self._told.address, self._heard)
        await self._connection.subscribe(self._reply)

    async def gather(self, count: int) -> None:
        self._count = count
        connections = 1 if self._told.shared else count
        while True:
            reply = await self._connection.ask("PUBSUB", "NUMSUB", CHANNEL)
            assert isinstance(reply, list)
            if reply[1] >= connections:
                return
            await asyncio.sleep(_TIMES_TO_LOOK)

    async def survey(self) -> int:
        self._answers = {}
        self._done = asyncio.get_running_loop().create_future()
        self._publish()
        async with asyncio.timeout(ROUND_TIMEOUT):
            await self._done
        return len(self._answers)

    async def announce(self) -> None:
        raise NotImplementedError("without waiting for the server's reply, this would measure nothing")

    async def close(self) -> None:
        self._connection.close()

    def _publish(self) -> None:
        self._number += 1
        said = msgspec.json.encode(survey(self._number, self._reply))
        self._connection.write(packed(("PUBLISH", CHANNEL, said)))

    def _heard(self, _channel: bytes, data: bytes) -> None:
        answer = self._decode(data)
        if answer["id"] == self._number:
            self._answers[answer["responder_id"]] = answer["ras"]
            if len(self._answers) == self._count and not self._done.done():
                self._done.set_result(None)


class Responders:
    """Many that share one connection; one each is what `generator` is for."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._ends = [b'","responder_id":"%s","ras":1}' % name.encode() for name in told.names]

    async def open(self) -> None:
        self._connection = await Connection.to(self._told.address, self._heard)
        await self._connection.subscribe(CHANNEL)

    async def close(self) -> None:
        self._connection.close()

    def _heard(self, _channel: bytes, data: bytes) -> None:
        signal = msgspec.json.decode(data)
        start = b'{"id":%d,"publisher_id":"%s' % (signal["id"], signal["publisher_id"].encode())
        reply = signal["reply"]
        self._connection.write(b"".join([packed(("PUBLISH", reply, start + end)) for end in self._ends]))
