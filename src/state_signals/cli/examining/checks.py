"""What is measured and tried on a connection, judged: pure."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from state_signals.cli.examining.findings import Finding, Verdict
from state_signals.cli.examining.privileges import Attempt, Role

__all__ = ["alive", "clock", "parties", "permissions", "publishing", "round_trip", "unasked", "version_1", "writing"]

_SLOW = 0.005
"""Seconds of a round trip that a round notices."""

_VERY_SLOW = 0.1

_JITTER = 0.25
"""Seconds of a single round trip that are no good sign, whatever the others take."""

_CLOCKS_DIFFER = 0.1

_CLOCKS_DIFFER_MUCH = 2.0

_SHOWN = 6

_WRITING: Mapping[str, tuple[str, str]] = {
    "OOM": ("is full", "Raise its maxmemory, or free some: signals are not journaled and answers get lost."),
    "READONLY": ("is a replica, which takes no writes", "Connect to its master, or by redis+sentinel://."),
    "MISCONF": (
        "takes no writes because it cannot save to disk",
        "Look at its log and its disk, or turn off stop-writes-on-bgsave-error.",
    ),
    "NOREPLICAS": ("waits for its replicas", "Start them, or lower min-replicas-to-write."),
    "LOADING": ("is still loading its data", "Try again in a while."),
    "MASTERDOWN": ("is a replica that has lost its master", "Connect to its master."),
    "CLUSTERDOWN": ("belongs to a Cluster that has lost a part of its nodes", "Start them again."),
}


def unasked(check: str, what: str, reason: str, permission: str) -> Finding:
    """Return the finding about something that could not be asked.

    Args:
        check: what was to be looked at.
        what: what is not known therefore.
        reason: what the server has said.
        permission: the ACL rule without which it is not told.
    """
    return Finding(
        check,
        Verdict.UNKNOWN,
        f"{what} cannot be seen: {reason}",
        f"Whoever may use {permission} can tell; taking part does not need it.",
        {"permission": permission},
    )


def round_trip(seconds: Sequence[float]) -> Finding:
    """Judge how long some PINGs took."""
    median, worst = statistics.median(seconds), max(seconds)
    found = f"{_milliseconds(median)} (median of {len(seconds)}), {_milliseconds(worst)} at worst"
    facts = {"median": median, "worst": worst, "count": len(seconds)}
    if median >= _SLOW:
        return Finding(
            "round trip",
            Verdict.WARNING if median >= _VERY_SLOW else Verdict.NOTE,
            found,
            "A round takes at least two of these. Put the server closer to exporters and responders.",
            facts,
        )
    if worst >= _JITTER:
        remedy = "Something stalls now and then: look at the server's `SLOWLOG GET`, its machine and the network."
        return Finding("round trip", Verdict.NOTE, found, remedy, facts)
    return Finding("round trip", Verdict.OK, found, facts=facts)


def clock(readings: Sequence[tuple[float, float, float]]) -> Finding:
    """Judge what the server's clock says.

    Args:
        readings: this host's clock before, the server's, and this host's after.
    """
    before, there, after = min(readings, key=lambda each: each[2] - each[0])
    difference, uncertainty = there - (before + after) / 2, (after - before) / 2
    certain = max(0.0, abs(difference) - uncertainty)
    facts = {"difference": difference, "uncertainty": uncertainty}
    if certain < _CLOCKS_DIFFER:
        found = f"the server's is this host's, as far as can be told (within {_milliseconds(uncertainty)})"
        if certain:
            found = f"the server's differs by {_milliseconds(abs(difference))} (± {_milliseconds(uncertainty)})"
        return Finding("clock", Verdict.OK, found, facts=facts)
    found = f"the server's is {certain:.3g} s {'ahead of' if difference > 0 else 'behind'} this host's, at least"
    return Finding(
        "clock",
        Verdict.WARNING if certain >= _CLOCKS_DIFFER_MUCH else Verdict.NOTE,
        found,
        "Nobody is lost because of it, but times of different hosts cannot be compared: let NTP (chrony) set both.",
        facts,
    )


def permissions(
    role: Role, refused: Sequence[Attempt], *, is_wanted: bool, user: str | None, namespace: str | None
) -> Finding:
    """Judge what a role lacks.

    Args:
        role: the role.
        refused: what the server does not allow.
        is_wanted: whether that is a problem.
        user: the server's name for us, if known.
        namespace: the namespace.
    """
    who = f"user {user}" if user else "this user"
    check = "permissions"
    article = "a" if role is Role.RESPONDER else "an"
    if not refused:
        return Finding(check, Verdict.OK, f"{who} may be {article} {role}", facts={"role": str(role), "missing": []})
    missing = [f"{each.name} {each.on}".rstrip() for each in refused]
    shown = ", ".join(missing[:_SHOWN]) + (f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else "")
    scope = f" --namespace {namespace}" if namespace else ""
    return Finding(
        check,
        Verdict.PROBLEM if is_wanted else Verdict.NOTE,
        f"{who} may not be {article} {role}: {shown}",
        f"`state-signals acl {role}{scope}` prints the rules that allow it.",
        {"role": str(role), "missing": missing},
    )


def writing(kind: str | None, text: str = "") -> Finding:
    """Judge an attempt to write.

    Args:
        kind: first word of the error; None: there was none.
        text: what the server said.
    """
    if kind is None:
        return Finding("writing", Verdict.OK, "the server takes writes")
    found, remedy = _WRITING.get(kind, (f"refuses a write: {text}", "Look at the server's log."))
    return Finding("writing", Verdict.PROBLEM, f"the server {found}", remedy, {"error": text})


def publishing(seconds: Sequence[float]) -> Finding:
    """Judge how long it took from publishing until what was published arrived."""
    median, worst = statistics.median(seconds), max(seconds)
    return Finding(
        "publishing",
        Verdict.NOTE if median >= _SLOW else Verdict.OK,
        f"what is published arrives after {_milliseconds(median)} (median of {len(seconds)}), "
        f"{_milliseconds(worst)} at worst",
        "The server or the network takes long: compare the round trip." if median >= _SLOW else "",
        facts={"median": median, "worst": worst, "count": len(seconds)},
    )


def parties(exporters: int, responders: int) -> Finding:
    """Tell who has shown lately that it lives."""
    found = f"{_count(exporters, 'exporter')} and {_count(responders, 'responder')} have shown lately that they live"
    return Finding("parties", Verdict.OK, found, facts={"exporters": exporters, "responders": responders})


def version_1(to_signals: int, to_responses: int, exporters: int, responders: int) -> Finding:
    """Judge whether somebody speaks version 1 only.

    Args:
        to_signals: subscriptions to the channel of the signals.
        to_responses: subscriptions to the channel of version 1 responses, which exporters of either version have.
        exporters: version 2 exporters that live.
        responders: version 2 responders that live.
    """
    facts = {"signal_subscribers": to_signals, "response_subscribers": to_responses}
    silent = [max(0, to_signals - responders), max(0, to_responses - exporters)]
    if not any(silent):
        return Finding(
            "version 1", Verdict.OK, "no sign of it: there is no subscriber without proof of life", facts=facts
        )
    return Finding(
        "version 1",
        Verdict.NOTE,
        f"{_count(silent[0], 'subscriber')} to signals and {silent[1]} to responses show no proof of life: they speak "
        "version 1, only listen, or have taken part in no run yet",
        "Version 1 responders are never lost, only missing once the time is up: publish with a timeout.",
        facts,
    )


def alive(found: Any, now: float, within: float) -> int:
    """Return how many of a sorted set's members, with scores, are younger than some seconds."""
    scores: Collection[Any] = found[1::2]
    return sum(now - float(score) <= within for score in scores)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
