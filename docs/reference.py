"""Writes docs/cli.md from the commands themselves; `make docs` does it, and a test compares."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from state_signals.cli.app import COMMANDS

PAGE = Path(__file__).parent / "cli.md"

_HEAD = """# Command line

Written by `make docs` from the commands' own help. Every command takes the server from `--url` or `STATE_SIGNALS_URL`
and the namespace from `--namespace` or `STATE_SIGNALS_NAMESPACE`; data goes to standard output, all else to standard
error. `NO_COLOR` turns colours off. [Completion](#state-signals-completion) for bash, zsh and fish is built in.
"""


def page() -> str:
    """Return the page."""
    parts = [_HEAD, _section("state-signals", ["--help"])]
    parts += [_section(f"state-signals {name}", [name, "--help"]) for name in COMMANDS]
    return "\n".join(parts)


def _section(title: str, arguments: list[str]) -> str:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("STATE_SIGNALS_", "_TYPER"))
    }
    shown = subprocess.run(
        [sys.executable, "-m", "state_signals.cli", *arguments],
        env=environment | {"COLUMNS": "100", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return f"## {title}\n\n```text\n{shown.strip()}\n```\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
