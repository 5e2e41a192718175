"""What is asked of Sentinels, and what they say: pure, for threads and for asyncio alike."""

from __future__ import annotations

from typing import Any, Final

import hiredis
import redis

from state_signals.transport.failures import Passing
from state_signals.transport.replies import check, pack
from state_signals.transport.settings import Address, Settings

__all__ = ["ROLE", "at_master", "check_role", "master", "question"]

ROLE: Final = pack(("ROLE",))
"""The command, packed, that asks a server what it is."""


def question(pool: Any) -> bytes:
    """Return the command, packed, that asks a Sentinel for the master of a `SentinelConnectionPool`."""
    return pack(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", pool.service_name))


def master(pool: Any, reply: Any) -> Address:
    """Return where the master is.

    Raises:
        redis.RedisError: if the Sentinel does not say.
    """
    check(reply)
    if reply is None:
        raise redis.ConnectionError(f"the Sentinel knows no master {pool.service_name!r}")
    host, port = reply
    # Given to redis-py by somebody whose Sentinels see other addresses than he; it has no other name for it.
    forced = getattr(pool.sentinel_manager, "_force_master_ip", None)
    return (host.decode() if forced is None else forced, int(port))


def check_role(reply: Any, address: Address) -> None:
    """Raise Passing if a server says that it is no master, which the Sentinels have not noticed."""
    # Without the permission to ask, the first write tells.
    if not isinstance(reply, hiredis.ReplyError) and reply[0] != b"master":
        raise Passing("READONLY", f"the Sentinels name {address[0]}:{address[1]}, which is no master")


def at_master(pool: Any, plain: Any, tls: Any) -> Settings:
    """Return how to connect to the master: by one of redis-py's connection classes, but for host and port."""
    kind = tls if issubclass(pool.connection_class, tls) else plain
    return Settings(kind, pool.connection_kwargs, pool.max_connections)
