"""`state-signals shutdown`: end a run that `init` has begun."""

from __future__ import annotations

from typing import Annotated

import typer

from state_signals.arguments import identifier
from state_signals.cli.options import (
    ConnectTimeout,
    InitializedId,
    Namespace,
    Server,
    Url,
    check_texts,
    check_wait,
    epilog,
)

__all__ = ["EPILOG", "shutdown"]

EPILOG = epilog(
    "state-signals shutdown $id",
    "state-signals shutdown $id --timeout 60",
    "trap 'state-signals shutdown $id' EXIT",
    more="Exit codes: 0 fine, also if it has shut down already; 2 usage (also: there is no such exporter), 3 another "
    "process has the exporter, 4 no connection, 5 the run was aborted, 130 Ctrl-C, 143 SIGTERM.",
)


def shutdown(
    publisher_id: InitializedId,
    tag: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Tag of what is announced.  [default: that of init]")
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="How long to wait for another process to leave the exporter; -1: for ever."
        ),
    ] = 20,
    url: Url = None,
    namespace: Namespace = None,
    connect_timeout: ConnectTimeout = 5,
) -> int:
    """End a run that init has begun: tell the responders, and leave nothing but the journal behind."""
    from state_signals.cli.stepping.closing import shut_down  # noqa: PLC0415 - help needs neither asyncio nor redis

    identifier("ID", publisher_id, "")
    check_texts(tag=tag)
    server = Server.given(url, namespace, connect_timeout)
    return shut_down(publisher_id, tag, check_wait("--timeout", timeout), server)
