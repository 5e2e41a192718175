"""`state-signals bench`: how long a round takes on the user's own server."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode
from state_signals.cli.options import AsJson, ConnectTimeout, Namespace, Server, Url, epilog

__all__ = ["EPILOG", "bench"]

EPILOG = epilog(
    "state-signals bench",
    "state-signals bench --responders 100 --rounds 1000 --url redis://bench-head:6379",
    "state-signals bench --json | jq .round.p99",
    more="Exit codes: 0 every round was fine, 1 a responder failed, 2 usage, 3 a responder was missing or lost, "
    "4 no connection, 130 Ctrl-C, 143 SIGTERM.",
)

_MOST_PROCESSES = 4

_MOST_UNAWAITED = 1000

_REDRAWN_EVERY = 0.2
"""Seconds between two looks that progress has."""


def bench(
    responders: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="How many take part, each with connections of its own.")
    ] = 10,
    rounds: Annotated[int, typer.Option(metavar="N", min=1, max=10_000_000, help="How many rounds to measure.")] = 200,
    processes: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=256,
            help="How many processes of this machine the responders are spread over; 0: none but this one.  "
            f"[default: its processors, at most {_MOST_PROCESSES}]",
        ),
    ] = None,
    url: Url = None,
    namespace: Namespace = None,
    connect_timeout: ConnectTimeout = 5,
    as_json: AsJson = False,
) -> int:
    """Measure rounds on the server.

    A round is one signal, and the answers of all responders to it. Beside it
    is shown how long a PING takes on the same way: a round costs at least two
    of these. Then signals are published that nobody waits for.

    All of it takes place in a namespace of its own, bench-..., which is
    deleted in the end: other runs on the server hear nothing of it, and only
    share its time. The user has to be allowed that namespace, which users
    with the rules of `state-signals acl` are not.
    """
    from state_signals.cli.benching.benchmark import (  # noqa: PLC0415 - help needs neither asyncio nor redis
        Benchmark,
        Missing,
        Stopped,
        measure,
    )
    from state_signals.cli.benching.plan import Plan  # noqa: PLC0415

    if processes is None:
        processes = min(_MOST_PROCESSES, os.cpu_count() or 1)
    plan = Plan(
        responders=responders,
        rounds=rounds,
        processes=min(processes, responders),
        unawaited=min(_MOST_UNAWAITED, max(100, rounds * 5)),
    )
    server = Server.given(url, namespace, connect_timeout)
    try:
        with _progress(rounds) as progress:
            benchmark = Benchmark(server, plan, progress)
            measure(benchmark)
    except Stopped as stopped:
        output.note(str(stopped))
        return stopped.exit_code
    except Missing as error:
        output.error(str(error))
        return ExitCode.MISSING
    account = benchmark.account
    lines = [output.json_line(account.as_object(plan, benchmark.where))] if as_json else account.lines(plan)
    for line in lines:
        output.print_line(line)
    if account.missing:
        return ExitCode.MISSING
    return ExitCode.FAILED if account.failed else ExitCode.OK


@contextmanager
def _progress(rounds: int) -> Iterator[Callable[[int], object]]:
    """Yield what shows how many rounds are done, to who looks on."""
    import sys  # noqa: PLC0415

    if not output.is_terminal(sys.stderr):
        yield lambda _: None
        return
    import time  # noqa: PLC0415

    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    console = Console(stderr=True, no_color=not output.is_coloured(sys.stderr))
    # Drawn between two rounds, not by a thread that takes time from what is measured.
    with Progress(
        console=console, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    ) as shown:
        task = shown.add_task("rounds", total=rounds)
        due = 0.0

        def show(done: int) -> None:
            nonlocal due
            if time.monotonic() >= due:
                due = time.monotonic() + _REDRAWN_EVERY
                shown.update(task, completed=done, refresh=True)

        yield show
