"""Figures as pictures, small enough to be kept beside the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Picture

from benchmarks.figures import Results
from benchmarks.plan import CONTENDERS

__all__ = ["write_plots"]

_COLOURS = {
    "ours": "#0b6e99",
    "ours_asyncio": "#4fb3d9",
    "version_1": "#b3261e",
    "raw": "#222222",
    "redis_py": "#777777",
    "redis_py_asyncio": "#aaaaaa",
    "nats": "#2e7d32",
    "nng": "#c98a00",
}

_STYLE: Any = {
    # The same figures make the same file, and text stays text.
    "svg.hashsalt": "state-signals",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "legend.frameon": False,
}


def write_plots(results: Results, folder: Path) -> list[str]:
    """Draw what was measured; return the names of the files."""
    mpl.rcParams.update(_STYLE)
    found = []
    for kind, title in (("connections", "A connection each"), ("together", "All in one process")):
        if len(results.counts(kind)) > 1:
            found.append(_save(_rounds(results, kind, title), folder / f"performance-{kind}.svg"))
    if results.found.get("deliveries"):
        found.append(_save(_deliveries(results.found["deliveries"]), folder / "performance-deliveries.svg"))
    return found


def _rounds(results: Results, kind: str, title: str) -> Picture:
    picture, axes = _axes()
    for name in results.contenders(kind):
        counts = [count for count in results.counts(kind) if results.has(kind, count, name)]
        values = [results.p50(kind, count, name).median * 1e3 for count in counts]
        if results.has("process", 1, name):
            # With one responder there is no difference.
            counts.insert(0, 1)
            values.insert(0, results.p50("process", 1, name).median * 1e3)
        _line(axes, counts, values, name, CONTENDERS[name].label)
    axes.set(xscale="log", yscale="log", xlabel="responders", ylabel="median round, ms")
    axes.set_title(title, loc="left")
    _legend(axes)
    return picture


def _deliveries(found: Sequence[dict[str, Any]]) -> Picture:
    picture, axes = _axes()
    for name, has_namespaces in dict.fromkeys((each["contender"], each["namespaces"]) for each in found):
        points = [each for each in found if (each["contender"], each["namespaces"]) == (name, has_namespaces)]
        label = CONTENDERS[name].label.removesuffix(" asyncio") + (", namespaces" if has_namespaces else "")
        _line(
            axes,
            [each["exporters"] for each in points],
            [each["deliveries"] for each in points],
            "ours" if has_namespaces else name,
            label,
        )
    axes.set(xlabel="exporters on one server, 8 responders each", ylabel="deliveries a signal", ylim=(0, None))
    axes.set_title("What one signal makes the server deliver", loc="left")
    _legend(axes)
    return picture


def _axes() -> tuple[Picture, Any]:
    picture = Picture(figsize=(7, 3.4), layout="constrained")
    return picture, picture.subplots()


def _line(axes: Any, places: Sequence[float], values: Sequence[float], name: str, label: str) -> None:
    axes.plot(
        places,
        values,
        marker="o",
        markersize=4,
        color=_COLOURS[name],
        linewidth=2 if name.startswith("ours") else 1.2,
        linestyle="--" if name in ("raw", "redis_py", "redis_py_asyncio") else "-",
        label=label,
    )


def _legend(axes: Any) -> None:
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)


def _save(picture: Picture, path: Path) -> str:
    picture.savefig(path, metadata={"Date": None})
    # A repository keeps no spaces at the end of lines.
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")
    return path.name
