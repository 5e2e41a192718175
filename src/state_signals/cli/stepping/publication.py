"""What `publish` does: it goes on with an exporter, announces one state, and leaves the exporter to the next step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from state_signals.asyncio import SignalExporter
from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode
from state_signals.cli.options import Server
from state_signals.cli.stepping.lookup import Found, look
from state_signals.cli.stepping.steps import StepFailed, check_open, perform_step, resumed
from state_signals.cli.waiting.rounds import RoundReporter, as_object, verdict
from state_signals.cli.waiting.waits import RoundWait
from state_signals.results import PublishResult
from state_signals.transport.base import AsyncTransport

__all__ = ["Announcement", "announce"]


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """What `publish` was asked for.

    Attributes:
        publisher_id: the exporter.
        event: the state that it enters.
        sample: number of the sample that it belongs to; -1: none.
        tag: the signal's tag.
        metadata: the signal's metadata.
        timeout: seconds to wait for the answers, and before that for our turn; None: for ever.
        min_success: how many successes are enough: a count, or a share (float); None: all.
        stall_timeout: seconds without a sign of work after which a responder is missing; None: never.
        fail_fast: end the wait as soon as success is out of reach.
        waits: wait for the answers.
        progress: see `RoundReporter`.
    """

    publisher_id: str
    event: str
    sample: int
    tag: str | None
    metadata: dict[str, Any] | None
    timeout: float | None
    min_success: float | None
    stall_timeout: float | None
    fail_fast: bool
    waits: bool
    progress: bool | None


def announce(announcement: Announcement, server: Server, *, as_json: bool) -> int:
    """Do it. Return the exit code.

    Raises:
        StateSignalsError: for what the command line as a whole tells of.
    """
    name = announcement.publisher_id

    async def step(transport: AsyncTransport) -> int:
        found = await look(transport, name)
        await check_open(transport, server, found)
        _check_event(found, announcement.event)
        async with resumed(transport, server, found, announcement.timeout) as exporter:
            return await _publish(exporter, announcement, needs_nobody=found.settings.wait == 0, as_json=as_json)

    return perform_step(step, server, interrupted=f"interrupted; {name} is left to the next step")


def _check_event(found: Found, event: str) -> None:
    """Refuse an event that was not named when the run began, before we wait for our turn."""
    events = found.record.events if found.record is not None and found.record.events is not None else []
    if event not in events:
        import difflib  # noqa: PLC0415 - only for those who need it

        close = difflib.get_close_matches(event, events, n=1)
        raise StepFailed(
            f"{event} is not one of the events of {found.publisher_id}, which are: {', '.join(events)}"
            + (f"; did you mean {close[0]}?" if close else ""),
            ExitCode.USAGE,
        )


async def _publish(exporter: SignalExporter, announcement: Announcement, *, needs_nobody: bool, as_json: bool) -> int:
    reporter = RoundReporter(as_json=False, progress=announcement.progress)
    wait = RoundWait(announcement.event, exporter.subs, announcement.timeout)
    with reporter.waiting_for(wait):
        result = await exporter.publish_signal(
            announcement.event,
            announcement.sample,
            announcement.tag,
            announcement.metadata,
            announcement.timeout,
            min_success=announcement.min_success,
            stall_timeout=announcement.stall_timeout,
            fail_fast=announcement.fail_fast,
            on_outcome=wait.ended,
            wait=announcement.waits,
        )
    if as_json:
        facts = {"publisher_id": exporter.pub_id, **as_object(announcement.event, result)}
        output.print_line(output.json_line(facts))
    else:
        _report(reporter, announcement, result)
    if not announcement.waits:
        return ExitCode.OK
    if not result.reports and not result.ok and not needs_nobody:
        output.note("nobody is subscribed; with --min-success 0, nobody has to be")
    return verdict(result, needs_nobody=needs_nobody)


def _report(reporter: RoundReporter, announcement: Announcement, result: PublishResult) -> None:
    if announcement.waits:
        reporter.round(announcement.event, result)
    else:
        output.note(f"{announcement.event}: published; nobody waits for the answers")
