"""The exit codes, in one place."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["EXIT_CODES_HELP", "ExitCode", "by_signal"]


class ExitCode(IntEnum):
    """How a command ended.

    `run` ends with the code of the command that it ran, unless signalling itself failed; what a signal ended has
    128 and the signal's number, as with shells.
    """

    OK = 0
    FAILED = 1
    USAGE = 2
    MISSING = 3
    NO_CONNECTION = 4
    ABORTED = 5


CANNOT_EXECUTE = 126
"""The command that `run` was given is there but cannot be executed, as with shells."""

NOT_FOUND = 127
"""The command that `run` was given is not there, as with shells."""

EXIT_CODES_HELP = (
    "Exit codes: 0 fine, 1 a responder failed, 2 usage, 3 a responder was missing or lost, 4 no connection, 5 aborted; "
    "128 and the signal's number after a signal."
)


def by_signal(number: int) -> int:
    """Return the exit code of what a signal has ended, as shells count it."""
    return 128 + number
