"""`state-signals init`: begin a run whose signals are published by commands that follow."""

from __future__ import annotations

from typing import Annotated

import typer

from state_signals.arguments import identifier
from state_signals.cli.options import (
    ConnectTimeout,
    Expect,
    Namespace,
    Periodic,
    Presence,
    ProcessName,
    Server,
    Tag,
    Url,
    WaitFor,
    WaitProgress,
    check_texts,
    check_wait,
    epilog,
)
from state_signals.cli.values import count_to_wait_for, event_list, expected, presence_ttl, retention_time

__all__ = ["EPILOG", "init"]

EPILOG = epilog(
    "id=$(state-signals init fio --events benchmark-start,benchmark-stop --wait 2)",
    "id=$(state-signals init train --events epoch-start,epoch-stop --expect host-a --expect host-b) || exit",
    "state-signals init fio --id nightly --events benchmark-start,benchmark-stop --wait 0",
    more="What follows: 'state-signals publish $id EVENT' and, in the end, 'state-signals shutdown $id', from any "
    "process on any host, as long as not more than --retention lies between two of them.\n\n"
    "Exit codes: 0 fine, 2 usage, 3 not enough responders subscribed (the run is shut down; not with --keep-going), "
    "4 no connection, 5 aborted, 130 Ctrl-C, 143 SIGTERM.",
)


def init(
    name: ProcessName,
    events: Annotated[
        str, typer.Option(metavar="EVENT,...", help="The events that may be published, with commas between them.")
    ],
    wait: WaitFor = None,
    expect: Expect = None,
    subscribe_timeout: Annotated[
        float,
        typer.Option(
            "--subscribe-timeout", "--timeout", metavar="SECONDS", help="How long to wait for them; -1: for ever."
        ),
    ] = 60,
    tag: Tag = None,
    publisher_id: Annotated[
        str | None,
        typer.Option("--id", metavar="PUBLISHER_ID", help="The exporter's id.  [default: NAME and a uuid]"),
    ] = None,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Go on, with exit code 0, if not enough responders subscribe.")
    ] = False,
    periodic: Periodic = True,
    presence: Presence = 15,
    retention: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long the server keeps the run after its last step.")
    ] = 86_400,
    wait_progress: WaitProgress = None,
    url: Url = None,
    namespace: Namespace = None,
    connect_timeout: ConnectTimeout = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print id and roster as a JSON object.")] = False,
) -> int:
    """Begin a run whose signals are published by commands that follow.

    Waits for responders and prints the exporter's id (the publisher_id), and
    nothing else on standard output. Responders may still subscribe after
    that, until the run is shut down.

    The run is kept on the server, and nowhere else: nothing runs in between.
    """
    from state_signals.cli.stepping.lookup import RunSettings  # noqa: PLC0415 - help needs neither asyncio nor redis
    from state_signals.cli.stepping.opening import Opening, open_roster  # noqa: PLC0415

    identifier("NAME", name, "")
    wanted = expected(expect)
    check_texts(tag=tag)
    opening = Opening(
        name=name,
        events=event_list("--events", events),
        expect=wanted,
        timeout=check_wait("--subscribe-timeout", subscribe_timeout),
        tag=tag,
        publisher_id=None if publisher_id is None else identifier("--id", publisher_id, ""),
        settings=RunSettings(
            wait=count_to_wait_for(wait, wanted),
            presence=presence_ttl(presence),
            retention=retention_time(retention),
        ),
        periodic=periodic,
        keep_going=keep_going,
        progress=wait_progress,
    )
    return open_roster(opening, Server.given(url, namespace, connect_timeout), as_json=as_json)
