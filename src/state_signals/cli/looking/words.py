"""Moments, durations and outcomes in words."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from state_signals.messages import NO_TAG
from state_signals.results import Outcome
from state_signals.runs.model import RunState

__all__ = [
    "OUTCOME_STYLES",
    "SEVERITY",
    "STATE_STYLES",
    "counted",
    "date_and_minute",
    "date_and_time",
    "scope",
    "tag_of",
    "worst",
]

SEVERITY = (Outcome.LOST, Outcome.MISSING, Outcome.FAILED, Outcome.LEFT, Outcome.SUCCEEDED)
"""The outcomes, the worst first, as exit codes and version 1 codes rank them."""

OUTCOME_STYLES = {
    Outcome.SUCCEEDED: "green",
    Outcome.FAILED: "red",
    Outcome.MISSING: "red",
    Outcome.LOST: "red",
    Outcome.LEFT: "yellow",
}

STATE_STYLES = {
    RunState.LIVE: "green",
    RunState.DETACHED: "cyan",
    RunState.CRASHED: "red",
    RunState.ENDED: "",
    RunState.ABORTED: "red",
}


def worst(outcomes: Iterable[Outcome | None]) -> Outcome | None:
    """Return the worst of some outcomes; None: none is known."""
    found = set(outcomes)
    return next((outcome for outcome in SEVERITY if outcome in found), None)


def counted(counts: Mapping[str, int]) -> str:
    """Return numbers of something, those that are zero left out: `3 succeeded, 1 failed`."""
    return ", ".join(f"{number} {what}" for what, number in counts.items() if number)


def date_and_time(at: float) -> str:
    """Return a moment as date and time of the day, here."""
    return _formatted("%Y-%m-%d %H:%M:%S", at)


def date_and_minute(at: float) -> str:
    """Return a moment as date and time of the day without seconds, here."""
    return _formatted("%Y-%m-%d %H:%M", at)


def _formatted(form: str, at: float) -> str:
    try:
        return time.strftime(form, time.localtime(at))
    except (OverflowError, ValueError, OSError):
        # What comes from the network may lie beyond all calendars.
        return "----------"


def scope(namespace: str | None) -> str:
    """Return in words where on a server something is looked for."""
    return "without a namespace" if namespace is None else f"in the namespace {namespace}"


def tag_of(tag: str) -> str:
    """Return a tag; nothing for none."""
    return "" if tag == NO_TAG else tag
