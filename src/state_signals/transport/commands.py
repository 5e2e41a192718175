"""Requests of the protocol as Redis commands, and the replies to them: pure, for every transport.

A request is carried out in steps: `steps(request)` is a generator that yields each `Batch` to execute, takes the
replies to it, and returns the reply to the request. So whoever moves the commands, by threads, by asyncio or within a
process, does it in a few lines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, Final

from state_signals import requests
from state_signals.requests import Entry, stream_id
from state_signals.transport.base import Batch, Refusal
from state_signals.transport.keys import Keys

__all__ = ["RESPONSE", "SIGNAL", "VERDICT", "Commands", "RequestRefused", "Steps"]

Command = tuple[str | bytes | int | float, ...]
Steps = Generator[Batch, list[Any], Any]

SIGNAL: Final = b"s"
"""The field of a journal entry that holds a signal as it was broadcast."""

RESPONSE: Final = b"r"
"""The field of an entry of the responses that holds a response."""

VERDICT: Final = b"v"
"""The field of an entry of the rounds that holds what has become of one."""

_OPENING = b"o"
"""The field of the entry that creates the stream of the responses."""

_LONGEST_JOURNAL = 250_000
"""Signals that a journal grows to, approximately."""

_LONGEST_RESPONSES = 100_000
"""Entries that responders let the responses grow to, approximately, whether the exporter reads them or not."""

_LONGEST_ROUNDS = 100_000
"""Rounds that are written down, approximately."""

_LONGEST_RETENTION = 1e9
"""Seconds; some servers overflow beyond the year 292 million."""

_MOST_EXPORTERS = 10_000

_FIELDS_AT_ONCE = 1_000

_FORGET_PRESENCE = 86_400.0
"""Seconds after which the last proof of life of somebody who has not said good-bye is forgotten."""

_NEVER = -1
"""What `PTTL` says of a key that does not expire."""

_NO_STREAM = ("exhausted the last possible ID", "ID specified in XADD is equal or smaller")


class RequestRefused(Exception):
    """The server refused a request for good.

    Attributes:
        refusal: what it said.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


