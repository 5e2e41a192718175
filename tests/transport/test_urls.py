"""URLs of servers: every form, and what is said about those that cannot be used."""

from __future__ import annotations

from typing import Any

import pytest
import redis
import redis.asyncio
from hypothesis import given
from hypothesis import strategies as st
from redis.connection import parse_url

from state_signals.exceptions import InvalidArgument, InvalidType
from state_signals.transport.cluster import ClusterTransport
from state_signals.transport.cluster_asyncio import AsyncClusterTransport
from state_signals.transport.connect import async_transport, transport
from state_signals.transport.memory import AsyncMemoryTransport, MemoryTransport
from state_signals.transport.redis import RedisTransport
from state_signals.transport.redis_asyncio import AsyncRedisTransport
from state_signals.transport.settings import make_connection
from state_signals.transport.urls import Group, parse_group, redacted

SECRET = "s3cret"


def made(shell: str, url: Any, **options: Any) -> Any:
    """The transport for a URL; nothing is connected, so there is nothing to close."""
    make = transport if shell == "sync" else async_transport
    return make(**{"url": url, "host": "localhost", "port": 6379, "namespace": None, **options})


def options_of(party: Any) -> dict[str, Any]:
    """How it connects."""
    given: dict[str, Any] = party._dialer._source.connection_kwargs
    where = {} if "path" in given else {"host": "h", "port": 1}
    connection = make_connection(party._dialer._source, 1.0, **where)
    return {"is_tls": "SSL" in type(connection).__name__, **given}


# One server

SERVERS: dict[str, tuple[dict[str, Any], str]] = {
    "redis://host": ({"host": "host"}, "redis://host:6379/0"),
    "redis://host:7000": ({"host": "host", "port": 7000}, "redis://host:7000/0"),
    "redis://host/3": ({"host": "host", "db": 3}, "redis://host:6379/3"),
    "redis://:s3cret@host": ({"host": "host", "password": SECRET}, "redis://host:6379/0"),
    "redis://user:s3%63ret@host": ({"username": "user", "password": SECRET}, "redis://user@host:6379/0"),
    "redis://u%40x:p%2F%3A%23%3F%40@host": ({"username": "u@x", "password": "p/:#?@"}, "redis://u@x@host:6379/0"),
    "redis://[::1]:7000": ({"host": "::1", "port": 7000}, "redis://[::1]:7000/0"),
    "redis://[fe80::1%25eth0]": ({"host": "fe80::1%eth0"}, "redis://[fe80::1%eth0]:6379/0"),
    "rediss://host:7000/1": ({"host": "host", "port": 7000, "db": 1, "is_tls": True}, "rediss://host:7000/1"),
    "rediss://host?ssl_ca_certs=/ca.pem": ({"ssl_ca_certs": "/ca.pem", "is_tls": True}, "rediss://host:6379/0"),
    "unix:///run/redis.sock": ({"path": "/run/redis.sock"}, "unix:///run/redis.sock"),
    "unix://user:s3cret@/run/redis.sock?db=2": (
        {"path": "/run/redis.sock", "db": 2, "username": "user", "password": SECRET},
        "unix://user@/run/redis.sock",
    ),
    "redis://host?client_name=bench&max_connections=9": ({"client_name": "bench"}, "redis://host:6379/0"),
}


@pytest.mark.parametrize("url", SERVERS)
def test_the_url_of_one_server(shell: str, url: str) -> None:
    party, (options, address) = made(shell, url), SERVERS[url]
    assert isinstance(party, RedisTransport if shell == "sync" else AsyncRedisTransport)
    assert {name: value for name, value in options_of(party).items() if name in options} == options
    assert party.address == address
    assert isinstance(party.client, (redis if shell == "sync" else redis.asyncio).Redis)


def test_host_and_port_do_without_a_url(shell: str) -> None:
    assert made(shell, None, host="bench", port="7000").address == "redis://bench:7000/0"
    assert made(shell, None, host="::1").address == "redis://[::1]:6379/0"


def test_the_memory_of_a_process(shell: str) -> None:
    party = made(shell, "memory://lab", namespace="n")
    assert isinstance(party, MemoryTransport if shell == "sync" else AsyncMemoryTransport)
    assert (party.address, party.client, party.keys.namespace) == ("memory://lab", None, "n")


# Groups

