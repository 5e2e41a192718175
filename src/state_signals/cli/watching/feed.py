"""What there is to see on a server: read once, and then as it happens, without taking part and without a trace.

Signals wake us by their broadcast, and so do the responses to the run that is looked at, by a blocking read of their
stream. Of other runs only signals and verdicts are read. Proofs of life are asked for once a second.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress

from state_signals.cli.options import Server
from state_signals.cli.session import until_first
from state_signals.cli.watching.tail import Tail
from state_signals.cli.watching.version1 import Version1Runs
from state_signals.cli.watching.view import Key, Listed
from state_signals.codec import WireResponse, decode_response, decode_signal
from state_signals.exceptions import MalformedMessage, ServerUnreachable
from state_signals.outages import Backoff
from state_signals.runs.model import Round, RunState
from state_signals.runs.reader import RunReader
from state_signals.transport.base import AsyncInbox
from state_signals.transport.connect import async_transport

__all__ = ["Feed"]

_MOST_EXPORTERS = 1_000
"""Exporters that are listed."""

_BREATH = 0.05
"""Seconds between two looks into streams, while there is always something new."""

_LOOK_EVERY = 1.0
"""Seconds between two looks at the proofs of life of the run that is looked at."""

_OTHERS_EVERY = 3
"""Looks after which the other runs that go on are looked at, too."""

_REST = 10
"""How many times as long as a look takes the next one is waited for: tens of thousands are looked at less often."""

_LOST = "connection lost, trying again"


class Feed:
    """The runs on a server.

    Args:
        server: which.
        changed: called when there is something new.

    Attributes:
        reader: reads what there is.
        wanted: the run that is looked at. Assignable.
        trouble: what is wrong with the connection; None: nothing.
    """

    def __init__(self, server: Server, changed: Callable[[], object]) -> None:
        self._transport = async_transport(url=server.url, host="", port=0, namespace=server.namespace)
        self.reader = RunReader(self._transport)
        self._changed = changed
        self._tails: dict[str, Tail] = {}
        self._version_1 = Version1Runs()
        self._inbox: AsyncInbox | None = None
        self._dirty: set[str] = set()
        self._woken = asyncio.Event()
        self._wanted: Key | None = None
        self._wanted_changed = asyncio.Event()
        self._ahead = time.time() - time.monotonic()
        self.trouble: str | None = None

    @property
    def now(self) -> float:
        """Seconds since the epoch by the server's clock."""
        return time.monotonic() + self._ahead

    @property
    def runs(self) -> list[Listed]:
        """All runs, in no order."""
        found = [
            Listed((name, number), run) for name, tail in self._tails.items() for number, run in enumerate(tail.runs)
        ]
        return found + [Listed((run.publisher_id, -1), run) for run in self._version_1.runs]

    @property
    def wanted(self) -> Key | None:
        """The run that is looked at."""
        return self._wanted

    @wanted.setter
    def wanted(self, key: Key | None) -> None:
        if key != self._wanted:
            self._wanted = key
            self._wanted_changed.set()

    async def connect(self) -> None:
        """Connect and listen: what happens from now on is not missed. One attempt.

        Raises:
            TransportError: if that does not work.
        """
        await self._transport.connect()
        await self._hang_up()
        keys = self._transport.keys
        self._inbox = await self._transport.subscribe([keys.signals, keys.responses])

    async def load(self, first: str | None = None) -> None:
        """Read which runs there are; those of one exporter in any case. Raises as `connect`."""
        known = [*await self.reader.exporters(), *await self.reader.publisher_ids()]
        names = list(dict.fromkeys([*([] if first is None else [first]), *known]))[:_MOST_EXPORTERS]
        tails: dict[str, Tail] = {}
        for name in names:
            tail = Tail(self._transport, name)
            if await tail.begin():
                tails[name] = tail
                await self._look(tail)
        self._tails = tails

    async def open(self, key: Key | None) -> None:
        """Read all that there is to see of a run. Raises as `connect`."""
        tail = self._tails.get(key[0]) if key is not None else None
        if tail is not None:
            await tail.open()

    async def run(self) -> None:
        """Take what happens, until cancelled; connections that are lost are made again.

        Raises:
            ServerRefused: if the server does not allow it.
        """
        while True:
            try:
                await until_first(self._listen(), self._read_on(), self._wait_for_responses(), self._look_on())
            except ServerUnreachable:
                self.trouble = _LOST
                self._changed()
            await self._come_back()
            self.trouble = None
            self._changed()

    async def close(self) -> None:
        """Give the connections back."""
        await self._hang_up()
        await self._transport.close()

    async def _come_back(self) -> None:
        backoff = Backoff()
        while True:
            await asyncio.sleep(backoff.next())
            try:
                await self.connect()
                await self.load(None if self._wanted is None else self._wanted[0])
                await self.open(self._wanted)
            except ServerUnreachable:
                continue
            return

    async def _hang_up(self) -> None:
        inbox, self._inbox = self._inbox, None
        if inbox is not None:
            await inbox.close()

    # What comes

    async def _listen(self) -> None:
        while self._inbox is not None:
            for data in await self._inbox.receive():
                self._take(data)

    def _take(self, data: bytes) -> None:
        """Take what was broadcast: a signal, or a version 1 response."""
        try:
            signal = decode_signal(data)
        except MalformedMessage:
            with suppress(MalformedMessage):
                self._take_response(decode_response(data))
            return
        if signal.envelope is None:
            self._version_1.signal(self.now, signal)
            self._changed()
            return
        name = signal.publisher_id
        tail = self._tails.get(name)
        if tail is None:
            self._make_room()
            tail = self._tails[name] = Tail(self._transport, name)
        tail.signal(data)
        # What has become of the signal before it was written down in the same step.
        self._wake(name)

    def _make_room(self) -> None:
        """Forget an exporter, if there are too many: one whose run is over, if there is such."""
        if len(self._tails) < _MOST_EXPORTERS:
            return
        wanted = self._wanted[0] if self._wanted is not None else None
        names = [name for name in self._tails if name != wanted]
        del self._tails[next((name for name in names if not _goes_on(self._tails[name])), names[0])]

    def _take_response(self, response: WireResponse) -> None:
        tail = self._tails.get(response.publisher_id)
        if tail is None:
            self._version_1.response(self.now, response)
        elif response.signal_id is None and tail.runs:
            # It counts for the newest open round of its event.
            rounds = tail.runs[-1].rounds
            this = next((each for each in reversed(rounds) if each.event == response.event), None)
            if this is None or self.now > this.published_at + (this.wait or 0.0) or _has_answered(this, response):
                return
            facts = {
                "responder_id": response.responder_id,
                "publisher_id": response.publisher_id,
                "event": response.event,
                "ras": response.ras,
                "message": response.message,
                "signal_id": this.signal_id,
            }
            known = {name: value for name, value in facts.items() if value is not None}
            tail.response(self.now, json.dumps(known).encode())
        self._changed()

    def _wake(self, name: str) -> None:
        self._dirty.add(name)
        self._woken.set()

    async def _read_on(self) -> None:
        """Read on in the streams in which something is new."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._dirty:
                tail = self._tails.get(self._dirty.pop())
                if tail is not None:
                    if not _showed_life(tail):
                        await self._look(tail)
                    await tail.read()
                    self._changed()
            await asyncio.sleep(_BREATH)

    async def _wait_for_responses(self) -> None:
        """Wake up when there are responses to the run that is looked at, whichever that is."""
        while True:
            self._wanted_changed.clear()
            tail = self._tails.get(self._wanted[0]) if self._wanted is not None else None
            if tail is None:
                await self._wanted_changed.wait()
                continue
            if not tail.is_open:
                await tail.open()
                self._changed()
            waiting = asyncio.ensure_future(self._wait_in(tail))
            choosing = asyncio.ensure_future(self._wanted_changed.wait())
            try:
                done, _ = await asyncio.wait((waiting, choosing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in (waiting, choosing):
                    task.cancel()
                await asyncio.gather(waiting, choosing, return_exceptions=True)
            if waiting in done:
                waiting.result()

    async def _wait_in(self, tail: Tail) -> None:
        inbox = await self._transport.collect(tail.responses, tail.position)
        try:
            while True:
                # What comes here lacks its time: it is read again, with what else is new.
                await inbox.receive()
                self._wake(tail.publisher_id)
        finally:
            await inbox.close()

    async def _look_on(self) -> None:
        """Look at proofs of life, and for what was not announced to us."""
        count, took = 0, 0.0
        while True:
            await asyncio.sleep(max(_LOOK_EVERY, took * _REST))
            count, began = count + 1, time.monotonic()
            chosen = self._wanted[0] if self._wanted is not None else None
            for name, tail in list(self._tails.items()):
                # Whoever has crashed and comes back says so by a signal.
                if name == chosen or (count % _OTHERS_EVERY == 0 and _showed_life(tail)):
                    await self._look(tail)
                    await tail.read()
            took = time.monotonic() - began

    async def _look(self, tail: Tail) -> None:
        if not _goes_on(tail):
            return
        asked = time.monotonic()
        tail.vitals = vitals = await self.reader.vitals(tail.publisher_id)
        self._ahead = vitals.now - (asked + time.monotonic()) / 2


def _has_answered(this: Round, response: WireResponse) -> bool:
    action = this.actions.get(response.responder_id)
    return action is not None and action.ras is not None


def _goes_on(tail: Tail) -> bool:
    """Whether something may still happen in the newest run of an exporter."""
    runs = tail.runs
    return not runs or runs[-1].state not in (RunState.ENDED, RunState.ABORTED)


def _showed_life(tail: Tail) -> bool:
    """Whether an exporter was live, or left to others, when it was last looked at."""
    vitals = tail.vitals
    return vitals is not None and vitals.state is not RunState.CRASHED
