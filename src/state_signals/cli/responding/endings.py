"""How commands end, and what is answered then."""

from __future__ import annotations

import signal as process_signals
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from state_signals.cli.responding.tee import LONGEST_MESSAGE

__all__ = ["WAS_ENDED", "Answer", "Ending", "combined"]

_SIGTERM = (-process_signals.SIGTERM, 128 + process_signals.SIGTERM)
"""How a process ends that does nothing about SIGTERM, and how a shell ends whose last command was such a process."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: `ras`, and the message if there is one."""

    ras: int
    message: str | None


WAS_ENDED = Answer(0, "the responder was ended")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a command ended.

    Attributes:
        by: what ended it: itself, its time limit, or who was asked to; `"error"`: it could not be started.
        status: exit status; negative: the number of the signal that it died of.
        stdout: last line of its standard output.
        stderr: last line of its standard error, or the reason why it could not be started.
        limit: seconds of its time limit; None: it has none.
        was_killed: whether SIGTERM did not suffice.
    """

    by: Literal["itself", "limit", "request", "error"]
    status: int = 0
    stdout: str = ""
    stderr: str = ""
    limit: float | None = None
    was_killed: bool = False

    def answer(self) -> Answer:
        """Return the answer of a command that is to end by itself.

        Of its two streams the one speaks first that is meant for it: the order of lines across two pipes is not known.
        """
        if self.by == "error":
            return Answer(0, self._why_not_started())
        if self.by == "limit":
            return Answer(0, f"timed out after {self.limit:g} s")
        if self.by == "request":
            return WAS_ENDED
        if self.status == 0:
            return Answer(1, self.stdout or self.stderr or None)
        return Answer(0, self.stderr or self.stdout or self._how())

    def answer_to_start(self) -> Answer:
        """Return the answer of a collector that has ended before it was settled."""
        if self.by == "error":
            return Answer(0, self._why_not_started())
        if self.by == "request":
            return WAS_ENDED
        return Answer(0, self._told(f"ended at once, {self._how()}"))

    def answer_to_stop(self) -> Answer:
        """Return the answer of a collector that has ended, as it should or not."""
        if self.by == "error":
            return Answer(0, self._why_not_started())
        if self.by == "limit":
            return Answer(0, self._told(f"was ended after {self.limit:g} s, its time limit"))
        if self.by == "itself":
            return Answer(1, self._last(is_well=True)) if self.status == 0 else Answer(0, self.early())
        if self.was_killed:
            return Answer(0, self._told("did not end upon SIGTERM and was killed"))
        if self.status != 0 and self.status not in _SIGTERM:
            return Answer(0, self._told(f"was told to end, {self._how()}"))
        return Answer(1, self._last(is_well=True))

    def early(self) -> str:
        """Say that a collector has ended before it should."""
        if self.by == "limit":
            return self.answer_to_stop().message or ""
        return self._told(f"ended by itself, {self._how()}")

    def _why_not_started(self) -> str:
        return f"cannot run the command: {self.stderr}"[:LONGEST_MESSAGE]

    def _told(self, what: str) -> str:
        last = self._last(is_well=False)
        return f"{what}{f': {last}' if last else ''}"[:LONGEST_MESSAGE]

    def _last(self, *, is_well: bool) -> str | None:
        first, second = (self.stdout, self.stderr) if is_well else (self.stderr, self.stdout)
        return first or second or None

    def _how(self) -> str:
        return f"exit status {self.status}" if self.status >= 0 else f"killed by {_signal_name(-self.status)}"


def combined(answers: Sequence[Answer]) -> Answer:
    """Return the one answer of several: success if all are, and the messages of those that decide that."""
    failed = [answer for answer in answers if answer.ras != 1]
    messages = [answer.message for answer in failed or answers if answer.message]
    # What a command line holds need not be Unicode.
    text = "; ".join(messages).encode(errors="replace").decode()[:LONGEST_MESSAGE]
    return Answer(0 if failed else 1, text or None)


def _signal_name(number: int) -> str:
    try:
        return process_signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
