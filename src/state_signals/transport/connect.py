"""From a URL, a host and port, or a client of the user's to a transport."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from state_signals.exceptions import InvalidArgument, InvalidType
from state_signals.transport.base import TIMEOUT
from state_signals.transport.keys import Keys
from state_signals.transport.urls import FORMS, SCHEMES, parse_group, redacted

if TYPE_CHECKING:
    from state_signals.transport.base import AsyncTransport, Transport
    from state_signals.transport.settings import ClusterSettings
    from state_signals.transport.urls import Group

__all__ = ["async_transport", "redacted", "transport"]

_OWN: dict[str, Any] = {
    "socket_timeout": TIMEOUT,
    "socket_connect_timeout": TIMEOUT,
    "protocol": 2,
    # None, because `conn_timeout` counts them.
    "retry": None,
}
"""How clients of our own are set up."""


def transport(
    client: Any = None, *, url: str | None, host: str, port: int, namespace: str | None, is_shared: bool = False
) -> Transport:
    """Return the transport for threads; nothing is connected yet.

    Args:
        client: a `redis.Redis` (also one that asks Sentinels for its master) or `redis.RedisCluster` of the user's,
            used but never closed; wins over host and port.
        url: `redis://`, `rediss://`, `unix://`, `redis+sentinel://`, `rediss+sentinel://`, `redis+cluster://`,
            `rediss+cluster://` or `memory://`; wins over host and port.
        host: where, if neither client nor url is given.
        port: where, if neither client nor url is given.
        namespace: scope on a shared server.
        is_shared: whether to share connections with others of the process that are to the same server, if that is a
            single one and its client is our own.

    Raises:
        InvalidType, InvalidArgument: for anything that cannot be a server.
    """
    keys = Keys(namespace)
    scheme, rest = _checked(client, url)
    if scheme == "memory":
        from state_signals.transport.memory import MemoryTransport  # noqa: PLC0415 - only what is used is imported

        return MemoryTransport(rest, keys)
    import redis.sentinel  # noqa: PLC0415

    if isinstance(client, redis.RedisCluster) or scheme.endswith("+cluster"):
        from state_signals.transport.cluster import ClusterTransport  # noqa: PLC0415

        if client is not None:
            from state_signals.transport.settings import cluster_settings  # noqa: PLC0415

            return ClusterTransport(cluster_settings(client), keys, client=client)
        settings, make = _new_cluster(redis, url or "")
        return ClusterTransport(settings, keys, make_client=make)
    from state_signals.transport.redis import RedisTransport  # noqa: PLC0415

    used = client if client is not None else _new_client(redis, url, host, port)
    _check_client(used, redis)
    if is_shared and client is None and "+" not in scheme:
        from state_signals.transport.shared import SharedTransport  # noqa: PLC0415

        return SharedTransport(used, keys, url or f"redis://{host}:{port}")
    return RedisTransport(used, keys, is_ours=client is None)


def async_transport(
    client: Any = None, *, url: str | None, host: str, port: int, namespace: str | None, is_shared: bool = False
) -> AsyncTransport:
    """Return the transport for asyncio; nothing is connected yet. Arguments and errors as in `transport`.

    With `is_shared`, it shares its connections with others of the same event loop only.
    """
    keys = Keys(namespace)
    scheme, rest = _checked(client, url)
    if scheme == "memory":
        from state_signals.transport.memory import AsyncMemoryTransport  # noqa: PLC0415

        return AsyncMemoryTransport(rest, keys)
    import redis.asyncio.sentinel  # noqa: PLC0415

    if isinstance(client, redis.asyncio.RedisCluster) or scheme.endswith("+cluster"):
        from state_signals.transport.cluster_asyncio import AsyncClusterTransport  # noqa: PLC0415

        if client is not None:
            from state_signals.transport.settings import cluster_settings  # noqa: PLC0415

            return AsyncClusterTransport(cluster_settings(client), keys, client=client)
        settings, make = _new_cluster(redis.asyncio, url or "")
        return AsyncClusterTransport(settings, keys, make_client=make)
    from state_signals.transport.redis_asyncio import AsyncRedisTransport  # noqa: PLC0415

    used = client if client is not None else _new_client(redis.asyncio, url, host, port)
    _check_client(used, redis.asyncio)
    if is_shared and client is None and "+" not in scheme:
        from state_signals.transport.shared_asyncio import SharedTransport  # noqa: PLC0415

        return SharedTransport(used, keys, url or f"redis://{host}:{port}")
    return AsyncRedisTransport(used, keys, is_ours=client is None)


def _checked(client: Any, url: str | None) -> tuple[str, str]:
    """Check what is given; return the URL's scheme and what follows, both empty without one."""
    if url is None:
        return "", ""
    if client is not None:
        raise InvalidArgument("give either url or existing_redis_conn, not both")
    if not isinstance(url, str):
        raise InvalidType(f"url must be str, not {_kind(url)}")
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in SCHEMES:
        raise InvalidArgument(f"url must be {FORMS}, not {redacted(url)!r:.200}")
    return scheme, rest


