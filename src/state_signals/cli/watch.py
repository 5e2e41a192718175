"""`state-signals watch`: runs and their responders, live on the whole screen."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode
from state_signals.cli.options import ConnectTimeout, Namespace, Server, Url, check_publisher_id, epilog

__all__ = ["EPILOG", "watch"]

EPILOG = epilog(
    "state-signals watch",
    "state-signals watch fio --url redis://bench-head:6379",
    "state-signals watch --once",
    more="Keys: arrows or j and k choose a run, Tab goes to the next pane, / filters the responders, p shows problems "
    "only, l the log, ? all keys, q quits.\n\n"
    "A connection that is lost is made again; what was known stays on the screen meanwhile.\n\n"
    "Exit codes: 0 upon q, 2 usage, or not on a terminal, 4 no connection, 130 Ctrl-C, 143 SIGTERM.",
)


def watch(
    publisher_id: Annotated[
        str | None,
        typer.Argument(metavar="PUBLISHER_ID", help="The run to begin with: an exporter's id, or how it begins."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Print the screen once, as plain text, and end.")] = False,
    url: Url = None,
    namespace: Namespace = None,
    connect_timeout: ConnectTimeout = 5,
) -> int:
    """Watch runs and their responders live.

    On the left the runs, with state and age. On the right the responders of
    one of them: problems first, with the outcome of the round that is open,
    or else of the last one, what they say while they work, and when they last
    showed that they live. Below, what has happened. Watching is passive: it
    takes part in no run, and no exporter waits for it.
    """
    check_publisher_id(publisher_id)
    server = Server.given(url, namespace, connect_timeout)
    if not once and not (output.is_terminal(sys.stdin) and output.is_terminal(sys.stdout)):
        output.error(
            "watch draws on a terminal, and this is none; --once prints the screen as text, "
            "'state-signals listen' prints what happens, 'state-signals ps --json' what there is"
        )
        return ExitCode.USAGE
    from state_signals.cli.watching.watcher import watch_live, watch_once  # noqa: PLC0415 - help needs no asyncio

    return watch_once(server, publisher_id) if once else watch_live(server, publisher_id)
