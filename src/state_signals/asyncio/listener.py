"""The tasks that read an exporter's responses; the counterpart of `state_signals.sync.listener`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from state_signals.asyncio.reader import Reader
from state_signals.endpoint import NO_CHANNEL, NO_STREAM
from state_signals.exceptions import ServerRefused
from state_signals.outages import Outage
from state_signals.protocol.events import Degraded, Event
from state_signals.protocol.exporter import ExporterProtocol
from state_signals.requests import OpenResponses
from state_signals.transport.base import AsyncCollection, AsyncInbox, AsyncTransport
from state_signals.transport.commands import RequestRefused

__all__ = ["Listener"]


class Listener:
    """One reader for each place that responses come to, from `start()` until `stop()`.

    Args:
        transport: where to listen.
        perform: carries out a request there.
        core: whose responses to collect.
        outage: is told of lost connections.
        received: called with each batch, and how far the stream was read by that.
        responses_lost: called when the server has lost responses.
        log: takes what goes without.
    """

    def __init__(
        self,
        transport: AsyncTransport,
        perform: Callable[[Any], Awaitable[Any]],
        core: ExporterProtocol,
        outage: Outage,
        *,
        received: Callable[[Sequence[bytes], bytes | None], None],
        responses_lost: Callable[[], None],
        log: Callable[[Event], None],
    ) -> None:
        self._transport = transport
        self._perform = perform
        self._core = core
        self._received = received
        self._responses_lost = responses_lost
        self._log = log
        name = f"state-signals-{core.publisher_id}"
        self._stream = Reader(f"{name}-stream", self._open_stream, self._collected, self._stream_refused, outage)
        self._channel = Reader(f"{name}-channel", self._open_channel, self._heard, self._channel_refused, outage)
        self._readers: list[Reader[AsyncCollection] | Reader[AsyncInbox]] = []

    async def start(self, until: float) -> None:
        """Listen. Once this returns, no response is missed.

        Raises:
            ServerUnreachable: if that does not work until then.
            ServerRefused: if the server allows no way to hear of responses.
        """
        self._readers = [self._channel] if self._core.reply is None else [self._stream, self._channel]
        for reader in self._readers:
            reader.start()
        for reader in tuple(self._readers):
            try:
                await reader.wait_until_open(until)
            except ServerRefused as error:
                if self._readers == [reader]:
                    self._readers.clear()
                    raise
                self._do_without(reader, error)

    def is_alive(self) -> bool:
        """Whether responses are being read, or will be once a lost connection is back."""
        return bool(self._readers) and all(reader.is_alive() for reader in self._readers)

    async def stop(self) -> None:
        """End the tasks and give back the connections. Idempotent."""
        for reader in self._readers:
            await reader.stop()

    def _do_without(self, reader: Reader[AsyncCollection] | Reader[AsyncInbox], error: ServerRefused) -> None:
        self._readers = [each for each in self._readers if each is not reader]
        if reader is self._stream:
            self._core.responses_refused()
        self._log(Degraded(NO_STREAM if reader is self._stream else NO_CHANNEL, str(error)))

    async def _open_stream(self) -> AsyncCollection:
        name, after = self._core.publisher_id, self._core.position
        try:
            opened = await self._perform(OpenResponses(name, after))
        except RequestRefused as refused:
            raise ServerRefused(refused.refusal.text) from None
        inbox = await self._transport.collect(self._transport.keys.reply(name), opened.after)
        self._core.responses_read(opened.after)
        if opened.has_lost:
            self._responses_lost()
        return inbox

    async def _open_channel(self) -> AsyncInbox:
        return await self._transport.subscribe([self._transport.keys.responses])

    def _stream_refused(self, error: ServerRefused) -> None:
        self._do_without(self._stream, error)

    def _channel_refused(self, error: ServerRefused) -> None:
        self._do_without(self._channel, error)

    def _collected(self, inbox: AsyncCollection, arrived: Sequence[bytes]) -> None:
        self._received(arrived, inbox.last)

    def _heard(self, inbox: AsyncInbox, arrived: Sequence[bytes]) -> None:
        del inbox
        self._received(arrived, None)
