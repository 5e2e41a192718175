"""`state-signals timeline`: what happened in a run, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from state_signals.cli.looking.formats import Format
from state_signals.cli.options import (
    AsJson,
    ConnectTimeout,
    Namespace,
    PublisherId,
    Server,
    Url,
    check_publisher_id,
    epilog,
)
from state_signals.exceptions import InvalidArgument

__all__ = ["EPILOG", "timeline"]

EPILOG = epilog(
    "state-signals timeline uperf",
    "state-signals timeline uperf -o report.svg",
    "state-signals timeline uperf --run 1 --event iteration-stop -o stops.html",
    "state-signals timeline uperf -o uperf.trace.json     # for https://ui.perfetto.dev",
    "state-signals history uperf --json > uperf.json; state-signals timeline --from uperf.json -o uperf.png",
    more="SVG and PNG need matplotlib: pip install 'state-signals[plot]'. Suffixes: .svg, .png, .html, .trace.json or "
    ".trace, .csv, .json (as 'history --json'), .txt.\n\n"
    "Exit codes: 0 fine, also if rounds have failed; 2 usage, or an unknown exporter; 4 no connection, 130 Ctrl-C, "
    "143 SIGTERM.",
)


def timeline(
    publisher_id: PublisherId = None,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write.  [default: standard output]")
    ] = None,
    kind: Annotated[
        Format | None, typer.Option("--format", help="What to write.  [default: by FILE's suffix, else text]")
    ] = None,
    run: Annotated[
        int, typer.Option("--run", metavar="N", help="Of this exporter's runs: 1 is the first, -1 the newest.")
    ] = -1,
    event: Annotated[list[str] | None, typer.Option(metavar="EVENT", help="Only this event. May be repeated.")] = None,
    from_time: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Draw from this time on, counted from the run's beginning.")
    ] = None,
    to_time: Annotated[float | None, typer.Option(metavar="SECONDS", help="Draw until this time.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="A lane for each responder, even if many behaved alike.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Draw what 'history --json' has written; -: standard input."),
    ] = None,
    url: Url = None,
    namespace: Namespace = None,
    connect_timeout: ConnectTimeout = 5,
    as_json: AsJson = False,
) -> int:
    """Draw what happened in a run: who acted when, for how long, and how it ended.

    One lane for the exporter's phases (what lies between X-start and X-stop),
    one for each responder; the troubled and the slowest come first, and those
    that behaved alike share a lane if there are many. Below, the time that
    each round took. Without FILE: in characters, on standard output.
    """
    check_publisher_id(publisher_id)
    if publisher_id is None and source is None:
        raise InvalidArgument("give the PUBLISHER_ID of a run ('state-signals history' lists them), or --from FILE")
    if as_json and kind not in (None, Format.JSON):
        raise InvalidArgument(f"choose one of --json and --format {kind}")
    from state_signals.cli.looking.drawing import Order, draw  # noqa: PLC0415 - help needs no asyncio, redis, matplotlib

    order = Order(
        publisher_id=publisher_id,
        which=run,
        file=file,
        kind=Format.JSON if as_json else kind,
        events=tuple(event or ()),
        since=from_time,
        until=to_time,
        every=every,
    )
    return draw(order, source, Server.given(url, namespace, connect_timeout))
