"""`state-signals respond`: shell commands that act on signals."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Annotated

import typer

from state_signals.arguments import check_name, identifier
from state_signals.cli.options import ConnectTimeout, Namespace, Server, Url, check_texts, check_wait, epilog
from state_signals.exceptions import InvalidArgument

__all__ = ["EPILOG", "respond"]

EPILOG = epilog(
    "state-signals respond --on benchmark-start='pcp start' --on benchmark-stop='pcp stop'",
    "state-signals respond --once --tag nightly --on benchmark-start='./collect.sh \"$SIGNAL_TAG\"'",
    "state-signals respond --id host-a-vmstat --timeout 10 --on shutdown='rm -rf /tmp/vmstat'",
    more="CMD finds SIGNAL_EVENT, SIGNAL_TAG, SIGNAL_SAMPLE, SIGNAL_PUBLISHER_ID, SIGNAL_PROCESS_NAME, "
    "SIGNAL_RUNNER_HOST, SIGNAL_ID and SIGNAL_METADATA (JSON) in its environment. They come over the network: quote "
    "them, and do not give them to eval. With --id, a responder that has died while CMD ran and is started again gets "
    "the signal again, with SIGNAL_REDELIVERED=1.\n\n"
    "A connection that is lost is made again, and what was missed is acted on then; answers are sent then, too.\n\n"
    "Exit codes: 0 ended by --once or SIGTERM, 2 usage, 4 no connection, 5 aborted, 130 Ctrl-C.",
)


def respond(
    on: Annotated[
        list[str] | None,
        typer.Option("--on", metavar="EVENT=CMD", help="Run CMD by the shell upon EVENT. May be repeated."),
    ] = None,
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
        float, typer.Option(metavar="SECONDS", help="How long a CMD may take before it is ended; -1: for ever.")
    ] = -1,
    shell: Annotated[str, typer.Option(metavar="PATH", help="What executes CMD, with -c.")] = "/bin/sh",
    url: Url = None,
    namespace: Namespace = None,
    connect_timeout: ConnectTimeout = 5,
) -> int:
    """Act on signals with shell commands.

    Runs CMD for each signal of EVENT and answers: success if its exit status
    is 0. The message is the last line of its standard output, or of its
    standard error if it failed. Signals without a CMD are answered with
    success. EVENT may be shutdown, which nobody awaits an answer to.

    Goes on from run to run until Ctrl-C, SIGTERM or, with --once, until the
    exporters that it has acted for have shut down. One exporter's signals are
    acted on one after the other. A CMD that is running when it ends, or that
    exceeds --timeout, is ended with all that it has started.
    """
    from state_signals.cli.service import Service, serve  # noqa: PLC0415 - help needs neither asyncio nor redis

    check_texts(tag=tag, publisher=publisher, name=name)
    if responder_id is not None:
        identifier("--id", responder_id, "")
    program = shutil.which(shell)
    if program is None:
        raise InvalidArgument(f"--shell {shell!r} is no program that can be executed")
    commands = _commands(on or ())
    limit = check_wait("--timeout", timeout)
    server = Server.given(url, namespace, connect_timeout)
    return serve(
        Service(
            server,
            commands,
            shell=program,
            timeout=limit,
            once=once,
            name=name,
            responder_id=responder_id,
            tag=tag,
            publisher=publisher,
        )
    )


def _commands(given: Iterable[str]) -> dict[str, str]:
    """Return the command of each event."""
    commands: dict[str, str] = {}
    for text in given:
        event, equals, command = text.partition("=")
        if not event or not equals or not command.strip():
            raise InvalidArgument(f"--on takes EVENT=CMD, as in --on benchmark-start='pcp start', not {text!r:.200}")
        check_name("--on", event)
        if event == "initialization":
            raise InvalidArgument(
                "--on cannot act on 'initialization': answering it is how a responder subscribes; "
                "act on the first event of the run instead"
            )
        if event in commands:
            raise InvalidArgument(f"--on is given twice for {event!r}; let one CMD do both, as in 'first && second'")
        commands[event] = command
    return commands
