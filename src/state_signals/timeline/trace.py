"""The trace events that Perfetto (https://ui.perfetto.dev) and Chrome's `about:tracing` read.

One process for the exporter, with its phases and its waiting, and one for the responders, with a thread for each.
Spans of one thread must not overlap in this format: those that would go to a second thread of the same name.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from state_signals.timeline.phases import phases_of
from state_signals.timeline.titles import title_of
from state_signals.timeline.tracks import rows_of
from state_signals.timeline.view import ActionView, RoundView, Status, View
from state_signals.timeline.words import wall_time

__all__ = ["events_of", "render"]

_EXPORTER, _RESPONDERS = 1, 2

_COLOURS = {
    Status.SUCCEEDED: "good",
    Status.FAILED: "terrible",
    Status.MISSING: "bad",
    Status.LATE: "bad",
    Status.LOST: "black",
}
"""Of the names that Chrome knows; Perfetto has its own colours."""

_Span = tuple[float, float, dict[str, Any]]


def render(view: View) -> bytes:
    """Return a run as trace events in JSON."""
    document = {
        "displayTimeUnit": "ms",
        "otherData": {
            "publisher_id": view.publisher_id,
            "title": title_of(view),
            "began": wall_time(view.began_at),
            "began_at": view.began_at,
            "state": view.state,
        },
        "traceEvents": events_of(view),
    }
    return (json.dumps(document, allow_nan=False, separators=(",", ":")) + "\n").encode("ascii")


def events_of(view: View) -> list[dict[str, Any]]:
    """Return a run as trace events: first the names, then what happened, by time."""
    names = [
        _meta("process_name", _EXPORTER, 0, name=f"{view.process_name} (exporter)"),
        _meta("process_sort_index", _EXPORTER, 0, sort_index=0),
        _meta("process_name", _RESPONDERS, 0, name="responders"),
        _meta("process_sort_index", _RESPONDERS, 0, sort_index=1),
    ]
    threads = _Threads()
    phases = [
        (phase.start, phase.end, {"name": phase.name, "cat": "phase", "args": {"is_closed": phase.is_closed}})
        for phase in phases_of(view)
    ]
    threads.add(_EXPORTER, "phases", phases)
    threads.add(_EXPORTER, "rounds", [_round(view, this) for this in view.rounds])
    spans: dict[str, list[_Span]] = {name: [] for name in view.members}
    instants: dict[str, list[tuple[float, dict[str, Any]]]] = {name: [] for name in view.members}
    for this in view.rounds:
        for action in this.actions:
            spans[action.responder_id].append(_action(this, action))
            instants[action.responder_id] += [
                (at, {"name": message or "working", "cat": "progress"}) for at, message in action.progress
            ]
    for name in view.members:
        threads.add(_RESPONDERS, name, spans[name], instants[name])
    threads.events.sort(key=lambda event: (event["ts"], -event.get("dur", 0)))
    return names + threads.names + threads.events


class _Threads:
    """Threads are made of spans; who has overlapping ones gets several."""

    def __init__(self) -> None:
        self.names: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self._next = 1

    def add(
        self, process: int, name: str, spans: Sequence[_Span], instants: Iterable[tuple[float, dict[str, Any]]] = ()
    ) -> None:
        rows = rows_of([(_us(start), _us(end)) for start, end, _ in spans])
        first = self._next
        self._next += max(rows, default=0) + 1
        for thread in range(first, self._next):
            self.names.append(_meta("thread_name", process, thread, name=name))
            self.names.append(_meta("thread_sort_index", process, thread, sort_index=thread))
        for row, (start, end, more) in zip(rows, spans, strict=True):
            length = round(_us(end) - _us(start), 3)
            self.events.append({"ph": "X", "ts": _us(start), "dur": length, "pid": process, "tid": first + row, **more})
        for at, more in instants:
            self.events.append({"ph": "i", "s": "t", "ts": _us(at), "pid": process, "tid": first, **more})


def _round(view: View, this: RoundView) -> _Span:
    until = this.ended if this.ended is not None else this.published if this.wait is None else view.duration
    facts = {"seq": this.seq, "signal_id": this.signal_id, "tag": this.tag, "ok": this.ok}
    if this.stragglers:
        facts |= {"stragglers": list(this.stragglers), "cost_seconds": this.cost}
    return this.published, until, {"name": this.name, "cat": "round", "args": facts}


def _action(this: RoundView, action: ActionView) -> _Span:
    name = this.name if action.status is Status.SUCCEEDED else f"{this.name}: {action.status}"
    facts = {
        "outcome": None if action.outcome is None else str(action.outcome),
        "status": str(action.status),
        "ras": action.ras,
        "message": action.message,
        "response_seconds": action.response,
        "took_seconds": action.took,
        "seq": this.seq,
    }
    more: dict[str, Any] = {"name": name, "cat": f"action,{action.status}", "args": facts}
    if action.status in _COLOURS:
        more["cname"] = _COLOURS[action.status]
    return action.start, action.end, more


def _meta(kind: str, process: int, thread: int, **facts: Any) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "ts": 0, "pid": process, "tid": thread, "args": facts}


def _us(value: float) -> float:
    """Return seconds as microseconds, in steps of a nanosecond."""
    return round(max(0.0, value) * 1e6, 3)
