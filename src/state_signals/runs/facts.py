"""What was said about one signal, as far as it was read: whatever the order, each thing once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median_low
from sys import intern
from typing import TypeVar

from state_signals.codec import WireResponse
from state_signals.messages import INITIALIZATION, SHUTDOWN, Envelope, Signal
from state_signals.runs.model import Round
from state_signals.verdicts import Verdict

__all__ = ["LARGEST_TIME", "Answer", "Facts"]

_Key = TypeVar("_Key")

LARGEST_TIME = 1e11
"""Seconds; nobody's clock is beyond the year 5138."""

_TRUST = 1.0
"""Seconds by which a delivery may be faster than half of them, to be believed."""


@dataclass(slots=True)
class Answer:
    """A response that is an answer.

    Attributes:
        at: when it reached the server.
        event: the event that it names.
        ras: the number that it gives; None: it gives none.
        message: the text that it gives.
        took: seconds from receipt to answer; None: it does not say so.
    """

    at: float
    event: str
    ras: int | None
    message: str | None
    took: float | None


@dataclass(slots=True)
class Facts:
    """What was said about one signal.

    Attributes:
        signal: the signal; None: it was not read (yet).
        answers: the first answer of each responder.
        progress: reports of work, as `(responder_id, at, message)`, and the seconds since receipt.
        presence: who came (True) or left (False), as `(responder_id, at, came)`, and what its proofs of life are good
            for.
        verdict: what its exporter has written down.
        written_at: when that reached the server.
        size: about the bytes that all this takes.
        version: counts what was added.
        built: the round that was made of it, and of what.
    """

    signal: Signal | None = None
    answers: dict[str, Answer] = field(default_factory=dict)
    progress: dict[tuple[str, float, str | None], float | None] = field(default_factory=dict)
    presence: dict[tuple[str, float, bool], float | None] = field(default_factory=dict)
    verdict: Verdict | None = None
    written_at: float = math.inf
    size: int = 0
    version: int = 0
    built: tuple[object, Round] | None = None
    _delivered: tuple[int, float | None] = (-1, None)

    @property
    def envelope(self) -> Envelope:
        """What version 2 adds to the signal; only with one."""
        envelope = self.signal.envelope if self.signal is not None else None
        assert envelope is not None  # noqa: S101 - signals without are not taken
        return envelope

    @property
    def is_announcement(self) -> bool:
        """Whether it is an initialization."""
        return self.signal is not None and self.signal.event == INITIALIZATION

    @property
    def is_end(self) -> bool:
        """Whether it is a shutdown."""
        return self.signal is not None and self.signal.event == SHUTDOWN

    def take_response(self, at: float, response: WireResponse) -> bool:
        """Take a response that has come at some time. Return whether it is new."""
        name, took = intern(response.responder_id), _duration(response.took)
        if response.state == "working":
            return _added(self.progress, (name, at, response.message), took)
        if response.event == INITIALIZATION:
            if response.state is None:
                self._answered(name, Answer(at, INITIALIZATION, response.ras, None, took))
            return _added(self.presence, (name, at, response.state is None), response.ttl)
        return self._answered(name, Answer(at, intern(response.event), response.ras, response.message, took))

    def take_verdict(self, at: float, verdict: Verdict) -> bool:
        """Take what was written down at some time; the first of it counts. Return whether it is new."""
        if at >= self.written_at:
            return False
        self.verdict, self.written_at = verdict, at
        return True

    def delivered(self) -> float | None:
        """Return when the signal has reached its first responder, by the server's clock; None: not known.

        A responder that says it has acted for longer than it can have is not believed, if there are enough others.
        """
        if self._delivered[0] != self.version:
            found = sorted(answer.at - answer.took for answer in self.answers.values() if answer.took is not None)
            least = median_low(found) - _TRUST if found else 0.0
            self._delivered = self.version, next((moment for moment in found if moment >= least), None)
        return self._delivered[1]

    def _answered(self, name: str, answer: Answer) -> bool:
        known = self.answers.get(name)
        # The first one counts, in whatever order they are read.
        if known is not None and known.at <= answer.at:
            return False
        self.answers[name] = answer
        return True


def _added(facts: dict[_Key, float | None], key: _Key, value: float | None) -> bool:
    is_new = key not in facts
    facts.setdefault(key, value)
    return is_new


def _duration(seconds: float | None) -> float | None:
    return seconds if seconds is not None and 0 <= seconds < LARGEST_TIME else None
