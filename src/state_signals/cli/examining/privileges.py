"""What each role has to be allowed on a server: as ACL rules, and as attempts that show whether it is. Pure.

Derived from what is sent: by `transport/commands.py` (requests), `transport/lines*.py` and redis-py (connections), and
by commands that look at the server themselves (`cli/lookup.py`, `cli/vigil.py`, `runs/reader.py`). A test runs
everything as users that may do just this, and checks that the server has refused nothing, and that all of it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from state_signals.transport.keys import Keys

__all__ = ["Attempt", "Grant", "Role", "attempts", "grants", "rules"]

Version = tuple[int, int]

_ANY = "*"

_HAS_SELECTORS = (7, 0)
"""Since then, a rule can say which commands are for which keys."""

_HAS_SETINFO = (7, 2)
"""Since then, clients can say which library they are; in between it is an error to allow that."""


class Role(StrEnum):
    """Who somebody is on a server."""

    EXPORTER = "exporter"
    RESPONDER = "responder"
    OBSERVER = "observer"


@dataclass(frozen=True, slots=True)
class Grant:
    """Some commands, and what they may be used on.

    Attributes:
        commands: in lower case; with a bar before a subcommand.
        keys: patterns of the keys.
        access: what the commands do with them: `"R"`, `"W"` or `"RW"`.
        channels: patterns of the channels.
    """

    commands: tuple[str, ...]
    keys: tuple[str, ...] = ()
    access: str = ""
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """A command that a role has to be allowed.

    Attributes:
        name: the command, in lower case.
        on: the key or channel; empty: neither.
        words: the command, complete enough to be refused for nothing but a missing permission.
    """

    name: str
    on: str
    words: tuple[str, ...]


def grants(role: Role, namespace: str | None) -> tuple[Grant, ...]:
    """Return what a role needs in a namespace; the first one needs no key.

    Raises:
        InvalidArgument: for what cannot be a namespace.
    """
    return {Role.EXPORTER: _exporter, Role.RESPONDER: _responder, Role.OBSERVER: _observer}[role](Keys(namespace), _ANY)


def rules(role: Role, namespace: str | None, version: Version) -> list[str]:
    """Return the rules, as arguments of `ACL SETUSER`, that allow a role what it needs and no more.

    Before Redis 7 each command is allowed on each of the keys: those rules cannot be told apart there.
    """
    first, *others = grants(role, namespace)
    first = Grant((*first.commands, *_on_connecting(version)), channels=first.channels)
    if version >= _HAS_SELECTORS:
        return [*_words(first, has_access=True), *(f"({' '.join(_words(each, has_access=True))})" for each in others)]
    whole = Grant(
        _distinct(name for each in (first, *others) for name in each.commands),
        _distinct(key for each in others for key in each.keys),
        channels=_distinct(channel for each in (first, *others) for channel in each.channels),
    )
    return _words(whole, has_access=False)


def attempts(role: Role, namespace: str | None, name: str) -> list[Attempt]:
    """Return what to try to see whether a role is allowed what it needs.

    Args:
        role: the role.
        namespace: its namespace.
        name: stands for an exporter and a responder that do not exist.
    """
    keys = Keys(namespace)
    found = []
    for each in {Role.EXPORTER: _exporter, Role.RESPONDER: _responder, Role.OBSERVER: _observer}[role](keys, name):
        for command in each.commands:
            make = _WORDS.get(command)
            if make is not None:
                places = each.channels if command in _ON_CHANNELS else each.keys or ("",)
                found += [Attempt(command, place, make(place)) for place in places]
    return found


def _exporter(keys: Keys, name: str) -> tuple[Grant, ...]:
    redelivery = keys.redeliveries(name)
    own = tuple(_own(keys, name))
    return (
        Grant((*_CONNECTION, "publish"), channels=(keys.signals, redelivery)),
        Grant(("subscribe",), channels=(keys.responses,)),
        # In one: what goes to keys of several kinds at a time (DEL) has to be allowed by one rule.
        Grant((*_ON_STREAMS, *_ON_HASHES, *_ON_TEXTS, "del", "pexpire"), own, "RW"),
        Grant(("zadd", "zrem", "zremrangebyscore", "pexpire", "zrevrange"), (keys.exporters,), "RW"),
        Grant(("zmscore",), (keys.presence,), "R"),
    )


def _responder(keys: Keys, name: str) -> tuple[Grant, ...]:
    return (
        # Responders of one process share their subscriptions, and not all of them end at a time.
        Grant((*_CONNECTION, "subscribe", "unsubscribe"), channels=(keys.signals, keys.redeliveries(name))),
        Grant(("publish",), channels=(keys.responses,)),
        Grant(("xrange", "xrevrange"), (keys.journal(name),), "R"),
        Grant(("hgetall", "hget"), (keys.record(name),), "R"),
        Grant(("get",), (keys.owner(name),), "R"),
        Grant(("xadd",), (keys.reply(name),), "W"),
        Grant(("zrevrangebyscore", "zscore"), (keys.exporters,), "R"),
        Grant(("zadd", "zrem", "zremrangebyscore", "pexpire"), (keys.presence,), "W"),
    )


def _observer(keys: Keys, name: str) -> tuple[Grant, ...]:
    own = tuple(_own(keys, name))
    return (
        Grant(
            (*_CONNECTION, "scan", "subscribe"),
            channels=(keys.signals, keys.responses, keys.redeliveries(name)),
        ),
        Grant(("xrange", "xrevrange", "xread"), own[:3], "R"),
        Grant(("hgetall",), own[3:5], "R"),
        Grant(("get",), own[5:6], "R"),
        Grant(("zrevrangebyscore", "zmscore"), (keys.exporters, keys.presence), "R"),
    )


def _own(keys: Keys, name: str) -> Iterable[str]:
    """The keys of one exporter: three streams, two hashes, two texts."""
    yield from (keys.journal(name), keys.reply(name), keys.rounds(name), keys.roster(name), keys.record(name))
    yield keys.owner(name)
    # The digest of a dead owner takes the place of the star.
    yield f"{keys.owner(name)}:{_ANY}"


_CONNECTION = ("ping", "select", "role", "cluster|slots", "time", "multi", "exec")
"""What everybody needs, though on no key: with a database, Sentinels, a Cluster, and several commands in one step."""


def _on_connecting(version: Version) -> tuple[str, ...]:
    is_known = version < _HAS_SELECTORS or version >= _HAS_SETINFO
    return ("client|setinfo",) if is_known else ()


def _words(grant: Grant, *, has_access: bool) -> list[str]:
    prefix = f"%{grant.access}~" if has_access and grant.access in ("R", "W") else "~"
    return [
        *(f"+{name}" for name in grant.commands),
        *(f"{prefix}{key}" for key in grant.keys),
        *(f"&{channel}" for channel in grant.channels),
    ]


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(words))


_ON_STREAMS = ("xadd", "xrange", "xrevrange", "xread")

_ON_HASHES = ("hset", "hdel", "hgetall")

_ON_TEXTS = ("set", "get", "pttl")

_ON_CHANNELS = ("publish", "subscribe", "unsubscribe")

_WORDS: dict[str, Callable[[str], tuple[str, ...]]] = {
    "ping": lambda _: ("PING",),
    "time": lambda _: ("TIME",),
    "scan": lambda _: ("SCAN", "0"),
    "publish": lambda channel: ("PUBLISH", channel, ""),
    "subscribe": lambda channel: ("SUBSCRIBE", channel),
    "unsubscribe": lambda channel: ("UNSUBSCRIBE", channel),
    "xadd": lambda key: ("XADD", key, "NOMKSTREAM", "*", "f", ""),
    "xrange": lambda key: ("XRANGE", key, "-", "+"),
    "xrevrange": lambda key: ("XREVRANGE", key, "+", "-"),
    "xread": lambda key: ("XREAD", "STREAMS", key, "0"),
    "hset": lambda key: ("HSET", key, "f", ""),
    "hdel": lambda key: ("HDEL", key, "f"),
    "hget": lambda key: ("HGET", key, "f"),
    "hgetall": lambda key: ("HGETALL", key),
    "set": lambda key: ("SET", key, "", "NX", "PX", "1"),
    "get": lambda key: ("GET", key),
    "del": lambda key: ("DEL", key),
    "pexpire": lambda key: ("PEXPIRE", key, "1"),
    "pttl": lambda key: ("PTTL", key),
    "zadd": lambda key: ("ZADD", key, "0", "f"),
    "zrem": lambda key: ("ZREM", key, "f"),
    "zremrangebyscore": lambda key: ("ZREMRANGEBYSCORE", key, "0", "0"),
    "zscore": lambda key: ("ZSCORE", key, "f"),
    "zmscore": lambda key: ("ZMSCORE", key, "f"),
    "zrevrange": lambda key: ("ZREVRANGE", key, "0", "0"),
    "zrevrangebyscore": lambda key: ("ZREVRANGEBYSCORE", key, "0", "0"),
}
"""The commands that can be tried; `MULTI` and `EXEC` are by trying, the others are needed here and there only."""
