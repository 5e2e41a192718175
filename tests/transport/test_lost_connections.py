"""Servers that do not answer, hang up or say what they should not: what a transport makes of them, and when."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import redis

from state_signals.exceptions import ServerRefused, ServerUnreachable, TransportError
from state_signals.server import EmbeddedServer
from state_signals.transport import base
from tests.parties import eventually, in_thread
from tests.transport.sides import DEADLINE, Side
from tests.transport.strangers import stranger

SECRET = "s3cret"


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    """A server for this test only, whatever that does to it."""
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def admin(server: EmbeddedServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as client:
        yield client


@pytest.fixture(params=["own", "shared"])
async def side(request: pytest.FixtureRequest, shell: str, server: EmbeddedServer) -> AsyncIterator[Side]:
    made = Side(shell, url=server.url, is_shared=request.param == "shared")
    await made.connect()
    yield made
    server.resume()
    await made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is noticed soon."""
    monkeypatch.setattr(base, "IDLE", 0.2)
    monkeypatch.setattr(base, "TIMEOUT", 0.3)


def attempts(side: Side, timeout: float) -> list[Callable[[], Any]]:
    """Everything that wants something of the server."""
    return [
        lambda: side.connect(timeout),
        lambda: side.execute("PING", timeout=timeout),
        lambda: side.subscribe("a", timeout=timeout),
    ]


async def time_of(error: type[Exception], attempt: Callable[[], Any], match: str = "") -> float:
    """Return the seconds after which something fails."""
    began = time.monotonic()
    with pytest.raises(error, match=match):
        await attempt()
    return time.monotonic() - began


# Deadlines


@pytest.mark.parametrize("number", range(3))
async def test_a_paused_server_is_out_of_reach_at_the_deadline(side: Side, server: EmbeddedServer, number: int) -> None:
    server.pause()
    attempt = attempts(side, 0.2)[number]
    took = await time_of(
        ServerUnreachable, attempt, r"cannot .* at redis://127\.0\.0\.1:\d+/0: .*(within 0\.|[Tt]imeout)"
    )
    assert 0.15 <= took < 2
    server.resume()
    await side.connect()
    assert await side.execute("PING") == b"PONG"


async def test_a_port_where_nobody_answers_is_out_of_reach_at_the_deadline(shell: str) -> None:
    with stranger(is_silent=True) as silent:
        side = Side(shell, url=f"redis://127.0.0.1:{silent.port}")
        for attempt in attempts(side, 0.2):
            assert 0.1 <= await time_of(ServerUnreachable, attempt, "cannot .* at redis://127") < 2
        await side.close()


async def test_the_time_for_all_sentinels_and_nodes_is_one(shell: str) -> None:
    with stranger(is_silent=True) as one, stranger(is_silent=True) as two:
        places = f"127.0.0.1:{one.port},127.0.0.1:{two.port}"
        for url in (f"redis+sentinel://{places}/jobs", f"redis+cluster://{places}"):
            side = Side(shell, url=url)
            for attempt in attempts(side, 0.4):
                assert 0.1 <= await time_of(ServerUnreachable, attempt, re.escape(places)) < 3
            await side.close()
        # Each had its chance.
        assert min(one.connections, two.connections) >= 2


async def test_no_time_is_no_attempt(side: Side) -> None:
    for attempt in attempts(side, 0.0):
        assert await time_of(ServerUnreachable, attempt, "no reply within 0 seconds") < 2


async def test_a_reply_that_comes_too_late_is_nobody_elses(side: Side, server: EmbeddedServer) -> None:
    server.pause()
    with pytest.raises(ServerUnreachable):
        await side.batch(("SET", "k", "late"), ("GET", "k"), timeout=0.1)
    server.resume()
    await side.connect()
    assert await side.execute("GET", "none") is None


# Lost connections


async def test_a_lost_connection_is_not_made_again_unnoticed(side: Side, admin: redis.Redis) -> None:
    assert await side.execute("PING") == b"PONG"
    admin.execute_command("CLIENT", "KILL", "TYPE", "normal")
    for _ in range(3):
        with pytest.raises(ServerUnreachable, match=r"cannot carry out PING at redis://.*the server closed the conn"):
            await side.execute("PING")
    await side.connect()
    assert await side.execute("PING") == b"PONG"


