"""One exporter's streams: the newest of what is there, and then what comes; nothing of it is consumed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from state_signals.exceptions import ServerRefused
from state_signals.runs.assembly import RunLog
from state_signals.runs.model import Run
from state_signals.runs.vitals import Vitals
from state_signals.transport.base import AsyncTransport, Batch, Refusal
from state_signals.transport.commands import RESPONSE, SIGNAL, VERDICT

__all__ = ["Tail"]

_GLANCE = 20
"""Signals and verdicts that are read of a run that nobody looks at."""

_SIGNALS = 2_000
"""Signals and verdicts that are read of a run that somebody looks at."""

_RESPONSES = 20_000
"""Responses that are read of a run that somebody looks at."""

_PAGE = 1_000

_MOST_BYTES = 64 * 1024 * 1024
"""What is remembered of one exporter, about."""

_Entry = tuple[bytes, list[bytes]]


class Tail:
    """What one exporter's streams hold: the newest of it, and what comes.

    Args:
        transport: where they are.
        publisher_id: whose.

    Attributes:
        publisher_id: whose.
        responses: the key of its responses.
        is_open: whether responses are read, too: that is left out for runs that nobody looks at.
    """

    def __init__(self, transport: AsyncTransport, publisher_id: str) -> None:
        keys = transport.keys
        self.publisher_id = publisher_id
        self._transport = transport
        self._journal = keys.journal(publisher_id)
        self._rounds = keys.rounds(publisher_id)
        self.responses = keys.reply(publisher_id)
        self._positions = {self._journal: b"0-0", self._rounds: b"0-0", self.responses: b"0-0"}
        self._log = RunLog(publisher_id, most_bytes=_MOST_BYTES)
        # There may be a thousand others, of which nothing has changed.
        self._runs: list[Run] | None = None
        self.is_open = False

    @property
    def runs(self) -> list[Run]:
        """What was read, as runs, oldest first."""
        if self._runs is None:
            self._runs = self._log.runs
        return self._runs

    @property
    def vitals(self) -> Vitals | None:
        """How the exporter and its responders are; None: not known yet. Assignable."""
        return self._log.vitals

    @vitals.setter
    def vitals(self, vitals: Vitals) -> None:
        self._log.vitals = vitals
        self._runs = None

    def signal(self, data: bytes) -> None:
        """Take a signal that was heard."""
        self._log.signal(data)
        self._runs = None

    def response(self, at: float, data: bytes) -> None:
        """Take a response that was heard at some time."""
        self._log.response(at, data)
        self._runs = None

    @property
    def position(self) -> bytes:
        """The id of the newest response that was read."""
        return self._positions[self.responses]

    async def begin(self) -> bool:
        """Read the first signal and the newest ones, and how rounds have ended. Return whether there is anything.

        Raises:
            ServerUnreachable, ServerRefused: if that cannot be read.
        """
        first, signals, rounds = await self._ask(
            ("XRANGE", self._journal, "-", "+", "COUNT", 1),
            ("XREVRANGE", self._journal, "+", "-", "COUNT", _GLANCE),
            ("XREVRANGE", self._rounds, "+", "-", "COUNT", _GLANCE),
        )
        self._take(self._journal, first)
        self._take(self._journal, signals[::-1])
        self._take(self._rounds, rounds[::-1])
        return bool(first)

    async def open(self) -> None:
        """Read the responses, too, from now on; and more of what was before. Raises as `begin`."""
        if self.is_open:
            return
        self.is_open = True
        (newest,) = await self._ask(("XREVRANGE", self.responses, "+", "-", "COUNT", 1))
        if newest:
            # What comes meanwhile is read later.
            self._positions[self.responses] = newest[0][0]
        for key, most in ((self._journal, _SIGNALS), (self._rounds, _SIGNALS), (self.responses, _RESPONSES)):
            await self._read_back(key, most)

    async def read(self) -> None:
        """Read what has come since the last time. Raises as `begin`."""
        followed = (self._journal, self._rounds, *([self.responses] if self.is_open else []))
        while True:
            found = await self._ask(
                *(("XRANGE", key, b"(" + self._positions[key], "+", "COUNT", _PAGE) for key in followed)
            )
            for key, entries in zip(followed, found, strict=True):
                self._take(key, entries)
            if all(len(entries) < _PAGE for entries in found):
                return
            # Others have something to do, too.
            await asyncio.sleep(0)

    async def _read_back(self, key: str, most: int) -> None:
        end = b"+"
        for _ in range(0, most, _PAGE):
            (entries,) = await self._ask(("XREVRANGE", key, end, "-", "COUNT", _PAGE))
            self._take(key, entries[::-1])
            if len(entries) < _PAGE:
                return
            end = b"(" + entries[-1][0]

    def _take(self, key: str, entries: Iterable[_Entry]) -> None:
        for number, fields in entries:
            if _order(number) > _order(self._positions[key]):
                self._positions[key] = number
            for place in range(0, len(fields or ()) - 1, 2):
                name, data = fields[place], fields[place + 1]
                if key == self._journal and name == SIGNAL:
                    self.signal(data)
                elif key == self.responses and name == RESPONSE:
                    self.response(_moment(number), data)
                elif key == self._rounds and name == VERDICT:
                    self._log.verdict(_moment(number), data)
                    self._runs = None

    async def _ask(self, *commands: tuple[str | bytes | int | float, ...]) -> list[list[_Entry]]:
        replies = await self._transport.execute(Batch(self._journal, commands))
        return [_checked(reply) for reply in replies]


def _checked(reply: Any) -> list[_Entry]:
    if not isinstance(reply, Refusal):
        return reply or []
    if reply.kind == "WRONGTYPE":
        # Somebody else's key: then there is nothing of ours.
        return []
    raise ServerRefused(f"the server refuses to show what it knows of runs: {reply.text}")


def _order(number: bytes) -> tuple[int, int]:
    milliseconds, _, count = number.partition(b"-")
    return int(milliseconds), int(count or 0)


def _moment(number: bytes) -> float:
    """Return the server's time in the id of an entry, which is in milliseconds."""
    return _order(number)[0] / 1000
