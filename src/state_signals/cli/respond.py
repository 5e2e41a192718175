"""`state-signals respond`: shell commands that act on signals."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer

from state_signals.arguments import identifier
from state_signals.cli.options import ConnectTimeout, Namespace, Server, Url, check_texts, check_wait, epilog
from state_signals.cli.responding.bindings import commands_by_event, spans
from state_signals.exceptions import InvalidArgument

__all__ = ["EPILOG", "USAGE", "respond"]

USAGE = "[OPTIONS]"

EPILOG = epilog(
    "state-signals respond --on benchmark-start='pcp start' --on benchmark-stop='pcp stop'",
    "state-signals respond --while benchmark-start..benchmark-stop 'vmstat 1 > vmstat-$SIGNAL_SAMPLE.log'",
    "state-signals respond --once --tag nightly --on benchmark-start='./collect.sh \"$SIGNAL_TAG\"'",
    "state-signals respond --id host-a-vmstat --timeout 10 --on shutdown='rm -rf /tmp/vmstat'",
    more="CMD finds SIGNAL_EVENT, SIGNAL_TAG, SIGNAL_SAMPLE, SIGNAL_PUBLISHER_ID, SIGNAL_PROCESS_NAME, "
    "SIGNAL_RUNNER_HOST, SIGNAL_ID, SIGNAL_METADATA (JSON) and, upon a shutdown, SIGNAL_ABORTED (why the run was "
    "aborted) in its environment. They come over the network: quote them, and do not give them to eval. "
    "SIGNAL_SAMPLE is a number, and fit for a file name.\n\nWith --id, a responder that has died while CMD ran and is "
    "started again gets the signal again, with SIGNAL_REDELIVERED=1.\n\n"
    "A connection that is lost is made again, and what was missed is acted on then; answers are sent then, too. An "
    "exporter that dies sends no shutdown: its collectors run until --orphan-timeout is over (--while-timeout, if it "
    "runs 1.0.1). If respond itself is killed (SIGKILL), so are its commands only if "
    "something looks after that, as systemd does.\n\n"
    "Exit codes: 0 ended by --once or SIGTERM, 2 usage, 4 no connection, 5 aborted, 130 Ctrl-C.",
)


def respond(
    on: Annotated[
        list[str] | None,
        typer.Option("--on", metavar="EVENT=CMD", help="Run CMD by the shell upon EVENT. May be repeated."),
    ] = None,
    collect: Annotated[
        list[str] | None,
        typer.Option(
            "--while",
            metavar="START..STOP CMD",
            help="Run CMD by the shell from START until STOP; also as START..STOP=CMD. May be repeated.",
        ),
    ] = None,
    words: Annotated[list[str] | None, typer.Argument(metavar="CMD", hidden=True)] = None,
    tag: Annotated[str | None, typer.Option(metavar="TEXT", help="Act on signals with this tag only.")] = None,
    publisher: Annotated[str | None, typer.Option(metavar="ID", help="Act on signals of this exporter only.")] = None,
    responder_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="The responder's id.  [default: its name and a uuid]")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="Beginning of its id.  [default: the host]")] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when the exporters that it has acted for have shut down.")
    ] = False,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long a CMD of --on may take before it is ended; -1: for ever.")
    ] = -1,
    while_timeout: Annotated[
        float,
        typer.Option(metavar="SECONDS", help="How long a CMD of --while may run before it is ended; -1: for ever."),
    ] = -1,
    orphan_timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="How long a CMD of --while goes on after its exporter has died; -1: for ever."
        ),
    ] = 300,
    grace: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", help="How long a CMD may take to end upon SIGTERM before it is killed; -1: never."
        ),
    ] = 5,
    shell: Annotated[str, typer.Option(metavar="PATH", help="What executes CMD, with -c.")] = "/bin/sh",
    url: Url = None,
    namespace: Namespace = None,
    connect_timeout: ConnectTimeout = 5,
) -> int:
    """Act on signals with shell commands.

    --on runs CMD for each signal of EVENT and answers: success if its exit
    status is 0. The message is the last line of its standard output, or of its
    standard error if it failed. Signals without a CMD are answered with
    success. EVENT may be shutdown, which nobody awaits an answer to.

    --while starts CMD on START and ends it (SIGTERM) on STOP, for each exporter
    by itself. START is answered with success if CMD runs; STOP if it ran until
    then, or had ended with exit status 0. It is ended, too, when its exporter
    shuts down. Where --on has the same event: on START its CMD comes first and
    has to succeed, on STOP it comes second.

    Goes on from run to run until Ctrl-C, SIGTERM or, with --once, until the
    exporters that it has acted for have shut down. One exporter's signals are
    acted on one after the other. A CMD that is running when it ends, or that
    exceeds its time, is ended with all that it has started.
    """
    # Help needs neither asyncio nor redis.
    from state_signals.cli.responding.collectors import Span  # noqa: PLC0415
    from state_signals.cli.responding.service import Duties, Service, serve  # noqa: PLC0415

    check_texts(tag=tag, publisher=publisher, name=name)
    if responder_id is not None:
        identifier("--id", responder_id, "")
    program = shutil.which(shell)
    if program is None:
        raise InvalidArgument(f"--shell {shell!r} is no program that can be executed")
    duties = Duties(
        commands=commands_by_event(on or ()),
        spans=[Span(*each) for each in spans(collect or (), words or ())],
        shell=program,
        timeout=check_wait("--timeout", timeout),
        span_timeout=check_wait("--while-timeout", while_timeout),
        orphan_timeout=check_wait("--orphan-timeout", orphan_timeout),
        grace=check_wait("--grace", grace),
        once=once,
        tag=tag,
        publisher=publisher,
    )
    server = Server.given(url, namespace, connect_timeout)
    return serve(Service(server, duties, name=name, responder_id=responder_id))
