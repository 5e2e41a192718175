"""What whoever looks on has chosen to see, and what each key does to that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from state_signals.runs.model import Run, RunState

__all__ = ["Key", "Listed", "Pane", "View", "in_order"]

Key = tuple[str, int]
"""What tells runs apart: the exporter, and which of its runs it is, from 0."""

_LONGEST_FILTER = 100

_FAR = 1_000_000_000


class Pane(IntEnum):
    """A part of the screen that keys may move in."""

    RUNS = 0
    ROSTER = 1
    LOG = 2


@dataclass(frozen=True, slots=True)
class Listed:
    """A run in the list of runs."""

    key: Key
    run: Run

    @property
    def goes_on(self) -> bool:
        """Whether it is not over."""
        return self.run.state in (RunState.LIVE, RunState.DETACHED)


def in_order(runs: Iterable[Listed]) -> list[Listed]:
    """Return the runs as they are listed: those that go on before those that do not, the newest first."""
    return sorted(runs, key=lambda listed: (not listed.goes_on, -listed.run.began_at, listed.key))


@dataclass(slots=True)
class View:
    """What is to be seen.

    Attributes:
        chosen: the run that is shown; None: there is none yet.
        is_pinned: whether it was chosen by whoever looks on; else a live one takes its place when it is over.
        pane: where the arrow keys move.
        words: what the responders' rows must hold; empty: anything.
        is_typing: whether those words are being typed.
        problems_only: show responders that are problems only.
        is_log_large: show the log in place of the roster.
        is_help: show the help.
        scrolled: lines that the roster and the log are scrolled: the roster down, the log up.
        is_over: whether to end.
    """

    chosen: Key | None = None
    is_pinned: bool = False
    pane: Pane = Pane.RUNS
    words: str = ""
    is_typing: bool = False
    problems_only: bool = False
    is_log_large: bool = False
    is_help: bool = False
    scrolled: dict[Pane, int] = field(default_factory=lambda: {Pane.ROSTER: 0, Pane.LOG: 0})
    is_over: bool = False

    def settle(self, runs: Sequence[Listed]) -> Listed | None:
        """Choose a run if none is chosen, or if that one is over and nobody has pinned it; return it.

        Args:
            runs: as they are listed.
        """
        current = next((listed for listed in runs if listed.key == self.chosen), None)
        first = runs[0] if runs else None
        if first is None or (current is not None and (self.is_pinned or current.goes_on or not first.goes_on)):
            return current
        self._choose(first.key)
        self.is_pinned = False
        return first

    def limit(self, furthest: Mapping[Pane, int]) -> None:
        """Take note how far the panes can be scrolled."""
        for pane, most in furthest.items():
            self.scrolled[pane] = min(self.scrolled[pane], most)

    def press(self, key: str, runs: Sequence[Listed], page: int = 10) -> None:
        """React to a key.

        Args:
            key: see `KeyReader`.
            runs: as they are listed.
            page: lines that a page has.
        """
        if self.is_typing:
            self._type(key)
        elif self.is_help:
            self.is_help = False
            self.is_over = key == "q"
        elif key in _MOVES:
            self._move(key, runs, page)
        else:
            self._command(key)

    def _type(self, key: str) -> None:
        if key in ("enter", "tab", "up", "down"):
            self.is_typing = False
        elif key == "escape":
            self.is_typing, self.words = False, ""
        elif key == "backspace":
            self.words = self.words[:-1]
        elif key == "clear":
            self.words = ""
        elif len(key) == 1 and len(self.words) < _LONGEST_FILTER:
            self.words += key
        self.scrolled[Pane.ROSTER] = 0

    def _command(self, key: str) -> None:
        match key:
            case "q":
                self.is_over = True
            case "?":
                self.is_help = True
            case "/":
                # What is typed must be seen to act.
                self.is_typing, self.is_log_large, self.pane = True, False, Pane.ROSTER
            case "p":
                self.problems_only = not self.problems_only
                self.scrolled[Pane.ROSTER] = 0
            case "l":
                self.is_log_large = not self.is_log_large
                self.pane = Pane.LOG if self.is_log_large else Pane.RUNS
            case "tab" | "back-tab":
                self._next_pane(-1 if key == "back-tab" else 1)
            case "escape":
                self.words, self.problems_only, self.is_log_large, self.pane = "", False, False, Pane.RUNS
                self.scrolled = dict.fromkeys(self.scrolled, 0)

    def _next_pane(self, step: int) -> None:
        panes = [pane for pane in Pane if pane is not Pane.ROSTER or not self.is_log_large]
        self.pane = panes[(panes.index(self.pane) + step) % len(panes)]

    def _move(self, key: str, runs: Sequence[Listed], page: int) -> None:
        step = {"page-up": -page, "page-down": page}.get(key, _MOVES[key])
        if self.pane is Pane.RUNS:
            self._choose_by(step, runs)
        else:
            # The newest entries are at the end of the log, and to be seen unless somebody looks back.
            signed = step if self.pane is Pane.ROSTER else -step
            self.scrolled[self.pane] = max(0, self.scrolled[self.pane] + signed)

    def _choose_by(self, step: int, runs: Sequence[Listed]) -> None:
        keys = [listed.key for listed in runs]
        if not keys:
            return
        place = keys.index(self.chosen) if self.chosen in keys else 0
        self._choose(keys[min(max(0, place + step), len(keys) - 1)])
        self.is_pinned = True

    def _choose(self, key: Key) -> None:
        if key != self.chosen:
            self.chosen = key
            self.scrolled = dict.fromkeys(self.scrolled, 0)


_MOVES = {
    "up": -1,
    "k": -1,
    "down": 1,
    "j": 1,
    "page-up": -1,
    "page-down": 1,
    "home": -_FAR,
    "g": -_FAR,
    "end": _FAR,
    "G": _FAR,
}
