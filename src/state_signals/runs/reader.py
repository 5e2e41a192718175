"""Reading runs from a server, without taking part and without leaving a trace.

Everything is read page by page. Names are found by looking through the server's keys (`SCAN`), which takes time where
millions of others are stored; whoever knows a `publisher_id` needs none of that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Any

from redis.crc import key_slot

from state_signals.exceptions import ServerRefused
from state_signals.identity import fate
from state_signals.protocol.registration import Record, read_member, read_record
from state_signals.runs.assembly import RunLog
from state_signals.runs.model import Run, RunState
from state_signals.runs.vitals import RosterEntry, Vitals, state_of
from state_signals.transport.base import AsyncTransport, Batch, Refusal
from state_signals.transport.commands import RESPONSE, SIGNAL, VERDICT

__all__ = ["MOST_NAMES", "Exporter", "RunReader"]

MOST_NAMES = 100_000
"""Exporters that are looked at."""

_PAGE_BYTES = 4 * 1024 * 1024
"""About what is read at once."""

_LARGEST_PAGE = 2_000
_FIRST_PAGE = 100
_SMALLEST_PAGE = 4

_NAMES_AT_ONCE = 1_000

_SLOTS = 16_384

_GLANCE = 16
"""Signals and verdicts that are read of an exporter to see what it does just now."""

_RESPONSES_EACH = 4
_RESPONSES_AT_LEAST = 1_000


@dataclass(frozen=True, slots=True)
class Exporter:
    """An exporter as it is now.

    Attributes:
        publisher_id: which.
        vitals: how it and its responders are.
        record: what is kept to resume it; None: nothing.
        run: its newest run, of which only the newest rounds are told; None: it has published nothing.
    """

    publisher_id: str
    vitals: Vitals
    record: Record | None
    run: Run | None

    @property
    def is_there(self) -> bool:
        """Whether it lives, was left to others, or should live: it has not ended in good order."""
        return self.vitals.state is not RunState.CRASHED or self.run is None or self.run.ended_at is None

    @property
    def state(self) -> RunState:
        """Where it is, or where its run is if it is not there any more."""
        return self.vitals.state if self.is_there or self.run is None else self.run.state


class RunReader:
    """Reads what exporters have left on a server.

    Every method raises `ServerUnreachable` without a connection or an answer in time, and `ServerRefused` where a
    permission is missing.

    Args:
        transport: where to read; it stays the caller's.
    """

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport
        self._keys = transport.keys

    # Who is there

    async def exporters(self) -> list[str]:
        """Return the exporters that live, were left to others, or have crashed lately; `MOST_NAMES` at the most."""
        key = self._keys.exporters
        found: dict[bytes, None] = {}
        while len(found) < MOST_NAMES:
            command = ("ZREVRANGEBYSCORE", key, "+inf", "-inf", "LIMIT", len(found), _NAMES_AT_ONCE)
            names = await self._ask(key, command)
            before = len(found)
            found.update(dict.fromkeys(names or ()))
            if len(names or ()) < _NAMES_AT_ONCE or len(found) == before:
                break
        return [name for name in map(_text, found) if name is not None]

    async def publisher_ids(self) -> list[str]:
        """Return all that have left a journal, sorted; `MOST_NAMES` at the most."""
        before, _, after = self._keys.journal("\0").partition("\0")
        # Neither the names of keys nor those of namespaces hold what a pattern means.
        pattern = f"{before}*{after}"
        found: set[str] = set()
        for place in await self._places():
            cursor: bytes = b"0"
            while len(found) < MOST_NAMES:
                reply = await self._ask(place, ("SCAN", cursor, "MATCH", pattern, "COUNT", _NAMES_AT_ONCE))
                cursor, keys = reply
                names = (_text(key[len(before) : len(key) - len(after)]) for key in keys)
                found.update(name for name in names if name)
                if cursor == b"0":
                    break
        return sorted(found)

    async def has_journal(self, publisher_id: str) -> bool:
        """Whether an exporter has left a journal."""
        return bool(await self._newest(self._keys.journal(publisher_id), 1))

    async def last_active(self, publisher_id: str) -> float:
        """Return when anything was last heard of an exporter; 0.0: never. As exact as its clock."""
        log, keys = RunLog(publisher_id), self._keys
        streams = (keys.journal(publisher_id), keys.reply(publisher_id), keys.rounds(publisher_id))
        commands = tuple(("XREVRANGE", key, "+", "-", "COUNT", 1) for key in streams)
        replies = await self._transport.execute(Batch(streams[0], commands))
        signals, *others = [_checked(reply) or [] for reply in replies]
        for _, data in _values(signals, SIGNAL):
            log.signal(data)
        moments = [_moment(number) for entries in others for number, _ in entries]
        return max([0.0, *(run.began_at for run in log.runs), *moments])

    # What they have done

    async def read(self, publisher_id: str) -> list[Run]:
        """Return the runs of an exporter, oldest first; empty: it has left nothing."""
        return (await self.log(publisher_id)).runs

    async def log(self, publisher_id: str) -> RunLog:
        """Return everything that is known of an exporter, to be added to."""
        log, keys = RunLog(publisher_id), self._keys
        async for _, data in self._stream(keys.journal(publisher_id), SIGNAL):
            log.signal(data)
        async for at, data in self._stream(keys.reply(publisher_id), RESPONSE):
            log.response(at, data)
        async for at, data in self._stream(keys.rounds(publisher_id), VERDICT):
            log.verdict(at, data)
        log.vitals = await self.vitals(publisher_id)
        return log

    async def vitals(self, publisher_id: str) -> Vitals:
        """Return how an exporter and its responders are."""
        return (await self._look(publisher_id))[0]

    async def glance(self, publisher_id: str) -> Exporter:
        """Return what an exporter does just now, however long it has been at it."""
        log, keys = RunLog(publisher_id), self._keys
        log.vitals, fields = await self._look(publisher_id)
        if b"init" in fields:
            log.signal(fields[b"init"])
        for _, data in _values(await self._newest(keys.journal(publisher_id), _GLANCE), SIGNAL):
            log.signal(data)
        count = _RESPONSES_AT_LEAST + _RESPONSES_EACH * len(log.vitals.roster)
        for at, data in _values(await self._newest(keys.reply(publisher_id), count), RESPONSE):
            log.response(at, data)
        for at, data in _values(await self._newest(keys.rounds(publisher_id), _GLANCE), VERDICT):
            log.verdict(at, data)
        runs = log.runs
        return Exporter(publisher_id, log.vitals, read_record(fields), runs[-1] if runs else None)

    # How it is read

    async def _look(self, publisher_id: str) -> tuple[Vitals, dict[bytes, bytes]]:
        """Return how an exporter is, and the fields of its record."""
        keys, owner = self._keys, self._keys.owner(publisher_id)
        commands = (
            ("GET", owner),
            ("HGETALL", keys.record(publisher_id)),
            ("HGETALL", keys.roster(publisher_id)),
            ("TIME",),
        )
        replies = await self._transport.execute(Batch(owner, commands))
        held, found, members, time = map(_checked, replies)
        fields = _mapping(found)
        record = read_record(fields)
        roster = _roster(_mapping(members))
        now = int(time[0]) + int(time[1]) / 1e6
        score = (await self._scores(keys.exporters, [publisher_id]))[publisher_id]
        state = state_of(
            is_owned=held is not None,
            is_dead=held is not None and fate(held) is False,
            is_kept=record is not None,
            score=score,
            ttl=None if record is None else record.ttl,
            now=now,
        )
        vitals = Vitals(
            now=now,
            state=state,
            # What lies ahead is when it expires.
            last_seen=None if score is None or score > now + 1 else score,
            legal_events=None if record is None else record.events,
            roster=roster,
            seen=await self._scores(keys.presence, list(roster)),
        )
        return vitals, fields

    async def _scores(self, key: str, names: list[str]) -> dict[str, float | None]:
        found: dict[str, float | None] = {}
        for start in range(0, len(names), _NAMES_AT_ONCE):
            some = names[start : start + _NAMES_AT_ONCE]
            scores = await self._ask(key, ("ZMSCORE", key, *some)) or [None] * len(some)
            found |= {name: None if score is None else float(score) for name, score in zip(some, scores, strict=True)}
        return found

    async def _stream(self, key: str, field: bytes) -> AsyncIterator[tuple[float, bytes]]:
        """Yield when each entry of a stream was written, and its field."""
        start, count = b"-", _FIRST_PAGE
        while True:
            page = await self._ask(key, ("XRANGE", key, start, "+", "COUNT", count)) or []
            size = 1
            for at, data in _values(page, field):
                size += len(data)
                yield at, data
            if len(page) < count:
                return
            start = b"(" + page[-1][0]
            count = min(_LARGEST_PAGE, max(_SMALLEST_PAGE, _PAGE_BYTES * len(page) // size))

    async def _newest(self, key: str, count: int) -> list[Any]:
        found: list[Any] = await self._ask(key, ("XREVRANGE", key, "+", "-", "COUNT", count)) or []
        return found[::-1]

    async def _ask(self, key: str, command: tuple[str | bytes | int | float, ...]) -> Any:
        (reply,) = await self._transport.execute(Batch(key, (command,)))
        return _checked(reply)

    async def _places(self) -> list[str]:
        """Return a key that each master of a Cluster has; any, if it is none."""
        (slots,) = await self._transport.execute(Batch("", (("CLUSTER", "SLOTS"),)))
        if isinstance(slots, Refusal) or not slots:
            return [""]
        firsts = {(node[0], node[1]): first for first, _, node, *_ in slots}
        wanted, places = set(firsts.values()), []
        for number in range(_SLOTS * 64):
            if not wanted:
                break
            slot = key_slot(b"%d" % number)
            if slot in wanted:
                wanted.remove(slot)
                places.append(str(number))
        return places


def _checked(reply: Any) -> Any:
    """Return a reply; None for that of a key which holds something else.

    Raises:
        ServerRefused: if the server does not allow it.
    """
    if not isinstance(reply, Refusal):
        return reply
    if reply.kind == "WRONGTYPE":
        return None
    raise ServerRefused(f"the server refuses to show what it knows of runs: {reply.text}")


def _roster(fields: dict[bytes, bytes]) -> dict[str, RosterEntry]:
    return {name: read_member(data) for key, data in fields.items() if (name := _text(key)) is not None}


def _mapping(reply: Any) -> dict[bytes, bytes]:
    """Return the fields of a hash, whether they came as RESP2 or RESP3."""
    if isinstance(reply, dict):
        return reply
    return dict(zip(reply[::2], reply[1::2], strict=True)) if reply else {}


def _values(entries: Iterable[Any], field: bytes) -> list[tuple[float, bytes]]:
    """Return when each entry was written, and its field; somebody else may have written others."""
    return [
        (_moment(number), fields[place + 1])
        for number, fields in entries
        for place in range(0, len(fields or ()), 2)
        if fields[place] == field
    ]


def _moment(number: bytes) -> float:
    """Return the server's time in the id of an entry."""
    return int(number.partition(b"-")[0]) / 1000


def _text(name: bytes) -> str | None:
    """Return a name; None for what is none of ours."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None
