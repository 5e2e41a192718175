"""`state-signals publish`: announce a state in a run that `init` has begun."""

from __future__ import annotations

from typing import Annotated

import typer

from state_signals.arguments import check_name, identifier
from state_signals.cli.options import (
    ConnectTimeout,
    InitializedId,
    Metadata,
    MinSuccess,
    Namespace,
    Sample,
    Server,
    StallTimeout,
    Tag,
    Url,
    WaitProgress,
    check_texts,
    check_wait,
    epilog,
)
from state_signals.cli.values import json_object
from state_signals.cli.values import min_success as success_needed

__all__ = ["EPILOG", "publish"]

EPILOG = epilog(
    "state-signals publish $id benchmark-start --sample 0",
    "state-signals publish $id benchmark-start --timeout 30 --min-success 80% --wait-progress",
    "state-signals publish $id benchmark-stop --json | jq '.responders | map_values(.outcome)'",
    more="Ctrl-C ends the wait for the answers, and not the run.\n\n"
    "Exit codes: 0 fine, 1 a responder failed, 2 usage (also: there is no such exporter, or it has shut down), "
    "3 a responder was missing or lost, nobody is subscribed, or another process has the exporter, 4 no connection, "
    "5 the run was aborted, 130 Ctrl-C, 143 SIGTERM.",
)


def publish(
    publisher_id: InitializedId,
    event: Annotated[str, typer.Argument(metavar="EVENT", help="The state that it enters, one of init's --events.")],
    sample: Sample = -1,
    tag: Tag = None,
    metadata: Metadata = None,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="How long to wait for the answers, and before that for another process to leave the exporter; "
            "-1: for ever.",
        ),
    ] = 20,
    min_success: MinSuccess = None,
    stall_timeout: StallTimeout = -1,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="End the wait as soon as success is out of reach.")
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Do not wait for the answers.")] = False,
    wait_progress: WaitProgress = None,
    url: Url = None,
    namespace: Namespace = None,
    connect_timeout: ConnectTimeout = 5,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the outcomes as a JSON object, on standard output.")
    ] = False,
) -> int:
    """Announce a state in a run that init has begun, and wait until each responder has acted on it.

    The outcomes are printed on standard error. While another process
    publishes for the same exporter, this one waits for its turn.
    """
    from state_signals.cli.stepping.publication import Announcement, announce  # noqa: PLC0415 - help needs no asyncio, redis

    identifier("ID", publisher_id, "")
    check_name("EVENT", event)
    check_texts(tag=tag)
    announcement = Announcement(
        publisher_id=publisher_id,
        event=event,
        sample=sample,
        tag=tag,
        metadata=json_object("--metadata", metadata),
        timeout=check_wait("--timeout", timeout),
        min_success=success_needed(min_success),
        stall_timeout=check_wait("--stall-timeout", stall_timeout),
        fail_fast=fail_fast,
        waits=not no_wait,
        progress=wait_progress,
    )
    return announce(announcement, Server.given(url, namespace, connect_timeout), as_json=as_json)
