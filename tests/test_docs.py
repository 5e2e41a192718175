"""The documentation says what the code does: its blocks run, its pictures are drawn from the tables."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from state_signals.protocol.states import EXPORTER, MEMBER

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROTOCOL = (ROOT / "docs" / "protocol.md").read_text()
DEFAULT_URL = "redis://localhost:6379"
SCRIPTS = Path(sys.executable).parent


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def commands(text: str) -> list[str]:
    return [line[2:] for block in blocks(text, "console") for line in block.splitlines() if line.startswith("$ ")]


def environment(url: str) -> dict[str, str]:
    return {**os.environ, "STATE_SIGNALS_URL": url, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"}


def test_the_ten_lines_of_each_side_work_together(redis_url: str) -> None:
    exporter, responder = (block.replace(DEFAULT_URL, redis_url) for block in blocks(README, "python"))
    with (
        subprocess.Popen([sys.executable, "-c", responder]) as answering,
        subprocess.Popen([sys.executable, "-c", exporter], stdout=subprocess.PIPE, text=True) as asking,
    ):
        printed, _ = asking.communicate(timeout=60)
        assert (asking.returncode, answering.wait(timeout=10)) == (0, 0)
    assert "started for sample 2 of nightly" in printed


def test_the_shell_does_the_same(redis_url: str) -> None:
    [respond] = [command for command in commands(README) if command.startswith("state-signals respond")]
    [run] = [command for command in commands(README) if command.startswith("state-signals run")]
    with (
        subprocess.Popen(shlex.split(respond), env=environment(redis_url)) as answering,
        subprocess.Popen(shlex.split(run), env=environment(redis_url), stderr=subprocess.PIPE, text=True) as asking,
    ):
        _, shown = asking.communicate(timeout=60)
        assert (asking.returncode, answering.wait(timeout=10)) == (0, 0), shown


def test_the_steps_of_a_script_do_it_one_by_one(redis_url: str, tmp_path: Path) -> None:
    [script] = blocks(README, "bash")
    # What collects need not be vmstat, which not every machine has.
    script = script.replace("vmstat 1 >", "while uptime; do sleep 1; done >")
    done = subprocess.run(
        ["bash", "-euc", script + "wait"],
        env=environment(redis_url),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "vmstat-0.log").read_text()


def test_the_reference_is_what_the_commands_say() -> None:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    assert reference.PAGE.read_text() == reference.page(), "run `make docs`"


@pytest.mark.parametrize("target", [command.split()[1] for command in commands(README) if command.startswith("make ")])
def test_the_makefile_has_what_the_readme_names(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_links_lead_somewhere() -> None:
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            assert "://" in link or (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_pictures_of_the_states_are_the_tables() -> None:
    exporter, member = blocks(PROTOCOL, "mermaid")

    def name(state: str) -> str:
        return state.replace(" ", "_")

    drawn = {f"{name(state)} --> {name(to)}: {action}" for state, row in EXPORTER.items() for action, to in row.items()}
    assert drawn == {line.strip() for line in exporter.splitlines() if ": " in line}
    drawn = {f"pending --> {outcome}: {event}" for event, outcome in MEMBER.items()}
    assert drawn == {line.strip() for line in member.splitlines() if ": " in line}