async def test_a_restarted_server_is_noticed_before_anything_is_written(side: Side, server: EmbeddedServer) -> None:
    await side.execute("SET", "k", "1")
    server.kill()
    server.start()
    with pytest.raises(ServerUnreachable):
        await side.execute("SET", "other", "2")
    await side.connect()
    assert await side.batch(("GET", "k"), ("GET", "other")) == [None, None]


async def test_inboxes_end_with_their_connection(side: Side, admin: redis.Redis) -> None:
    for inbox, kind in ((await side.subscribe("a"), "pubsub"), (await side.collect("s"), "normal")):
        receiving = asyncio.create_task(side.receive(inbox))
        assert not (await asyncio.wait([receiving], timeout=0.05))[0]
        admin.execute_command("CLIENT", "KILL", "TYPE", kind)
        with pytest.raises(ServerUnreachable, match=r"cannot receive at redis://.*: the server closed the connection"):
            await receiving
        # What is published now is nobody's: whoever reads has to know.
        admin.publish("a", "1")
        with pytest.raises(ServerUnreachable):
            await side.receive(inbox)


async def test_what_came_before_the_end_is_received(side: Side, admin: redis.Redis) -> None:
    inbox = await side.subscribe("a")
    for number in range(100):
        admin.publish("a", number)
    admin.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    arrived: list[bytes] = []
    with suppress(ServerUnreachable):
        while len(arrived) < 100:
            arrived += await side.receive(inbox)
    assert arrived == [b"%d" % number for number in range(100)]


async def test_nothing_is_sent_twice(shell: str) -> None:
    with stranger(lambda command: b"+PONG\r\n" if command == [b"PING"] else None) as fleeting:
        side = Side(shell, url=f"redis://127.0.0.1:{fleeting.port}")
        await side.connect()
        for number in range(3):
            with pytest.raises(ServerUnreachable):
                await side.execute("SET", "k", number)
            with pytest.raises(ServerUnreachable):
                await side.execute("SET", "k", "never")
            await side.connect()
        assert [command for command in fleeting.heard if command[0] == b"SET"] == [
            [b"SET", b"k", b"%d" % number] for number in range(3)
        ]
        await side.close()


# Silence


async def test_a_server_that_falls_silent_counts_as_lost(side: Side, server: EmbeddedServer, impatient: None) -> None:
    for inbox in (await side.subscribe("a"), await side.collect("s")):
        receiving = asyncio.create_task(side.receive(inbox))
        assert not (await asyncio.wait([receiving], timeout=0.05))[0]
        server.pause()
        took = await time_of(ServerUnreachable, lambda: receiving, r"no sign of life within 0\.3 seconds")  # noqa: B023
        assert took < 3
        server.resume()


async def test_a_quiet_server_is_not_lost(side: Side, admin: redis.Redis, impatient: None) -> None:
    inboxes = [await side.subscribe("a"), await side.collect("s")]
    receiving = [asyncio.create_task(side.receive(inbox)) for inbox in inboxes]

    def tried() -> bool:
        """Whether each was tried several times: the server has heard of it lately, though long connected."""
        clients = [each for each in admin.client_list() if each["cmd"] == "xread" or "P" in each["flags"]]
        return len(clients) == 2 and all(int(each["age"]) >= 2 and int(each["idle"]) <= 1 for each in clients)

    deadline = time.monotonic() + DEADLINE
    while not tried():
        assert time.monotonic() < deadline
        assert not (await asyncio.wait(receiving, timeout=0.1, return_when="FIRST_COMPLETED"))[0]
    admin.publish("a", "1")
    admin.xadd("s", {"r": "2"})
    assert await asyncio.gather(*receiving) == [[b"1"], [b"2"]]


async def test_a_reader_that_comes_late_finds_what_has_arrived(side: Side, admin: redis.Redis, impatient: None) -> None:
    inbox = await side.subscribe("a")
    admin.publish("a", "1")
    # Longer than a silence may last: nobody has listened.
    threading.Event().wait(0.6)
    assert await side.receive(inbox) == [b"1"]
    assert await side.receive(inbox, 0.05) == []