def _check_client(client: Any, module: Any) -> None:
    if not isinstance(client, module.Redis):
        name = module.__name__
        raise InvalidType(f"existing_redis_conn must be a {name}.Redis, not {_kind(client)}; or a {name}.RedisCluster")
    pool = client.connection_pool
    if isinstance(pool, module.sentinel.SentinelConnectionPool) and not pool.is_master:
        raise InvalidArgument("existing_redis_conn is for replicas, which take no signals: use Sentinel.master_for")


def _new_client(module: Any, url: str | None, host: str, port: int) -> Any:
    """Return a client of `redis` or `redis.asyncio`."""
    if url is None:
        if not isinstance(host, str) or not host:
            raise InvalidType(f"redis_host must be a host name, not {host!r:.80}")
        return module.Redis(host=host, port=_port(port), **_OWN)
    if "+sentinel" not in url.partition("://")[0]:
        _check_url(module, url)
        return _from_url(module, url)
    from state_signals.transport.sentinels import at_master  # noqa: PLC0415

    group = _group(url)
    options = {**group.options, **_tls(group), **_OWN}
    of_sentinels = {**group.sentinel_options, **_tls(group), **_OWN}
    pools = module.sentinel.Sentinel(group.addresses, sentinel_kwargs=of_sentinels, **options)
    client = pools.master_for(group.service)
    _check_options(
        url, at_master(client.connection_pool, module.connection.Connection, module.connection.SSLConnection)
    )
    return client


@functools.lru_cache(maxsize=16)
def _check_url(module: Any, url: str) -> None:
    """Check the options of a URL; once, for redis-py reads a file for that: there may be thousands of responders."""
    _check_options(url, _from_url(module, url).connection_pool)


def _from_url(module: Any, url: str) -> Any:
    try:
        parts = urlsplit(url)
        if parts.scheme != "unix":
            # redis-py takes what it cannot read as a number for database 0.
            _ = parts.port, int(parts.path.strip("/") or 0)
        return module.Redis.from_url(url, **_OWN)
    except ValueError:
        # Not what urllib says: that may quote a piece of a password with a slash in it.
        raise InvalidArgument(
            f"url {redacted(url)!r:.200} cannot be used: port and database must be numbers, and what is special in a "
            f"password must be percent-encoded"
        ) from None


def _new_cluster(module: Any, url: str) -> tuple[ClusterSettings, Any]:
    """Return how to connect to a Cluster, and what makes a client for it."""
    from state_signals.transport.settings import ClusterSettings, Settings  # noqa: PLC0415

    group = _group(url)
    options = dict(group.options)
    most = options.pop("max_connections", 2**31)
    settings = Settings(
        module.connection.SSLConnection if group.is_tls else module.connection.Connection, options, most
    )
    _check_options(url, settings)

    def make() -> Any:
        nodes = [module.cluster.ClusterNode(*address) for address in group.addresses]
        return module.RedisCluster(startup_nodes=nodes, **group.options, **_tls(group), **_OWN)

    return ClusterSettings(settings, group.addresses), make


def _group(url: str) -> Group:
    from redis.connection import parse_url  # noqa: PLC0415

    return parse_group(url, parse_url)


def _tls(group: Group) -> dict[str, Any]:
    return {"ssl": True} if group.is_tls else {}


def _check_options(url: str, source: Any) -> None:
    """Make redis-py look at the options now, instead of when it connects."""
    from redis import RedisError  # noqa: PLC0415

    from state_signals.transport.settings import make_connection  # noqa: PLC0415

    try:
        make_connection(source, TIMEOUT)
    except (TypeError, ValueError, RedisError) as error:
        raise InvalidArgument(
            f"url {redacted(url)!r:.200} cannot be used: redis-py refuses an option: {error}"
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
