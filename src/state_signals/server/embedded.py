"""Starting a server, knowing when it is ready, and putting it through faults."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from state_signals.exceptions import Closed, EmbeddedServerError, InvalidArgument, InvalidType
from state_signals.server.executable import find_executable, identify, resolve
from state_signals.server.guard import Guard

__all__ = ["EmbeddedServer"]

_HOST = "127.0.0.1"

_LONGEST_SOCKET_PATH = 103
"""Bytes that fit into the address of a Unix socket on every system."""

_PORTS_TRIED = 5
"""How many free ports are tried, should others be quicker to take them."""

_GRACE = 5.0
"""Seconds that a server has to end in good order."""

_POLL = 0.005
"""Seconds between two looks at whether a server is ready, which takes some 20 milliseconds."""


class EmbeddedServer:
    """A Redis, Valkey or KeyDB server that ends with its owner: with this process, even if that gets SIGKILL.

    The owner is the process that calls `start`; a fork of it can neither use nor end the server. Use it from one
    thread at a time. As a context manager it is started and stopped.

    Args:
        port: TCP port on 127.0.0.1, where it listens and nowhere else; None for a free one.
        socket_path: Unix socket to listen on instead of TCP, which only this user can connect to.
        data_dir: directory for the server's files, made if need be, and kept; None for a temporary one, which is
            removed at `stop` or when the owner ends.
        persist: write every change to disk before it is acknowledged, so that a server started later on the same
            `data_dir` has the data. Without it, nothing is kept.
        arguments: further options of the server, such as `("--maxmemory", "100mb")`. Where it listens, what it logs
            and that it stays in the foreground cannot be changed.
        executable: the server program; None for what `find_executable` finds.
        start_timeout: seconds within which the server has to be ready.

    Raises:
        InvalidArgument: a value cannot work, alone or with another.
        InvalidType: `arguments` is one string.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        socket_path: str | os.PathLike[str] | None = None,
        data_dir: str | os.PathLike[str] | None = None,
        persist: bool = False,
        arguments: Sequence[str] = (),
        executable: str | os.PathLike[str] | None = None,
        start_timeout: float = 10.0,
    ) -> None:
        if port is not None and not 0 < port < 65536:
            raise InvalidArgument(f"port must be from 1 to 65535, or None for a free one, not {port}")
        if port is not None and socket_path is not None:
            raise InvalidArgument("give either port or socket_path: with a Unix socket, the server has no TCP port")
        if not start_timeout > 0:
            raise InvalidArgument(f"start_timeout must be more than 0 seconds, not {start_timeout}")
        if isinstance(arguments, str):
            raise InvalidType("arguments must be a sequence of strings such as ('--maxmemory', '100mb'), not a string")
        self._fixed_port = port
        self._port = port
        self._socket_path = None if socket_path is None else _checked_length(Path(socket_path).absolute())
        self._data_dir = None if data_dir is None else Path(data_dir).absolute()
        self._persist = persist
        self._arguments = tuple(arguments)
        self._program = executable
        self._start_timeout = start_timeout
        self._temporary: Path | None = None
        self._guard: Guard | None = None
        self._owner: int | None = None

    def start(self) -> Self:
        """Start the server; it answers when this returns. A server that runs already is left as it is.

        After `kill`, or when the server died, it is started again where it was: on the same port or socket and the
        same data directory, a temporary one too.

        Raises:
            EmbeddedServerError: there is no server program, the port or socket is taken, or the server did not get
                ready: the message ends with what it logged. Nothing is left behind then.
            Closed: it was started by another process, of which this one is a fork.
        """
        self._check_owner()
        if self.is_alive():
            return self
        if self._guard is not None:
            self._guard.end(grace=0)
        self._owner = os.getpid()
        try:
            self._launch(self._prepared_directory())
        except BaseException as error:
            self.stop()
            if isinstance(error, OSError):
                raise EmbeddedServerError(f"cannot start the embedded server: {error}") from error
            raise
        return self

    def stop(self) -> None:
        """End the server; no process and no file is left, but a `data_dir` that was given. Idempotent."""
        if self._owner != os.getpid():
            return
        if self._guard is not None:
            self._guard.end(_GRACE)
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
        self._temporary, self._port, self._owner = None, self._fixed_port, None

    def kill(self) -> None:
        """End the server as a crash would, with SIGKILL; `start` starts it again. For fault tests."""
        self._check_owner()
        if self._guard is not None:
            self._guard.end(grace=0)

    def pause(self) -> None:
        """Freeze the server with SIGSTOP: connections stay open and nothing answers. For fault tests."""
        self._check_owner()
        if self._guard is not None:
            self._guard.send(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._check_owner()
        if self._guard is not None:
            self._guard.send(signal.SIGCONT)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the server has ended; return whether it has within `timeout` seconds (None: for ever)."""
        return self._guard is None or self._guard.wait(timeout)

    def is_alive(self) -> bool:
        """Return whether the server's process runs; a paused one does."""
        return self._guard is not None and self._guard.is_alive()

    @property
    def url(self) -> str:
        """What to pass as `url`: `redis://127.0.0.1:PORT`, or `unix://` and the path.

        Raises:
            EmbeddedServerError: the port is not known before `start`.
        """
        if self._socket_path is not None:
            return f"unix://{quote(str(self._socket_path))}"
        if self._port is None:
            raise EmbeddedServerError("the embedded server has no URL before it is started: call start()")
        return f"redis://{_HOST}:{self._port}"

    @property
    def port(self) -> int | None:
        """The TCP port; None with a Unix socket, and before `start` if a free one is to be taken."""
        return self._port

    @property
    def pid(self) -> int:
        """The process number of the server itself.

        Raises:
            EmbeddedServerError: it was not started, or it was stopped.
        """
        if self._guard is None or self._owner is None:
            raise EmbeddedServerError("the embedded server has no process: call start()")
        return self._guard.pid

    @cached_property
    def executable(self) -> Path:
        """The server program.

        Raises:
            EmbeddedServerError: there is none.
        """
        return find_executable() if self._program is None else resolve(self._program)

    @property
    def kind(self) -> str:
        """`"redis"`, `"valkey"` or `"keydb"`."""
        return self._identity[0]

    @property
    def version(self) -> str | None:
        """The server's version, such as `"7.2.4"`; None if its program does not tell."""
        return self._identity[1]

    @property
    def log(self) -> str:
        """The end of what the server has logged since it was last started, some 4000 characters at most."""
        return "" if self._guard is None else self._guard.log

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @cached_property
    def _identity(self) -> tuple[str, str | None]:
        return identify(self.executable)

    def _check_owner(self) -> None:
        if self._owner not in (None, os.getpid()):
            raise Closed(f"this embedded server belongs to process {self._owner}; make another one in this process")

    def _prepared_directory(self) -> Path:
        """Return the directory for the server's files, which exists then."""
        if self._data_dir is not None:
            self._data_dir.mkdir(parents=True, exist_ok=True)
            return self._data_dir
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="state-signals-server-"))
        return self._temporary

    def _launch(self, directory: Path) -> None:
        """Start the server's process and wait until it is ready; where a port is to be found, try several."""
        if self._socket_path is not None:
            _check_free_socket(self._socket_path)
        elif self._port is not None:
            _check_free_port(self._port)
        is_port_ours = self._port is None and self._socket_path is None
        for _ in range(_PORTS_TRIED if is_port_ours else 1):
            if is_port_ours:
                self._port = _free_port()
            self._guard = Guard(self._command(directory), directory=self._temporary, file=self._socket_path)
            if self._becomes_ready(self._guard):
                return
            has_ended = not self._guard.is_alive()
            self._guard.end(grace=0)
            if "already in use" not in self._guard.log:
                break
        else:
            raise _taken(self.url)
        why = "it ended" if has_ended else f"it did not answer within {self._start_timeout:g} seconds"
        raise EmbeddedServerError(
            f"the embedded server {self.executable} did not start on {self.url}: {why}. Its log ends with:\n{self.log}"
        )

    def _command(self, directory: Path) -> list[str]:
        persistence = ("--appendonly", "yes", "--appendfsync", "always") if self._persist else ("--appendonly", "no")
        where: tuple[str, ...] = ("--port", str(self._port))
        if self._socket_path is not None:
            where = ("--port", "0", "--unixsocket", str(self._socket_path), "--unixsocketperm", "600")
        # Of an option that is given twice the last one counts: what may be changed comes before the user's arguments.
        return [
            *(str(self.executable), "--save", "", *persistence),
            *self._arguments,
            *(*where, "--bind", _HOST, "--protected-mode", "yes", "--dir", str(directory)),
            *("--daemonize", "no", "--logfile", "", "--loglevel", "notice"),
        ]

    def _becomes_ready(self, guard: Guard) -> bool:
        deadline = time.monotonic() + self._start_timeout
        while guard.is_alive() and time.monotonic() < deadline:
            # Whatever else is on the port may answer anything, or nothing.
            with contextlib.suppress(OSError, ValueError):
                if self._answers(guard, timeout=min(0.5, self._start_timeout)):
                    return True
            guard.wait(_POLL)
        return False

    def _answers(self, guard: Guard, *, timeout: float) -> bool:
        """Return whether the server answers PING, and is the one that was started, not another on the same port."""
        with _connected(self._socket_path or (_HOST, self._port or 0), timeout) as connection:
            connection.sendall(b"PING\r\nINFO server\r\n")
            with connection.makefile("rb") as answers:
                if answers.readline().startswith(b"-LOADING"):
                    return False
                header = answers.readline()
                if header.startswith(b"$"):
                    return b"process_id:%d\r\n" % guard.pid in answers.read(int(header[1:]))
        # With a password the server does not say more, but its log does.
        return header.startswith(b"-") and "ready to accept connections" in guard.log.lower()


