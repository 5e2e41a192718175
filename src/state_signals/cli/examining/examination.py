"""What `doctor` does: gets to the server by the way that the URL says, asks and tries, and leaves nothing behind."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import redis
from redis.connection import parse_url

from state_signals.cli.examining import server_checks
from state_signals.cli.examining.arrival import Findings, NoConnection, Place, arrive
from state_signals.cli.examining.asking import Asked
from state_signals.cli.examining.findings import Finding, Verdict
from state_signals.cli.examining.privileges import Role
from state_signals.cli.examining.trials import Trials
from state_signals.cli.examining.views import Views
from state_signals.cli.options import Server
from state_signals.transport import sentinels
from state_signals.transport.base import Refusal
from state_signals.transport.connect import transport
from state_signals.transport.settings import Settings
from state_signals.transport.topology import SLOTS, Topology
from state_signals.transport.urls import parse_group, redacted

__all__ = ["Examination"]

_LEAST = 0.1
"""Seconds that a step is given in any case."""

_MOST = 86_400.0


class Examination:
    """Looks at a server.

    Args:
        server: the server.
        roles: what it must allow; empty: any of them will do.

    Attributes:
        is_connected: whether there was a connection to the end.

    Raises:
        InvalidArgument, InvalidType: for a URL or a namespace that cannot be.
    """

    def __init__(self, server: Server, roles: Iterable[Role]) -> None:
        self._url = server.url
        self._namespace = server.namespace
        self._roles = frozenset(roles)
        self._seconds = min(max(server.connect_timeout, _LEAST), _MOST)
        # It connects to nothing yet, and knows what a URL may be.
        self._transport = transport(url=server.url, host="", port=0, namespace=server.namespace)
        self._closing = ExitStack()
        self.is_connected = True

    def findings(self) -> Findings:
        """Yield what is found, one after the other."""
        scheme = self._url.partition("://")[0]
        find = {"sentinel": self._at_sentinels, "cluster": self._in_cluster}.get(scheme.partition("+")[2], self._at_one)
        try:
            with self._closing:
                self._closing.callback(self._transport.close)
                yield Finding("URL", Verdict.OK, redacted(self._url), facts={"url": redacted(self._url)})
                yield from find()
        except NoConnection as failure:
            self.is_connected = False
            yield failure.finding
        except (redis.RedisError, OSError) as error:
            self.is_connected = False
            remedy = "Look at the server's process, its log and the network, and try again."
            yield Finding("connection", Verdict.PROBLEM, f"the connection was lost: {error}", remedy)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            # Whatever is there may say anything.
            self.is_connected = False
            found = f"a reply is not one of a Redis server ({type(error).__name__}: {error})"
            yield Finding("protocol", Verdict.PROBLEM, found, "Check host and port.")

    def _at_one(self) -> Findings:
        pool = self._transport.client.connection_pool
        given = pool.connection_kwargs
        if "path" in given:
            place = Place(pool, None, path=given["path"])
        else:
            place = Place(pool, given.get("host", "localhost"), int(given.get("port", 6379)))
        asked = yield from self._arrived(place)
        yield from self._examined(place, asked, lambda _: asked, "standalone")

    def _at_sentinels(self) -> Findings:
        pool = self._transport.client.connection_pool
        places = [_place(each.connection_pool) for each in pool.sentinel_manager.sentinels]
        named, failures = None, []
        for place in places:
            try:
                named = yield from self._named_by(place, pool, named)
            except NoConnection as failure:
                failures.append(failure.finding)
        if named is None:
            raise NoConnection(failures[0])
        texts = [each.found for each in failures]
        yield server_checks.sentinels(len(places) - len(failures), len(places), texts)
        found = f"the Sentinels call {named[0]}:{named[1]} the master"
        yield Finding("master", Verdict.OK, found, facts={"host": named[0], "port": named[1]})
        at_master = sentinels.at_master(pool, redis.Connection, redis.SSLConnection)
        place = Place(at_master, *named)
        asked = yield from self._arrived(place)
        yield from self._examined(place, asked, lambda _: asked, "standalone")

    def _named_by(self, place: Place, pool: Any, before: Any) -> Any:
        """Return the master that a Sentinel names, or the one that was named before."""
        # Each step is told of the first one only; of the others, whether they answer.
        steps = arrive(place, self._seconds)
        asked = (yield from steps) if before is None else _last(steps)
        try:
            (found,) = asked.ask(("SENTINEL", "GET-MASTER-ADDR-BY-NAME", pool.service_name))
        finally:
            asked.close()
        if isinstance(found, list):
            return before or (found[0].decode(), int(found[1]))
        if isinstance(found, Refusal) and "unknown command" in found.text.lower():
            raise NoConnection(Finding("sentinels", Verdict.PROBLEM, f"{place} is no Sentinel", _NO_SENTINEL))
        said = f"says: {found.text}" if isinstance(found, Refusal) else f"knows no master {pool.service_name!r}"
        raise NoConnection(Finding("sentinels", Verdict.PROBLEM, f"{place} {said}", _NO_SERVICE))

    def _in_cluster(self) -> Findings:
        group = parse_group(self._url, parse_url)
        kind = redis.SSLConnection if group.is_tls else redis.Connection
        settings = Settings(kind, group.options)
        failures: list[Finding] = []
        for address in group.addresses:
            place = Place(settings, *address)
            try:
                asked = yield from self._arrived(place)
            except NoConnection as failure:
                failures.append(failure.finding)
                continue
            break
        else:
            raise NoConnection(failures[0])
        for each in failures:
            yield Finding(each.check, Verdict.WARNING, each.found, each.remedy, each.facts)
        (slots,) = asked.ask(SLOTS)
        if isinstance(slots, Refusal):
            yield Finding("cluster", Verdict.PROBLEM, f"who has which keys is not told: {slots.text}", _NO_CLUSTER)
            yield from self._examined(place, asked, lambda _: asked, "cluster")
            return
        yield from self._examined_cluster(place, slots, asked)

    def _examined_cluster(self, first: Place, slots: Any, asked: Asked) -> Findings:
        """Look at a Cluster of which one node has answered."""
        (told,) = asked.ask(("CLUSTER", "INFO"))
        info = server_checks.parsed(told.decode(errors="replace")) if isinstance(told, bytes) else {}
        topology = Topology(())
        topology.update([each[:3] for each in slots], (first.host or "", first.port))
        masters: dict[Any, Asked] = {}
        silent = []
        for address in sorted(topology.nodes):
            place = Place(first.source, *address)
            try:
                masters[address] = _last(arrive(place, self._seconds))
            except NoConnection:
                silent.append(str(place))
                continue
            self._closing.callback(masters[address].close)
        try:
            # It has the lists of who lives, which everybody needs.
            place = Place(first.source, *topology.owner(self._transport.keys.exporters))
        except redis.ConnectionError:
            yield server_checks.cluster(info | {"cluster_state": "fail"}, len(topology.nodes), silent, "")
            return
        yield server_checks.cluster(info, len(topology.nodes), silent, str(place))
        if not silent:
            chosen = masters[place.host, place.port]
            yield from self._examined(place, chosen, lambda key: masters[topology.owner(key)], "cluster")

    def _arrived(self, place: Place) -> Any:
        asked = yield from arrive(place, self._seconds)
        self._closing.callback(asked.close)
        return asked

    def _examined(self, place: Place, asked: Asked, at: Callable[[str], Asked], mode: str) -> Findings:
        views = Views(asked, self._transport.keys, at)
        yield views.server
        wrong = server_checks.mode(views.mode, mode)
        if wrong is not None:
            yield wrong
            return
        trials = Trials(place, asked, at, self._namespace, self._seconds, f"doctor-{secrets.token_hex(8)}")
        yield from trials.measured()
        yield from trials.permitted(self._roles, views.user)
        yield from trials.worked()
        yield from views.configuration()
        yield from views.parties(in_cluster=mode == "cluster")


_NO_SERVICE = "Check the name of the service in the URL: `SENTINEL MASTERS` there lists those that it knows."

_NO_SENTINEL = "Use redis://, or the port of a Sentinel: 26379 unless it is set otherwise."

_NO_CLUSTER = "Is it a Cluster? Then allow +cluster|slots; else use redis:// instead of redis+cluster://."


def _place(pool: Any) -> Place:
    given = pool.connection_kwargs
    return Place(pool, given.get("host", "localhost"), int(given.get("port", 26379)))


def _last(steps: Any) -> Asked:
    """Take steps to their end without telling of them."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            asked: Asked = end.value
            return asked
