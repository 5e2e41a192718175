"""How each status looks, in every format: a colour that the colour-blind can tell, and a shape for who has none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from state_signals.timeline.view import Status

__all__ = ["LOOKS", "Look"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a status looks.

    Attributes:
        colour: fill of a bar on white.
        on_dark: the same on black.
        hatch: pattern on it, as matplotlib writes it; empty: none.
        marker: shape at its end, as matplotlib writes it; empty: none.
        sign: the same as a character.
        plain: the same in ASCII.
        style: name of its colour on a terminal.
    """

    colour: str
    on_dark: str
    hatch: str = ""
    marker: str = ""
    sign: str = ""
    plain: str = ""
    style: str = ""


LOOKS: Mapping[Status, Look] = {
    Status.LOST: Look(colour="#4d4d4d", on_dark="#a6a6a6", hatch="+++", marker="s", sign="■", plain="L", style="red"),
    Status.FAILED: Look(colour="#d55e00", on_dark="#ff7f2a", hatch="xxx", marker="X", sign="✗", plain="x", style="red"),
    Status.MISSING: Look(
        colour="#e69f00", on_dark="#f0b429", hatch="///", marker="D", sign="?", plain="?", style="yellow"
    ),
    Status.LATE: Look(
        colour="#cc79a7", on_dark="#e394c0", hatch="\\\\\\", marker=">", sign="»", plain=">", style="yellow"
    ),
    Status.LEFT: Look(colour="#56b4e9", on_dark="#56b4e9", hatch="---", marker="<", sign="«", plain="<", style="cyan"),
    Status.PENDING: Look(colour="#bdbdbd", on_dark="#6e6e6e", hatch="|||", sign="…", plain=".", style="dim"),
    Status.UNKNOWN: Look(colour="#dddddd", on_dark="#505050", sign="·", plain="-", style="dim"),
    Status.SUCCEEDED: Look(colour="#009e73", on_dark="#1fbf92", sign="█", plain="#", style="green"),
}
"""Colours of Okabe and Ito's palette, with a grey for the lost."""
