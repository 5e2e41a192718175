"""Write docs/performance.md and its pictures from what was measured: `python -m benchmarks.report FILE`."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.figures import Results
from benchmarks.plots import write_plots
from benchmarks.tables import tables

_TEMPLATE = Path(__file__).with_name("performance.md.in")

_DOCS = Path(__file__).resolve().parent.parent / "docs"

_PLACE = re.compile(r"^\{\{(table|picture) ([a-z0-9-]+)\}\}$|\{\{(machine|sittings)\}\}", re.MULTILINE)

_NOT_MEASURED = "*(not measured in this run)*"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path, help="what `python -m benchmarks` wrote")
    parser.add_argument("--docs", type=Path, default=_DOCS, help="folder to write performance.md and images/ to")
    options = parser.parse_args()
    results = Results(json.loads(options.file.read_text()))
    images = options.docs / "images"
    images.mkdir(parents=True, exist_ok=True)
    pictures = write_plots(results, images)
    (options.docs / "performance.md").write_text(document(results, pictures))


def document(results: Results, pictures: list[str]) -> str:
    """Return the text of docs/performance.md, with tables and pictures in their places."""
    found = {table.name: table.as_markdown() for table in tables(results)}

    def put(place: re.Match[str]) -> str:
        what, name, fact = place.groups()
        if fact:
            return _machine(results.found) if fact == "machine" else _sittings(results.found)
        if what == "table":
            return found.get(name, _NOT_MEASURED)
        file = f"performance-{name}.svg"
        return f"![{name}](images/{file})" if file in pictures else _NOT_MEASURED

    return _PLACE.sub(put, _TEMPLATE.read_text())


def _machine(found: Mapping[str, Any]) -> str:
    machine = found["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    lines = [
        f"- {machine['cores']} cores of {machine['cpu']}, {machine['memory'] / 2**30:.0f} GiB; {machine['system']}",
        f"- {machine['python']}; {packages}",
        f"- {'; '.join(machine['servers'])}; all on this one machine, over its loopback",
        f"- {machine['date']}, commit {machine['commit']}",
        f"- Load average of the last minute before it began: {machine['load']:.2f}",
        f"- Used by other programs meanwhile: {machine['others']:.0%} of the machine",
        *(f"- {note}" for note in found["notes"]),
    ]
    return "\n".join(lines)


def _sittings(found: Mapping[str, Any]) -> str:
    plan = found["plan"]
    return f"{plan['repetitions']} times in each of {plan['sittings']} sittings, for which all is started anew"


if __name__ == "__main__":
    main()
