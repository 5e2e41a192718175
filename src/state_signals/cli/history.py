"""`state-signals history`: what happened in runs."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from state_signals.cli.options import (
    AsJson,
    ConnectTimeout,
    Namespace,
    Server,
    Url,
    check_publisher_id,
    check_texts,
    epilog,
)
from state_signals.exceptions import InvalidArgument

__all__ = ["EPILOG", "history"]

EPILOG = epilog(
    "state-signals history --since 2h",
    "state-signals history fio",
    "state-signals history fio --run 1 --csv > rounds.csv",
    "state-signals history fio --json | jq '.rounds[] | select(.ok == false)'",
    more="docs/history.schema.json describes the JSON. Times are the server's, whatever clock an exporter has.\n\n"
    "Exit codes: 0 fine, also if rounds have failed; 2 usage, or an unknown exporter; 4 no connection, 130 Ctrl-C, "
    "143 SIGTERM.",
)

_LIMIT = 20


def history(
    publisher_id: Annotated[
        str | None,
        typer.Argument(
            metavar="PUBLISHER_ID",
            help="An exporter, how its id begins, or a process: its newest run.  [default: list all runs]",
        ),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(metavar="N|all", help="Of this exporter's runs: 1 is the first, -1 the newest.  [default: -1]"),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help=f"List the newest N runs.  [default: {_LIMIT}]")
    ] = None,
    tag: Annotated[str | None, typer.Option(metavar="TEXT", help="List only runs with this tag.")] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="List only runs that began since: 30m, 2h, 3d ago, or 2026-11-25[T14:30]."),
    ] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV: a line for each round and responder.")] = False,
    url: Url = None,
    namespace: Namespace = None,
    connect_timeout: ConnectTimeout = 5,
    as_json: AsJson = False,
) -> int:
    """Show what happened in runs.

    Without PUBLISHER_ID: the runs that the server remembers, newest first,
    with the worst outcome of any responder. With it: the rounds of a run, how
    long each took, who was slowest, and who failed, was missing, was lost,
    left, or answered late, with what they said.

    Reading leaves no trace. A server remembers a run for a day after its last
    signal, unless its exporter was told otherwise (retention).
    """
    if as_json and as_csv:
        raise InvalidArgument("choose one of --json and --csv")
    if publisher_id is None and run is not None:
        raise InvalidArgument("--run is about the runs of one exporter; give its PUBLISHER_ID")
    if publisher_id is not None:
        for option, value in (("--limit", limit), ("--tag", tag), ("--since", since)):
            if value is not None:
                raise InvalidArgument(
                    f"{option} is about the list of all runs; leave out PUBLISHER_ID, or choose --run"
                )
        check_publisher_id(publisher_id)
    check_texts(tag=tag)
    from state_signals.cli.looking.moments import since as moment_of  # noqa: PLC0415 - help needs no asyncio, redis
    from state_signals.cli.looking.recall import Question, recall  # noqa: PLC0415
    from state_signals.cli.stepping.steps import perform_step  # noqa: PLC0415

    question = Question(
        publisher_id=publisher_id,
        which=_which(run),
        limit=_LIMIT if limit is None else limit,
        tag=tag,
        since=None if since is None else moment_of(since, time.time()),
        as_json=as_json,
        as_csv=as_csv,
    )
    server = Server.given(url, namespace, connect_timeout)
    return perform_step(lambda transport: recall(transport, server, question), server)


def _which(text: str | None) -> int | None:
    """Return a run's number; None for all of them."""
    if text == "all":
        return None
    try:
        number = int("-1" if text is None else text)
    except ValueError:
        number = 0
    if number == 0:
        raise InvalidArgument(f"--run takes a number, 1 for the first and -1 for the newest, or all, not {text!r:.80}")
    return number