SENTINELS: dict[str, tuple[list[tuple[str, int]], str, dict[str, Any], dict[str, Any]]] = {
    "redis+sentinel://h1/jobs": ([("h1", 26379)], "jobs", {}, {}),
    "redis+sentinel://h1:1,h2:2,h3/jobs/3": ([("h1", 1), ("h2", 2), ("h3", 26379)], "jobs", {"db": 3}, {}),
    "redis+sentinel://[::1]:1,[2001:db8::2]/jobs": ([("::1", 1), ("2001:db8::2", 26379)], "jobs", {}, {}),
    "redis+sentinel://user:p%40%2F%2C@h1,h2/my%2Fjobs": (
        [("h1", 26379), ("h2", 26379)],
        "my/jobs",
        {"username": "user", "password": "p@/,"},
        {},
    ),
    "redis+sentinel://h1/jobs?sentinel_password=s3cret&sentinel_username=watch": (
        [("h1", 26379)],
        "jobs",
        {},
        {"username": "watch", "password": SECRET},
    ),
    "redis+sentinel://h1/jobs?client_name=bench": ([("h1", 26379)], "jobs", {"client_name": "bench"}, {}),
    "rediss+sentinel://h1/jobs?ssl_ca_certs=/ca.pem": (
        [("h1", 26379)],
        "jobs",
        {"ssl_ca_certs": "/ca.pem"},
        {"ssl_ca_certs": "/ca.pem"},
    ),
}


@pytest.mark.parametrize("url", SENTINELS)
def test_the_url_of_a_master_that_sentinels_know(shell: str, url: str) -> None:
    addresses, service, options, of_sentinels = SENTINELS[url]
    is_tls = url.startswith("rediss")
    assert parse_group(url, parse_url) == Group("sentinel", is_tls, tuple(addresses), service, options, of_sentinels)
    party = made(shell, url)
    assert isinstance(party, RedisTransport if shell == "sync" else AsyncRedisTransport)
    assert options_of(party)["is_tls"] == is_tls
    dialer: Any = party._dialer
    assert dialer._pool.service_name == service
    found = [each._source.connection_kwargs for each in dialer._sentinels]
    assert [(each["host"], each["port"]) for each in found] == addresses
    for each in found:
        assert {name: each.get(name) for name in of_sentinels} == of_sentinels
        # What the servers want to hear is none of the Sentinels' business.
        assert "password" in of_sentinels or not each.get("password")


def test_the_address_of_a_group_has_its_hosts_and_no_password(shell: str) -> None:
    url = f"rediss+sentinel://user:{SECRET}@h1,[::1]:7/my%2Fjobs/3?sentinel_password={SECRET}"
    assert made(shell, url).address == "rediss+sentinel://user@h1:26379,[::1]:7/my/jobs/3"
    assert made(shell, f"redis+cluster://user:{SECRET}@h1,[::1]:7").address == "redis+cluster://user@h1:6379,[::1]:7"


CLUSTERS: dict[str, tuple[list[tuple[str, int]], dict[str, Any]]] = {
    "redis+cluster://h1": ([("h1", 6379)], {}),
    "redis+cluster://h1:1,h2:2/": ([("h1", 1), ("h2", 2)], {}),
    "redis+cluster://h1/0": ([("h1", 6379)], {}),
    "redis+cluster://user:p%40%2F@[::1]:1,h2": ([("::1", 1), ("h2", 6379)], {"username": "user", "password": "p@/"}),
    "rediss+cluster://h1?ssl_ca_certs=/ca.pem": ([("h1", 6379)], {"ssl_ca_certs": "/ca.pem"}),
}


@pytest.mark.parametrize("url", CLUSTERS)
def test_the_url_of_a_cluster(shell: str, url: str) -> None:
    addresses, options = CLUSTERS[url]
    is_tls = url.startswith("rediss")
    assert parse_group(url, parse_url) == Group(
        "cluster", is_tls, tuple(addresses), "", options, {**options} if is_tls else {}
    )
    party = made(shell, url)
    assert isinstance(party, ClusterTransport if shell == "sync" else AsyncClusterTransport)
    found = options_of(party)
    assert found.pop("is_tls") == is_tls
    assert found == options
    assert sorted(party._topology.candidates()) == sorted(addresses)


# What cannot be used

