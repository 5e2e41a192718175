"""Shells complete commands and options."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from state_signals.cli.app import COMMANDS
from state_signals.cli.completion import COMPLETE_VARIABLE

PROGRAM = str(Path(sys.executable).parent / "state-signals")


def asked(**environment: str) -> list[str]:
    """What the program says to a shell that asks."""
    process = subprocess.run(
        [PROGRAM], env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert not process.stderr
    return process.stdout.split()


def completed_by_bash(*words: str) -> list[str]:
    """What bash would offer."""
    script = f"""
    PATH={shlex.quote(str(Path(PROGRAM).parent))}:$PATH
    eval "$(state-signals completion bash)"
    complete -p state-signals > /dev/null || exit 9
    COMP_WORDS=({" ".join(map(shlex.quote, words))}) COMP_CWORD={len(words) - 1}
    _state_signals_completion state-signals
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    process = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (process.returncode, process.stderr) == (0, "")
    return process.stdout.split()


def test_bash_completes_commands_and_options() -> None:
    assert completed_by_bash("state-signals", "resp") == ["respond"]
    assert completed_by_bash("state-signals", "run", "--subsc") == ["--subscribe-timeout"]


def test_all_commands_are_offered() -> None:
    assert asked(**{COMPLETE_VARIABLE: "complete_bash", "COMP_WORDS": "state-signals ", "COMP_CWORD": "1"}) == list(
        COMMANDS
    )


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_answered(shell: str) -> None:
    request = {
        COMPLETE_VARIABLE: f"complete_{shell}",
        "_TYPER_COMPLETE_ARGS": "state-signals run --subsc",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    assert "--subscribe-timeout" in " ".join(asked(**request))
    script = subprocess.run([PROGRAM, "completion", shell], capture_output=True, text=True, timeout=60, check=True)
    assert COMPLETE_VARIABLE in script.stdout


def test_another_shell_is_an_error() -> None:
    process = subprocess.run([PROGRAM, "completion", "tcsh"], capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 2
    assert "bash" in process.stderr
    assert "Traceback" not in process.stderr
