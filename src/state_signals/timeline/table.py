"""One row for each round and responder, as CSV (RFC 4180)."""

from __future__ import annotations

from typing import Any

from state_signals.runs.csv_rows import row
from state_signals.timeline.view import ActionView, RoundView, Status, View

__all__ = ["COLUMNS", "render"]

COLUMNS = (
    "publisher_id",
    "process_name",
    "host",
    "run_tag",
    "seq",
    "event",
    "sample_no",
    "tag",
    "signal_id",
    "round_ok",
    "responder_id",
    "outcome",
    "is_late",
    "is_straggler",
    "ras",
    "message",
    "response_seconds",
    "took_seconds",
    "wait_seconds",
    "published_seconds",
    "received_seconds",
    "answered_seconds",
    "ended_seconds",
    "published_at",
    "received_at",
    "answered_at",
    "ended_at",
)
"""Moments in `..._seconds` count from the run's beginning, those in `..._at` from 1970, both by the server's clock."""


def render(view: View) -> bytes:
    """Return a run as CSV, in UTF-8. A round in which nobody took part is a row without a responder."""
    rows = [row(COLUMNS)]
    for this in view.rounds:
        for action in this.actions or (None,):
            facts = _facts(view, this) | ({} if action is None else _deeds(view, this, action))
            rows.append(row(facts.get(column) for column in COLUMNS))
    return "".join(rows).encode("utf-8", "backslashreplace")


def _facts(view: View, this: RoundView) -> dict[str, Any]:
    return {
        "publisher_id": view.publisher_id,
        "process_name": view.process_name,
        "host": view.host,
        "run_tag": view.tag,
        "seq": this.seq,
        "event": this.event,
        "sample_no": None if this.sample_no < 0 else this.sample_no,
        "tag": this.tag,
        "signal_id": this.signal_id,
        "round_ok": this.ok,
        "wait_seconds": this.wait,
        "published_seconds": this.published,
        "ended_seconds": this.ended,
        "published_at": view.began_at + this.published,
        "ended_at": None if this.ended is None else view.began_at + this.ended,
    }


def _deeds(view: View, this: RoundView, action: ActionView) -> dict[str, Any]:
    outcome = action.outcome if action.outcome is not None else action.status
    return {
        "responder_id": action.responder_id,
        "outcome": str(outcome),
        "is_late": action.status is Status.LATE,
        "is_straggler": action.responder_id in this.stragglers,
        "ras": action.ras,
        "message": action.message,
        "response_seconds": action.response,
        "took_seconds": action.took,
        "received_seconds": action.received,
        "answered_seconds": action.answered,
        "received_at": None if action.received is None else view.began_at + action.received,
        "answered_at": None if action.answered is None else view.began_at + action.answered,
    }
