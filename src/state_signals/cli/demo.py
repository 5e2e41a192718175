"""`state-signals demo`: the whole thing with real processes and a real workload."""

from __future__ import annotations

import importlib.util
import logging
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode
from state_signals.cli.options import URL_FORMS, AsJson, Namespace, Server, epilog
from state_signals.exceptions import EmbeddedServerError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["EPILOG", "demo"]

EPILOG = epilog(
    "state-signals demo",
    "state-signals demo --url redis://bench-head:6379",
    "state-signals demo --json | jq '.responders | map_values(.outcome)'",
    more="Exit codes: 0 all went as expected (the failure on purpose included), 1 something else failed or succeeded, "
    "3 a collector was missing or lost, 4 no connection or no server, 130 Ctrl-C, 143 SIGTERM.",
)


def demo(
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            envvar="STATE_SIGNALS_URL",
            metavar="URL",
            help=f"The server: {URL_FORMS}  [default: one that is started for this run]",
        ),
    ] = None,
    namespace: Namespace = None,
    as_json: AsJson = False,
) -> int:
    """See the whole thing work, in under 20 seconds.

    Starts collectors as processes of their own, which measure this machine,
    and a workload for processors and disk between the signals benchmark-start
    and benchmark-stop, three times. One collector is slow and one fails once,
    on purpose. Then shows who did what, and whether that was as expected.

    Without --url it starts a server of its own. On the server of --url it
    keeps to a namespace of its own, unless there is a --namespace. Nothing is
    left behind.
    """
    if importlib.util.find_spec("psutil") is None:
        output.error("the demo measures this machine with psutil, which is not here: pip install 'state-signals[demo]'")
        return ExitCode.USAGE
    if url:
        # Checked before anything is started.
        Server.given(url, namespace, 1.0)
    # What the library would warn of is what the demo is about to show.
    logging.getLogger("state_signals").setLevel(logging.CRITICAL)
    return _perform(url or None, namespace or None, as_json=as_json)


def _perform(url: str | None, namespace: str | None, *, as_json: bool) -> int:
    from state_signals.demo.conductor import perform  # noqa: PLC0415 - help needs none of this
    from state_signals.demo.interruption import Interrupted  # noqa: PLC0415
    from state_signals.demo.live import JsonLines, Live  # noqa: PLC0415
    from state_signals.demo.report import print_report  # noqa: PLC0415
    from state_signals.demo.scenario import DEMO  # noqa: PLC0415

    try:
        if as_json:
            account = perform(DEMO, JsonLines(DEMO, _print_json), url=url, namespace=namespace)
            deviations = DEMO.deviations(account)
            for deviation in deviations:
                output.note(str(deviation))
        else:
            console = _console()
            with Live(console, output.escaped) as live:
                account = perform(DEMO, live, url=url, namespace=namespace)
            deviations = DEMO.deviations(account)
            print_report(console, DEMO, account, deviations, output.escaped)
    except Interrupted as interrupted:
        output.note("interrupted; all that was started has been ended")
        return interrupted.exit_code
    except EmbeddedServerError as error:
        output.error(f"{error}. Or give the --url of a server")
        return ExitCode.NO_CONNECTION
    return DEMO.exit_code(deviations)


def _print_json(value: dict[str, Any]) -> None:
    output.print_line(output.json_line(value))


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415

    class Terminal(Console):
        def on_broken_pipe(self) -> None:
            # The command line knows what to do then; rich would end the program as if something had failed.
            raise BrokenPipeError

    is_terminal = output.is_terminal(sys.stdout)
    return Terminal(
        force_terminal=is_terminal,
        no_color=not output.is_coloured(sys.stdout),
        markup=False,
        highlight=False,
        emoji=False,
        soft_wrap=False,
    )
