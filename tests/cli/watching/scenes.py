"""Runs as they might be, for the tests of what is drawn of them."""

from __future__ import annotations

from typing import Any

from state_signals.cli.watching.cells import UNICODE, plain
from state_signals.cli.watching.screen import Frame, Scene, frame
from state_signals.cli.watching.view import Listed, View, in_order
from state_signals.results import Outcome
from state_signals.runs.model import Action, Member, Progress, Round, Run, RunState

NOW = 1_790_000_000.0

HOSTILE = (
    "\x1b[31mred",
    "a\nb\rc\td",
    "\x9b2J",
    "[bold red]markup[/]",
    "\u202egnp.exe",
    "训练作业训练作业训练作业",
    "e" + "\u0301" * 50,
    "👩\u200d👩\u200d👧 family",
    "\ud800",
    " ",
    "x" * 1024,
)
"""Names that somebody could send to disturb whoever looks on."""


def succeeded(name: str, after: float = 0.01) -> Action:
    return Action(
        responder_id=name,
        outcome=Outcome.SUCCEEDED,
        ras=1,
        answered_at=NOW - 4 + after,
        received_at=NOW - 4,
        took=after,
    )


def failed(name: str, message: str, after: float = 0.5) -> Action:
    return Action(responder_id=name, outcome=Outcome.FAILED, ras=0, message=message, answered_at=NOW - 4 + after)


def pending(name: str, *said: tuple[float, str]) -> Action:
    """Return an action that has not ended; `said`: how long ago it said what."""
    return Action(responder_id=name, progress=[Progress(NOW - ago, message) for ago, message in said])


def ended(name: str, outcome: Outcome) -> Action:
    return Action(responder_id=name, outcome=outcome)


def round_of(*actions: Action, **facts: Any) -> Round:
    known = {"signal_id": "2", "seq": 2, "event": "iteration-start", "published_at": NOW - 4, "wait": 20.0, **facts}
    return Round(actions={action.responder_id: action for action in actions}, **known)


def run_of(*rounds: Round, **facts: Any) -> Run:
    """Return a run whose responders are those of its rounds, all alive."""
    known = {
        "publisher_id": "fio-1",
        "process_name": "fio",
        "runner_host": "bench-head",
        "state": RunState.LIVE,
        "began_at": NOW - 100,
        **facts,
    }
    run = Run(rounds=list(rounds), **known)
    for each in rounds:
        for name in each.actions:
            run.members[name] = Member(responder_id=name, subscribed_at=NOW - 99, last_seen=NOW - 1, ttl=15)
    return run


def crowd(number: int) -> Run:
    """Return a run with many responders: one lost, two failed, one missing, three pending, the others succeeded."""
    actions = [succeeded(f"node-{place:04}", 0.01 + place / 1e5) for place in range(number - 7)]
    actions += [
        ended("dead", Outcome.LOST),
        failed("full", "No space left on device"),
        failed("broken", "exit status 3"),
        ended("slept", Outcome.MISSING),
        pending("quiet"),
        pending("busy", (1.0, "flushing 3 of 10")),
        pending("stuck", (3.0, "flushing 1 of 10")),
    ]
    return run_of(round_of(*actions))


def listed(*runs: Run) -> list[Listed]:
    return in_order(Listed((run.publisher_id, 0), run) for run in runs)


def drawn(*runs: Run, view: View | None = None, width: int = 80, height: int = 24, **facts: Any) -> Frame:
    scene = Scene(server="redis://localhost:6379", runs=listed(*runs), now=NOW, **facts)
    seen = view or View()
    seen.settle(scene.runs)
    return frame(scene, seen, width, height, UNICODE)


def text(shown: Frame) -> list[str]:
    return [plain(line).rstrip() for line in shown.lines]
