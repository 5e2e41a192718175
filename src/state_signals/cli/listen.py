"""`state-signals listen`: signals, and answers, as they come."""

from __future__ import annotations

from typing import Annotated

import typer

from state_signals.cli.options import AsJson, ConnectTimeout, Namespace, Server, Url, check_texts, epilog

__all__ = ["EPILOG", "listen"]

EPILOG = epilog(
    "state-signals listen --responses",
    "state-signals listen --tag nightly --event benchmark-start --count 1",
    "state-signals listen --json | jq 'select(.event == \"shutdown\").publisher_id'",
    more="A connection that is lost is made again, and what was missed is printed then.\n\n"
    "Exit codes: 0 after --count lines, or when nobody reads the output any more; 2 usage, 4 no connection, "
    "5 aborted, 130 Ctrl-C, 143 SIGTERM.",
)


def listen(
    responses: Annotated[bool, typer.Option("--responses", help="Print the responders' answers, too.")] = False,
    tag: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only signals with this tag, and answers to them.")
    ] = None,
    publisher: Annotated[str | None, typer.Option(metavar="ID", help="Only this exporter.")] = None,
    event: Annotated[list[str] | None, typer.Option(metavar="EVENT", help="Only this event. May be repeated.")] = None,
    count: Annotated[int | None, typer.Option(metavar="N", min=1, help="End after N lines.")] = None,
    url: Url = None,
    namespace: Namespace = None,
    connect_timeout: ConnectTimeout = 5,
    as_json: AsJson = False,
) -> int:
    """Print signals as they come.

    One line each: when it came, from which exporter, the event, and sample,
    tag and metadata if it has them. Listening is passive: it takes part in no
    run, and no exporter waits for it.
    """
    from state_signals.cli.listening.observer import Observer, Selection, observe  # noqa: PLC0415 - help needs no asyncio, redis

    check_texts(tag=tag, publisher=publisher)
    for name in event or ():
        check_texts(event=name)
    selection = Selection(tag=tag, publisher_id=publisher, events=frozenset(event or ()))
    server = Server.given(url, namespace, connect_timeout)
    return observe(Observer(server, selection, responses=responses, count=count, as_json=as_json))
