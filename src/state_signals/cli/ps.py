"""`state-signals ps`: exporters as they are now."""

from __future__ import annotations

from typing import Annotated

import typer

from state_signals.cli.options import AsJson, ConnectTimeout, Namespace, Server, Url, epilog

__all__ = ["EPILOG", "ps"]

EPILOG = epilog(
    "state-signals ps",
    "state-signals ps --all",
    "state-signals ps --json | jq -r 'select(.counts.lost > 0).publisher_id'",
    more="live: it shows that it lives. detached: its run goes on with the next step of a script. crashed: it has "
    "neither shown that it lives nor shut down.\n\n"
    "Exporters of version 1 leave nothing on the server: 'state-signals listen' shows what they announce.\n\n"
    "Exit codes: 0 fine, 2 usage, 4 no connection, 130 Ctrl-C, 143 SIGTERM.",
)


def ps(
    every: Annotated[
        bool, typer.Option("--all", help="Also those whose run has ended, as long as the server remembers it.")
    ] = False,
    url: Url = None,
    namespace: Namespace = None,
    connect_timeout: ConnectTimeout = 5,
    as_json: AsJson = False,
) -> int:
    """Show the exporters: state, age, last event, roster.

    One line each, the newest first. The roster is who the exporter waits for:
    how many are alive, lost (they have shown no sign of life for too long),
    expected (they have not subscribed yet), or unknown (they give no signs of
    life, as version 1). An open round says who has still to answer.
    """
    from state_signals.cli.looking.exporters import list_exporters  # noqa: PLC0415 - help needs no asyncio, redis
    from state_signals.cli.stepping.steps import perform_step  # noqa: PLC0415

    server = Server.given(url, namespace, connect_timeout)
    return perform_step(lambda transport: list_exporters(transport, server, with_ended=every, as_json=as_json), server)