BAD = [
    "host:6379",
    "http://host",
    "redis:/host",
    "://host",
    "",
    "redis+cluster",
    "sentinel://h1/jobs",
    f"redis://:{SECRET}@host:port",
    f"redis://:{SECRET}@host:70000",
    f"redis://:{SECRET}/x@host",
    f"redis://:{SECRET}@host/db",
    f"redis://:{SECRET}@host?socket_timeout=soon",
    f"redis://:{SECRET}@host?no_such_option=1",
    f"redis://:{SECRET}@[::1",
    "redis+sentinel://h1",
    "redis+sentinel:///jobs",
    f"redis+sentinel://:{SECRET}@h1/",
    f"redis+sentinel://:{SECRET}@h1/jobs/zero",
    f"redis+sentinel://:{SECRET}@h1/jobs/-1",
    f"redis+sentinel://:{SECRET}@h1:port/jobs",
    f"redis+sentinel://:{SECRET}@h1,,h2/jobs",
    f"redis+sentinel://:{SECRET}@h1:0/jobs",
    f"redis+sentinel://:{SECRET}@::1/jobs",
    f"redis+sentinel://:{SECRET}@h1/jobs?socket_timeout=soon",
    f"redis+sentinel://:{SECRET}@h1/jobs?sentinel_password={SECRET}&no_such_option={SECRET}",
    f"redis+cluster://:{SECRET}@h1/1",
    f"redis+cluster://:{SECRET}@h1/jobs",
    f"redis+cluster://:{SECRET}@h1?db=1",
    f"redis+cluster://:{SECRET}@h1?sentinel_password={SECRET}",
    f"redis+cluster://:{SECRET}@",
    f"redis+cluster://:{SECRET}@h1:99999",
    f"redis+cluster://:{SECRET}#x@h1",
    f"redis+cluster://:{SECRET}@h1?no_such_option={SECRET}",
]


@pytest.mark.parametrize("url", BAD)
def test_what_cannot_be_used_is_refused_without_its_password(shell: str, url: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^url .*(must be|cannot be used)") as caught:
        made(shell, url)
    texts: list[str] = []
    error: BaseException | None = caught.value
    while error is not None:
        texts.append(f"{error} {error!r}")
        error = error.__cause__
    assert SECRET not in " ".join(texts)


@pytest.mark.parametrize("url", [b"redis://host", 6379, True, ["redis://host"]])
def test_a_url_is_text(shell: str, url: Any) -> None:
    with pytest.raises(InvalidType, match=r"^url must be str, not "):
        made(shell, url)


@pytest.mark.parametrize(
    ("host", "port"), [("", 6379), (None, 6379), (b"h", 6379), ("h", 6.5), ("h", True), ("h", "x")]
)
def test_host_and_port_have_their_types(shell: str, host: Any, port: Any) -> None:
    with pytest.raises(InvalidType, match=r"^redis_(host|port) must be"):
        made(shell, None, host=host, port=port)


@pytest.mark.parametrize("port", [0, -1, 65536, "70000"])
def test_a_port_is_in_its_range(shell: str, port: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^redis_port must be from 1 to 65535"):
        made(shell, None, port=port)


def test_a_url_and_a_client_do_not_go_together(shell: str) -> None:
    client = (redis if shell == "sync" else redis.asyncio).Redis()
    make = transport if shell == "sync" else async_transport
    with pytest.raises(InvalidArgument, match="either url or existing_redis_conn"):
        make(client, url="redis://host", host="localhost", port=6379, namespace=None)


# How they are shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:s3cret@host:1/2", "redis://user:***@host:1/2"),
        ("redis://:s3cret@host", "redis://:***@host"),
        ("redis://user@host", "redis://user@host"),
        ("redis://host", "redis://host"),
        ("redis://:s3@cret@host", "redis://:***@host"),
        ("redis://:s3/cret@host", "redis://:***@host"),
        ("redis://host?password=s3cret", "redis://host?..."),
        (":s3cret@host", ":***@host"),
        ("redis://:s3?cret@host", "redis://***"),
        ("redis+sentinel://:s3cret@h1,h2/jobs?sentinel_password=s3cret", "redis+sentinel://:***@h1,h2/jobs?..."),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert redacted(url) == shown


SCHEMES = st.sampled_from(["redis", "rediss", "redis+sentinel", "redis+cluster", "unix", "http", ""])


@given(SCHEMES, st.text("abc:/@?#[]%,.0", max_size=8), st.text("abc:/@?#[]%,.0", max_size=8))
def test_whatever_surrounds_it_a_password_is_not_shown(scheme: str, before: str, after: str) -> None:
    assert SECRET not in redacted(f"{scheme}://user{before}:{SECRET}{after}@host")


@given(st.text("abcdefgh0123:/@?#[]%,.&=+-", max_size=40), SCHEMES)
def test_any_text_is_a_url_or_refused(text: str, scheme: str) -> None:
    for shell in ("sync", "asyncio"):
        try:
            party = made(shell, f"{scheme}://{text}")
        except InvalidArgument:
            continue
        assert party.address.partition("://")[0] in ("redis", "rediss", "unix", "redis+sentinel", "redis+cluster")
