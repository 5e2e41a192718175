"""The roster of a run as rows: how each responder stands in the round that is shown, problems first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from state_signals.results import Outcome
from state_signals.runs.model import Action, Member, Round, Run, RunState

__all__ = ["Row", "Standing", "counted", "has_problem", "is_open", "roster_rows", "selected", "shown_round"]


class Standing(StrEnum):
    """How a responder stands, the most urgent first."""

    LOST = "lost"
    FAILED = "failed"
    MISSING = "missing"
    PENDING = "pending"
    WORKING = "working"
    LEFT = "left"
    EXPECTED = "expected"
    SILENT = "no answer"
    SUBSCRIBED = "subscribed"
    SUCCEEDED = "succeeded"

    @property
    def is_problem(self) -> bool:
        """Whether somebody may have to do something about it."""
        return self in _PROBLEMS


_URGENCY = {standing: place for place, standing in enumerate(Standing)}
# Who is pending and who is working are sorted as one: whoever has been silent for longest comes first.
_URGENCY[Standing.WORKING] = _URGENCY[Standing.PENDING]

_PROBLEMS = frozenset(
    (
        Standing.LOST,
        Standing.FAILED,
        Standing.MISSING,
        Standing.PENDING,
        Standing.WORKING,
        Standing.LEFT,
        Standing.EXPECTED,
    )
)

_OUTCOMES = {
    Outcome.SUCCEEDED: Standing.SUCCEEDED,
    Outcome.FAILED: Standing.FAILED,
    Outcome.MISSING: Standing.MISSING,
    Outcome.LOST: Standing.LOST,
    Outcome.LEFT: Standing.LEFT,
}

_BAD = frozenset((Outcome.FAILED, Outcome.MISSING, Outcome.LOST))


@dataclass(frozen=True, slots=True)
class Row:
    """One responder.

    Attributes:
        responder_id: who.
        standing: how it stands.
        seconds: until its answer, or since the signal if that is still awaited; None: it has not answered.
        is_ticking: whether `seconds` grow.
        seen: seconds since its last proof of life; None: there is none.
        message: what it has said last.
    """

    responder_id: str
    standing: Standing
    seconds: float | None = None
    is_ticking: bool = False
    seen: float | None = None
    message: str = ""


def shown_round(run: Run) -> Round | None:
    """Return the round whose outcomes are shown: the open one, else the last."""
    return run.rounds[-1] if run.rounds else None


def is_open(run: Run) -> bool:
    """Whether there is a round that still waits for somebody: one whose exporter is gone waits no more."""
    return run.state in (RunState.LIVE, RunState.DETACHED) and run.open_round is not None


def has_problem(run: Run) -> bool:
    """Whether something has gone wrong in the round that is shown."""
    shown = shown_round(run)
    return shown is not None and any(action.outcome in _BAD for action in shown.actions.values())


def roster_rows(run: Run, now: float) -> list[Row]:
    """Return a row for each responder that takes part, the most urgent first.

    Args:
        run: the run.
        now: seconds since the epoch by the server's clock.
    """
    shown = shown_round(run)
    actions = shown.actions if shown is not None else {}
    names = dict.fromkeys(actions)
    for name, member in run.members.items():
        if member.left_at is None:
            names[name] = None
    waits = is_open(run)
    is_live = run.state in (RunState.LIVE, RunState.DETACHED)
    sorted_rows = []
    for name in names:
        known = run.members.get(name)
        # Whoever takes part in a run that is over owes nobody a proof of life.
        is_lost = is_live and known is not None and known.is_lost(now)
        row, since = _row(name, shown, actions.get(name), known, now, waits=waits, is_lost=is_lost)
        sorted_rows.append(((_URGENCY[row.standing], since, name), row))
    sorted_rows.sort(key=lambda pair: pair[0])
    return [row for _, row in sorted_rows]


def _row(
    name: str,
    shown: Round | None,
    action: Action | None,
    member: Member | None,
    now: float,
    *,
    waits: bool,
    is_lost: bool,
) -> tuple[Row, float]:
    """Return a row, and what it is sorted by among those that stand alike."""
    seen = None if member is None or member.last_seen is None or member.left_at is not None else now - member.last_seen
    standing = _standing(shown, action, member, waits=waits, is_lost=is_lost)
    seconds, message, since, is_ticking = None, "", 0.0, False
    if shown is not None and action is not None:
        message = action.message or ""
        if action.answered_at is not None:
            seconds = action.answered_at - shown.published_at
            # The slowest first.
            since = -seconds
        elif standing in (Standing.PENDING, Standing.WORKING):
            seconds, is_ticking = now - shown.published_at, True
            since = action.progress[-1].at if action.progress else shown.published_at
        if action.is_late:
            message = f"too late{f': {message}' if message else ''}"
        elif action.answered_at is None and action.progress:
            message = action.progress[-1].message or ""
    return Row(name, standing, seconds, is_ticking, seen, message), since


def _standing(
    shown: Round | None, action: Action | None, member: Member | None, *, waits: bool, is_lost: bool
) -> Standing:
    if is_lost:
        return Standing.LOST
    if action is not None and action.outcome is not None:
        return _OUTCOMES[action.outcome]
    if shown is None or action is None:
        return Standing.EXPECTED if member is not None and member.is_expected else Standing.SUBSCRIBED
    if action.ras is not None:
        return Standing.SUCCEEDED if action.ras == 1 else Standing.FAILED
    pending = Standing.WORKING if action.progress else Standing.PENDING
    return pending if waits else Standing.SILENT


def counted(rows: Iterable[Row]) -> list[tuple[Standing, int]]:
    """Return how many stand how, in the order of `Standing`."""
    numbers = Counter(row.standing for row in rows)
    return [(standing, numbers[standing]) for standing in Standing if numbers[standing]]


def selected(rows: Sequence[Row], words: str, *, problems_only: bool) -> Sequence[Row]:
    """Return the rows that are problems, if asked, and have a text in name, standing or message."""
    if problems_only:
        rows = [row for row in rows if row.standing.is_problem]
    if words:
        wanted = words.casefold()
        rows = [row for row in rows if wanted in f"{row.responder_id}\n{row.standing}\n{row.message}".casefold()]
    return rows
