"""`state-signals completion`: what a shell needs to complete our commands and options."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from state_signals.cli import output
from state_signals.cli.options import epilog

__all__ = ["COMPLETE_VARIABLE", "EPILOG", "completion"]

COMPLETE_VARIABLE = "_STATE_SIGNALS_COMPLETE"
"""Environment variable by which a shell asks what may come next; its name is what typer makes of ours."""

EPILOG = epilog(
    'eval "$(state-signals completion bash)"    # for this shell; in ~/.bashrc for all',
    "state-signals completion zsh > ~/.zfunc/_state-signals    # with fpath+=~/.zfunc before compinit",
    "state-signals completion fish > ~/.config/fish/completions/state-signals.fish",
    more="Exit codes: 0 fine, 2 usage.",
)


class Shell(StrEnum):
    """The shells that can be taught."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="For which shell.")]) -> None:
    """Print the script that makes a shell complete commands and options."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # noqa: PLC0415 - typer's module has no list of names

    output.print_line(
        get_completion_script(prog_name=output.PROGRAM, complete_var=COMPLETE_VARIABLE, shell=shell.value)
    )