def _connected(address: Path | tuple[str, int], timeout: float) -> socket.socket:
    family = socket.AF_UNIX if isinstance(address, Path) else socket.AF_INET
    connection = socket.socket(family)
    try:
        connection.settimeout(timeout)
        connection.connect(str(address) if isinstance(address, Path) else address)
    except BaseException:
        connection.close()
        raise
    return connection


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def _check_free_port(port: int) -> None:
    """Raise EmbeddedServerError if the port cannot be had; a server might share it instead of failing."""
    with socket.socket() as probe:
        # As servers do, so that connections of an earlier server, which linger, do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise _taken(f"redis://{_HOST}:{port}", error.strerror) from error


def _check_free_socket(path: Path) -> None:
    """Raise EmbeddedServerError if there is something else than an abandoned socket: the server would replace it."""
    if not path.exists():
        return
    if not path.is_socket():
        raise EmbeddedServerError(f"cannot start the embedded server on {path}: this is not a socket; choose another")
    try:
        _connected(path, timeout=1.0).close()
    except ConnectionRefusedError:
        return
    except OSError as error:
        raise _taken(f"unix://{path}", error.strerror) from error
    raise _taken(f"unix://{path}")


def _taken(url: str, why: str | None = None) -> EmbeddedServerError:
    return EmbeddedServerError(
        f"cannot start the embedded server on {url}: {why or 'Address already in use'}. End what uses it, or choose "
        "another one; any free port is taken with port=None, or --port 0 on the command line"
    )


def _checked_length(path: Path) -> Path:
    length = len(os.fsencode(path))
    if length > _LONGEST_SOCKET_PATH:
        raise InvalidArgument(
            f"socket_path is {length} bytes long, and a Unix socket's can be {_LONGEST_SOCKET_PATH} at most: {path}; "
            "choose a shorter one, such as one in /tmp"
        )
    return path
