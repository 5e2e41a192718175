"""Who takes part in the demo, what is expected of them, and how what happened compares to that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from state_signals import Outcome, PublishResult, Report

__all__ = ["DEMO", "START", "STOP", "Account", "Deviation", "Participant", "Round", "Scenario"]

START = "benchmark-start"
STOP = "benchmark-stop"

_ABSENT = (Outcome.MISSING, Outcome.LOST, Outcome.LEFT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """A collector, and what it is there to show.

    Attributes:
        name: its responder_id.
        role: what it measures or does, in a few words.
        delay: seconds that its `benchmark-stop` takes longer than it has to.
        fails_at: the sample whose `benchmark-stop` it fails, on purpose; None: none.
    """

    name: str
    role: str
    delay: float = 0.0
    fails_at: int | None = None

    def expected(self, event: str, sample: int) -> Outcome:
        """Return the outcome that is expected of it in a round."""
        return Outcome.FAILED if (event, sample) == (STOP, self.fails_at) else Outcome.SUCCEEDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One signal of the demo and what became of it.

    Attributes:
        event: the event.
        sample: the sample.
        published: when, in seconds from the first signal.
        result: the outcomes.
    """

    event: str
    sample: int
    published: float
    result: PublishResult

    def __str__(self) -> str:
        return _name(self.event, self.sample)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """Something that was not as expected.

    Attributes:
        responder_id: who deviated; None: nobody in particular.
        text: how.
        is_absence: somebody did not answer at all.
        round: where; None: in no round in particular.
    """

    responder_id: str | None
    text: str
    is_absence: bool = False
    round: str | None = None

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.round, self.responder_id, self.text)))


@dataclass(slots=True, kw_only=True)
class Account:
    """All that happened: the rounds, and what was not as expected beyond what the rounds tell."""

    rounds: list[Round] = field(default_factory=list)
    incidents: list[Deviation] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is to happen.

    Attributes:
        participants: the collectors.
        samples: how often the workload runs.
        work_seconds: how long it runs each time.
        timeout: seconds that a round may take.
        patience: seconds that everybody has to start and to subscribe.
    """

    participants: Sequence[Participant]
    samples: int = 3
    work_seconds: float = 2.0
    timeout: float = 8.0
    patience: float = 20.0

    def names(self) -> list[str]:
        """Return the responder_ids, in the order in which they are shown."""
        return [participant.name for participant in self.participants]

    def plan(self) -> Iterator[tuple[str, int]]:
        """Yield event and sample of each signal."""
        for sample in range(self.samples):
            yield START, sample
            yield STOP, sample

    def deviations(self, account: Account) -> list[Deviation]:
        """Compare what happened with what is expected. Return what differs; nothing, if all went well."""
        found: list[Deviation] = []
        gone: set[str] = set()
        for number, (event, sample) in enumerate(self.plan()):
            if number >= len(account.rounds):
                found.append(Deviation(responder_id=None, text="was not published", round=_name(event, sample)))
                break
            found += self._deviations_of(account.rounds[number], gone)
        return found + account.incidents

    def round_deviations(self, this: Round) -> list[Deviation]:
        """Compare one round with what is expected of it, whatever came before it."""
        return self._deviations_of(this, set())

    def exit_code(self, deviations: Sequence[Deviation]) -> int:
        """Return 0 if there are none, 3 if somebody did not answer, 1 for all else."""
        if not deviations:
            return 0
        return 3 if any(deviation.is_absence for deviation in deviations) else 1

    def _deviations_of(self, this: Round, gone: set[str]) -> list[Deviation]:
        """Compare one round. Whoever is `gone` is not told again; whoever turns out to be gone is added."""
        found: list[Deviation] = []

        def note(name: str, text: str, *, is_absence: bool = False) -> None:
            found.append(Deviation(responder_id=name, text=text, is_absence=is_absence, round=str(this)))

        for participant in self.participants:
            name = participant.name
            report = this.result.reports.get(name)
            if name in gone:
                continue
            if report is None:
                note(name, "took no part", is_absence=True)
            elif text := _difference(participant, this, report):
                note(name, text, is_absence=report.outcome in _ABSENT)
            if report is None or report.outcome in _ABSENT:
                gone.add(name)
        for name, report in this.result.reports.items():
            if name not in self.names() and report.outcome is not Outcome.SUCCEEDED:
                note(name, f"is none of ours, and {_what(report)}", is_absence=report.outcome in _ABSENT)
        return found


def _difference(participant: Participant, this: Round, report: Report) -> str | None:
    """Return how one report differs from what is expected; None if it does not."""
    expected = participant.expected(this.event, this.sample)
    if report.outcome is not expected:
        return f"{_what(report)}, expected was {expected}"
    if expected is Outcome.FAILED and "made to fail" not in (report.message or ""):
        return f"{_what(report)}, which is not the failure that it was made for"
    if this.event == STOP and (report.elapsed or 0.0) < participant.delay:
        return f"answered after {report.elapsed or 0.0:.3f} s, expected were {participant.delay} s and more"
    return None


def _what(report: Report) -> str:
    return f"{report.outcome} ({report.message})" if report.message else str(report.outcome)


def _name(event: str, sample: int) -> str:
    return f"{event} of sample {sample}"


DEMO = Scenario(
    participants=(
        Participant(name="cpu", role="processor time"),
        Participant(name="memory", role="memory in use"),
        Participant(name="disk", role="disk traffic"),
        Participant(name="network", role="network traffic"),
        Participant(name="tracer", role="context switches; slow: 0.8 s to save each sample", delay=0.8),
        Participant(name="flaky", role="load average; fails to save sample 1, on purpose", fails_at=1),
    )
)
"""What `state-signals demo` shows: four good collectors, a slow one, and one that fails once."""
