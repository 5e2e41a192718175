"""How an exporter and its responders are at one moment, by what the server keeps of the living."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from state_signals.protocol.registration import Member as RosterEntry
from state_signals.runs.model import RunState

__all__ = ["DEFAULT_TTL", "RosterEntry", "Vitals", "state_of"]

DEFAULT_TTL = 15.0
"""Seconds that an exporter's proofs of life are good for, if nothing says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """How an exporter and its responders are.

    Attributes:
        now: when that was looked at, in seconds since the epoch by the server's clock.
        state: `LIVE`, `DETACHED` or `CRASHED`; it holds unless the newest run was shut down.
        last_seen: the exporter's last proof of life; None: none is known.
        legal_events: the events that may be published; None: not known.
        roster: what the server keeps of each responder that is waited for.
        seen: their last proofs of life; None or left out: none is known.
    """

    now: float
    state: RunState
    last_seen: float | None = None
    legal_events: list[str] | None = None
    roster: Mapping[str, RosterEntry] = field(default_factory=dict)
    seen: Mapping[str, float | None] = field(default_factory=dict)


def state_of(
    *, is_owned: bool, is_dead: bool = False, is_kept: bool, score: float | None, ttl: float | None, now: float
) -> RunState:
    """Return where an exporter is that has not shut down.

    Args:
        is_owned: whether a process holds its `publisher_id`; that runs out by itself unless it is renewed.
        is_dead: whether that process is known to be gone.
        is_kept: whether what it takes to resume it is kept.
        score: its last proof of life, or (when it was left to others) when it expires; None: there is none.
        ttl: seconds that its proofs of life are good for; None: not known.
        now: by the server's clock, as the score.
    """
    if is_dead:
        return RunState.CRASHED
    if is_owned:
        return RunState.LIVE
    if score is None:
        # One that only looked whether it could be resumed leaves no score behind.
        return RunState.CRASHED
    if score > now:
        return RunState.DETACHED if is_kept else RunState.CRASHED
    return RunState.LIVE if now - score <= (DEFAULT_TTL if ttl is None else ttl) else RunState.CRASHED
