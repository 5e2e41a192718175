"""What stands above and below a picture of a run."""

from __future__ import annotations

from state_signals.timeline.view import View
from state_signals.timeline.words import count, middle, seconds, wall_time

__all__ = ["caption_of", "subtitle_of", "title_of"]

_NAME = 60


def title_of(view: View) -> str:
    """Return what run it is: process, tag and host."""
    parts = [middle(view.process_name, _NAME) or middle(view.publisher_id, _NAME)]
    if view.tag is not None:
        parts.append(f"tag {middle(view.tag, _NAME)}")
    parts.append(f"on {middle(view.host, _NAME)}")
    return " · ".join(parts)


def subtitle_of(view: View) -> str:
    """Return how long it took, who took part, and what came of it."""
    rounds = _of(len(view.rounds), view.all_rounds, "round")
    parts = [seconds(view.duration), rounds, _plural(len(view.members), "responder")]
    counts = ", ".join(count(number, str(status)) for status, number in view.counts.items())
    if counts:
        parts.append(counts)
    parts.append(f"{view.state}: {view.aborted}" if view.aborted else view.state)
    return " · ".join(parts)


def caption_of(view: View, least: str | None) -> str:
    """Return when it began, and how to read the picture.

    Args:
        view: the run.
        least: the shortest time that is drawn to scale; None: all is, or can be zoomed to.
    """
    parts = [f"Began {wall_time(view.began_at)} by the server's clock."]
    if view.rounds and least is not None:
        parts.append(f"What took less than {least} is drawn wider.")
    if not view.is_whole:
        parts.append("The beginning had been trimmed from the journal.")
    parts.append(middle(view.publisher_id, _NAME))
    return " ".join(parts)


def _of(shown: int, number: int, what: str) -> str:
    return _plural(number, what) if shown == number else f"{shown:,} of {_plural(number, what)}"


def _plural(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
