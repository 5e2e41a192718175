"""The command line `state-signals`: one file a command, imported when it is used."""

from __future__ import annotations

__all__ = ["main"]


def main() -> int:
    """Run the command line with the process's arguments. Return the exit code."""
    from state_signals.cli.app import run  # noqa: PLC0415 - the server and the tests import parts of this package only

    return run()
