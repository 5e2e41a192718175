"""The load: responders with a connection each, in one process, at as little cost as can be.

Hiredis over asyncio sockets. They answer the survey that is written by hand, speak version 2 of the protocol in the
namespace that they are told, and version 1 outside of it: all by the same connections, so that whoever asks meets the
same load. They give no proofs of life, and read no journal.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass

import msgspec

from benchmarks.contenders.base import CHANNEL, Told
from benchmarks.contenders.raw import Connection, packed

_SIGNALS = "event-signal-pubsub"
_RESPONSES = "event-signal-response"
_MOST_RESPONSES = 100_000
_ENVELOPE = "_state_signals"


@dataclass(frozen=True, slots=True)
class Answer:
    """What everybody answers to one signal.

    Attributes:
        head: the command, packed, but for its last argument.
        start: what that begins with, up to the responder's name.
        end: how it ends.
        spread: seconds over which the answers are to be spread.
    """

    head: bytes
    start: bytes
    end: bytes
    spread: float = 0.0

    @classmethod
    def by(cls, *command: object, start: bytes, end: bytes, spread: float = 0.0) -> Answer:
        return cls(packed((*command, b"")).removesuffix(b"$0\r\n\r\n"), start, end, spread)

    def packed(self, name: bytes) -> bytes:
        """Return one responder's answer as it is sent."""
        return b"%s$%d\r\n%s%s%s\r\n" % (
            self.head,
            len(self.start) + len(name) + len(self.end),
            self.start,
            name,
            self.end,
        )


class Responders:
    def __init__(self, told: Told) -> None:
        self._told = told
        ours = () if told.namespace is None else (f"{_SIGNALS}:{told.namespace}",)
        self._channels = (CHANNEL, _SIGNALS, *ours)
        self._heard_last: bytes | None = None
        self._answer: Answer | None = None

    async def open(self) -> None:
        self._responders = [_Responder(self, name) for name in self._told.names]
        # So that the server's backlog of connections suffices.
        for first in range(0, len(self._responders), 100):
            await asyncio.gather(
                *(each.open(self._told.address, self._channels) for each in self._responders[first : first + 100])
            )

    async def close(self) -> None:
        for responder in self._responders:
            responder.connection.close()

    def answer_to(self, channel: bytes, data: bytes) -> Answer | None:
        """Return what everybody answers; each signal is looked at once, whoever hears it first."""
        if data != self._heard_last:
            self._heard_last = data
            self._answer = self._by_hand(data) if channel == CHANNEL.encode() else self._by_protocol(data)
        return self._answer

    def _by_hand(self, data: bytes) -> Answer:
        signal = msgspec.json.decode(data)
        start = b'{"id":%d,"publisher_id":"%s","responder_id":"' % (signal["id"], signal["publisher_id"].encode())
        return Answer.by("PUBLISH", signal["reply"], start=start, end=b'","ras":1}')

    def _by_protocol(self, data: bytes) -> Answer | None:
        signal = msgspec.json.decode(data)
        if signal["event"] == "shutdown" or self._told.follows not in (None, signal["publisher_id"], signal["tag"]):
            return None
        end = b'","publisher_id":"%s","event":"%s"' % (signal["publisher_id"].encode(), signal["event"].encode())
        if signal["event"] != "initialization":
            end += b',"ras":1'
        envelope = (signal.get("metadata") or {}).get(_ENVELOPE)
        if envelope is None:
            return Answer.by("PUBLISH", _RESPONSES, start=b'{"responder_id":"', end=end + b"}")
        end += b',"signal_id":"%s","sent":%.6f,"took":0.000010}' % (envelope["id"].encode(), time.time())
        command = ("XADD", envelope["reply"], "NOMKSTREAM", "MAXLEN", "~", _MOST_RESPONSES, "*", "r")
        return Answer.by(*command, start=b'{"responder_id":"', end=end, spread=envelope.get("spread", 0.0))


class _Responder:
    def __init__(self, all_of_them: Responders, name: str) -> None:
        self._all = all_of_them
        self._name = name.encode()
        self.connection: Connection

    async def open(self, address: tuple[str, int], channels: tuple[str, ...]) -> None:
        self.connection = await Connection.to(address, self._heard)
        await self.connection.subscribe(*channels)

    def _heard(self, channel: bytes, data: bytes) -> None:
        answer = self._all.answer_to(channel, data)
        if answer is None:
            return
        if answer.spread:
            delay = random.uniform(0.0, answer.spread)
            asyncio.get_running_loop().call_later(delay, self.connection.write, answer.packed(self._name))
        else:
            self.connection.write(answer.packed(self._name))
