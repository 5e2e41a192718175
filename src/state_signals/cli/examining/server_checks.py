"""What a server says about itself and its configuration, judged: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from state_signals.cli.examining.findings import Finding, Verdict

__all__ = [
    "buffers",
    "clients",
    "cluster",
    "idle",
    "kind_and_version",
    "memory",
    "mode",
    "number",
    "parsed",
    "persistence",
    "replication",
    "sentinels",
]

Info = Mapping[str, str]

_OLDEST = (6, 2)

_SIGNAL = 1_500
"""Bytes of a typical signal."""

_FEW_SIGNALS = 1_000
"""Signals in the buffer of a slow responder that are too few."""

_SHORTEST_IDLE = 15
"""Seconds; those that take part show every five or so that they live."""

_NEARLY = 0.8

_FULL = 0.95

_EVICTION = "volatile-ttl, volatile-lru and the like count, too: what belongs to a run expires a day after it."


def parsed(text: str) -> dict[str, str]:
    """Return the fields of a reply to `INFO` or `CLUSTER INFO`."""
    lines = (line.partition(":") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, separator, value in lines if separator}


def number(info: Info, name: str) -> int:
    """Return a number among the fields; 0 if it is not there, or is none."""
    text = info.get(name, "")
    return int(text) if text.isdecimal() else 0


def kind_and_version(info: Info, hello: Mapping[str, Any]) -> Finding:
    """Judge which server it is.

    Args:
        info: what `INFO` says; may be empty.
        hello: what `HELLO` says; may be empty.
    """
    name, version = _identity(info, hello)
    facts = {"kind": name.lower(), "version": version}
    if version is None:
        found = "the server does not tell which one it is"
        return Finding("server", Verdict.UNKNOWN, found, "At least Redis 6.2 is needed.", facts)
    # KeyDB counts like Redis, Valkey goes on from Redis 7.2.
    if _numbers(version) < _OLDEST:
        remedy = "Upgrade it: at least 6.2 is needed (XADD NOMKSTREAM, ZMSCORE)."
        return Finding("server", Verdict.PROBLEM, f"{name} {version} is too old", remedy, facts)
    return Finding("server", Verdict.OK, f"{name} {version}", facts=facts)


def _numbers(version: str) -> tuple[int, int]:
    """Return major and minor number of a version."""
    parts = [int(part) if part.isdecimal() else 0 for part in version.split(".")[:2]]
    return (parts[0], parts[1] if len(parts) > 1 else 0)


def _identity(info: Info, hello: Mapping[str, Any]) -> tuple[str, str | None]:
    if "valkey_version" in info or hello.get("server") == "valkey":
        return "Valkey", info.get("valkey_version") or hello.get("version")
    version = info.get("redis_version") or hello.get("version")
    is_keydb = "keydb" in info.get("executable", "") or "mvcc_depth" in info or hello.get("server") == "keydb"
    return "KeyDB" if is_keydb else "Redis", version


def mode(found: str | None, expected: str) -> Finding | None:
    """Judge whether the server is of the kind that the URL says; None if that is good or not known.

    Args:
        found: `standalone`, `cluster` or `sentinel`, as the server says.
        expected: the same, as the URL says.
    """
    if found in (None, expected):
        return None
    facts = {"mode": found}
    if found == "sentinel":
        remedy = "Use redis+sentinel://HOST:PORT/SERVICE, with the name by which it knows the master."
        return Finding("mode", Verdict.PROBLEM, "this is a Sentinel, which takes no signals", remedy, facts)
    if found == "cluster":
        remedy = "Use redis+cluster:// instead of redis://: else only what one node has can be reached."
        return Finding("mode", Verdict.PROBLEM, "this is a node of a Cluster", remedy, facts)
    remedy = "Use redis:// instead of redis+cluster://."
    return Finding("mode", Verdict.PROBLEM, "this server is not in a Cluster", remedy, facts)


def memory(info: Info, policy: str | None) -> Finding:
    """Judge how much room there is, and whether the server may throw away what is in it.

    Args:
        info: what `INFO memory` says.
        policy: `maxmemory-policy`; None: as `info` says.
    """
    used, limit = number(info, "used_memory"), number(info, "maxmemory")
    policy = policy or info.get("maxmemory_policy", "noeviction")
    facts = {"used": used, "maxmemory": limit, "policy": policy}
    if limit == 0:
        found = f"{_size(used)} in use, maxmemory is not set"
        if policy == "noeviction":
            return Finding("memory", Verdict.OK, found, facts=facts)
        remedy = f"Should maxmemory be set one day, set maxmemory-policy to noeviction. {_EVICTION}"
        return Finding("memory", Verdict.NOTE, f"{found}, the policy is {policy}", remedy, facts)
    found = f"{_size(used)} of {_size(limit)} in use"
    if policy != "noeviction":
        return Finding(
            "memory",
            Verdict.PROBLEM,
            f"{found}, and with maxmemory-policy {policy} the server may throw away journals and answers",
            f"`CONFIG SET maxmemory-policy noeviction`, or a server of their own. {_EVICTION}",
            facts,
        )
    if used >= limit * _NEARLY:
        remedy = "Raise maxmemory: a full server refuses signals and answers."
        return Finding("memory", Verdict.PROBLEM if used >= limit else Verdict.WARNING, found, remedy, facts)
    return Finding("memory", Verdict.OK, found, facts=facts)


def buffers(value: str) -> Finding:
    """Judge `client-output-buffer-limit`: how far a slow responder may fall behind before it is cut off."""
    words = value.split()
    found = next((words[at + 1 : at + 4] for at in range(0, len(words), 4) if words[at] == "pubsub"), [])
    limits = [_bytes(word) for word in found]
    if len(limits) < 3 or None in limits[:2]:
        return Finding("buffers", Verdict.UNKNOWN, f"client-output-buffer-limit cannot be read: {value!r:.100}")
    hard, soft, seconds = limits[0] or 0, limits[1] or 0, found[2]
    facts = {"hard": hard, "soft": soft, "soft_seconds": seconds}
    if not hard and not soft:
        return Finding(
            "buffers",
            Verdict.NOTE,
            "a responder that does not read is never cut off, and its signals fill the server's memory",
            "`CONFIG SET client-output-buffer-limit 'pubsub 32mb 8mb 60'`: who is cut off reads the journal later.",
            facts,
        )
    room = min(limit for limit in (hard, soft) if limit) // _SIGNAL
    limit = hard or soft
    found_text = f"a slow responder may fall behind by {_size(limit)}, about {limit // _SIGNAL:,} signals"
    if soft and soft != limit:
        found_text += f", and by {_size(soft)} for {seconds} s"
    if room < _FEW_SIGNALS:
        remedy = (
            "`CONFIG SET client-output-buffer-limit 'pubsub 32mb 8mb 60'`. Who is cut off comes back and reads the "
            "journal, but version 1 responders miss signals."
        )
        return Finding("buffers", Verdict.WARNING, found_text, remedy, facts)
    return Finding("buffers", Verdict.OK, found_text, facts=facts)


def clients(connected: int, limit: int | None) -> Finding:
    """Judge how many more may connect; an exporter has up to four connections, a responder two."""
    facts = {"connected": connected, "maxclients": limit}
    if not limit:
        return Finding("clients", Verdict.OK, f"{connected:,} connections", facts=facts)
    found = f"{connected:,} of {limit:,} connections are in use"
    if connected < limit * _NEARLY:
        return Finding("clients", Verdict.OK, found, facts=facts)
    remedy = "Raise maxclients (and the server's `ulimit -n`): an exporter needs four, a responder two."
    return Finding("clients", Verdict.PROBLEM if connected >= limit * _FULL else Verdict.WARNING, found, remedy, facts)


def idle(timeout: int) -> Finding:
    """Judge `timeout`, after which the server hangs up on those that send nothing."""
    facts = {"timeout": timeout}
    if timeout == 0:
        return Finding("idle", Verdict.OK, "the server does not hang up on idle connections", facts=facts)
    found = f"the server hangs up on connections that are idle for {timeout} s"
    if timeout >= _SHORTEST_IDLE:
        return Finding("idle", Verdict.OK, found, facts=facts)
    remedy = "`CONFIG SET timeout 0`: connections are made again and nothing is lost, but each time it takes a while."
    return Finding("idle", Verdict.WARNING, found, remedy, facts)


def persistence(info: Info, save: str | None) -> Finding:
    """Judge what survives a restart of the server.

    Args:
        info: what `INFO persistence` says.
        save: the option `save`; None: not known.
    """
    facts = {
        "appendonly": info.get("aof_enabled") == "1",
        "save": save,
        "last_save": info.get("rdb_last_bgsave_status"),
        "last_append": info.get("aof_last_write_status"),
    }
    if info.get("loading") == "1":
        found = "the server is still loading its data"
        return Finding("persistence", Verdict.PROBLEM, found, "Try again in a while.", facts)
    if "err" in (facts["last_save"], facts["last_append"]):
        found = "the server could not save its data the last time"
        remedy = "Look at its log and its disk: it may refuse writes until that works again."
        return Finding("persistence", Verdict.WARNING, found, remedy, facts)
    if facts["appendonly"]:
        return Finding("persistence", Verdict.OK, "what is written survives a restart (appendonly)", facts=facts)
    again = "Runs go on all the same: exporters put back what they remember. For the past, `CONFIG SET appendonly yes`."
    if save == "":
        found = "nothing survives a restart of the server"
    else:
        found = "what was written since the last snapshot does not survive a restart of the server"
    return Finding("persistence", Verdict.NOTE, found, again, facts)


def replication(info: Info) -> Finding:
    """Judge which part the server plays: master or replica."""
    role = info.get("role")
    facts: dict[str, Any] = {"role": role}
    if role != "master":
        facts["master"] = f"{info.get('master_host')}:{info.get('master_port')}"
        return Finding(
            "replication",
            Verdict.PROBLEM,
            f"this is a replica of {facts['master']}, which takes no signals",
            "Connect to the master; with redis+sentinel:// it is found, whichever it is.",
            facts,
        )
    replicas = number(info, "connected_slaves")
    facts["replicas"] = replicas
    if replicas == 0:
        return Finding("replication", Verdict.OK, "a master without replicas", facts=facts)
    return Finding("replication", Verdict.OK, f"a master with {_count(replicas, 'replica')}", facts=facts)


def sentinels(reached: int, given: int, failures: Sequence[str]) -> Finding:
    """Judge how many of the Sentinels in the URL answer."""
    facts = {"reached": reached, "given": given}
    if reached == given:
        return Finding("sentinels", Verdict.OK, f"{_count(given, 'Sentinel')} answer", facts=facts)
    return Finding(
        "sentinels",
        Verdict.WARNING,
        f"{reached} of {_count(given, 'Sentinel')} answer; {'; '.join(failures)}",
        "Start those that do not, or take them out of the URL.",
        facts,
    )


def cluster(info: Info, masters: int, silent: Sequence[str], examined: str) -> Finding:
    """Judge the state of a Cluster.

    Args:
        info: what `CLUSTER INFO` says.
        masters: how many masters have slots.
        silent: those of them that cannot be connected to.
        examined: the one that is looked at.
    """
    facts = {"state": info.get("cluster_state"), "masters": masters, "silent": list(silent)}
    if silent:
        return Finding(
            "cluster",
            Verdict.PROBLEM,
            f"{len(silent)} of {_count(masters, 'master')} cannot be reached from here: {', '.join(silent)}",
            "Start them. Or, if they announce addresses that are not for this network, set cluster-announce-ip.",
            facts,
        )
    if info and info.get("cluster_state") != "ok":
        remedy = "Look at `CLUSTER NODES`: a part of the slots has no node."
        return Finding("cluster", Verdict.PROBLEM, "the Cluster is down", remedy, facts)
    found = f"{_count(masters, 'master')}, all of which can be reached; what follows is about {examined}"
    return Finding("cluster", Verdict.OK, found, facts={**facts, "examined": examined})


def _bytes(text: str) -> int | None:
    """Return a number of bytes as configurations write it."""
    units = {"kb": 1024, "mb": 1024**2, "gb": 1024**3, "k": 1000, "m": 1000**2, "g": 1000**3}
    for unit, factor in units.items():
        if text.lower().endswith(unit) and text[: -len(unit)].isdecimal():
            return int(text[: -len(unit)]) * factor
    return int(text) if text.isdecimal() else None


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
