"""The threads that read an exporter's responses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from state_signals.endpoint import NO_CHANNEL, NO_STREAM
from state_signals.exceptions import ServerRefused
from state_signals.outages import Outage
from state_signals.protocol.events import Degraded, Event
from state_signals.protocol.exporter import ExporterProtocol
from state_signals.requests import OpenResponses
from state_signals.sync.reader import Reader
from state_signals.sync.turns import Turns
from state_signals.sync.workers import Guard
from state_signals.transport.base import Collection, Inbox, Transport
from state_signals.transport.commands import RequestRefused

__all__ = ["Listener"]


class Listener:
    """One reader for each place that responses come to, from `start()` until `stop()`.

    Args:
        transport: where to listen.
        perform: carries out a request there.
        core: whose responses to collect.
        lock: guards the core.
        outage: is told of lost connections.
        received: called with each batch, and how far the stream was read by that, in the thread that read it.
        responses_lost: called when the server has lost responses.
        log: takes what goes without.
    """

    def __init__(
        self,
        transport: Transport,
        perform: Callable[[Any], Any],
        core: ExporterProtocol,
        lock: Guard,
        outage: Outage,
        *,
        received: Callable[[Sequence[bytes], bytes | None], None],
        responses_lost: Callable[[], None],
        log: Callable[[Event], None],
    ) -> None:
        self._transport = transport
        self._perform = perform
        self._core = core
        self._lock = lock
        self._received = received
        self._responses_lost = responses_lost
        self._log = log
        name = f"state-signals-{core.publisher_id}"
        self._stream = Reader(f"{name}-stream", self._open_stream, self._collected, self._stream_refused, outage)
        self._channel = Reader(f"{name}-channel", self._open_channel, self._heard, self._channel_refused, outage)
        self._readers: list[Reader[Collection] | Reader[Inbox]] = []

    def start(self, until: float) -> None:
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
                reader.wait_until_open(until)
            except ServerRefused as error:
                if self._readers == [reader]:
                    self._readers.clear()
                    raise
                self._do_without(reader, error)

    def turns(self) -> Turns[Collection] | None:
        """Return the turns of the stream, for whoever waits for answers; None: it is not read."""
        return self._stream.turns

    def is_alive(self) -> bool:
        """Whether responses are being read, or will be once a lost connection is back."""
        return bool(self._readers) and all(reader.is_alive() for reader in self._readers)

    def stop(self, *, waits: bool = True) -> None:
        """End the threads and give back the connections; wait for that unless told not to. Idempotent."""
        for reader in self._readers:
            reader.stop(waits=waits)

    def _do_without(self, reader: Reader[Collection] | Reader[Inbox], error: ServerRefused) -> None:
        self._readers = [each for each in self._readers if each is not reader]
        if reader is self._stream:
            with self._lock:
                self._core.responses_refused()
        self._log(Degraded(NO_STREAM if reader is self._stream else NO_CHANNEL, str(error)))

    def _open_stream(self) -> Collection:
        with self._lock:
            name, after = self._core.publisher_id, self._core.position
        try:
            opened = self._perform(OpenResponses(name, after))
        except RequestRefused as refused:
            raise ServerRefused(refused.refusal.text) from None
        inbox = self._transport.collect(self._transport.keys.reply(name), opened.after)
        with self._lock:
            self._core.responses_read(opened.after)
        if opened.has_lost:
            self._responses_lost()
        return inbox

    def _open_channel(self) -> Inbox:
        return self._transport.subscribe([self._transport.keys.responses])

    def _stream_refused(self, error: ServerRefused) -> None:
        self._do_without(self._stream, error)

    def _channel_refused(self, error: ServerRefused) -> None:
        self._do_without(self._channel, error)

    def _collected(self, inbox: Collection, arrived: Sequence[bytes]) -> None:
        self._received(arrived, inbox.last)

    def _heard(self, inbox: Inbox, arrived: Sequence[bytes]) -> None:
        del inbox
        self._received(arrived, None)