# What is handed over


@pytest.mark.parametrize("shell", ["asyncio"])
async def test_who_has_it_handed_over_hears_of_the_end(side: Side, admin: redis.Redis) -> None:
    for inbox, kind in ((await side.subscribe("a"), "pubsub"), (await side.collect("s"), "normal")):
        handing = asyncio.create_task(inbox.hand_over(lambda _: None))
        assert not (await asyncio.wait([handing], timeout=0.05))[0]
        admin.execute_command("CLIENT", "KILL", "TYPE", kind)
        with pytest.raises(ServerUnreachable, match=r"cannot receive at redis://.*: the server closed the connection"):
            await asyncio.wait_for(handing, DEADLINE)
        with pytest.raises(ServerUnreachable):
            await inbox.hand_over(lambda _: None)


@pytest.mark.parametrize("shell", ["asyncio"])
async def test_who_has_it_handed_over_notices_a_silence(
    side: Side, server: EmbeddedServer, admin: redis.Redis, impatient: None
) -> None:
    for inbox, command in (
        (await side.subscribe("a"), ("PUBLISH", "a", "1")),
        (await side.collect("s"), ("XADD", "s", "*", "r", "1")),
    ):
        arrived: list[bytes] = []
        handing = asyncio.create_task(inbox.hand_over(arrived.extend))
        # A server that only has nothing to say is not lost, and one that is busy is not silent.
        for number in range(1, 5):
            assert not (await asyncio.wait([handing], timeout=0.3))[0]
            admin.execute_command(*command)
            await eventually(lambda: len(arrived) == number)  # noqa: B023
        server.pause()
        took = await time_of(ServerUnreachable, lambda: handing, r"no sign of life within 0\.3 seconds")  # noqa: B023
        assert took < 3
        server.resume()


@pytest.mark.parametrize("shell", ["asyncio"])
async def test_what_arrives_while_the_loop_is_busy_is_handed_over(
    side: Side, admin: redis.Redis, impatient: None
) -> None:
    for inbox, command in (
        (await side.subscribe("a"), ("PUBLISH", "a", "1")),
        (await side.collect("s"), ("XADD", "s", "*", "r", "1")),
    ):
        arrived: list[bytes] = []
        handing = asyncio.create_task(inbox.hand_over(arrived.extend))
        await asyncio.sleep(0.01)
        admin.execute_command(*command)
        # Longer than a silence may last: nobody has listened.
        threading.Event().wait(0.9)
        await eventually(lambda: arrived == [b"1"])  # noqa: B023
        assert not (await asyncio.wait([handing], timeout=0.3))[0]


# What is said


PASSING = {
    "READONLY": "READONLY You can't write against a read only replica.",
    "LOADING": "LOADING Redis is loading the dataset in memory",
    "MASTERDOWN": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "CLUSTERDOWN": "CLUSTERDOWN The cluster is down",
    "TRYAGAIN": "TRYAGAIN Multiple keys request during rehashing of slot",
    "BUSY": "BUSY Redis is busy running a script.",
    "MOVED": "MOVED 3999 127.0.0.1:6381",
}


@pytest.mark.parametrize("kind", PASSING)
async def test_errors_that_pass_by_themselves_count_as_out_of_reach(shell: str, kind: str) -> None:
    is_over = False

    def answer(_: list[bytes]) -> bytes:
        return b"+PONG\r\n" if is_over else f"-{PASSING[kind]}\r\n".encode()

    with stranger(answer) as passing:
        side = Side(shell, url=f"redis://127.0.0.1:{passing.port}")
        for attempt in attempts(side, 5.0):
            with pytest.raises(ServerUnreachable, match=f"at redis://.*: {kind}"):
                await attempt()
        is_over = True
        await side.connect()
        assert await side.execute("PING") == b"PONG"
        await side.close()


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\xff" * 100, b"$-5\r\n", b"*1\r\n!\r\n"])
async def test_whatever_is_no_server_is_out_of_reach(shell: str, said: bytes) -> None:
    with stranger(lambda _: said) as other:
        side = Side(shell, url=f"redis://127.0.0.1:{other.port}")
        for attempt in attempts(side, 1.0):
            with pytest.raises(TransportError, match=r"cannot .* at redis://"):
                await attempt()
        await side.close()


