"""`state-signals run`: a command between a start and a stop signal."""

from __future__ import annotations

from typing import Annotated

import typer

from state_signals.arguments import identifier
from state_signals.cli import output, values
from state_signals.cli.options import (
    ConnectTimeout,
    Expect,
    Metadata,
    MinSuccess,
    Namespace,
    Periodic,
    Presence,
    ProcessName,
    Sample,
    Server,
    StallTimeout,
    Tag,
    Url,
    WaitFor,
    check_texts,
    check_wait,
    epilog,
)
from state_signals.cli.running.programs import CommandNotFound, find_program

__all__ = ["EPILOG", "USAGE", "run"]

USAGE = "[OPTIONS] NAME -- CMD..."

EPILOG = epilog(
    "state-signals run fio --wait 2 -- fio job.fio",
    "state-signals run uperf --expect host-a --expect host-b --tag nightly -- ./bench.sh",
    "state-signals run train --wait 0 --start-event epoch-start --stop-event epoch-stop -- make train",
    more="The exit code is that of CMD (128 and the signal's number, if a signal ended CMD or state-signals), or else: "
    "1 a responder failed, 2 usage, 3 a responder was missing or lost, 4 no connection, 5 aborted (whatever CMD ended "
    "with), 126 CMD cannot be executed, 127 CMD was not found.",
)


def run(
    name: ProcessName,
    command: Annotated[list[str], typer.Argument(metavar="CMD", help="The command and its arguments, after `--`.")],
    wait: WaitFor = None,
    expect: Expect = None,
    subscribe_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long to wait for them; -1: for ever.")
    ] = 60,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long to wait for the answers to each signal; -1: for ever.")
    ] = 20,
    tag: Tag = None,
    sample: Sample = -1,
    metadata: Metadata = None,
    start_event: Annotated[
        str, typer.Option(metavar="EVENT", help="What is announced before CMD runs.")
    ] = "benchmark-start",
    stop_event: Annotated[
        str, typer.Option(metavar="EVENT", help="What is announced after CMD has ended.")
    ] = "benchmark-stop",
    min_success: MinSuccess = None,
    stall_timeout: StallTimeout = -1,
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="How long CMD may take to end upon SIGTERM or SIGHUP before it is killed; -1: never.",
        ),
    ] = 10,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Run CMD even if a responder is not there or fails.")
    ] = False,
    periodic: Periodic = True,
    presence: Presence = 15,
    url: Url = None,
    namespace: Namespace = None,
    connect_timeout: ConnectTimeout = 5,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the outcomes as one JSON object a line, on standard error.")
    ] = False,
) -> int:
    """Run a command between a start and a stop signal.

    Waits for responders, announces the start, waits until each of them has
    acted on it, runs CMD, and announces the stop likewise. If a responder is
    missing or fails at the start, CMD does not run; the stop is announced.

    Standard output is CMD's alone; outcomes are printed on standard error.
    Ctrl-C and SIGTERM are passed on to CMD, and the stop is still announced; a
    second Ctrl-C kills CMD. SIGUSR1 and SIGUSR2 are passed on, too. CMD finds
    STATE_SIGNALS_PUBLISHER_ID in its environment.

    A server that restarts meanwhile is no reason to stop: what was announced
    is announced again if it has lost it, and --timeout goes on.
    """
    from state_signals.cli.running.conductor import Plan, conduct  # noqa: PLC0415 - help needs neither asyncio nor redis

    try:
        program = find_program(command[0])
    except CommandNotFound as error:
        output.error(str(error))
        return error.exit_code
    identifier("NAME", name, "")
    wanted = values.expected(expect)
    check_texts(tag=tag, start_event=start_event, stop_event=stop_event)
    plan = Plan(
        name=name,
        argv=command,
        program=program,
        wait=values.count_to_wait_for(wait, wanted),
        expect=wanted,
        subscribe_timeout=check_wait("--subscribe-timeout", subscribe_timeout),
        timeout=check_wait("--timeout", timeout),
        tag=tag,
        sample=sample,
        metadata=values.json_object("--metadata", metadata),
        start_event=start_event,
        stop_event=stop_event,
        keep_going=keep_going,
        periodic=periodic,
        min_success=values.min_success(min_success),
        stall_timeout=check_wait("--stall-timeout", stall_timeout),
        grace=check_wait("--grace", grace),
        presence=values.presence_ttl(presence),
        passes_url=url or None,
    )
    return conduct(plan, Server.given(url, namespace, connect_timeout), as_json=as_json)
