"""`state-signals doctor`: the connection and the server, each finding with a verdict and a remedy."""

from __future__ import annotations

from typing import Annotated

import typer

from state_signals.cli import output
from state_signals.cli.examining.privileges import Role
from state_signals.cli.exit_codes import ExitCode
from state_signals.cli.options import AsJson, ConnectTimeout, Namespace, Server, Url, epilog

__all__ = ["EPILOG", "doctor"]

EPILOG = epilog(
    "state-signals doctor",
    "state-signals doctor --url rediss://collectors:secret@bench-head:6379 --role responder",
    "state-signals doctor --json | jq -r 'select(.verdict == \"problem\").remedy'",
    more="Exit codes: 0 no problem was found, 1 one was, 2 usage, 4 no connection (the last finding says which step "
    "failed), 130 Ctrl-C, 143 SIGTERM.",
)


def doctor(
    role: Annotated[
        list[Role] | None,
        typer.Option(
            "--role",
            metavar="ROLE",
            help="What the user has to be allowed: exporter, responder or observer. May be repeated.  "
            "[default: any one of them will do]",
        ),
    ] = None,
    url: Url = None,
    namespace: Namespace = None,
    connect_timeout: ConnectTimeout = 5,
    as_json: AsJson = False,
) -> int:
    """Check connection and server, and say what to do.

    One finding after the other: ok, note, warning, problem or unknown, and
    unless it is ok, what to do. For each step on the way (look-up,
    connection, TLS, authentication) --connect-timeout holds.

    It disturbs nobody: nothing is stored, and nothing is published but on a
    channel of its own. What the user lacks is tried, and shows in the
    server's ACL LOG.
    """
    from state_signals.cli.examining.examination import Examination  # noqa: PLC0415 - help needs no redis
    from state_signals.cli.examining.findings import Verdict, counted, json_of, lines_of  # noqa: PLC0415

    examination = Examination(Server.given(url, namespace, connect_timeout), role or ())
    width = None if as_json else _width()
    found = []
    for finding in examination.findings():
        found.append(finding)
        for line in [json_of(finding)] if as_json else lines_of(finding, width):
            output.print_line(line)
    if not as_json:
        output.note(counted(found))
    if not examination.is_connected:
        return ExitCode.NO_CONNECTION
    has_problem = any(finding.verdict is Verdict.PROBLEM for finding in found)
    return ExitCode.FAILED if has_problem else ExitCode.OK


def _width() -> int | None:
    import shutil  # noqa: PLC0415
    import sys  # noqa: PLC0415

    return shutil.get_terminal_size().columns if output.is_terminal(sys.stdout) else None
