"""Reading along in the streams of responses, without consuming them."""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from state_signals.cli import output
from state_signals.codec import WireResponse, decode_response
from state_signals.exceptions import MalformedMessage, ServerRefused, ServerUnreachable
from state_signals.messages import SHUTDOWN, Signal
from state_signals.transport.base import AsyncTransport
from state_signals.transport.commands import RESPONSE
from state_signals.transport.failures import explained

__all__ = ["ResponseStreams"]

_FOLLOWED = 1_000
"""Exporters whose streams are read; beyond that, those heard of longest ago are given up."""

_BACKLOG = 10_000
"""Responses that may have come to an exporter's signal before it was seen here."""

_BATCH = 1_000

_RETRY_INTERVAL = 0.5
"""Seconds between two attempts to read, while there is no connection."""

_BLOCK = 1_000
"""Milliseconds that the server holds a read back, well within the client's patience."""


class ResponseStreams:
    """The streams of the exporters that were heard of.

    Args:
        transport: where they are; its client is used for nothing else that waits.
        deliver: called with each response.
    """

    def __init__(self, transport: AsyncTransport, deliver: Callable[[WireResponse], None]) -> None:
        self._transport = transport
        self._deliver = deliver
        self._after: OrderedDict[str, bytes] = OrderedDict()
        self._reading: asyncio.Task[Any] | None = None
        self._is_followed = asyncio.Event()
        # Held while what is to be read changes.
        self._changing = asyncio.Lock()

    async def follow(self, signal: Signal) -> None:
        """Read the stream of an exporter that has sent this signal, beginning with the responses to it."""
        if signal.envelope is None or signal.envelope.reply is None:
            return
        # No signal may say what is read: an exporter has one stream.
        key = self._transport.keys.reply(signal.publisher_id)
        if signal.envelope.reply != key:
            return
        if signal.event == SHUTDOWN:
            self._after.pop(key, None)
        elif key in self._after:
            self._after.move_to_end(key)
        else:
            await self._begin(key, signal)

    async def run(self) -> None:
        """Deliver what comes, until cancelled."""
        while True:
            await self._is_followed.wait()
            async with self._changing:
                keys = list(self._after)
            if not keys:
                self._is_followed.clear()
                continue
            self._reading = asyncio.ensure_future(self._read({key: self._after[key] for key in keys}))
            try:
                self._take(await self._reading)
            except asyncio.CancelledError:
                self._reading.cancel()
                if _is_cancelling():
                    raise
                # Else _begin() has something to add.
            except ServerUnreachable:
                # Nothing is missed: the streams are still there when the connection is back.
                await asyncio.sleep(_RETRY_INTERVAL)
            except ServerRefused as error:
                output.note(f"answers through streams are not printed any more: {error}")
                self._after.clear()

    async def _begin(self, key: str, signal: Signal) -> None:
        async with self._changing:
            if self._reading is not None:
                # It would hold up the commands to come.
                self._reading.cancel()
            try:
                with explained("read responses", self._transport.address):
                    newest_first = await self._transport.client.xrevrange(key, count=_BACKLOG)
            except (ServerRefused, ServerUnreachable) as error:
                output.note(f"answers to {signal.publisher_id!r:.200} are not printed: {error}")
                return
            self._after[key] = newest_first[0][0] if newest_first else b"0-0"
            if len(self._after) > _FOLLOWED:
                self._after.popitem(last=False)
            self._is_followed.set()
        for response in itertools.dropwhile(lambda it: not _is_since(it, signal), _responses(reversed(newest_first))):
            self._deliver(response)

    def _take(self, reply: Any) -> None:
        pairs = reply.items() if isinstance(reply, dict) else reply or ()
        for name, found in pairs:
            key = name.decode()
            # redis-py gives those of a stream in one list more with RESP3.
            entries = found[0] if isinstance(reply, dict) and found else found
            if key in self._after and entries:
                self._after[key] = entries[-1][0]
            for response in _responses(entries):
                if self._transport.keys.reply(response.publisher_id) == key:
                    self._deliver(response)

    async def _read(self, after: dict[str, bytes]) -> Any:
        with explained("read responses", self._transport.address):
            return await self._transport.client.xread(after, count=_BATCH, block=_BLOCK)


def _is_since(response: WireResponse, signal: Signal) -> bool:
    """Whether a response is to this signal or, as far as clocks agree, to a later one."""
    return response.signal_id == signal.id or (response.sent or 0.0) >= (signal.sent or 0.0)


def _is_cancelling() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _responses(entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> Iterable[WireResponse]:
    for _, fields in entries:
        if RESPONSE in fields:
            with suppress(MalformedMessage):
                yield decode_response(fields[RESPONSE])
