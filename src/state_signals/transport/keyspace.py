"""The part of Redis that the protocol uses, within the process: pure, without threads and without a clock of its own.

Replies are as redis-py returns them undecoded over RESP2; those that are lists of entries hold what is stored, and are
not to be changed. Commands are for one thread at a time. A signal handler may interrupt one and give others: so what
is stored is changed in single steps of the interpreter, and makes sense after each.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from state_signals.transport.base import Batch, Refusal

__all__ = ["Keyspace"]

_NODE = 100
"""Entries that a stream which is trimmed approximately gives back at once."""

_UNSWEPT = 64
"""Keys up to which those that have expired are left where they are."""

_MOST = 2**64 - 1
_MOST_SIGNED = 2**63 - 1

_SYNTAX: Final = "ERR syntax error"

_Id = tuple[int, int]


class _Refused(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.refusal = Refusal(text.partition(" ")[0], text)


class _Hash(dict[bytes, bytes]):
    __slots__ = ()


class _SortedSet(dict[bytes, float]):
    __slots__ = ()


class _Stream:
    """Entries in the order of their ids.

    A list of entries only grows. To trim it means to take another one: so who reads can do so at any time.
    """

    __slots__ = ("entries", "floor")

    def __init__(self) -> None:
        self.entries: list[tuple[_Id, list[Any]]] = []
        self.floor: _Id = (0, 0)

    def last(self) -> _Id:
        """Return the newest id that there ever was."""
        entries = self.entries
        return entries[-1][0] if entries else self.floor


_Kind = TypeVar("_Kind", bytes, _Hash, _SortedSet, _Stream)


class Keyspace:
    """Keys, their values, and who wants to know what is new.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._data: dict[bytes, Any] = {}
        # Milliseconds since the epoch.
        self._expiries: dict[bytes, int] = {}
        self._sweep_at = _UNSWEPT
        self._subscribers: dict[bytes, dict[Callable[[bytes], object], None]] = {}

    def execute(self, batch: Batch) -> list[Any]:
        """Carry out commands; return a reply for each, a `Refusal` where there is an error.

        Safe from any thread if they only read.
        """
        commands = [[part if type(part) is bytes else _bytes(part) for part in each] for each in batch.commands]
        if batch.is_atomic:
            try:
                for command in commands:
                    self._known(command)
            except _Refused as refused:
                return [refused.refusal] * len(commands)
        return [self._carry_out(command) for command in commands]

    def subscribe(self, name: str, deliver: Callable[[bytes], object]) -> None:
        """Call `deliver` with what is published on a channel, and with the id of each entry added to a stream."""
        self._subscribers.setdefault(name.encode(), {})[deliver] = None

    def unsubscribe(self, name: str, deliver: Callable[[bytes], object]) -> None:
        """Undo `subscribe`. Idempotent."""
        found = self._subscribers.get(name.encode(), {})
        found.pop(deliver, None)
        if not found:
            self._subscribers.pop(name.encode(), None)

    def flush(self) -> None:
        """Forget all keys, as a server does that comes back empty. Subscriptions go on."""
        self._data.clear()
        self._expiries.clear()

    def _carry_out(self, command: list[bytes]) -> Any:
        try:
            return self._known(command)(self, command)
        except _Refused as refused:
            return refused.refusal
        except IndexError:
            return _wrong_number(command).refusal

    def _known(self, command: list[bytes]) -> Callable[[Keyspace, list[bytes]], Any]:
        """Return what carries a command out. Raises what a server would not even take."""
        if command[0] not in self._COMMANDS:
            words = "".join(f"`{word.decode(errors='replace')}`, " for word in command[1:])
            raise _Refused(f"ERR unknown command `{command[0].decode()}`, with args beginning with: {words}")
        arity, known = self._COMMANDS[command[0]]
        if len(command) < abs(arity) or len(command) > arity > 0:
            raise _wrong_number(command)
        return known

    # Keys

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _live(self, key: bytes) -> Any:
        # What has expired is passed over, not removed: it may be somebody else's turn to change anything.
        expiry = self._expiries.get(key)
        return None if expiry is not None and self._now() > expiry else self._data.get(key)

    def _get(self, key: bytes, kind: type[_Kind]) -> _Kind | None:
        found = self._live(key)
        if found is not None and type(found) is not kind:
            raise _Refused("WRONGTYPE Operation against a key holding the wrong kind of value")
        return found

    def _make(self, key: bytes, kind: type[_Kind]) -> _Kind:
        found = self._get(key, kind)
        if found is None:
            self._make_room(key)
            found = self._data.setdefault(key, kind())
        return found

    def _remove(self, key: bytes) -> bool:
        self._expiries.pop(key, None)
        return self._data.pop(key, None) is not None

    def _make_room(self, key: bytes) -> None:
        """Remove what has expired: `key`, and each time that there is twice as much as after the last time, others."""
        keys = [key]
        if len(self._data) >= self._sweep_at:
            keys += self._expiries
        for each in keys:
            if self._expiries.get(each, math.inf) < self._now():
                self._remove(each)
        if len(keys) > 1:
            self._sweep_at = max(_UNSWEPT, 2 * len(self._data))

    def _del(self, command: list[bytes]) -> int:
        return sum(self._live(key) is not None and self._remove(key) for key in command[1:])

    def _pexpire(self, command: list[bytes]) -> int:
        lifetime = _integer(command[2])
        expiry = self._now() + lifetime
        if expiry > _MOST_SIGNED:
            raise _Refused("ERR invalid expire time in pexpire")
        if self._live(command[1]) is None:
            return 0
        self._expiries[command[1]] = expiry if lifetime > 0 else -1
        return 1

    def _pttl(self, command: list[bytes]) -> int:
        if self._live(command[1]) is None:
            return -2
        return max(0, self._expiries[command[1]] - self._now()) if command[1] in self._expiries else -1

    def _set(self, command: list[bytes]) -> bytes | None:
        key, expiry, is_new, options = command[1], None, False, command[3:]
        while options:
            option = options.pop(0)
            if option == b"NX":
                is_new = True
            elif option == b"PX" and options:
                lifetime, now = _integer(options.pop(0)), self._now()
                if not 0 < lifetime <= _MOST_SIGNED - now:
                    raise _Refused("ERR invalid expire time in set")
                expiry = now + lifetime
            else:
                raise _Refused(_SYNTAX)
        if is_new and self._live(key) is not None:
            return None
        self._make_room(key)
        self._data[key] = command[2]
        self._expiries.pop(key, None)
        if expiry is not None:
            self._expiries[key] = expiry
        return b"OK"

    # Hashes and sorted sets

    def _hset(self, command: list[bytes]) -> int:
        if len(command) % 2:
            raise _wrong_number(command)
        return self._add(self._make(command[1], _Hash), zip(command[2::2], command[3::2], strict=True))

    def _hgetall(self, command: list[bytes]) -> list[bytes]:
        fields = self._get(command[1], _Hash)
        return [part for field in list(fields.items()) for part in field] if fields else []

    def _zadd(self, command: list[bytes]) -> int:
        if len(command) % 2:
            raise _Refused(_SYNTAX)
        scores = [_score(text, "ERR value is not a valid float") for text in command[2::2]]
        return self._add(self._make(command[1], _SortedSet), zip(command[3::2], scores, strict=True))

    def _add(self, found: dict[bytes, Any], pairs: Iterable[tuple[bytes, Any]]) -> int:
        before = len(found)
        found.update(pairs)
        return len(found) - before

    def _zmscore(self, command: list[bytes]) -> list[bytes | None]:
        members = self._get(command[1], _SortedSet)
        scores = [members.get(name) if members else None for name in command[2:]]
        return [None if score is None else b"%.17g" % score for score in scores]

    def _zrevrangebyscore(self, command: list[bytes]) -> list[bytes]:
        if command[4:6] != [b"WITHSCORES", b"LIMIT"]:
            raise _Refused(_SYNTAX)
        start, count = _integer(command[6]), _integer(command[7])
        found = sorted(self._inside(command[1], command[3], command[2]), reverse=True)
        chosen = found[start : None if count < 0 else start + count] if start >= 0 else []
        return [part for score, name in chosen for part in (name, b"%.17g" % score)]

    def _zremrangebyscore(self, command: list[bytes]) -> int:
        names = [name for _, name in self._inside(command[1], command[2], command[3])]
        return self._remove_parts([b"", command[1], *names])

    def _inside(self, key: bytes, low: bytes, high: bytes) -> list[tuple[float, bytes]]:
        """Return the members of a sorted set whose scores are within an interval."""
        least, most = (_score(text, "ERR min or max is not a float") for text in (low, high))
        members = self._get(key, _SortedSet)
        # Mostly it is about those that have not been seen for a long time, and there are none.
        if members is None or min(members.values(), default=math.inf) > most:
            return []
        return [(score, name) for name, score in list(members.items()) if least <= score <= most]

    def _remove_parts(self, command: list[bytes]) -> int:
        kind: type[Any] = _Hash if command[0] == b"HDEL" else _SortedSet
        found = self._get(command[1], kind)
        removed = sum(found.pop(name, None) is not None for name in command[2:]) if found else 0
        if removed and not found:
            self._remove(command[1])
        return removed

    # Streams

    def _xadd(self, command: list[bytes]) -> bytes | None:
        place, creates, length, granule = 2, True, None, 1
        if command[place] == b"NOMKSTREAM":
            place, creates = place + 1, False
        if command[place] == b"MAXLEN":
            granule = _NODE if command[place + 1] == b"~" else 1
            place += 2 if command[place + 1] in (b"~", b"=") else 1
            length = _integer(command[place])
            place += 1
        wanted = None if command[place] == b"*" else _id(command[place])
        fields = command[place + 1 :]
        if not fields or len(fields) % 2:
            raise _Refused("ERR wrong number of arguments for XADD")
        if wanted == (0, 0):
            raise _Refused("ERR The ID specified in XADD must be greater than 0-0")
        stream = self._make(command[1], _Stream) if creates else self._get(command[1], _Stream)
        if stream is None:
            return None
        added = self._append(stream, wanted, fields)
        excess = 0 if length is None else len(stream.entries) - length
        if excess >= granule:
            stream.floor = stream.last()
            stream.entries = stream.entries[excess - excess % granule :]
        self._publish([b"", command[1], added])
        return added

    def _append(self, stream: _Stream, wanted: _Id | None, fields: list[bytes]) -> bytes:
        while True:
            last = stream.last()
            if last == (_MOST, _MOST):
                raise _Refused("ERR The stream has exhausted the last possible ID, unable to add more items")
            if wanted is not None and wanted <= last:
                raise _Refused("ERR The ID specified in XADD is equal or smaller than the target stream top item")
            following = (last[0], last[1] + 1) if last[1] < _MOST else (last[0] + 1, 0)
            new = wanted or max((self._now(), 0), following)
            text = b"%d-%d" % new
            entries = stream.entries
            entries.append((new, [text, fields]))
            if len(entries) == 1 or entries[-2][0] < new:
                return text
            # A signal handler has added another one in between.
            entries.pop()

    def _xrange(self, command: list[bytes]) -> list[Any] | None:
        is_reversed = command[0] == b"XREVRANGE"
        first, last = (command[3], command[2]) if is_reversed else (command[2], command[3])
        start = (0, 0) if first == b"-" else _id(first.removeprefix(b"("))
        end = (_MOST, _MOST) if last == b"+" else _id(last, _MOST)
        if len(command) > 4 and (len(command) != 6 or command[4] != b"COUNT"):
            raise _Refused(_SYNTAX)
        count = max(0, _integer(command[5])) if len(command) > 4 else _MOST
        stream = self._get(command[1], _Stream)
        if stream is None or count == 0:
            return [] if stream is None else None
        # A tuple that is shorter than an entry comes before it if the ids are equal.
        low: Any = ((start[0], start[1] + first.startswith(b"(")),)
        high: Any = ((end[0], end[1] + 1),)
        entries = stream.entries
        place, behind = bisect_left(entries, low), bisect_left(entries, high)
        if is_reversed:
            return [entry for _, entry in entries[max(place, behind - count) : behind][::-1]]
        return [entry for _, entry in entries[place : min(behind, place + count)]]

    # The server

    def _publish(self, command: list[bytes]) -> int:
        subscribers = tuple(self._subscribers.get(command[1], ()))
        for deliver in subscribers:
            deliver(command[2])
        return len(subscribers)

    def _time(self, _: list[bytes]) -> list[bytes]:
        return [b"%d" % part for part in divmod(int(self._clock() * 1_000_000), 1_000_000)]

    # How many words each has, itself included (negative: at least as many), and what carries it out.
    _COMMANDS: Final = {
        b"DEL": (-2, _del),
        b"GET": (2, lambda self, command: self._get(command[1], bytes)),
        b"HDEL": (-3, _remove_parts),
        b"HGETALL": (2, _hgetall),
        b"HSET": (-4, _hset),
        b"PEXPIRE": (3, _pexpire),
        b"PING": (1, lambda *_: b"PONG"),
        b"PTTL": (2, _pttl),
        b"PUBLISH": (3, _publish),
        b"SET": (-3, _set),
        b"TIME": (1, _time),
        b"XADD": (-5, _xadd),
        b"XRANGE": (-4, _xrange),
        b"XREVRANGE": (-4, _xrange),
        b"ZADD": (-4, _zadd),
        b"ZMSCORE": (-3, _zmscore),
        b"ZREM": (-3, _remove_parts),
        b"ZREMRANGEBYSCORE": (4, _zremrangebyscore),
        b"ZREVRANGEBYSCORE": (8, _zrevrangebyscore),
    }


def _wrong_number(command: list[bytes]) -> _Refused:
    return _Refused(f"ERR wrong number of arguments for '{command[0].decode().lower()}' command")


def _bytes(part: str | bytes | float) -> bytes:
    return part.encode() if isinstance(part, str) else part if isinstance(part, bytes) else repr(part).encode()


def _integer(text: bytes) -> int:
    number = int(text) if text.removeprefix(b"-").isdigit() and len(text) <= 20 else _MOST
    if b"%d" % number != text or not -_MOST_SIGNED <= number <= _MOST_SIGNED:
        raise _Refused("ERR value is not an integer or out of range")
    return number


def _id(text: bytes, number: int = 0) -> _Id:
    """Return a stream id; `number` is its second part if the text has none."""
    first, separator, second = text.partition(b"-")
    for part in (first, second) if separator else (first,):
        if not part.isdigit() or len(part) > 20 or int(part) > _MOST:
            raise _Refused("ERR Invalid stream ID specified as stream command argument")
    return int(first), int(second) if separator else number


def _score(text: bytes, refusal: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if math.isnan(score):
        raise _Refused(refusal)
    return score
