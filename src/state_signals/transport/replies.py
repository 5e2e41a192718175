"""From commands to bytes and from replies to what the contract says: pure, for threads and for asyncio alike.

Replies are read with hiredis and not with redis-py: that decodes them if the client is told to, strips the first word
of some errors, and cannot be told a deadline.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import hiredis
import redis
from redis.exceptions import NoPermissionError

from state_signals.transport import base
from state_signals.transport.base import Batch, Refusal
from state_signals.transport.failures import PASSING, Passing

__all__ = [
    "NOTHING",
    "PING",
    "check",
    "check_passing",
    "check_refusal",
    "confirmed",
    "entries",
    "look_for_entries",
    "outcomes",
    "pack",
    "packed",
    "published",
    "reader",
    "responses",
    "silent",
    "wait_for_entries",
    "what",
]

NOTHING: Final = object()
"""What a reader returns when a reply is not complete yet."""

RESPONSE: Final = b"r"
"""The field of a stream's entry that is read."""

_ENTRIES_AT_ONCE = 500
"""Whoever reads them is busy with these for some milliseconds, and for deadlines no longer than that."""

_KIND = re.compile(r"[A-Z][A-Z0-9_]*")

_COMMANDS_SHOWN = 5

pack: Callable[[tuple[Any, ...]], bytes] = hiredis.pack_command

_MULTI, _EXEC = pack(("MULTI",)), pack(("EXEC",))

PING: Final = pack(("PING",))


def reader() -> Any:
    """Return a reader of replies; what is no reply at all is a lost connection."""
    return hiredis.Reader(notEnoughData=NOTHING, protocolError=redis.ConnectionError)


def packed(batch: Batch) -> tuple[bytes, int]:
    """Return the bytes to send for a batch, and how many replies will come."""
    parts = [pack(command) for command in batch.commands]
    if batch.is_atomic:
        parts = [_MULTI, *parts, _EXEC]
    return b"".join(parts), len(parts)


def outcomes(batch: Batch, replies: list[Any]) -> list[Any]:
    """Return a reply for each command of a batch, a `Refusal` where there is an error.

    Raises:
        Passing: for an error that may pass by itself.
        AuthenticationError: (redis-py's) if the server wants a password.
    """
    if not batch.is_atomic:
        return _with_refusals(replies)
    if isinstance(replies[-1], list):
        return _with_refusals(replies[-1])
    refused = [reply for reply in _with_refusals(replies) if isinstance(reply, Refusal)]
    return [refused[0]] * len(batch.commands)


def check(reply: Any) -> None:
    """Raise a reply that is an error: as Passing, or as the error of redis-py that says what is refused."""
    if isinstance(reply, hiredis.ReplyError):
        check_refusal(_refusal(reply))


def check_passing(reply: Any) -> None:
    """Raise a reply that is an error as Passing, whatever it is but a missing permission."""
    if isinstance(reply, hiredis.ReplyError):
        refusal = _refusal(reply)
        if refusal.kind == "NOPERM":
            check_refusal(refusal)
        raise Passing(refusal.kind, refusal.text)


def check_refusal(outcome: Any) -> None:
    """Raise an outcome that is a refusal as the error of redis-py that says what is refused."""
    if isinstance(outcome, Refusal):
        raise (NoPermissionError if outcome.kind == "NOPERM" else redis.ResponseError)(outcome.text)


def silent() -> redis.TimeoutError:
    """Return what to raise when a server gives no sign of life."""
    return redis.TimeoutError(f"no sign of life within {base.TIMEOUT:.3g} seconds")


def what(batch: Batch) -> str:
    """Return what is being done, for messages."""
    names = list(dict.fromkeys(str(command[0]) for command in batch.commands))
    return f"carry out {', '.join(names[:_COMMANDS_SHOWN])}{' ...' if len(names) > _COMMANDS_SHOWN else ''}"


def wait_for_entries(key: str, after: bytes) -> bytes:
    """Return the command, packed, that waits `IDLE` seconds for entries after the one with the id `after`."""
    return pack(("XREAD", "COUNT", _ENTRIES_AT_ONCE, "BLOCK", int(base.IDLE * 1000), "STREAMS", key, after))


def look_for_entries(key: str, after: bytes) -> bytes:
    """Return the command, packed, that tells at once whether `wait_for_entries` works."""
    return pack(("XREAD", "COUNT", 1, "STREAMS", key, after))


def entries(reply: Any) -> list[Any]:
    """Return the entries in the reply to `wait_for_entries`, which is about one stream.

    Raises:
        redis.ConnectionError: if it is no such reply.
    """
    try:
        return [(name, fields) for _, found in reply or () for name, fields in found]
    except (TypeError, ValueError):
        raise redis.ConnectionError(f"this is no reply to XREAD: {reply!r:.80}") from None


def responses(found: list[Any]) -> list[bytes]:
    """Return the responses in a stream's entries; what has none is passed over."""
    arrived = [fields[1] for _, fields in found if fields and len(fields) == 2 and fields[0] == RESPONSE]
    if len(arrived) == len(found):
        return arrived
    # Somebody else may have written others.
    return [
        fields[place + 1]
        for _, fields in found
        for place in range(0, len(fields or ()), 2)
        if fields[place] == RESPONSE
    ]


def published(reply: Any) -> bytes | None:
    """Return the payload of a message of a channel; None for confirmations and the like."""
    return reply[2] if isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message" else None


def confirmed(reply: Any) -> bool:
    """Whether a reply confirms a subscription."""
    return isinstance(reply, list) and len(reply) == 3 and reply[0] == b"subscribe"


def _with_refusals(replies: list[Any]) -> list[Any]:
    return [_refusal(reply) if isinstance(reply, hiredis.ReplyError) else reply for reply in replies]


def _refusal(error: hiredis.ReplyError) -> Refusal:
    text = str(error)
    found = _KIND.match(text)
    kind = found[0] if found and text[found.end() : found.end() + 1] in ("", " ") else "ERR"
    if kind in PASSING:
        raise Passing(kind, text)
    if kind in ("NOAUTH", "WRONGPASS"):
        raise redis.AuthenticationError(text)
    return Refusal(kind, text)
