"""`state-signals demo`: the whole thing with real processes and a real workload."""

from __future__ import annotations

import importlib.util
import logging
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, NoReturn

from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode
from state_signals.cli.options import AsJson, Namespace, Server, Url, epilog
from state_signals.exceptions import EmbeddedServerError

if TYPE_CHECKING:
    from rich.console import Console

    from state_signals.demo.scenario import Account

__all__ = ["EPILOG", "demo"]

EPILOG = epilog(
    "state-signals demo",
    "state-signals demo --url redis://bench-head:6379",
    "state-signals demo --json | jq '.responders | map_values(.outcome)'",
    more="Exit code: 0 all went as expected (the failure on purpose included), 1 something else failed or succeeded, "
    "3 a collector was missing or lost, 4 no connection or no server, 130 after Ctrl-C.",
)


def demo(
    url: Url = None,
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
    from state_signals.demo.scenario import DEMO  # noqa: PLC0415

    console = _console()
    try:
        if as_json:
            account = perform(DEMO, JsonLines(DEMO, _print_json), url=url, namespace=namespace)
        else:
            with Live(console, output.escaped) as live:
                account = perform(DEMO, live, url=url, namespace=namespace)
    except Interrupted as interrupted:
        output.note("interrupted; everything that was started has ended")
        return interrupted.exit_code
    except EmbeddedServerError as error:
        output.error(str(error))
        return ExitCode.NO_CONNECTION
    return 0
