"""Reading along in the streams of responses, without consuming them."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

from state_signals.cli import output
from state_signals.codec import WireResponse, decode_response
from state_signals.exceptions import MalformedMessage, ServerRefused, ServerUnreachable
from state_signals.messages import SHUTDOWN, Signal
from state_signals.outages import Backoff
from state_signals.transport.base import AsyncTransport, Batch, Refusal
from state_signals.transport.replies import responses

__all__ = ["ResponseStreams"]

_FOLLOWED = 200
"""Exporters whose streams are read, by a connection each; beyond that, those heard of longest ago are given up."""

_BACKLOG = 10_000
"""Responses that may have come to an exporter's signal before it was seen here."""


class ResponseStreams:
    """The streams of the exporters that were heard of.

    Args:
        transport: where they are.
        deliver: called with each response.
    """

    def __init__(self, transport: AsyncTransport, deliver: Callable[[WireResponse], None]) -> None:
        self._transport = transport
        self._deliver = deliver
        self._streams: OrderedDict[str, _Stream] = OrderedDict()
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._has_given_up = False

    def follow(self, signal: Signal) -> None:
        """Read the stream of an exporter that has sent this signal, beginning with the responses to it."""
        # No signal may say what is read: an exporter has one stream.
        key = self._transport.keys.reply(signal.publisher_id)
        if signal.event == SHUTDOWN or signal.envelope is None or signal.envelope.reply != key:
            return
        stream = self._streams.get(signal.publisher_id)
        if stream is not None and not stream.task.done():
            self._streams.move_to_end(signal.publisher_id)
            return
        stream = self._streams[signal.publisher_id] = _Stream(self._transport, key, signal, self._deliver)
        stream.task.add_done_callback(self._ended)
        while len(self._streams) > _FOLLOWED:
            self._give_up(self._streams.popitem(last=False)[1])

    async def finish(self, publisher_id: str) -> None:
        """Deliver what has come to an exporter that has shut down, and read its stream no longer."""
        stream = self._streams.pop(publisher_id, None)
        if stream is not None:
            await stream.finish()

    async def run(self) -> None:
        """Deliver what comes, until cancelled."""
        try:
            await self._failed
        finally:
            tasks = [stream.task for stream in self._streams.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _give_up(self, stream: _Stream) -> None:
        if not stream.task.done() and not self._has_given_up:
            self._has_given_up = True
            output.note(f"there are more than {_FOLLOWED} exporters: not all answers are printed")
        stream.task.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self._failed.done():
            self._failed.set_exception(error)


class _Stream:
    """The stream of one exporter.

    Args:
        transport: where it is.
        key: what it is called.
        since: the signal that the first responses to deliver are for.
        deliver: called with each response.

    Attributes:
        task: reads it.
    """

    def __init__(
        self, transport: AsyncTransport, key: str, since: Signal, deliver: Callable[[WireResponse], None]
    ) -> None:
        self._transport = transport
        self._key = key
        self._since = since
        self._deliver = deliver
        self._last: bytes | None = None
        self.task = asyncio.create_task(self._read())

    async def finish(self) -> None:
        """Deliver what is there already, and end."""
        self.task.cancel()
        await asyncio.wait([self.task])
        with suppress(ServerUnreachable, ServerRefused):
            if self._last is None:
                await self._begin()
            else:
                found = await self._ask(("XRANGE", self._key, b"(" + self._last, "+", "COUNT", _BACKLOG))
                self._deliver_all(_decoded(self._key, self._transport, responses(found)))

    async def _read(self) -> None:
        backoff = Backoff()
        while True:
            try:
                if self._last is None and not await self._begin():
                    return
                await self._follow(backoff)
            except ServerUnreachable:
                # Nothing is missed: the stream is still there when the connection is back.
                await asyncio.sleep(backoff.next())
            except ServerRefused as error:
                output.note(f"answers to {self._since.publisher_id!r:.200} are not printed: {error}")
                return

    async def _begin(self) -> bool:
        """Deliver what has come since the signal. Return whether there is a stream: its exporter makes it first."""
        newest_first = await self._ask(("XREVRANGE", self._key, "+", "-", "COUNT", _BACKLOG))
        if not newest_first:
            return False
        found = _decoded(self._key, self._transport, responses(newest_first[::-1]))
        self._last = newest_first[0][0]
        self._deliver_all(itertools.dropwhile(lambda response: not self._is_since(response), found))
        return True

    async def _follow(self, backoff: Backoff) -> None:
        inbox = await self._transport.collect(self._key, self._last or b"0-0")
        try:
            while True:
                arrived = await inbox.receive()
                backoff.reset()
                self._last = inbox.last
                self._deliver_all(_decoded(self._key, self._transport, arrived))
        finally:
            await inbox.close()

    async def _ask(self, command: tuple[str | bytes | int | float, ...]) -> list[Any]:
        (reply,) = await self._transport.execute(Batch(self._key, (command,)))
        if isinstance(reply, Refusal):
            raise ServerRefused(reply.text)
        found: list[Any] = reply
        return found

    def _is_since(self, response: WireResponse) -> bool:
        """Whether a response is to the signal or, as far as clocks agree, to a later one."""
        return response.signal_id == self._since.id or (response.sent or 0.0) >= (self._since.sent or 0.0)

    def _deliver_all(self, found: Iterable[WireResponse]) -> None:
        for response in found:
            self._deliver(response)


def _decoded(key: str, transport: AsyncTransport, found: Sequence[bytes]) -> Iterable[WireResponse]:
    """Return the responses that can be read and are to the exporter whose stream it is."""
    for data in found:
        with suppress(MalformedMessage):
            response = decode_response(data)
            if transport.keys.reply(response.publisher_id) == key:
                yield response