class Commands:
    """What each request means to a Redis server.

    Args:
        keys: the names to use.
        retention: seconds after which what belongs to an exporter expires when it no longer does anything.
    """

    def __init__(self, keys: Keys, retention: float) -> None:
        self._keys = keys
        self._lifetime = max(1, int(min(retention, _LONGEST_RETENTION) * 1000))
        self._steps: Mapping[type, Callable[[Any], Steps]] = {
            requests.Claim: self._claim,
            requests.Publish: self._publish,
            requests.Redeliver: self._redeliver,
            requests.CheckJournal: self._check_journal,
            requests.Restore: self._restore,
            requests.Beat: self._beat,
            requests.CheckPresence: self._check_presence,
            requests.SaveRoster: self._save_roster,
            requests.Release: self._release,
            requests.OpenResponses: self._open_responses,
            requests.Discover: self._discover,
            requests.Introduce: self._introduce,
            requests.Look: self._look,
            requests.CatchUp: self._catch_up,
            requests.Answer: self._answer,
            requests.ShowPresence: self._show_presence,
            requests.Leave: self._leave,
        }

    def steps(self, request: Any) -> Steps:
        """Return the steps of a request.

        Raises:
            RequestRefused: (the generator does) if the server refuses.
        """
        return self._steps[type(request)](request)

    # Exporters

    def _claim(self, request: requests.Claim) -> Steps:
        name = request.publisher_id
        owner = self._keys.owner(name)
        if request.instead_of is not None:
            # Of all that would take the place of the dead, one may: else another one's new claim could be deleted.
            takeover = self._keys.takeover(name, request.instead_of)
            place: Command = ("SET", takeover, request.owner, "NX", "PX", _milliseconds(request.ttl))
            _, heir, found = _good((yield Batch(owner, (place, ("GET", takeover), ("GET", owner)))))
            if (heir, found) == (request.owner, request.instead_of):
                yield Batch(owner, (("DEL", owner),))
        *replies, newest = yield Batch(
            owner,
            (
                ("SET", owner, request.owner, "NX", "PX", _milliseconds(request.ttl)),
                ("GET", owner),
                ("PTTL", owner),
                ("XREVRANGE", self._keys.journal(name), "+", "-", "COUNT", 1),
                ("HGETALL", self._keys.record(name)),
                ("HGETALL", self._keys.roster(name)),
                ("XREVRANGE", self._keys.reply(name), "+", "-", "COUNT", 1),
            ),
        )
        _good(replies)
        # Whoever comes from now on sees the exporter, before it has said anything.
        names = (name,) if replies[1] == request.owner else ()
        return requests.Claimed(
            owner=replies[1],
            expires_in=math.inf if replies[2] == _NEVER else max(0, replies[2]) / 1000,
            head=_head(replies[3]),
            record=_mapping(replies[4]),
            roster=_mapping(replies[5]),
            server_time=(yield from self._seen(self._keys.exporters, names)),
            # Whether it can be read at all shows when it is opened.
            newest=None if isinstance(newest, Refusal) or not _values(newest, RESPONSE) else newest[0][0],
        )

    def _publish(self, request: requests.Publish) -> Steps:
        name, entry = request.publisher_id, request.entry
        broadcast: Command = ("PUBLISH", self._keys.signals, entry.data)
        journal, record = self._keys.journal(name), self._keys.record(name)
        if not request.is_journaled:
            _good((yield Batch(journal, (broadcast,))))
            return requests.Done()
        commands: list[Command] = [self._append(journal, entry), broadcast]
        if request.record:
            commands.append(_hset(record, request.record.items()))
        if request.forgotten:
            commands.append(("HDEL", record, *request.forgotten))
        if request.forgets_roster:
            commands.append(("DEL", self._keys.roster(name)))
        if request.record or entry.seq == 1:
            commands += [self._expire(journal), self._expire(record)]
        needed = len(commands)
        if request.verdicts:
            commands += self._written_down(name, request.verdicts)
        replies = yield Batch(journal, tuple(commands), is_atomic=True)
        # Taken: by ourselves, if the connection was lost before the reply.
        is_taken = isinstance(replies[0], Refusal) and _is_no_stream(replies[0])
        _good(replies[1 if is_taken else 0 : needed])
        return requests.PositionTaken() if is_taken else requests.Done()

    def _redeliver(self, request: requests.Redeliver) -> Steps:
        channel = self._keys.redeliveries(request.responder_id)
        _good((yield Batch(channel, (("PUBLISH", channel, request.data),))))
        return requests.Done()

    def _check_journal(self, request: requests.CheckJournal) -> Steps:
        journal, owner = self._keys.journal(request.publisher_id), self._keys.owner(request.publisher_id)
        newest, found = _good((yield Batch(journal, (("XREVRANGE", journal, "+", "-", "COUNT", 1), ("GET", owner)))))
        signals = _values(newest, SIGNAL)
        return requests.JournalChecked(head=_head(newest), owner=found, newest=signals[0] if signals else b"")

    def _restore(self, request: requests.Restore) -> Steps:
        name = request.publisher_id
        journal, record, roster = self._keys.journal(name), self._keys.record(name), self._keys.roster(name)
        commands = [self._append(journal, entry) for entry in request.entries]
        if request.entries:
            commands.append(self._expire(journal))
        if request.record:
            commands += [_hset(record, request.record.items()), self._expire(record)]
        commands += [_hset(roster, fields) for fields in _chunks(request.roster)]
        if request.roster:
            commands.append(self._expire(roster))
        commands += [("PUBLISH", self._keys.signals, data) for data in request.again]
        replies = yield Batch(journal, tuple(commands), is_atomic=True)
        # A part may be there already, if the connection was lost before the reply.
        _good([reply for reply in replies if not (isinstance(reply, Refusal) and _is_no_stream(reply))])
        return requests.Done()

    def _beat(self, request: requests.Beat) -> Steps:
        name = request.publisher_id
        keys = (self._keys.journal(name), self._keys.reply(name), self._keys.record(name), self._keys.roster(name))
        owner, exporters = self._keys.owner(name), self._keys.exporters
        commands: list[Command] = [("GET", owner), ("PEXPIRE", owner, _milliseconds(request.ttl))]
        if request.position is not None:
            commands.append(("HSET", self._keys.record(name), "position", request.position))
        commands += [self._expire(key) for key in keys]
        needed = len(commands)
        commands += self._written_down(name, request.verdicts)
        found = _good((yield Batch(owner, tuple(commands)))[:needed])[0]
        return requests.Beaten(owner=found, server_time=(yield from self._seen(exporters, (name,))))

    def _check_presence(self, request: requests.CheckPresence) -> Steps:
        presence = self._keys.presence
        names = request.responder_ids
        chunks = [names[start : start + _FIELDS_AT_ONCE] for start in range(0, len(names), _FIELDS_AT_ONCE)]
        commands = (*(("ZMSCORE", presence, *chunk) for chunk in chunks), ("TIME",))
        *scores, now = _good((yield Batch(presence, commands)))
        seen = (None if score is None else float(score) for chunk in scores for score in chunk)
        return requests.PresenceChecked(seen=dict(zip(names, seen, strict=True)), server_time=_seconds(now))

    def _save_roster(self, request: requests.SaveRoster) -> Steps:
        roster = self._keys.roster(request.publisher_id)
        _good((yield Batch(roster, (*_saved(roster, request), self._expire(roster)))))
        return requests.Done()

    def _release(self, request: requests.Release) -> Steps:
        name = request.publisher_id
        owner = self._keys.owner(name)
        found = _good((yield Batch(owner, (("GET", owner),))))[0]
        if found != request.owner and (found is not None or request.keeps_record):
            return requests.Done()
        others = () if request.keeps_record else (self._keys.record(name), self._keys.roster(name))
        commands: list[Command] = [("DEL", owner, *others)]
        if request.keeps_record and request.roster is not None:
            commands += [*_saved(self._keys.roster(name), request.roster), self._expire(self._keys.roster(name))]
        if request.keeps_record and request.position is not None:
            commands.append(("HSET", self._keys.record(name), "position", request.position))
        commands += [self._expire(self._keys.journal(name)), self._expire(self._keys.reply(name))]
        if request.lives_on:
            commands += [self._expire(self._keys.record(name)), self._expire(self._keys.roster(name))]
        needed = len(commands)
        commands += self._written_down(name, request.verdicts)
        _good((yield Batch(owner, tuple(commands)))[:needed])
        exporters = self._keys.exporters
        if request.lives_on:
            # Whoever comes before it is resumed is to find it: nobody shows that it lives until then.
            until = (yield from self._time(exporters)) + self._lifetime / 1000
            _good((yield Batch(exporters, (("ZADD", exporters, until, name), self._expire(exporters)))))
        else:
            _good((yield Batch(exporters, (("ZREM", exporters, name),))))
        return requests.Done()

    def _open_responses(self, request: requests.OpenResponses) -> Steps:
        key, after = self._keys.reply(request.publisher_id), request.after or b"0-0"
        newest, read = yield Batch(key, (("XREVRANGE", key, "+", "-", "COUNT", 1), ("XRANGE", key, after, after)))
        if isinstance(newest, Refusal) and newest.kind != "WRONGTYPE":
            raise RequestRefused(newest)
        if not newest or isinstance(newest, Refusal):
            # Also when somebody has put something else there: the key is ours.
            create: Command = ("XADD", key, "*", _OPENING, b"")
            _, opening, _ = _good((yield Batch(key, (("DEL", key), create, self._expire(key)), is_atomic=True)))
            return requests.ResponsesOpened(after=opening, has_lost=request.after is not None)
        last: bytes = newest[0][0]
        if request.after is None:
            return requests.ResponsesOpened(after=last, has_lost=False)
        if stream_id(after) > (0, 0) and not read:
            # The server has gone back in time, and nobody knows how far. Another one's clock may have been behind:
            # then what is new has smaller ids.
            return requests.ResponsesOpened(after=b"0-0", has_lost=True)
        return requests.ResponsesOpened(after=after, has_lost=False)

    # Responders

    def _discover(self, request: requests.Discover) -> Steps:
        exporters = self._keys.exporters
        now = yield from self._time(exporters)
        since = now - request.window
        command = ("ZREVRANGEBYSCORE", exporters, "+inf", since, "WITHSCORES", "LIMIT", 0, _MOST_EXPORTERS)
        (found,) = _good((yield Batch(exporters, (command,))))
        names = (name.decode(errors="replace") for name in found[::2])
        return requests.Discovered(seen=dict(zip(names, map(float, found[1::2]), strict=True)), server_time=now)

    def _introduce(self, request: requests.Introduce) -> Steps:
        name = request.publisher_id
        journal = self._keys.journal(name)
        commands: tuple[Command, ...] = (
            ("HGETALL", self._keys.record(name)),
            ("XREVRANGE", journal, "+", "-", "COUNT", 1),
        )
        record, newest = _good((yield Batch(journal, commands, is_atomic=True)))
        signals = _values(newest, SIGNAL)
        return requests.Introduced(name, _mapping(record), signals[0] if signals else None)

    def _look(self, request: requests.Look) -> Steps:
        journal = self._keys.journal(request.publisher_id)
        (newest,) = _good((yield Batch(journal, (("XREVRANGE", journal, "+", "-", "COUNT", 1),))))
        signals = _values(newest, SIGNAL)
        return requests.Looked(request.publisher_id, signals[0] if signals else None)

    def _catch_up(self, request: requests.CatchUp) -> Steps:
        journal = self._keys.journal(request.publisher_id)
        start = request.after + 1 if request.beyond is None else b"(" + request.beyond
        command = ("XRANGE", journal, start, "+", "COUNT", request.count)
        (found,) = _good((yield Batch(journal, (command,))))
        return requests.CaughtUp(
            request.publisher_id,
            tuple(_values(found, SIGNAL)),
            last=found[-1][0] if found else None,
            is_whole=len(found) < request.count,
        )

    def _answer(self, request: requests.Answer) -> Steps:
        if request.reply is not None:
            # Only to a stream that exists (Redis 6.2): an answer to an exporter that is gone leaves nothing behind.
            command: Command = (
                *("XADD", request.reply, "NOMKSTREAM", "MAXLEN", "~", _LONGEST_RESPONSES, "*", RESPONSE),
                request.data,
            )
            (reply,) = yield Batch(request.reply, (command,))
            if reply is not None and not isinstance(reply, Refusal):
                return requests.Done()
        # Out of reach (another database), gone, or not to be written: the server may be full.
        _good((yield Batch(self._keys.responses, (("PUBLISH", self._keys.responses, request.data),))))
        return requests.Done()

    def _show_presence(self, request: requests.ShowPresence) -> Steps:
        yield from self._seen(self._keys.presence, request.responder_ids)
        return requests.Done()

    def _leave(self, request: requests.Leave) -> Steps:
        presence = self._keys.presence
        _good((yield Batch(presence, (("ZREM", presence, *request.responder_ids),))))
        return requests.Done()

    # What they have in common

    def _time(self, key: str) -> Steps:
        (now,) = _good((yield Batch(key, (("TIME",),))))
        return _seconds(now)

    def _seen(self, key: str, names: tuple[str, ...]) -> Steps:
        """Score names with the server's time, and return that.

        Not in one step: only a script could, and not everybody may run those.
        """
        now = yield from self._time(key)
        if not names:
            return now
        scores = [part for name in names for part in (now, name)]
        commands: tuple[Command, ...] = (
            ("ZADD", key, *scores),
            ("ZREMRANGEBYSCORE", key, "-inf", now - _FORGET_PRESENCE),
            ("PEXPIRE", key, int(_FORGET_PRESENCE * 1000)),
        )
        _good((yield Batch(key, commands)))
        return now

    def _append(self, journal: str, entry: Entry) -> Command:
        # The position as id: what comes after a signal can be found, and none can be written twice.
        return ("XADD", journal, "MAXLEN", "~", _LONGEST_JOURNAL, f"{entry.seq}-0", SIGNAL, entry.data)

    def _written_down(self, publisher_id: str, verdicts: Iterable[bytes]) -> list[Command]:
        """Return what comes last in a batch: whether it is refused does not matter."""
        rounds = self._keys.rounds(publisher_id)
        commands: list[Command] = [
            ("XADD", rounds, "MAXLEN", "~", _LONGEST_ROUNDS, "*", VERDICT, verdict) for verdict in verdicts
        ]
        return [*commands, self._expire(rounds)]

    def _expire(self, key: str) -> Command:
        return ("PEXPIRE", key, self._lifetime)


