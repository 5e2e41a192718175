"""Runs whose exporter speaks version 1: the server keeps nothing of them, so what is known is what was heard."""

from __future__ import annotations

from collections import OrderedDict

from state_signals.codec import WireResponse
from state_signals.messages import INITIALIZATION, SHUTDOWN, Signal
from state_signals.results import Outcome
from state_signals.runs.model import Action, Member, Round, Run, RunState

__all__ = ["Version1Runs"]

_MOST_RUNS = 100
_MOST_ROUNDS = 200
_MOST_RESPONDERS = 20_000


class Version1Runs:
    """The runs that were heard of, the newest of each exporter."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._count = 0

    @property
    def runs(self) -> list[Run]:
        """What was heard of each."""
        return list(self._runs.values())

    def signal(self, at: float, signal: Signal) -> None:
        """Take a signal without an envelope that has come at some time."""
        run = self._runs.get(signal.publisher_id)
        if signal.event == SHUTDOWN:
            if run is not None:
                run.state, run.ended_at = RunState.ENDED, at
            return
        if run is None or run.state is RunState.ENDED:
            run = self._begun(at, signal)
        self._runs.move_to_end(signal.publisher_id)
        if signal.event != INITIALIZATION:
            self._count += 1
            run.rounds.append(_round(f"v1-{self._count}", len(run.rounds) + 1, at, signal))
            del run.rounds[:-_MOST_ROUNDS]

    def response(self, at: float, response: WireResponse) -> None:
        """Take a response without a `signal_id` that has come at some time."""
        run = self._runs.get(response.publisher_id)
        name = response.responder_id
        if run is None or (name not in run.members and len(run.members) >= _MOST_RESPONDERS):
            return
        run.members.setdefault(name, Member(responder_id=name, subscribed_at=at, speaks_v2=False))
        this = next((each for each in reversed(run.rounds) if each.event == response.event), None)
        if this is None or response.ras is None or this.actions.get(name, Action(responder_id="")).ras is not None:
            return
        this.actions[name] = Action(
            responder_id=name,
            outcome=Outcome.SUCCEEDED if response.ras == 1 else Outcome.FAILED,
            ras=response.ras,
            message=response.message,
            answered_at=at,
        )

    def _begun(self, at: float, signal: Signal) -> Run:
        run = self._runs[signal.publisher_id] = Run(
            publisher_id=signal.publisher_id,
            process_name=signal.process_name,
            runner_host=signal.runner_host,
            tag=signal.tag,
            state=RunState.LIVE,
            began_at=at,
            is_whole=signal.event == INITIALIZATION,
        )
        while len(self._runs) > _MOST_RUNS:
            self._runs.popitem(last=False)
        return run


def _round(signal_id: str, seq: int, at: float, signal: Signal) -> Round:
    # Whether it is waited for, nobody says.
    return Round(
        signal_id=signal_id,
        seq=seq,
        event=signal.event,
        sample_no=signal.sample_no,
        tag=signal.tag,
        metadata=signal.metadata,
        published_at=at,
    )
