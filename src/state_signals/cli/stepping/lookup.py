"""What a server knows about an exporter, read without taking part in its run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Self

from state_signals.codec import decode_signal
from state_signals.exceptions import MalformedMessage, ServerRefused
from state_signals.messages import SHUTDOWN, Signal
from state_signals.protocol.registration import Record, read_record
from state_signals.transport.base import AsyncTransport, Batch, Refusal
from state_signals.transport.commands import SIGNAL

__all__ = [
    "Found",
    "RunSettings",
    "Stage",
    "close_to",
    "keep",
    "live_exporters",
    "look",
    "owner_name",
]

_SETTINGS = "steps"
"""The field of an exporter's record that holds what its steps have in common."""

_MOST_EXPORTERS = 10_000

_SUGGESTED = 3


class Stage(Enum):
    """How far an exporter's run is."""

    UNKNOWN = auto()
    """The server knows nothing of it."""
    CREATED = auto()
    """There is an exporter, and its roster is not open."""
    OPEN = auto()
    """Its roster is open."""
    ENDED = auto()
    """It has shut down in good order."""
    ABORTED = auto()
    """It has shut down, and said that the run was aborted."""


@dataclass(frozen=True, slots=True)
class RunSettings:
    """What the steps of one run have in common, beyond what every exporter keeps of itself.

    Attributes:
        wait: how many responders the run was to have; 0: nobody has to be there.
        presence: seconds without a sign of life after which a responder is lost; None: never.
        retention: seconds that what is on the server outlives the last step.
    """

    wait: int = 1
    presence: float | None = 15.0
    retention: float = 86_400.0

    def encode(self) -> bytes:
        """Return them as they are kept."""
        return json.dumps({"wait": self.wait, "presence": self.presence, "retention": self.retention}).encode()

    @classmethod
    def decode(cls, data: bytes | None, record: Record | None) -> Self:
        """Return them as they were kept, whoever may have written them; without that, what the record says."""
        try:
            facts = json.loads(data or b"")
            presence = None if facts["presence"] is None else min(max(0.1, float(facts["presence"])), 86_400.0)
            retention = float(facts["retention"])
            return cls(int(facts["wait"]), presence, retention if 0 < retention < 1e12 else 86_400.0)
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            ttl = None if record is None else record.ttl
            return cls() if ttl is None or not 0.1 <= ttl <= 86_400.0 else cls(presence=ttl)


@dataclass(frozen=True, slots=True)
class Found:
    """What is known about an exporter.

    Attributes:
        publisher_id: whose.
        record: the facts that it keeps of itself; None: none that can be read.
        settings: what its steps have in common.
        newest: its newest signal; None: none that can be read.
        owner: the process that it lives in, or has died in; None: it is not claimed.
    """

    publisher_id: str
    record: Record | None = None
    settings: RunSettings = field(default_factory=RunSettings)
    newest: Signal | None = None
    owner: bytes | None = None

    @property
    def stage(self) -> Stage:
        """How far its run is."""
        if self.record is not None and self.record.events is not None:
            return Stage.OPEN
        if self.newest is not None and self.newest.event == SHUTDOWN:
            return Stage.ENDED if self.newest.aborted is None else Stage.ABORTED
        is_there = self.owner is not None or self.newest is not None
        return Stage.CREATED if is_there else Stage.UNKNOWN

    @property
    def aborted(self) -> str | None:
        """Why the run was aborted; None: it was not."""
        return self.newest.aborted if self.newest is not None and self.stage is Stage.ABORTED else None


async def look(transport: AsyncTransport, publisher_id: str) -> Found:
    """Return what the server knows about an exporter.

    Raises:
        TransportError: if it cannot be asked.
    """
    keys = transport.keys
    journal = keys.journal(publisher_id)
    record, owner, newest = await _ask(
        transport,
        journal,
        ("HGETALL", keys.record(publisher_id)),
        ("GET", keys.owner(publisher_id)),
        ("XREVRANGE", journal, "+", "-", "COUNT", 1),
    )
    facts: dict[bytes, bytes] = dict(zip(record[::2], record[1::2], strict=True))
    found = read_record(facts)
    settings = RunSettings.decode(facts.get(_SETTINGS.encode()), found)
    return Found(publisher_id, found, settings, _signal(newest), owner)


async def keep(transport: AsyncTransport, publisher_id: str, settings: RunSettings) -> None:
    """Keep what the steps of a run have in common, as long as its record is kept.

    Raises:
        TransportError: if that does not work.
    """
    record = transport.keys.record(publisher_id)
    await _ask(transport, record, ("HSET", record, _SETTINGS, settings.encode()))


async def live_exporters(transport: AsyncTransport) -> list[str]:
    """Return the exporters that have shown that they live within a day, the newest first.

    Raises:
        TransportError: if the server cannot be asked.
    """
    exporters = transport.keys.exporters
    (found,) = await _ask(transport, exporters, ("ZREVRANGE", exporters, 0, _MOST_EXPORTERS - 1))
    return [name.decode(errors="replace") for name in found]


def close_to(publisher_id: str, live: Iterable[str]) -> list[str]:
    """Return the exporters that may be meant, the most likely first.

    Their ids are names with a uuid behind, so that whoever gives the name, or a piece of the id, is understood, too.
    """
    import difflib  # noqa: PLC0415 - only for those who need it

    names = list(live)
    pieces = [name for name in names if publisher_id and (name.startswith(publisher_id) or publisher_id in name)]
    return list(dict.fromkeys([*pieces, *difflib.get_close_matches(publisher_id, names, _SUGGESTED)]))[:_SUGGESTED]


def owner_name(owner: bytes | None) -> str:
    """Return a process for people, as it says of itself, whoever may have written that."""
    try:
        facts: Any = json.loads(owner or b"")
        return f"process {int(facts['pid'])} on {str(facts['host'])[:100]}"
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return "another process"


async def _ask(transport: AsyncTransport, key: str, *commands: tuple[Any, ...]) -> list[Any]:
    replies = await transport.execute(Batch(key, commands))
    for command, reply in zip(commands, replies, strict=True):
        if isinstance(reply, Refusal):
            raise ServerRefused(f"cannot {command[0]!s} {key!r:.200} at {transport.address}: {reply.text}")
    return replies


def _signal(newest: Any) -> Signal | None:
    if not newest:
        return None
    fields: Mapping[bytes, bytes] = dict(zip(newest[0][1][::2], newest[0][1][1::2], strict=False))
    try:
        return decode_signal(fields.get(SIGNAL, b""))
    except MalformedMessage:
        return None