def _good(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Refusal):
            raise RequestRefused(reply)
    return replies


def _is_no_stream(refusal: Refusal) -> bool:
    return any(text in refusal.text for text in _NO_STREAM)


def _hset(key: str, fields: Iterable[tuple[str, bytes]]) -> Command:
    return ("HSET", key, *(part for field in fields for part in field))


def _saved(roster: str, request: requests.SaveRoster) -> list[Command]:
    commands = [_hset(roster, fields) for fields in _chunks(request.joined)]
    return [*commands, ("HDEL", roster, *request.gone)] if request.gone else commands


def _chunks(fields: Mapping[str, bytes]) -> list[list[tuple[str, bytes]]]:
    items = list(fields.items())
    return [items[start : start + _FIELDS_AT_ONCE] for start in range(0, len(items), _FIELDS_AT_ONCE)]


def _mapping(reply: Any) -> dict[bytes, bytes]:
    """Return the fields of a hash, whether they came as RESP2 or RESP3."""
    return dict(reply) if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


def _values(found: Any, name: bytes) -> list[bytes]:
    """Return the field of each entry of a stream that has it; somebody else may have written others."""
    fields = (dict(zip(entry[1][::2], entry[1][1::2], strict=False)) for entry in found or ())
    return [each[name] for each in fields if name in each]


def _head(newest: Any) -> int:
    return stream_id(newest[0][0])[0] if newest else 0


def _seconds(time: Any) -> float:
    return int(time[0]) + int(time[1]) / 1e6


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))
