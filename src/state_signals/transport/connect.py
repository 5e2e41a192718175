"""From a URL, a host and port, or a client of the user's to a transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from state_signals.arguments import check_retention
from state_signals.exceptions import InvalidArgument, InvalidType
from state_signals.transport.keys import Keys

if TYPE_CHECKING:
    from state_signals.transport.base import AsyncTransport, Transport

__all__ = ["async_transport", "redacted", "transport"]

_SCHEMES = ("redis", "rediss", "unix", "memory")

_TIMEOUT = 5.0
"""Seconds after which a server that does not react counts as out of reach."""


def transport(
    client: Any = None, *, url: str | None, host: str, port: int, namespace: str | None, retention: float
) -> Transport:
    """Return the transport for threads; nothing is connected yet.

    Args:
        client: a `redis.Redis` of the user's, used but never closed; wins over host and port.
        url: `redis://`, `rediss://`, `unix://` or `memory://`; wins over host and port.
        host: where, if neither client nor url is given.
        port: where, if neither client nor url is given.
        namespace: scope on a shared server.
        retention: seconds after which an exporter's keys expire when it no longer does anything.

    Raises:
        InvalidType, InvalidArgument: for anything that cannot be a server.
    """
    keys = Keys(namespace)
    check_retention(retention)
    memory_name = _memory_name(client, url)
    if memory_name is not None:
        from state_signals.transport.memory import MemoryTransport  # noqa: PLC0415 - only what is used is imported

        return MemoryTransport(memory_name, keys)
    import redis  # noqa: PLC0415

    from state_signals.transport.redis import RedisTransport  # noqa: PLC0415

    used = client if client is not None else _new_client(redis.Redis, url, host, port)
    if not isinstance(used, redis.Redis):
        raise InvalidType(f"existing_redis_conn must be a redis.Redis, not {_kind(client)}")
    return RedisTransport(used, keys, is_ours=client is None, retention=retention)


def async_transport(
    client: Any = None, *, url: str | None, host: str, port: int, namespace: str | None, retention: float
) -> AsyncTransport:
    """Return the transport for asyncio; nothing is connected yet. Arguments and errors as in `transport`."""
    keys = Keys(namespace)
    check_retention(retention)
    memory_name = _memory_name(client, url)
    if memory_name is not None:
        from state_signals.transport.memory import AsyncMemoryTransport  # noqa: PLC0415

        return AsyncMemoryTransport(memory_name, keys)
    import redis.asyncio  # noqa: PLC0415

    from state_signals.transport.redis_asyncio import AsyncRedisTransport  # noqa: PLC0415

    used = client if client is not None else _new_client(redis.asyncio.Redis, url, host, port)
    if not isinstance(used, redis.asyncio.Redis):
        raise InvalidType(f"existing_redis_conn must be a redis.asyncio.Redis, not {_kind(client)}")
    return AsyncRedisTransport(used, keys, is_ours=client is None, retention=retention)


def redacted(url: str) -> str:
    """Return a URL fit to be shown: without its password."""
    place, _, query = url.partition("?")
    scheme, separator, rest = place.partition("://")
    credentials, at, after = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return f"{scheme}{separator}{user}{':***' if colon else ''}{at}{after}{'?...' if query else ''}"


def _memory_name(client: Any, url: str | None) -> str | None:
    """Check what is given; return the hub's name if it is a memory:// URL."""
    if url is None:
        return None
    if client is not None:
        raise InvalidArgument("give either url or existing_redis_conn, not both")
    if not isinstance(url, str):
        raise InvalidType(f"url must be str, not {_kind(url)}")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _SCHEMES:
        raise InvalidArgument(
            f"url must be redis://[user:password@]host[:port][/db], rediss://..., unix:///path or memory://name, "
            f"not {redacted(url)!r:.200}"
        )
    return rest if scheme == "memory" else None


def _new_client(kind: Any, url: str | None, host: str, port: int) -> Any:
    # RESP2, because a subscription is read alike on every server then. No retries, because `conn_timeout` counts them.
    settings = {"socket_timeout": _TIMEOUT, "socket_connect_timeout": _TIMEOUT, "protocol": 2, "retry": None}
    if url is None:
        if not isinstance(host, str) or not host:
            raise InvalidType(f"redis_host must be a host name, not {host!r:.80}")
        return kind(host=host, port=_port(port), **settings)
    try:
        _ = urlsplit(url).port
        return kind.from_url(url, **settings)
    except ValueError:
        # Not what urllib says: that may quote a piece of a password with a slash in it.
        raise InvalidArgument(
            f"url {redacted(url)!r:.200} cannot be used: port and database must be numbers, and what is special in a "
            f"password must be percent-encoded"
        ) from None


def _port(port: object) -> int:
    if isinstance(port, str) and port.isdecimal():
        # As it comes from the environment; 1.0.1 took it, too.
        port = int(port)
    if isinstance(port, bool) or not isinstance(port, int):
        raise InvalidType(f"redis_port must be int, not {_kind(port)}")
    if not 0 < port < 65536:
        raise InvalidArgument(f"redis_port must be from 1 to 65535, not {port}")
    return port


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__name__}"
