"""Runs as JSON objects: what `history`, `ps` and `timeline` print (docs/history.schema.json). Pure."""

from __future__ import annotations

import math
from typing import Any

from state_signals.results import Outcome
from state_signals.runs.model import Action, Member, Round, Run

__all__ = ["action_object", "member_object", "round_object", "run_object"]


def run_object(run: Run, number: int | None = None) -> dict[str, Any]:
    """Return all of a run.

    Args:
        run: the run.
        number: its position among those of its exporter, from 1; None: it is not told.
    """
    return {
        "publisher_id": run.publisher_id,
        **({} if number is None else {"run": number}),
        "process_name": run.process_name,
        "runner_host": run.runner_host,
        "tag": run.tag,
        "state": str(run.state),
        "began_at": _moment(run.began_at),
        "ended_at": _moment(run.ended_at),
        "last_seen": _moment(run.last_seen),
        "aborted": run.aborted,
        "legal_events": run.legal_events,
        "is_whole": run.is_whole,
        "members": {name: member_object(member) for name, member in run.members.items()},
        "rounds": [round_object(each) for each in run.rounds],
    }


def member_object(member: Member) -> dict[str, Any]:
    """Return what is known of a responder that took part."""
    return {
        "subscribed_at": _moment(member.subscribed_at),
        "left_at": _moment(member.left_at),
        "last_seen": _moment(member.last_seen),
        "ttl": member.ttl,
        "version": 2 if member.speaks_v2 else 1,
        "is_expected": member.is_expected,
    }


def round_object(this: Round) -> dict[str, Any]:
    """Return a round; waiting for ever is -1, and null that nobody waited."""
    return {
        "signal_id": this.signal_id,
        "seq": this.seq,
        "event": this.event,
        "sample_no": this.sample_no,
        "tag": this.tag,
        "metadata": this.metadata,
        "published_at": _moment(this.published_at),
        "wait": -1 if this.wait == math.inf else this.wait,
        "ended_at": _moment(this.ended_at),
        "elapsed": _moment(this.elapsed),
        "ok": this.ok,
        "counts": {str(outcome): this.count(outcome) for outcome in Outcome} | {"pending": this.count(None)},
        "actions": {name: action_object(action) for name, action in this.actions.items()},
    }


def action_object(action: Action) -> dict[str, Any]:
    """Return what one responder did in one round."""
    return {
        "outcome": None if action.outcome is None else str(action.outcome),
        "ras": action.ras,
        "message": action.message,
        "received_at": _moment(action.received_at),
        "answered_at": _moment(action.answered_at),
        "took": _moment(action.took),
        "is_late": action.is_late,
        "progress": [{"at": _moment(each.at), "message": each.message} for each in action.progress],
    }


def _moment(seconds: float | None) -> float | None:
    # Beyond microseconds, what is left of adding two clocks is noise.
    return None if seconds is None else round(seconds, 6)
