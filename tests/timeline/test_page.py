"""The page's own script: what it knows and shows, run by Node where that is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from state_signals.cli.output import escaped
from state_signals.timeline import html
from state_signals.timeline.view import view_of
from tests.timeline import runs

NODE = shutil.which("node")

pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


def evaluated(expression: str, name: str, tmp_path: Path) -> Any:
    """What an expression about `raw`, the data of a run's page, comes to."""
    assert NODE is not None
    view = view_of(runs.ALL[name](), escaped)
    model = (files("state_signals.timeline") / "page" / "model.js").read_text(encoding="utf-8")
    script = tmp_path / "page.js"
    data = json.dumps(html._data(view))
    script.write_text(f"{model}\nconst raw = {data};\nconsole.log(JSON.stringify({expression}));\n", encoding="utf-8")
    done = subprocess.run([NODE, str(script)], check=True, capture_output=True, timeout=60)
    return json.loads(done.stdout)


def test_the_scripts_can_be_read(tmp_path: Path) -> None:
    assert NODE is not None
    folder = files("state_signals.timeline") / "page"
    whole = tmp_path / "page.js"
    whole.write_text("".join((folder / name).read_text(encoding="utf-8") for name in html._SCRIPTS), encoding="utf-8")
    subprocess.run([NODE, "--check", str(whole)], check=True, timeout=60)


def test_a_search_leaves_lanes_whose_name_has_the_text(tmp_path: Path) -> None:
    lanes = "lanesOf(modelOf(raw), {search: 'PERF', event: '', hidden: new Set(), together: false}).map(l => l.label)"
    assert evaluated(lanes, "eight", tmp_path) == ["client-1/perf", "server-1/perf"]


def test_filters_leave_lanes_in_which_something_is_left(tmp_path: Path) -> None:
    hidden = "new Set(['succeeded', 'lost', 'late'])"
    lanes = f"lanesOf(modelOf(raw), {{search: '', event: '', hidden: {hidden}, together: false}})"
    assert evaluated(f"{lanes}.map(l => [l.label, l.bars.length])", "eight", tmp_path) == [["client-1/perf", 1]]
    lanes = "lanesOf(modelOf(raw), {search: '', event: 'iteration-stop', hidden: new Set(), together: false})"
    assert evaluated(f"{lanes}.map(l => l.bars.length)", "eight", tmp_path) == [4] * 8


def test_those_that_behaved_alike_share_a_lane(tmp_path: Path) -> None:
    lanes = "lanesOf(modelOf(raw), {search: '', event: '', hidden: new Set(), together: true})"
    found = evaluated(f"{lanes}.map(l => [l.members.length, l.bars.length])", "many", tmp_path)
    assert sum(members for members, _ in found) == 200
    assert sum(bars for _, bars in found) == 4000
    assert max(found) == [163, 163 * 20]


def test_zooming_stays_within_the_run_and_around_the_pointer(tmp_path: Path) -> None:
    model = "const m = modelOf(raw); let s = wholeOf(m); const whole = s;"
    found = evaluated(
        f"(() => {{ {model} for (let i = 0; i < 50; i++) s = zoomed(m, s, 0.5, 6.2); const near = s;"
        " for (let i = 0; i < 99; i++) s = zoomed(m, s, 2, 6.2);"
        " return [whole, near, s, moved(m, [1, 2], -100), moved(m, [1, 2], 100)]; })()",
        "eight",
        tmp_path,
    )
    whole, near, out, left, right = found
    assert near[0] <= 6.2 <= near[1]
    assert near[1] - near[0] < 1e-4
    assert out == whole
    assert left == [whole[0], pytest.approx(whole[0] + 1)]
    assert right == [pytest.approx(whole[1] - 1), pytest.approx(whole[1])]


def test_what_is_pointed_at_is_told(tmp_path: Path) -> None:
    lanes = "lanesOf(m, {search: 'tcpdump', event: '', hidden: new Set(), together: false})"
    found = evaluated(
        f"(() => {{ const m = modelOf(raw); const lane = {lanes}[0]; const bar = barAt(lane, 7.0, 0.01);"
        " return [told(m, bar), barAt(lane, 5.5, 0.01)]; })()",
        "eight",
        tmp_path,
    )
    told, nothing = found
    assert nothing is None
    assert told[:2] == ["server-1/tcpdump: succeeded", "iteration-stop 1, tag nightly"]
    assert "answered 1.30 s after publication" in told
    assert "working, 700 ms in: 70 %" in told
    assert any(line.startswith("kept the others waiting for 1.2") for line in told)


def test_numbers_are_written_as_everywhere_else(tmp_path: Path) -> None:
    values = "[0.00082, 0.0123, 1.2345, 99.96, 7384].map(seconds)"
    assert evaluated(values, "empty", tmp_path) == ["820 µs", "12.3 ms", "1.23 s", "1 min 40 s", "2 h 03 min"]
    assert evaluated("[0.013, 0.2, 7, 1000].map(niceStep)", "empty", tmp_path) == [0.02, 0.2, 10, 1000]
