"""From a URL to what it says, checked: pure, and free of redis-py but for the rules of its own URLs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from state_signals.exceptions import InvalidArgument
from state_signals.transport.settings import Address

__all__ = ["FORMS", "SCHEMES", "Group", "parse_group", "redacted"]

SCHEMES = (
    *("redis", "rediss", "unix", "memory"),
    *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
)

FORMS = (
    "redis://[user:password@]host[:port][/db], rediss://..., unix:///path, memory://name, "
    "redis+sentinel://[user:password@]host[:port][,host...]/service[/db] or "
    "redis+cluster://[user:password@]host[:port][,host...]"
)

_DEFAULT_PORTS = {"sentinel": 26379, "cluster": 6379}

_OF_SENTINELS = ("sentinel_username", "sentinel_password")


@dataclass(frozen=True, slots=True)
class Group:
    """What a URL says about a Cluster, or about a master that Sentinels know.

    Attributes:
        kind: `"sentinel"` or `"cluster"`.
        is_tls: whether connections are encrypted, to the Sentinels, too.
        addresses: the Sentinels, or nodes of the Cluster.
        service: what the Sentinels call the master.
        options: arguments of redis-py's connections, but for host and port.
        sentinel_options: the same for the Sentinels.
    """

    kind: str
    is_tls: bool
    addresses: tuple[Address, ...]
    service: str
    options: Mapping[str, Any]
    sentinel_options: Mapping[str, Any]


def parse_group(url: str, parse_url: Callable[[str], Mapping[str, Any]]) -> Group:
    """Return what a `redis+sentinel://` or `redis+cluster://` URL says.

    Args:
        url: the URL.
        parse_url: redis-py's reading of the URL of one server, for what both have in common.

    Raises:
        InvalidArgument: if it is malformed.
    """
    scheme, _, rest = url.partition("://")
    encryption, _, kind = scheme.partition("+")
    place, _, query = rest.partition("?")
    netloc, _, path = place.partition("/")
    credentials, at, hosts = netloc.rpartition("@")
    service, db = _path(url, kind, path)
    options = dict(parse_qsl(query, keep_blank_values=True))
    sentinel = {name.removeprefix("sentinel_"): options.pop(name) for name in _OF_SENTINELS if name in options}
    if sentinel and kind != "sentinel":
        raise _malformed(url, f"{' and '.join(_OF_SENTINELS)} are for redis+sentinel:// only")
    addresses = tuple(_address(url, host, _DEFAULT_PORTS[kind]) for host in hosts.split(","))
    try:
        given = dict(parse_url(f"{encryption}://{credentials}{at}host/{db}?{urlencode(options)}"))
    except ValueError:
        raise _malformed(url, "its options have wrong values") from None
    for name in ("host", "port", "connection_class"):
        given.pop(name, None)
    if kind == "cluster" and given.pop("db", 0):
        raise _malformed(url, "a Cluster has the database 0 only")
    common = {name: value for name, value in given.items() if name.startswith("ssl_")}
    return Group(kind, encryption == "rediss", addresses, service, given, {**common, **sentinel})


def redacted(url: str) -> str:
    """Return a URL fit to be shown: without its password."""
    place, _, query = url.partition("?")
    scheme, separator, rest = place.partition("://") if "://" in place else ("", "", place)
    if "@" in query:
        # The question mark may be in the password.
        return f"{scheme}{separator}***"
    credentials, at, after = rest.rpartition("@")
    if not at and "@" in query:
        # A question mark in the password: all that is left of it here comes before that.
        credentials, after = rest, ""
    user, colon, _ = credentials.partition(":")
    return f"{scheme}{separator}{user}{':***' if colon else ''}{at}{after}{'?...' if query else ''}"


def _path(url: str, kind: str, path: str) -> tuple[str, str]:
    """Return the service and the database."""
    if kind == "cluster":
        if path not in ("", "0"):
            raise _malformed(url, "a Cluster has the database 0 only")
        return "", ""
    service, _, db = path.partition("/")
    if not service:
        raise _malformed(url, "the name by which the Sentinels know the master is missing: .../SERVICE")
    if db and not db.isdecimal():
        raise _malformed(url, "the database must be a number")
    return unquote(service), db


def _address(url: str, text: str, default: int) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _malformed(url, "a port must be a number up to 65535, an IPv6 address in brackets") from None
    if not host or parts.path or parts.fragment or port == 0:
        raise _malformed(url, "a host is missing, or has something in it that does not belong there")
    return unquote(host), default if port is None else port


def _malformed(url: str, why: str) -> InvalidArgument:
    return InvalidArgument(f"url {redacted(url)!r:.200} cannot be used: {why}; what is special must be percent-encoded")