async def test_messages_say_what_where_why_and_what_to_try(shell: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    side = Side(shell, url=f"redis://127.0.0.1:{port}")
    with pytest.raises(ServerUnreachable) as caught:
        await side.connect()
    assert re.fullmatch(
        rf"cannot connect to the server at redis://127\.0\.0\.1:{port}/0: .*[Rr]efused.*\. "
        r"Is the server running there\? `state-signals server` starts one on this machine\.",
        str(caught.value),
    )
    with pytest.raises(ServerUnreachable, match=f"cannot subscribe to a, b at redis://127.0.0.1:{port}/0: "):
        await side.subscribe("a", "b")
    await side.close()


async def test_a_password_is_in_no_message(shell: str, server: EmbeddedServer, admin: redis.Redis) -> None:
    admin.config_set("requirepass", "another")
    admin.execute_command("AUTH", "another")
    places = [
        f"redis://user:{SECRET}@127.0.0.1:{server.port}",
        f"redis://:{SECRET}@127.0.0.1:{server.port}/0",
        f"redis+cluster://:{SECRET}@127.0.0.1:{server.port}",
        f"redis+sentinel://:{SECRET}@127.0.0.1:{server.port}/jobs?sentinel_password={SECRET}",
        f"redis://:{SECRET}@127.0.0.1:1",
        f"redis+sentinel://:{SECRET}@127.0.0.1:1/jobs?sentinel_password={SECRET}",
    ]
    for url in places:
        side = Side(shell, url=url)
        assert SECRET not in side.transport.address
        for attempt in attempts(side, 2.0):
            with pytest.raises(TransportError) as caught:
                await attempt()
            assert SECRET not in f"{caught.value}{caught.value!r}", url
            refused = ":1" not in url.partition("@")[2].replace(str(server.port), "")
            assert isinstance(caught.value, ServerRefused if refused else ServerUnreachable), url
        await side.close()


async def test_a_missing_password_is_refused(shell: str, server: EmbeddedServer, admin: redis.Redis) -> None:
    admin.config_set("requirepass", SECRET)
    side = Side(shell, url=server.url)
    for attempt in attempts(side, 2.0):
        with pytest.raises(ServerRefused, match=r"[Aa]uth.*Check user and password\.$"):
            await attempt()
    await side.close()


async def test_a_missing_permission_is_refused(shell: str, server: EmbeddedServer, admin: redis.Redis) -> None:
    admin.execute_command("ACL", "SETUSER", "pcp", "on", ">x", "resetchannels", "&a", "~*", "+@all", "-get")
    side = Side(shell, url=f"redis://pcp:x@127.0.0.1:{server.port}")
    await side.connect()
    assert (await side.execute("GET", "k")).kind == "NOPERM"
    replies = await side.batch(("SET", "k", "1"), ("GET", "k"), is_atomic=True)
    assert [reply.kind for reply in replies] == ["NOPERM", "NOPERM"]
    with pytest.raises(ServerRefused, match=r"cannot subscribe to a, b at redis://pcp@.*Give the server's user"):
        await side.subscribe("a", "b")
    await side.close()


async def test_a_server_that_is_still_paused_can_be_left(side: Side, server: EmbeddedServer) -> None:
    inboxes = [await side.subscribe("a"), await side.collect("s")]
    server.pause()
    began = time.monotonic()
    for inbox in inboxes:
        await side.call(inbox.close)
    await side.call(side.transport.close)
    assert time.monotonic() - began < 3


@pytest.mark.parametrize("shell", ["sync"])
async def test_close_ends_the_command_of_another_thread(side: Side, server: EmbeddedServer) -> None:
    server.pause()
    executing = asyncio.create_task(side.execute("PING", timeout=60))
    assert not (await asyncio.wait([executing], timeout=0.1))[0]
    await in_thread(side.transport.close)
    with pytest.raises(Exception, match="it was closed in the meantime"):
        await executing
