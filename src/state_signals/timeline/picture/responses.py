"""The lower panel: how long each round took, whatever the length of the run."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from state_signals.timeline.look import LOOKS
from state_signals.timeline.picture.pen import Room, width
from state_signals.timeline.view import RoundView, Status, View
from state_signals.timeline.words import listed, middle, seconds

__all__ = ["draw", "names_height"]

_SIZE = 7.0
_TURNED = 35.0
"""Degrees by which the names of the rounds are turned."""

_LEAST = 1e-6
"""Seconds: nothing is quicker on a logarithmic axis."""

_MOST_NAMED = 12
_NAME = 28


def names_height(rounds: Sequence[RoundView]) -> float:
    """Return how many inches the names below the panel need."""
    longest = max((width(middle(this.name, _NAME), _SIZE) for this in rounds), default=0.0)
    return longest * math.sin(math.radians(_TURNED)) + 0.15


def draw(axes: Axes, view: View, inches: float, height: float) -> None:
    """Draw the panel.

    Args:
        axes: where.
        view: the run, with at least one round.
        inches: how wide the axes are.
        height: how high they are, in inches.
    """
    rounds = view.rounds
    axes.set_xlim(-0.6, len(rounds) - 0.4)
    axes.set_yscale("log")
    answered = [(this.number, values) for this in rounds if (values := this.responses())]
    places = [place for place, _ in answered]
    least = [max(_LEAST, values[0]) for _, values in answered]
    half = [max(_LEAST, statistics.median(values)) for _, values in answered]
    most = [max(_LEAST, values[-1]) for _, values in answered]
    axes.vlines(places, least, most, color="#b0b0b0", linewidth=max(0.6, min(3.0, 200 / len(rounds))), zorder=2)
    axes.plot(places, half, linestyle="", marker="_", markersize=9, markeredgewidth=2, color="#0072b2", label="median")
    axes.plot(places, most, linestyle="", marker="^", markersize=5, color="#222222", label="slowest")
    troubles = _troubles(axes, view, inches)
    everything = [*least, *most, *troubles]
    if everything:
        # Half a decade of air, in which the names of stragglers find room.
        axes.set_ylim(min(everything) / 1.6, max(everything) * 2.6)
    else:
        axes.set_ylim(1e-3, 1.0)
    _axis(axes, rounds, inches)
    _stragglers(axes, view, inches, height)


def _troubles(axes: Axes, view: View, inches: float) -> list[float]:
    """Mark what went wrong, at the time of the answer or of the end of the wait. Return those times."""
    found: dict[Status, list[tuple[float, float]]] = {}
    apart = min(0.25, 0.1 / inches * len(view.rounds))
    for this in view.rounds:
        kinds = sorted({action.status for action in this.actions if action.status.is_trouble})
        for action in this.actions:
            if action.status.is_trouble:
                # What happened at the same time stands side by side.
                place = this.number + (kinds.index(action.status) - (len(kinds) - 1) / 2) * apart
                value = action.response if action.response is not None else action.end - this.published
                found.setdefault(action.status, []).append((place, max(_LEAST, value)))
    for status, points in found.items():
        axes.plot(
            [place for place, _ in points],
            [value for _, value in points],
            linestyle="",
            marker=LOOKS[status].marker,
            markersize=6.5,
            color=LOOKS[status].colour,
            markeredgecolor="white",
            markeredgewidth=0.6,
            zorder=4,
        )
    return [value for points in found.values() for _, value in points]


def _axis(axes: Axes, rounds: Sequence[RoundView], inches: float) -> None:
    low, high = axes.get_ylim()
    # Each power of ten, or, where there are few of them, twice and five times that, too.
    subs = (1.0,) if high / low > 100 else (1.0, 2.0, 5.0)
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: seconds(value).replace(".00 ", " ").replace(".0 ", " "))
    )
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="y", labelsize=_SIZE)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    # As many names as there is room for, one a line.
    step = max(1, math.ceil(len(rounds) * 0.17 / inches))
    ticks = list(range(0, len(rounds), step))
    axes.set_xticks(
        ticks,
        [middle(rounds[place].name, _NAME) for place in ticks],
        rotation=_TURNED,
        ha="right",
        rotation_mode="anchor",
        size=_SIZE,
    )


def _stragglers(axes: Axes, view: View, inches: float, height: float) -> None:
    """Name who kept others waiting, the most costly first, where there is room."""
    low, high = axes.get_ylim()
    room = Room()

    def at(place: float, value: float) -> tuple[float, float]:
        across = (place + 0.6) / (len(view.rounds) + 0.2) * inches
        return across, math.log(value / low) / math.log(high / low) * height

    for this in view.rounds:
        for action in this.actions:
            if action.status.is_trouble:
                value = action.response if action.response is not None else action.end - this.published
                across, up = at(this.number, max(_LEAST, value))
                room.take(across - 0.05, up - 0.05, across + 0.05, up + 0.05)
    costly = sorted((this for this in view.rounds if this.stragglers), key=lambda this: (-this.cost, this.number))
    for this in costly[:_MOST_NAMED]:
        waited = max(action.end for action in this.actions if action.responder_id in this.stragglers)
        value = max(_LEAST, (waited if this.ended is None else min(waited, this.ended)) - this.published)
        across, up = at(this.number, value)
        text = listed(this.stragglers, 1, _NAME)
        half = width(text, _SIZE) / 2
        centre = min(max(across, half), inches - half)
        if room.take(centre - half, up + 0.06, centre + half, up + 0.2):
            place = centre / inches * (len(view.rounds) + 0.2) - 0.6
            raised = low * (high / low) ** ((up + 0.07) / height)
            axes.text(place, raised, text, size=_SIZE, ha="center", va="bottom", color="#222222", zorder=5)
