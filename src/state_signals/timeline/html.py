"""An interactive page in one file, which loads nothing from anywhere."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from state_signals.timeline.lanes import lanes_of
from state_signals.timeline.look import LOOKS
from state_signals.timeline.notes import notes_of
from state_signals.timeline.phases import phases_of
from state_signals.timeline.titles import caption_of, subtitle_of, title_of
from state_signals.timeline.view import ActionView, RoundView, Status, View

__all__ = ["render"]

_SCRIPTS = ("model.js", "draw.js", "page.js")
_MOST_NOTES = 200


def render(view: View) -> bytes:
    """Return the page, in UTF-8."""
    folder = files("state_signals.timeline") / "page"
    script = "".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(f"\n{script}".encode()).digest()).decode()
    parts = {
        "title": html.escape(title_of(view)),
        "subtitle": html.escape(subtitle_of(view)),
        "caption": html.escape(caption_of(view, None)),
        "style": (folder / "page.css").read_text(encoding="utf-8"),
        "script": script,
        "script_hash": f"'sha256-{digest}'",
        "data": _embedded(_data(view)),
    }
    page = (folder / "page.html").read_text(encoding="utf-8")
    # In one go: what is put in may itself look like a place to put something in.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page).encode("utf-8", "backslashreplace")


def _embedded(value: Any) -> str:
    """Return JSON that ends no script element and no line, whatever is in it."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(view: View) -> dict[str, Any]:
    names = [name for lane in lanes_of(view, None) for name in lane.members]
    place = {name: number for number, name in enumerate(names)}
    groups = [[place[name] for name in lane.members] for lane in lanes_of(view)]
    labels = [lane.label for lane in lanes_of(view)]
    notes, unsaid = notes_of(view, 500, _MOST_NOTES)
    return {
        "exporter": view.process_name,
        "duration": view.duration,
        "start": view.start,
        "end": view.start + view.span,
        "began": view.began_at,
        "statuses": {str(status): [LOOKS[status].colour, LOOKS[status].on_dark] for status in Status},
        "troubles": [str(status) for status in Status if status.is_trouble],
        "responders": names,
        "groups": [[label, members] for label, members in zip(labels, groups, strict=True)],
        "members": [[view.members[name].subscribed, view.members[name].left] for name in names],
        "phases": [[phase.name, _us(phase.start), _us(phase.end), phase.level] for phase in phases_of(view)],
        "rounds": [_round(this, place) for this in view.rounds],
        "actions": [_action(action, place) for this in view.rounds for action in this.actions],
        "notes": [note.text for note in notes] + ([f"and {unsaid} more"] if unsaid else []),
    }


def _round(this: RoundView, place: dict[str, int]) -> list[Any]:
    waits = None if this.wait is None else -1 if this.wait == float("inf") else this.wait
    stragglers: Sequence[int] = [place[name] for name in this.stragglers]
    ended = None if this.ended is None else _us(this.ended)
    return [this.event, this.name, this.tag, _us(this.published), ended, waits, stragglers, this.cost, this.seq]


def _action(action: ActionView, place: dict[str, int]) -> list[Any]:
    facts: list[Any] = [
        place[action.responder_id],
        action.round,
        str(action.status),
        _us(action.start),
        _us(action.end),
        None if action.response is None else _us(action.response),
        action.message,
        [[_us(at), text] for at, text in action.progress] or None,
        None if action.took is None else _us(action.took),
    ]
    while facts[-1] is None:
        facts.pop()
    return facts


def _us(value: float) -> float:
    return round(value, 6)
