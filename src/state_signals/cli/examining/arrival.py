"""Getting to a server, one step after the other, so that the one that fails has a name."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import redis

from state_signals.cli.examining import asking, diagnosis
from state_signals.cli.examining.asking import Asked, dialled
from state_signals.cli.examining.findings import Finding, Verdict
from state_signals.transport.base import Refusal

__all__ = ["Findings", "NoConnection", "Place", "arrive"]

Findings = Generator[Finding, None, None]

_SOON = 14
"""Days within which a certificate ends that should be renewed."""


class NoConnection(Exception):
    """There is no connection that is of use.

    Attributes:
        finding: which step failed.
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.found)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is, and how to connect to it.

    Attributes:
        source: a connection pool of redis-py, or `Settings`.
        host: its host; None: it has a socket of this machine.
        port: its port.
        path: path of its socket.
    """

    source: Any
    host: str | None
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.host is None:
            return self.path
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_tls(self) -> bool:
        """Whether connections to it are encrypted."""
        return "SSL" in self.source.connection_class.__name__

    @property
    def user(self) -> str | None:
        """The name by which we log in; None: none."""
        found: str | None = self.source.connection_kwargs.get("username")
        return found

    @property
    def has_password(self) -> bool:
        """Whether we give a password."""
        return bool(self.source.connection_kwargs.get("password"))

    def dial(self, seconds: float) -> Asked:
        """Return a new connection."""
        if self.host is None:
            return dialled(self.source, seconds)
        return dialled(self.source, seconds, host=self.host, port=self.port)


def arrive(place: Place, seconds: float) -> Generator[Finding, None, Asked]:
    """Connect to a server; yield what is found on the way, and return the connection.

    Args:
        place: the server.
        seconds: how long each step may take.

    Raises:
        NoConnection: if a step fails.
    """
    addresses = yield from _looked_up(place, seconds)
    address = yield from _connected(place, addresses, seconds)
    asked = _usable(place, address, seconds)
    try:
        yield from _protected(place, asked)
        yield _authenticated(place, asked)
    except BaseException:
        asked.close()
        raise
    return asked


def _looked_up(place: Place, seconds: float) -> Generator[Finding, None, list[asking.SocketAddress]]:
    if place.host is None:
        return [(socket.AF_UNIX, socket.SOCK_STREAM, 0, "", place.path)]
    try:
        addresses = asking.look_up(place.host, place.port, seconds)
    except TimeoutError:
        raise NoConnection(diagnosis.not_looked_up(place.host, None, seconds)) from None
    except (OSError, UnicodeError) as error:
        raise NoConnection(diagnosis.not_looked_up(place.host, error, seconds)) from error
    if not _is_address(place.host):
        yield diagnosis.looked_up(place.host, list(dict.fromkeys(each[4][0] for each in addresses)))
    return addresses


def _connected(
    place: Place, addresses: list[asking.SocketAddress], seconds: float
) -> Generator[Finding, None, asking.SocketAddress]:
    failure: OSError | None = None
    for address in addresses:
        before = time.perf_counter()
        try:
            asking.connect(address, seconds).close()
        except OSError as error:
            # The first one is what the URL means, most likely.
            failure = failure or error
            continue
        took = time.perf_counter() - before
        where = str(place) if place.host is None else f"{address[4][0]} port {address[4][1]}"
        yield Finding("connection", Verdict.OK, f"{where} answers after {took * 1000:.3g} ms", facts={"seconds": took})
        return address
    if failure is None:
        failure = OSError("no address")
    raise NoConnection(diagnosis.not_connected(str(place), failure, seconds)) from failure


def _usable(place: Place, address: asking.SocketAddress, seconds: float) -> Asked:
    try:
        asked = place.dial(seconds)
        try:
            (reply,) = asked.ask(("PING",))
            if isinstance(reply, Refusal) and reply.kind in ("NOAUTH", "WRONGPASS", "DENIED"):
                raise redis.AuthenticationError(reply.text)
        except BaseException:
            asked.close()
            raise
    except (redis.RedisError, OSError, ValueError) as error:
        speaker, said = asking.look_at(address, seconds)
        raise NoConnection(diagnosis.unusable(str(place), error, speaker, is_tls=place.is_tls, said=said)) from error
    return asked


def _protected(place: Place, asked: Asked) -> Findings:
    """Judge whether others can read along."""
    if not place.is_tls:
        if place.host is not None and not _is_here(asked):
            found = "not encrypted: who is on the way can read signals and password, and change them"
            yield Finding("TLS", Verdict.NOTE, found, "Use rediss:// if that network is not yours alone.")
        return
    connection: Any = asked.line.socket
    facts: dict[str, Any] = {"version": connection.version(), "cipher": (connection.cipher() or ("",))[0]}
    found = f"{facts['version']}, {facts['cipher']}"
    if connection.context.verify_mode == ssl.CERT_NONE:
        remedy = "Take ssl_cert_reqs out of the URL, and name the authority with ?ssl_ca_certs=FILE."
        found = f"{found}, but the certificate is not checked: anybody may be the server"
        yield Finding("TLS", Verdict.WARNING, found, remedy, facts)
        return
    ends = (connection.getpeercert() or {}).get("notAfter")
    days = None if ends is None else (ssl.cert_time_to_seconds(ends) - time.time()) / 86_400
    facts["certificate_days"] = days
    if days is not None and days < _SOON:
        found = f"{found}; the certificate ends in {max(0, int(days))} days"
        yield Finding("TLS", Verdict.WARNING, found, "Renew it.", facts)
        return
    yield Finding("TLS", Verdict.OK, found, facts=facts)


def _authenticated(place: Place, asked: Asked) -> Finding:
    (who,) = asked.ask(("ACL", "WHOAMI"))
    user = who.decode(errors="replace") if isinstance(who, bytes) else place.user or "default"
    facts = {"user": user}
    if place.has_password or place.host is None or _is_here(asked):
        return Finding("authentication", Verdict.OK, f"as user {user}", facts=facts)
    found = f"as user {user}, without a password: so can everybody who reaches this port"
    return Finding("authentication", Verdict.NOTE, found, "`state-signals acl` prints rules for users.", facts)


def _is_here(asked: Asked) -> bool:
    """Whether the server is on this machine."""
    peer = asked.line.socket.getpeername()
    return not isinstance(peer, tuple) or ipaddress.ip_address(peer[0].partition("%")[0]).is_loopback


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
