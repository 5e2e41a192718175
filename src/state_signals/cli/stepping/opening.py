"""What `init` does: it opens a roster, waits for the responders, and leaves the run to the steps that follow."""

from __future__ import annotations

from dataclasses import dataclass

from state_signals.asyncio import SignalExporter
from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode
from state_signals.cli.options import Server
from state_signals.cli.session import connected
from state_signals.cli.stepping.lookup import RunSettings, Stage, keep, look, owner_name
from state_signals.cli.stepping.steps import StepFailed, left_behind, perform_step
from state_signals.cli.waiting.rounds import RoundReporter
from state_signals.cli.waiting.waits import SubscriptionWait
from state_signals.identity import fate
from state_signals.transport.base import AsyncTransport

__all__ = ["Opening", "open_roster"]


@dataclass(frozen=True, kw_only=True)
class Opening:
    """What `init` was asked for.

    Attributes:
        name: the exporter's process name.
        events: the events that may be published.
        expect: ids of responders to wait for.
        timeout: seconds to wait for responders; None: for ever.
        tag: tag of the announcement.
        publisher_id: the exporter's identifier; None: the name and a uuid.
        settings: what the steps that follow need to know.
        periodic: announce again while waiting.
        keep_going: go on if not enough subscribe.
        progress: see `RoundReporter`.
    """

    name: str
    events: list[str]
    expect: list[str]
    timeout: float | None
    tag: str | None
    publisher_id: str | None
    settings: RunSettings
    periodic: bool
    keep_going: bool
    progress: bool | None


def open_roster(opening: Opening, server: Server, *, as_json: bool) -> int:
    """Do it. Return the exit code.

    Raises:
        StateSignalsError: for what the command line as a whole tells of.
    """

    async def step(transport: AsyncTransport) -> int:
        if opening.publisher_id is not None:
            await _check_free(transport, opening.publisher_id)
        exporter = SignalExporter(
            opening.name,
            url=server.url,
            namespace=server.namespace,
            publisher_id=opening.publisher_id,
            # One attempt to connect at a time: connected() repeats them.
            conn_timeout=1,
            presence_ttl=opening.settings.presence,
            retention=opening.settings.retention,
        )
        try:
            await connected(exporter.connect, server)
            await _gather(exporter, opening, as_json=as_json)
            await keep(transport, exporter.pub_id, opening.settings)
            _print(exporter, as_json=as_json)
            await left_behind(exporter)
        finally:
            # Unless it was left behind, the responders are told that it is over.
            await exporter.close()
        return ExitCode.OK

    return perform_step(step, server, interrupted="interrupted; the run is given up")


async def _check_free(transport: AsyncTransport, publisher_id: str) -> None:
    """Refuse an id that another run has."""
    found = await look(transport, publisher_id)
    if found.stage is Stage.OPEN:
        raise StepFailed(
            f"{publisher_id} is initialized already; 'state-signals shutdown {publisher_id}' ends that run, "
            f"'state-signals abort {publisher_id}' does so at once",
            ExitCode.USAGE,
        )
    if found.owner is not None and fate(found.owner) is not False:
        raise StepFailed(f"{publisher_id} is in use by {owner_name(found.owner)}; choose another --id", ExitCode.USAGE)


async def _gather(exporter: SignalExporter, opening: Opening, *, as_json: bool) -> None:
    """Open the roster, and wait for those that were asked for.

    Raises:
        StepFailed: if they do not come, and are needed.
    """
    reporter = RoundReporter(as_json=False, progress=opening.progress)
    wait = SubscriptionWait(exporter, opening.settings.wait, opening.timeout)
    with reporter.waiting_for(wait):
        code = await exporter.initialize_and_wait(
            opening.settings.wait, opening.events, opening.tag, opening.expect, opening.timeout, opening.periodic
        )
    if code == 0 and not as_json:
        reporter.subscribed(wait.present, wait.absent, is_enough=True)
    if code != 0 and not opening.keep_going:
        raise StepFailed(wait.shortage(), ExitCode.MISSING)
    if code != 0:
        output.note(f"going on all the same: {wait.shortage()}")


def _print(exporter: SignalExporter, *, as_json: bool) -> None:
    if not as_json:
        output.print_line(exporter.pub_id)
        return
    output.print_line(
        output.json_line(
            {
                "publisher_id": exporter.pub_id,
                "subscribed": sorted(exporter.subs - exporter.absent),
                "absent": sorted(exporter.absent),
                "events": exporter.legal_events,
            }
        )
    )
