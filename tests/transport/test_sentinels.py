"""What is asked of Sentinels, and what they say."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import hiredis
import pytest
import redis
import redis.asyncio
from redis.sentinel import Sentinel

from state_signals.transport import sentinels
from state_signals.transport.failures import Passing
from state_signals.transport.settings import Settings

ADDRESS = ("h1", 1)


def pool(**options: Any) -> Any:
    return Sentinel([("s1", 26379)], **options).master_for("my jobs").connection_pool


def test_the_question():
    parts = [b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", b"my jobs"]
    assert sentinels.question(pool()) == b"*3\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(each), each) for each in parts)


def test_the_answer():
    assert sentinels.master(pool(), [b"10.0.0.1", b"7000"]) == ("10.0.0.1", 7000)
    assert sentinels.master(pool(), [b"::1", b"7000"]) == ("::1", 7000)
    with pytest.raises(redis.ConnectionError, match="the Sentinel knows no master 'my jobs'"):
        sentinels.master(pool(), None)
    with pytest.raises(redis.AuthenticationError, match="NOAUTH"):
        sentinels.master(pool(), hiredis.ReplyError("NOAUTH Authentication required."))
    with pytest.raises(redis.ResponseError, match="unknown command"):
        sentinels.master(pool(), hiredis.ReplyError("ERR unknown command `SENTINEL`"))


def test_who_sees_other_addresses_may_say_so():
    assert sentinels.master(pool(force_master_ip="gate"), [b"10.0.0.1", b"7000"]) == ("gate", 7000)


def test_a_master_has_to_say_that_it_is_one():
    sentinels.check_role([b"master", 0, []], ADDRESS)
    # Without the permission to ask, the first write tells.
    sentinels.check_role(hiredis.ReplyError("NOPERM this user has no permissions to run the 'role' command"), ADDRESS)
    with pytest.raises(Passing, match="the Sentinels name h1:1, which is no master") as caught:
        sentinels.check_role([b"slave", b"h2", 2, b"connected", 0], ADDRESS)
    assert caught.value.kind == "READONLY"


@pytest.mark.parametrize("module", [redis, redis.asyncio])
@pytest.mark.parametrize("is_tls", [False, True])
def test_the_master_is_connected_to_with_the_settings_of_the_pool(module: Any, is_tls: bool):
    group = module.sentinel.Sentinel([("s1", 26379)], password="x", ssl=is_tls)
    found = sentinels.at_master(
        group.master_for("jobs").connection_pool, module.connection.Connection, module.connection.SSLConnection
    )
    kind = module.connection.SSLConnection if is_tls else module.connection.Connection
    assert isinstance(found, Settings)
    assert found.connection_class is kind
    assert found.connection_kwargs["password"] == "x"


def test_whatever_a_pool_is_called_its_kind_is_found():
    ours = SimpleNamespace(
        connection_class=redis.sentinel.SentinelManagedSSLConnection, connection_kwargs={}, max_connections=3
    )
    assert sentinels.at_master(ours, redis.Connection, redis.SSLConnection) == Settings(redis.SSLConnection, {}, 3)
