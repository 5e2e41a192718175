"""Private connections with the settings of a client: the user's, or one of our own.

Where the client connects to, as whom, and how TLS is set up is taken from it; how long a connection may take and how
it is read is not, and nothing of the client changes. Its pool's limit holds for the connections of one transport.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Address",
    "ClusterSettings",
    "Settings",
    "cluster_address",
    "cluster_settings",
    "make_connection",
    "server_address",
]

Address = tuple[str, int]

_OURS = frozenset(
    (
        # Nothing is retried behind our back.
        *("retry", "retry_on_timeout", "retry_on_error", "health_check_interval"),
        # RESP2, because replies are read alike on every server then, and so nothing that belongs to RESP3.
        *("protocol", "decode_responses", "cache", "cache_config", "maint_notifications_config"),
        *("maint_notifications_pool_handler", "oss_cluster_maint_notifications_handler", "maintenance_state"),
        *("maintenance_notification_hash", "orig_host_address", "orig_socket_timeout", "orig_socket_connect_timeout"),
        # Of the pools for Sentinel: who the master is, is asked separately.
        "connection_pool",
    )
)


@dataclass(frozen=True, slots=True)
class Settings:
    """How to make a connection: what a connection pool of redis-py knows, too, by the same names.

    Attributes:
        connection_class: redis-py's class of the connection.
        connection_kwargs: its arguments.
        max_connections: how many there may be.
    """

    connection_class: Any
    connection_kwargs: Mapping[str, Any]
    max_connections: int = 2**31


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """How to connect to a Cluster.

    Attributes:
        node: how to connect to a node, but for host and port.
        startup: where to ask for the others.
        remap: from the address that a node announces to the one to connect to.
    """

    node: Settings
    startup: Sequence[Address]
    remap: Callable[[Address], Address] | None = None


def make_connection(source: Any, seconds: float, **where: Any) -> Any:
    """Return a connection that is not connected yet.

    Args:
        source: a connection pool of redis-py, or `Settings`.
        seconds: how long connecting and each reply on the way may take.
        where: host and port, if not those of the source.
    """
    kept = {name: value for name, value in source.connection_kwargs.items() if name not in _OURS}
    timeouts = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    return source.connection_class(**{**kept, **where, **timeouts, "protocol": 2})


def cluster_settings(client: Any) -> ClusterSettings:
    """Return how a `RedisCluster` of redis-py or of its asyncio, which is the user's, connects."""
    manager = client.nodes_manager
    nodes = [*client.get_nodes(), *manager.startup_nodes.values()]
    # With asyncio a node makes its connections by itself, without a pool.
    source = (
        nodes[0] if hasattr(nodes[0], "connection_class") else client.get_redis_connection(nodes[0]).connection_pool
    )
    # redis-py's own, which makes replicas answer for their masters.
    kept = {name: value for name, value in source.connection_kwargs.items() if name != "redis_connect_func"}
    startup = tuple(dict.fromkeys((node.host, int(node.port)) for node in nodes))
    return ClusterSettings(
        Settings(source.connection_class, kept, source.max_connections), startup, manager.address_remap
    )


def server_address(source: Any) -> str:
    """Return where a connection pool (or `Settings`) connects to, as a URL without password."""
    given = source.connection_kwargs
    user = f"{given['username']}@" if given.get("username") else ""
    if given.get("path"):
        return f"unix://{user}{given['path']}"
    scheme = "rediss" if "SSL" in source.connection_class.__name__ else "redis"
    if hasattr(source, "sentinel_manager"):
        pools = [each.connection_pool.connection_kwargs for each in source.sentinel_manager.sentinels]
        places = _places([(each.get("host", "localhost"), each.get("port", 26379)) for each in pools])
        return f"{scheme}+sentinel://{user}{places}/{source.service_name}/{given.get('db') or 0}"
    place = _places([(given.get("host", "localhost"), given.get("port", 6379))])
    return f"{scheme}://{user}{place}/{given.get('db') or 0}"


def cluster_address(cluster: ClusterSettings) -> str:
    """Return the URL of a Cluster, without password."""
    given = cluster.node.connection_kwargs
    user = f"{given['username']}@" if given.get("username") else ""
    scheme = "rediss" if "SSL" in cluster.node.connection_class.__name__ else "redis"
    return f"{scheme}+cluster://{user}{_places(cluster.startup)}"


def _places(addresses: Sequence[Address]) -> str:
    return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in addresses)
