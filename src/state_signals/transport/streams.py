"""The commands and replies that the blocking and the asyncio Redis transport have in common."""

from __future__ import annotations

from typing import Any

__all__ = [
    "BATCH",
    "REFRESH",
    "TRIM_AFTER",
    "append",
    "create",
    "entries",
    "is_another_type",
    "is_no_stream",
    "published",
    "read",
    "renew",
    "responses",
    "server_address",
    "trim",
]

FIELD = b"r"
"""The field of a stream's entry that holds a response, as JSON."""

OPENING = b"o"
"""The field of the entry that creates a stream."""

LONGEST = 100_000
"""Entries that responders let a stream of responses grow to, approximately, if its exporter does not read it."""

_USED_UP = ("exhausted the last possible ID", "ID specified in XADD is equal or smaller")

_LONGEST_RETENTION = 1e9
"""Seconds; some servers overflow beyond the year 292 million."""

REFRESH = 60.0
"""Seconds between two renewals of an exporter's expiry, at the most."""

TRIM_AFTER = 1_000
"""Entries after which an exporter removes from the stream what it has read."""


BATCH = 1_000
"""Messages of a channel that are read before somebody looks at them."""


def append(reply: str, response: bytes) -> tuple[Any, ...]:
    """Return the command that appends a response, but only to a stream that exists (Redis 6.2)."""
    return ("XADD", reply, "NOMKSTREAM", "MAXLEN", "~", LONGEST, "*", FIELD, response)


def create(reply: str) -> tuple[Any, ...]:
    """Return the command that creates a stream; it returns the id to read after."""
    return ("XADD", reply, "*", OPENING, b"")


def renew(reply: str, retention: float) -> tuple[Any, ...]:
    """Return the command that puts off a stream's expiry; it returns 0 if that has come already."""
    return ("PEXPIRE", reply, max(1, int(min(retention, _LONGEST_RETENTION) * 1000)))


def trim(reply: str, before: bytes) -> tuple[Any, ...]:
    """Return the command that removes the entries before the one with an id."""
    return ("XTRIM", reply, "MINID", before)


def is_another_type(error: Exception) -> bool:
    """Whether a command was refused because somebody has put something else where the stream was."""
    return str(error).startswith("WRONGTYPE")


def is_no_stream(error: Exception) -> bool:
    """Whether an answer was refused because of the key: no permission, another type, or its ids are used up."""
    return str(error).startswith(("WRONGTYPE", "NOPERM", "No permissions", "this user has no permissions")) or any(
        text in str(error) for text in _USED_UP
    )


def read(reply: str, after: bytes) -> tuple[Any, ...]:
    """Return the command that waits for entries after the one with the id `after`."""
    return ("XREAD", "BLOCK", 0, "STREAMS", reply, after)


def entries(reply: Any) -> list[tuple[bytes, list[bytes]]]:
    """Return the (id, fields) of an XREAD reply from one stream, whether it came as RESP2 or RESP3."""
    streams = reply.values() if isinstance(reply, dict) else [stream[1] for stream in reply or ()]
    return [(entry[0], entry[1]) for stream in streams for entry in stream]


def responses(found: list[tuple[bytes, list[bytes]]]) -> list[bytes]:
    """Return the responses in a stream's entries; what has none is passed over."""
    # Redis gives a responder's entry as it was written: one field.
    return [_raw(fields[1]) for _, fields in found if _raw(fields[0]) == FIELD]


def published(reply: Any) -> list[bytes]:
    """Return the payload of a pub/sub reply as a list of one, or of none for confirmations and the like."""
    return [_raw(reply[2])] if isinstance(reply, list) and len(reply) == 3 and _raw(reply[0]) == b"message" else []


def _raw(value: Any) -> Any:
    """Undo a decoding: a client with `decode_responses` decodes in spite of `disable_decoding` before redis-py 7."""
    return value.encode() if isinstance(value, str) else value


def server_address(pool: Any) -> str:
    """Return where a connection pool connects to, as a URL without password."""
    given = pool.connection_kwargs
    user = f"{given['username']}@" if given.get("username") else ""
    if given.get("path"):
        return f"unix://{user}{given['path']}"
    scheme = "rediss" if "SSL" in pool.connection_class.__name__ else "redis"
    return f"{scheme}://{user}{given.get('host', 'localhost')}:{given.get('port', 6379)}/{given.get('db') or 0}"
