"""`state-signals abort`: tell everybody that a run is over, and why."""

from __future__ import annotations

from typing import Annotated

import typer

from state_signals.arguments import identifier
from state_signals.cli.options import ConnectTimeout, Namespace, Server, Url, check_texts, check_wait, epilog

__all__ = ["EPILOG", "abort"]

EPILOG = epilog(
    "state-signals abort $id --reason 'disk full on host-b'",
    "state-signals abort fio-0d0f7a3e-94a5-4b42-8d0e-5f1e3a6b7c11",
    "state-signals abort nightly --reason 'left over from yesterday' --timeout 60",
    more="Exit codes: 0 the run is over, also if it was before; 2 usage (also: there is no such exporter), 3 the "
    "exporter's process does not react, 4 no connection, 5 aborted, 130 Ctrl-C, 143 SIGTERM. Whatever waits for the "
    "run ends with 5.",
)


def abort(
    publisher_id: Annotated[str, typer.Argument(metavar="ID", help="The exporter's id.")],
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why, for all to read.  [default: who wants it, and where]")
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="How long the exporter's process has to confirm it; -1: for ever."),
    ] = 10,
    url: Url = None,
    namespace: Namespace = None,
    connect_timeout: ConnectTimeout = 5,
) -> int:
    """Tell everybody that a run is over, and why.

    A live exporter, be it `state-signals run`, a `publish` that waits, or a
    program, is asked to abort its run, and this waits until it has. A run
    that init has begun, or whose process has died, is aborted from here.
    """
    from state_signals.cli.stepping.closing import abort_run  # noqa: PLC0415 - help needs neither asyncio nor redis

    identifier("ID", publisher_id, "")
    check_texts(reason=reason)
    server = Server.given(url, namespace, connect_timeout)
    return abort_run(publisher_id, reason, check_wait("--timeout", timeout), server)
