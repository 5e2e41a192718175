"""The guard: ends a server together with its owner, however that one ends.

A process that gets SIGKILL cannot clean up after itself, so another one has to. The guard is a shell that waits
at a pipe, the lifeline, whose other end only the owner has open. Nothing is ever written there: the end of file
is the end of the owner. The server is the guard's child, so that it is the guard, too, that sees the server end.

    owner ── lifeline ──> guard (sh) ──> server
                            └──────────> watcher (sh), which reads the lifeline

All but the owner are a session of their own, which Ctrl-C in the owner's terminal does not reach.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

from state_signals.exceptions import EmbeddedServerError

__all__ = ["Guard"]

# Arguments: a directory and a file to remove when the owner is gone (or empty), then the server's command.
# Standard input is the lifeline, standard error the log. The watcher stops the server before it removes files, so
# that none is added meanwhile, and its last act ends the whole session: guard, server, the server's children, itself.
_SCRIPT = """
trap '' HUP INT TERM
directory=$1 file=$2
shift 2
exec 3<&0 </dev/null
"$@" >&2 3<&- &
server=$!
echo "$server"
exec >&2
{
    read -r _ <&3
    kill -STOP "$server"
    rm -rf "$directory"
    rm -f "$file"
    kill -KILL -$$
} &
watcher=$!
wait "$server"
exec 2>/dev/null
kill -KILL "$watcher"
wait "$watcher"
"""

_TAIL = 4096
"""Bytes of the log's end that are shown."""

_FORCED = 2.0
"""Seconds that a guard has to see a killed server's end, before it is killed too."""


class Guard:
    """A running server and its guard.

    Args:
        command: the server's program and arguments.
        directory: removed with all that is in it if the owner ends without `end`.
        file: likewise, and removed by `end` too.

    Attributes:
        pid: the server's process.

    Raises:
        EmbeddedServerError: no process could be started. A server that starts and fails raises nothing here.
    """

    def __init__(self, command: Sequence[str], *, directory: Path | None = None, file: Path | None = None) -> None:
        self._log = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed in end(); nameless: no file to remove
        self._tail = ""
        self._file = file
        watched, lifeline = os.pipe()
        self._lifeline = os.fdopen(lifeline, "wb", buffering=0)
        _guards.add(self)
        arguments = ["state-signals-guard", str(directory or ""), str(file or ""), *command]
        try:
            self._shell = subprocess.Popen(  # noqa: S603 - the command is the caller's own
                ["/bin/sh", "-c", _SCRIPT, *arguments],
                stdin=watched,
                stdout=subprocess.PIPE,
                stderr=self._log,
                start_new_session=True,
                # Some servers refuse to start where the environment names a locale that is not installed.
                env={**os.environ, "LC_ALL": "C"},
            )
            with self._shell.stdout as said:  # type: ignore[union-attr] # it is a pipe
                self.pid = int(said.readline())
        except BaseException as error:
            self._lifeline.close()
            self._log.close()
            if isinstance(error, OSError | ValueError):
                raise EmbeddedServerError(f"cannot start a process for the embedded server: {error}") from error
            raise
        finally:
            os.close(watched)

    def is_alive(self) -> bool:
        """Return whether the server runs (or is paused)."""
        return self._shell.poll() is None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the server has ended; return whether it has within `timeout` seconds (None: for ever)."""
        try:
            self._shell.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def send(self, number: signal.Signals) -> None:
        """Send the server a signal, if it runs."""
        if self.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self, grace: float) -> None:
        """End the server, after `grace` seconds by force, and return when every process is gone.

        The directory is left to the caller, who may start another server there. Idempotent.
        """
        if self._lifeline.closed:
            return
        if self.is_alive():
            if grace:
                self.send(signal.SIGTERM)
                self.send(signal.SIGCONT)
            if not self.wait(grace):
                self.send(signal.SIGKILL)
                self.wait(_FORCED)
            # What the server has forked may still be there. The session's number is not another's by now: until
            # this moment its leader was.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._shell.pid, signal.SIGKILL)
            self._shell.wait()
        self._lifeline.close()
        if self._file is not None:
            self._file.unlink(missing_ok=True)
        self._tail = self.log
        self._log.close()

    @property
    def log(self) -> str:
        """The end of what the server has logged."""
        if self._log.closed:
            return self._tail
        size = os.fstat(self._log.fileno()).st_size
        # Not through the file's position: the server writes at that.
        tail = os.pread(self._log.fileno(), _TAIL, max(0, size - _TAIL)).decode(errors="replace")
        return tail if size <= _TAIL else tail.partition("\n")[2]

    def disown(self) -> None:
        """Let go of a server in a fork of its owner, which would otherwise keep it alive beyond the owner's end."""
        self._lifeline.close()
        if hasattr(self, "_shell"):
            self._shell.poll()


_guards: weakref.WeakSet[Guard] = weakref.WeakSet()


def _disown_all() -> None:
    for guard in _guards:
        guard.disown()


os.register_at_fork(after_in_child=_disown_all)
