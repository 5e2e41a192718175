"""What went wrong, as numbered notes: the picture points at them, and their text stands below it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from state_signals.timeline.view import ActionView, Status, View
from state_signals.timeline.words import in_short, listed, seconds

__all__ = ["Note", "notes_of", "numbers_at"]

_MOST_NOTES = 12

_VERBS = {
    Status.LOST: "lost in",
    Status.FAILED: "failed",
    Status.MISSING: "no answer to",
    Status.LATE: "answered too late to",
    Status.LEFT: "left before the end of",
}

_Key = tuple[Status, str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that should be known.

    Attributes:
        number: how the picture refers to it.
        text: what happened.
        places: (responder_id, round) of what it is about; the first of each responder's.
    """

    number: int
    text: str
    places: frozenset[tuple[str, int]]


def notes_of(view: View, length: int = 150, most: int = _MOST_NOTES) -> tuple[list[Note], int]:
    """Return the notes in the order of time, and how many more there would have been.

    Args:
        view: the run.
        length: characters of one note.
        most: so many notes at the most, the worst.
    """
    found = _troubles(view) + _stragglers(view)
    # The worst stay, in the order of time.
    kept = sorted(sorted(found, key=lambda item: item[0])[:most], key=lambda item: item[1])
    notes = [
        Note(number=number, text=in_short(text, length), places=places)
        for number, (_, _, text, places) in enumerate(kept, 1)
    ]
    return notes, len(found) - len(kept)


_Found = tuple[tuple[int, float], tuple[int, str], str, frozenset[tuple[str, int]]]


def _troubles(view: View) -> list[_Found]:
    """Troubles: those of one responder that are the same are one, and those of several that are the same are one."""
    by_responder: dict[tuple[str, Status, str], list[ActionView]] = {}
    for this in view.rounds:
        for action in this.actions:
            if action.status.is_trouble:
                by_responder.setdefault((action.responder_id, action.status, action.message or ""), []).append(action)
    alike: dict[_Key, list[str]] = {}
    for (name, status, message), done in by_responder.items():
        alike.setdefault((status, message, tuple(action.round for action in done)), []).append(name)
    found: list[_Found] = []
    for (status, message, rounds), names in alike.items():
        first = view.rounds[rounds[0]]
        where = f"{first.name} at {seconds(first.published)}"
        if len(rounds) > 1:
            where += f" and {len(rounds) - 1} more {'round' if len(rounds) == 2 else 'rounds'}"
        text = f"{listed(names, 2, 28)}: {_VERBS[status]} {where}" + (f": {message}" if message else "")
        places = frozenset((name, rounds[0]) for name in names)
        found.append(((status.severity, -float(len(names))), (rounds[0], names[0]), text, places))
    return found


def _stragglers(view: View) -> list[_Found]:
    """Who kept others waiting though it succeeded: one note a responder, about the worst time."""
    costs: dict[str, list[tuple[float, ActionView]]] = {}
    for this in view.rounds:
        for action in this.actions:
            if action.responder_id in this.stragglers and not action.status.is_trouble:
                costs.setdefault(action.responder_id, []).append((this.cost, action))
    # A few thousandths of a second in a long run are nothing to write about.
    floor = max(0.1, view.duration / 1000)
    found: list[_Found] = []
    for name, rounds in costs.items():
        most, action = max(rounds, key=lambda item: item[0])
        total = sum(value for value, _ in rounds)
        if total >= floor:
            this = view.rounds[action.round]
            what = f"slowest by far, {this.name} took {seconds(most)} longer for it"
            if action.status is Status.PENDING:
                what = f"has not answered {this.name} for {seconds(action.end - this.published)}"
            elif len(rounds) > 1:
                what += f" ({len(rounds)} rounds, {seconds(total)} in all)"
            place = frozenset({(name, this.number)})
            found.append(((len(Status), -total), (this.number, name), f"{listed([name])}: {what}", place))
    return found


def numbers_at(notes: Sequence[Note]) -> dict[tuple[str, int], list[int]]:
    """Return the numbers of the notes by (responder_id, round)."""
    found: dict[tuple[str, int], list[int]] = {}
    for note in notes:
        for place in note.places:
            found.setdefault(place, []).append(note.number)
    return found
