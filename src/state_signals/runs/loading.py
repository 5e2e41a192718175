"""Runs from the JSON objects that `history --json` prints, wherever they were kept meanwhile. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from state_signals.exceptions import InvalidArgument
from state_signals.runs.facts import LARGEST_TIME
from state_signals.runs.model import Action, Member, Round, Run

__all__ = ["load_runs", "run_from"]

_Kind = TypeVar("_Kind", Action, Member, Round, Run)

_FOREVER = -1


def load_runs(data: bytes, source: str) -> list[tuple[int, Run]]:
    """Return the runs in JSON lines, each with its number among those of its exporter.

    Args:
        data: one object a line; lines without anything are left out.
        source: where they come from, for errors.

    Raises:
        InvalidArgument: a line is no run: which, and why.
    """
    found: list[tuple[int, Run]] = []
    for place, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = msgspec.json.decode(line)
            number = value.get("run") if isinstance(value, dict) else None
            found.append((number if isinstance(number, int) else len(found) + 1, run_from(value)))
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidArgument, RecursionError) as error:
            raise InvalidArgument(
                f"line {place} of {source} is no run: {error}; write the file with 'state-signals history --json'"
            ) from error
    return found


def run_from(value: Any) -> Run:
    """Return the run that an object tells of.

    Raises:
        InvalidArgument: it tells of none, or of times that nobody's clock shows.
    """
    facts = _mapping(value, "a run")
    rounds = facts.get("rounds")
    if not isinstance(rounds, list):
        raise InvalidArgument("a run needs its rounds")
    members = _mapping(facts.get("members"), "members")
    run = _made(Run, {**facts, "rounds": [], "members": {}})
    run.members = {name: _member(name, each) for name, each in members.items()}
    run.rounds = [_round(each) for each in rounds]
    for moment in _moments(run):
        if moment is not None and not 0 <= moment <= LARGEST_TIME:
            raise InvalidArgument(f"{moment:g} is no time")
    return run


def _member(name: str, value: Any) -> Member:
    facts = _mapping(value, "a member")
    return _made(Member, {**facts, "responder_id": name, "speaks_v2": facts.get("version") != 1})


def _round(value: Any) -> Round:
    facts = _mapping(value, "a round")
    actions = _mapping(facts.get("actions"), "actions")
    this = _made(Round, {**facts, "actions": {}})
    if this.wait is not None and this.wait <= _FOREVER:
        this.wait = math.inf
    this.actions = {
        name: _made(Action, {**_mapping(each, "an action"), "responder_id": name}) for name, each in actions.items()
    }
    return this


def _made(kind: type[_Kind], facts: Mapping[str, Any]) -> _Kind:
    try:
        return msgspec.convert(facts, kind)
    except msgspec.ValidationError as error:
        raise InvalidArgument(f"{kind.__name__.lower()}: {error}") from error


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidArgument(f"{what} must be an object")
    return value


def _moments(run: Run) -> Iterator[float | None]:
    yield from (run.began_at, run.ended_at, run.last_seen)
    for member in run.members.values():
        yield from (member.subscribed_at, member.left_at, member.last_seen)
    for this in run.rounds:
        yield from (this.published_at, this.ended_at)
        for action in this.actions.values():
            yield from (action.received_at, action.answered_at, *(each.at for each in action.progress))
