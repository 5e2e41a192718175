"""Finding the program that a command names, before anything is announced."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from state_signals.cli.exit_codes import CANNOT_EXECUTE, NOT_FOUND

__all__ = ["CommandNotFound", "find_program"]


class CommandNotFound(Exception):
    """The command cannot be run.

    Attributes:
        exit_code: what shells say then.
    """

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def find_program(name: str) -> str:
    """Return the path of the program that a command names, as a shell would find it.

    Raises:
        CommandNotFound: if it is not there, or cannot be executed.
    """
    found = shutil.which(name)
    if found is not None:
        return found
    places = [Path(name)] if "/" in name else [Path(folder or ".", name) for folder in os.get_exec_path()]
    there = next((place for place in places if _exists(place)), None) if name else None
    if there is None:
        raise CommandNotFound(f"cannot run {name!r}: there is no such program", NOT_FOUND)
    why = "it is a directory" if there.is_dir() else "its file is not executable (chmod +x makes it so)"
    raise CommandNotFound(f"cannot run {str(there)!r}: {why}", CANNOT_EXECUTE)


def _exists(place: Path) -> bool:
    try:
        return place.exists()
    except (OSError, ValueError):
        return False
