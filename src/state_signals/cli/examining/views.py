"""What `doctor` asks a server about itself. What it is not told, it says so, with the permission that is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from state_signals.cli.examining import checks, server_checks
from state_signals.cli.examining.arrival import Findings
from state_signals.cli.examining.asking import Asked
from state_signals.cli.examining.findings import Finding
from state_signals.endpoint import DEFAULT_PRESENCE_TTL
from state_signals.transport.base import Refusal
from state_signals.transport.keys import Keys

__all__ = ["Views"]

_MOST = 10_000
"""Members of a sorted set that are counted."""


class Views:
    """What one server says.

    Args:
        asked: a connection to it.
        keys: the names to use.
        at: from a key to a connection to the server that has it.
    """

    def __init__(self, asked: Asked, keys: Keys, at: Callable[[str], Asked]) -> None:
        self._asked = asked
        self._keys = keys
        self._at = at
        told, hello, who = asked.ask(("INFO",), ("HELLO", "2"), ("ACL", "WHOAMI"))
        self._refusal = told if isinstance(told, Refusal) else None
        self._info = server_checks.parsed(told.decode(errors="replace")) if isinstance(told, bytes) else {}
        # Allowed to everybody, unlike INFO.
        self._hello = _texts(hello) if isinstance(hello, list) else {}
        self.user = who.decode(errors="replace") if isinstance(who, bytes) else None

    @property
    def mode(self) -> str | None:
        """`standalone`, `cluster` or `sentinel`; None: not told."""
        return self._info.get("redis_mode") or self._info.get("server_mode") or self._hello.get("mode")

    @property
    def server(self) -> Finding:
        """Which server it is."""
        return server_checks.kind_and_version(self._info, self._hello)

    def configuration(self) -> Findings:
        """Judge the state of the server, and how it is configured."""
        if self._refusal is not None:
            what = "memory, clients, persistence and replication"
            yield checks.unasked("state", what, self._refusal.text, "+info")
            role = self._hello.get("role")
            if role not in (None, "master"):
                yield server_checks.replication({"role": role})
        else:
            yield server_checks.replication(self._info)
            yield server_checks.memory(self._info, None)
        asked = ("client-output-buffer-limit", "timeout", "maxclients", "save")
        replies = self._asked.ask(*(("CONFIG", "GET", name) for name in asked))
        refusal = next((reply for reply in replies if isinstance(reply, Refusal)), None)
        values = {name: _value(reply) for name, reply in zip(asked, replies, strict=True)}
        if self._refusal is None:
            most = server_checks.number(self._info, "maxclients") or _number(values["maxclients"])
            yield server_checks.clients(server_checks.number(self._info, "connected_clients"), most)
            yield server_checks.persistence(self._info, values["save"])
        if refusal is not None:
            what = "client-output-buffer-limit and timeout"
            yield checks.unasked("configuration", what, refusal.text, "+config|get")
            return
        yield server_checks.buffers(values["client-output-buffer-limit"] or "")
        yield server_checks.idle(_number(values["timeout"]) or 0)

    def parties(self, *, in_cluster: bool) -> Findings:
        """Tell who takes part, and whether some speak version 1."""
        living = []
        for key in (self._keys.exporters, self._keys.presence):
            now, found = self._at(key).ask(
                ("TIME",), ("ZREVRANGEBYSCORE", key, "+inf", 0, "WITHSCORES", "LIMIT", 0, _MOST)
            )
            refusal = next((reply for reply in (now, found) if isinstance(reply, Refusal)), None)
            if refusal is not None:
                yield checks.unasked("parties", "who takes part", refusal.text, f"+time +zrevrangebyscore ~{key}")
                return
            living.append(checks.alive(found, int(now[0]), DEFAULT_PRESENCE_TTL))
        yield checks.parties(*living)
        # Version 1 knows no namespaces. And each node of a Cluster has its own subscribers.
        if self._keys.namespace is not None or in_cluster:
            return
        (counts,) = self._asked.ask(("PUBSUB", "NUMSUB", self._keys.signals, self._keys.responses))
        if isinstance(counts, Refusal):
            yield checks.unasked("version 1", "whether somebody speaks version 1", counts.text, "+pubsub|numsub")
            return
        yield checks.version_1(int(counts[1]), int(counts[3]), *living)


def _texts(reply: list[Any]) -> dict[str, Any]:
    """Return the fields of a reply that are texts."""
    pairs = zip(reply[::2], reply[1::2], strict=False)
    return {
        name.decode(errors="replace"): value.decode(errors="replace")
        for name, value in pairs
        if isinstance(name, bytes) and isinstance(value, bytes)
    }


def _value(reply: Any) -> str | None:
    """Return the value in the reply to `CONFIG GET` of one option."""
    found = isinstance(reply, list) and len(reply) == 2 and isinstance(reply[1], bytes)
    return reply[1].decode(errors="replace") if found else None


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None
