"""Which lanes there are: the troubled and the slowest first, and those that behaved alike in one."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from state_signals.timeline.view import ActionView, Status, View
from state_signals.timeline.words import count, seconds_between

__all__ = ["MOST_LANES", "Bar", "Lane", "lanes_of"]

MOST_LANES = 24
"""As many lanes are readable on a page."""

_EXEMPLARS = 5
"""Of those that behaved alike, the slowest that get a lane of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What the responders of one lane did in one round, in seconds from the run's beginning.

    Attributes:
        round: place of the round in `View.rounds`.
        status: how it ended, the worst of all.
        start: the earliest receipt.
        end: the last answer.
        response: the middle of the seconds until their answers; None: nobody answered.
        progress: moments at which they said that they are working.
        received: the earliest known receipt; None: none is known.
        is_straggler: whether one of them kept the others waiting.
    """

    round: int
    status: Status
    start: float
    end: float
    response: float | None
    progress: tuple[float, ...]
    received: float | None
    is_straggler: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One row: a responder, or several that behaved alike.

    Attributes:
        label: what stands beside it.
        members: their responder_ids.
        bars: what they did, by round.
        slowest: seconds until the slowest answer; None: there is none.
        troubles: what went wrong, in a few words; empty if nothing.
    """

    label: str
    members: tuple[str, ...]
    bars: tuple[Bar, ...]
    slowest: float | None
    troubles: str


@dataclass(slots=True)
class _Group:
    """Responders that came to the same status in each round; the slowest come first."""

    names: list[str]
    severity: tuple[int, int]


def lanes_of(view: View, most: int | None = MOST_LANES) -> list[Lane]:
    """Return the lanes of a run.

    Args:
        view: the run.
        most: how many lanes there may be; those that behaved alike share one, if they are more. None: one for each.
    """
    actions = _by_responder(view)
    stragglers = {(name, this.number) for this in view.rounds for name in this.stragglers}
    groups = _groups(actions, stragglers)
    shared = _shared(groups, len(actions) if most is None else max(2, most))
    return [_lane(view, names, actions, stragglers, is_rest=is_rest) for names, is_rest in shared]


def _by_responder(view: View) -> dict[str, list[ActionView]]:
    found: dict[str, list[ActionView]] = {name: [] for name in view.members}
    for this in view.rounds:
        for action in this.actions:
            found[action.responder_id].append(action)
    return found


def _groups(actions: dict[str, list[ActionView]], stragglers: set[tuple[str, int]]) -> list[_Group]:
    alike: dict[tuple[tuple[int, Status], ...], list[str]] = {}
    for name, done in actions.items():
        alike.setdefault(tuple((action.round, action.status) for action in done), []).append(name)
    slowest = {name: _slowest(done) or 0.0 for name, done in actions.items()}
    kept = {name for name, _ in stragglers}
    groups = []
    for key, names in alike.items():
        statuses = [status for _, status in key]
        worst = min((status.severity for status in statuses), default=Status.UNKNOWN.severity)
        troubles = sum(status.is_trouble for status in statuses)
        # Who kept the others waiting belongs to those that one looks for.
        names.sort(key=lambda name: (name not in kept, -slowest[name], name))
        groups.append(_Group(names, (worst, -troubles)))
    groups.sort(key=lambda group: (group.severity, -slowest[group.names[0]], group.names[0]))
    return groups


def _shared(groups: Sequence[_Group], most: int) -> list[tuple[list[str], bool]]:
    """Return (names, whether it is what is left of a group) of each lane."""
    if sum(len(group.names) for group in groups) <= most:
        return [([name], False) for group in groups for name in group.names]
    lanes: list[tuple[list[str], bool]] = []
    for place, group in enumerate(groups):
        left = most - len(lanes)
        # Each group that is still to come needs a lane; too many of them share the last one.
        allowed = max(1, left - (len(groups) - place - 1))
        if left == 1 and place < len(groups) - 1:
            lanes.append(([name for one in groups[place:] for name in one.names], True))
            break
        if len(group.names) <= allowed:
            lanes += [([name], False) for name in group.names]
            continue
        alone = min(_EXEMPLARS, allowed - 1)
        lanes += [([name], False) for name in group.names[:alone]]
        lanes.append((group.names[alone:], alone > 0 or place > 0))
    return lanes


def _lane(
    view: View,
    names: Sequence[str],
    actions: dict[str, list[ActionView]],
    stragglers: set[tuple[str, int]],
    *,
    is_rest: bool,
) -> Lane:
    done = [action for name in names for action in actions[name]]
    by_round: dict[int, list[ActionView]] = {}
    for action in done:
        by_round.setdefault(action.round, []).append(action)
    return Lane(
        label=names[0] if len(names) == 1 else _label(names, done, is_rest=is_rest),
        members=tuple(names),
        bars=tuple(_bar(those, stragglers) for _, those in sorted(by_round.items())),
        slowest=_slowest(done),
        troubles=_troubles(view, names, done),
    )


def _label(names: Sequence[str], done: Iterable[ActionView], *, is_rest: bool) -> str:
    responses = sorted(action.response for action in done if action.response is not None)
    what = f"{len(names)} {'others' if is_rest else 'responders'}"
    return f"{what}, {seconds_between(responses[0], responses[-1])}" if responses else what


def _bar(done: Sequence[ActionView], stragglers: set[tuple[str, int]]) -> Bar:
    responses = [action.response for action in done if action.response is not None]
    receipts = [action.received for action in done if action.received is not None]
    return Bar(
        round=done[0].round,
        status=min((action.status for action in done), key=lambda status: status.severity),
        start=min(action.start for action in done),
        end=max(action.end for action in done),
        response=statistics.median(responses) if responses else None,
        progress=tuple(sorted(at for action in done for at, _ in action.progress)),
        received=min(receipts, default=None),
        is_straggler=any((action.responder_id, action.round) in stragglers for action in done),
    )


def _slowest(done: Iterable[ActionView]) -> float | None:
    return max((action.response for action in done if action.response is not None), default=None)


def _troubles(view: View, names: Sequence[str], done: Sequence[ActionView]) -> str:
    if not done:
        absent = sum(view.members[name].is_expected for name in names)
        if not absent:
            return "took no part"
        return "never came" if absent == len(names) else f"{absent} never came"
    found = []
    for status in Status:
        those = [action for action in done if action.status is status]
        if not those or not status.is_trouble:
            continue
        found.append(str(status) if len(those) == 1 and len(names) == 1 else count(len(those), str(status)))
    return ", ".join(found)
