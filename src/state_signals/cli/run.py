"""`state-signals run`: a command between a start and a stop signal."""

from __future__ import annotations

from typing import Annotated

import typer

from state_signals.arguments import identifier
from state_signals.cli import output, values
from state_signals.cli.options import ConnectTimeout, Namespace, Server, Url, check_texts, check_wait, epilog
from state_signals.cli.running.programs import CommandNotFound, find_program

__all__ = ["EPILOG", "run"]

EPILOG = epilog(
    "state-signals run fio --wait 2 -- fio job.fio",
    "state-signals run uperf --expect host-a --expect host-b --tag nightly -- ./bench.sh",
    "state-signals run train --wait 0 --start-event epoch-start --stop-event epoch-stop -- make train",
    more="The exit code is that of CMD (128 and the signal's number, if a signal ended CMD or state-signals), or else: "
    "1 a responder failed, 2 usage, 3 a responder was missing or lost, 4 no connection, 5 aborted (whatever CMD ended "
    "with), 126 CMD cannot be executed, 127 CMD was not found.",
)


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the responders see as the process's name.")],
    command: Annotated[list[str], typer.Argument(metavar="CMD", help="The command and its arguments, after `--`.")],
    wait: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            help="How many responders to wait for; 0: nobody has to be there.  [default: 1, or who is expected]",
        ),
    ] = None,
    expect: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A responder to wait for, by its id. May be repeated.")
    ] = None,
    subscribe_timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long to wait for them; -1: for ever.")
    ] = 60,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long to wait for the answers to each signal; -1: for ever.")
    ] = 20,
    tag: Annotated[str | None, typer.Option(metavar="TEXT", help="Tag of the signals.")] = None,
    sample: Annotated[
        int, typer.Option(metavar="N", help="Number of the sample that the signals belong to; -1: none.")
    ] = -1,
    metadata: Annotated[str | None, typer.Option(metavar="JSON", help="An object to send with the signals.")] = None,
    start_event: Annotated[
        str, typer.Option(metavar="EVENT", help="What is announced before CMD runs.")
    ] = "benchmark-start",
    stop_event: Annotated[
        str, typer.Option(metavar="EVENT", help="What is announced after CMD has ended.")
    ] = "benchmark-stop",
    min_success: Annotated[
        str | None,
        typer.Option(metavar="N|P%", help="How many responders have to succeed, or which share.  [default: all]"),
    ] = None,
    stall_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="How long to wait for one that neither answers nor says that it works; -1: no limit.",
        ),
    ] = -1,
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            help="How long CMD may take to end upon SIGTERM or SIGHUP before it is killed; -1: no limit.",
        ),
    ] = 10,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Run CMD even if a responder is not there or fails.")
    ] = False,
    periodic: Annotated[
        bool, typer.Option(help="While waiting for responders, announce again every second, for those that start late.")
    ] = True,
    presence: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="A responder that shows no sign of life for so long is lost; -1: none ever is."
        ),
    ] = 15,
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

    wanted = expect or []
    try:
        program = find_program(command[0])
    except CommandNotFound as error:
        output.error(str(error))
        return error.exit_code
    identifier("NAME", name, "")
    check_texts(tag=tag, start_event=start_event, stop_event=stop_event)
    for responder_id in wanted:
        identifier("--expect", responder_id, "")
    plan = Plan(
        name=name,
        argv=command,
        program=program,
        wait=(0 if wanted else 1) if wait is None else wait,
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
