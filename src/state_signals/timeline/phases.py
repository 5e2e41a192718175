"""The exporter's phases: what lies between `X-start` and `X-stop`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from state_signals.timeline.tracks import rows_of
from state_signals.timeline.view import RoundView, View

__all__ = ["Phase", "phases_of", "single_events"]

_ENDS = {"-start": "-stop", "-begin": "-end"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A phase, in seconds from the run's beginning.

    Attributes:
        name: its events without `-start`, and the sample.
        short: the sample alone; the name, if it has none.
        start: when its start was published.
        end: when its stop was published, or the run's end.
        is_closed: whether its stop was published.
        level: row in which it is drawn, so that phases of one row do not overlap; 0 is the outermost.
    """

    name: str
    short: str
    start: float
    end: float
    is_closed: bool
    level: int


def phases_of(view: View) -> list[Phase]:
    """Return the phases of a run, by their start. One that begins again before it ended has ended then."""
    spans: list[tuple[float, float, tuple[str, str], bool]] = []
    open_: dict[tuple[str, str], RoundView] = {}

    def close(key: tuple[str, str], end: float, *, is_closed: bool) -> None:
        begun = open_.pop(key)
        names = (key[0], key[0]) if begun.sample_no < 0 else (f"{key[0]} {begun.sample_no}", str(begun.sample_no))
        spans.append((begun.published, max(begun.published, end), names, is_closed))

    for this in view.rounds:
        kind, key = _kind(this.event)
        if kind == "start":
            if key in open_:
                close(key, this.published, is_closed=False)
            open_[key] = this
        elif kind == "stop" and key in open_:
            close(key, this.published, is_closed=True)
    for key in list(open_):
        close(key, view.duration, is_closed=False)
    return _in_rows(spans)


def single_events(view: View) -> list[RoundView]:
    """Return the rounds that neither begin nor end a phase."""
    starts = {_kind(this.event)[1] for this in view.rounds if _kind(this.event)[0] == "start"}
    return [this for this in view.rounds if _kind(this.event)[0] != "start" and _kind(this.event)[1] not in starts]


def _kind(event: str) -> tuple[str, tuple[str, str]]:
    """Return `start`, `stop` or nothing, and what it is that starts or stops."""
    for start, stop in _ENDS.items():
        if event.endswith(start) and len(event) > len(start):
            return "start", (event.removesuffix(start), start)
        if event.endswith(stop) and len(event) > len(stop):
            return "stop", (event.removesuffix(stop), start)
    return "", (event, "")


def _in_rows(spans: Iterable[tuple[float, float, tuple[str, str], bool]]) -> list[Phase]:
    found = sorted(spans, key=lambda span: (span[0], -span[1], span[2]))
    levels = rows_of([(start, end) for start, end, _, _ in found])
    return [
        Phase(name=name, short=short, start=start, end=end, is_closed=is_closed, level=level)
        for level, (start, end, (name, short), is_closed) in zip(levels, found, strict=True)
    ]
