"""What the steps of a run have in common that are processes of their own: who may take one, and how it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from state_signals.asyncio import SignalExporter
from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode, by_signal
from state_signals.cli.options import Server
from state_signals.cli.session import Interrupted, Interrupts, connected, log_to_stderr
from state_signals.cli.stepping.lookup import Found, Stage, close_to, live_exporters, look, owner_name
from state_signals.exceptions import PublisherIdInUse, RunAborted, StateSignalsError, UnknownExporter
from state_signals.identity import fate
from state_signals.transport.base import AsyncTransport
from state_signals.transport.connect import async_transport

__all__ = ["StepFailed", "check_open", "left_behind", "perform_step", "resumed"]

_LOOK_EVERY = 0.1
"""Seconds between two looks whether the process that has the exporter has left it."""

_LEAST = 5.0
"""Seconds that taking over may take, at the least, once nobody has the exporter."""

Step = Callable[[AsyncTransport], Coroutine[Any, Any, int]]


class StepFailed(Exception):
    """A step cannot be taken.

    Attributes:
        code: the exit code.
    """

    def __init__(self, message: str, code: ExitCode) -> None:
        super().__init__(message)
        self.code = code


def perform_step(step: Step, server: Server, *, interrupted: str = "") -> int:
    """Connect, take a step, and return the exit code.

    Args:
        step: does it.
        server: where.
        interrupted: what to say if a signal of the operating system ends it.

    Raises:
        StateSignalsError: for what the command line as a whole tells of.
    """
    # Rounds and late answers are reported by the steps themselves.
    log_to_stderr(without=("_log_result", "_warn"))
    return asyncio.run(_perform(step, server, interrupted))


async def _perform(step: Step, server: Server, interrupted: str) -> int:
    transport = async_transport(url=server.url, host="", port=0, namespace=server.namespace)

    async def work() -> int:
        try:
            await connected(transport.connect, server)
            return await step(transport)
        finally:
            await transport.close()

    with Interrupts() as interrupts:
        try:
            return await interrupts.cancelling(work())
        except Interrupted:
            if interrupted:
                output.note(interrupted)
            return by_signal(interrupts.first or 0)
        except StepFailed as failed:
            output.error(str(failed))
            return failed.code
        except RunAborted as aborted:
            output.error(_aborted(aborted.reason))
            return ExitCode.ABORTED
        except BrokenPipeError:
            # Nobody reads what is printed. To typer, that would be a failure.
            output.discard_stdout()
            return ExitCode.OK


async def check_open(transport: AsyncTransport, server: Server, found: Found) -> None:
    """Refuse an exporter whose roster is not open.

    Raises:
        StepFailed: with the reason.
        TransportError: if the server cannot be asked.
    """
    name = found.publisher_id
    if found.stage is Stage.ABORTED:
        raise StepFailed(_aborted(found.aborted or ""), ExitCode.ABORTED)
    if found.stage is Stage.ENDED:
        raise StepFailed(f"{name} has shut down: its run is over; begin another one with init", ExitCode.USAGE)
    if found.stage is Stage.CREATED:
        raise StepFailed(f"{name} is not initialized: nobody can subscribe to it", ExitCode.USAGE)
    if found.stage is Stage.UNKNOWN:
        raise StepFailed(await _unknown(transport, server, name), ExitCode.USAGE)


@asynccontextmanager
async def resumed(
    transport: AsyncTransport, server: Server, found: Found, timeout: float | None
) -> AsyncIterator[SignalExporter]:
    """Go on with an exporter as soon as no other process has it. In the end it is left to the next step.

    Args:
        transport: where to look who has it.
        server: where it is.
        found: what is known about it.
        timeout: seconds to wait for another process to leave it; None: for ever.

    Raises:
        StepFailed: if that takes too long, or there is nothing to go on with.
        RunAborted: if it is aborted.
        TransportError: if the server cannot be used.
    """
    exporter = await _resume(transport, server, found, timeout)
    try:
        yield exporter
    finally:
        await left_behind(exporter)


async def left_behind(exporter: SignalExporter) -> None:
    """Leave an exporter to the next step, or close it if there cannot be one."""
    try:
        await exporter.detach()
    except StateSignalsError:
        # It has shut down, was aborted, or is another one's.
        await exporter.close()


async def _resume(transport: AsyncTransport, server: Server, found: Found, timeout: float | None) -> SignalExporter:
    deadline = float("inf") if timeout is None else time.monotonic() + timeout
    is_told = False
    while True:
        await check_open(transport, server, found)
        # None: it is out of sight, on another host; it has the exporter until it leaves it, or its claim expires.
        its_fate = False if found.owner is None else fate(found.owner)
        if its_fate is not False and not is_told:
            is_told = True
            until = "" if timeout is None else f", {timeout:g} s at the most"
            output.note(f"{found.publisher_id} is in use by {owner_name(found.owner)}; waiting for our turn{until}")
        if its_fate is not True:
            least = _LEAST if its_fate is False else 0.0
            try:
                async with asyncio.timeout(None if timeout is None else max(deadline - time.monotonic(), least)):
                    return await _resume_once(server, found)
            except (PublisherIdInUse, UnknownExporter):
                # Another one was faster, to take it over or to end it, or lives: there may be time to ask again.
                await check_open(transport, server, await look(transport, found.publisher_id))
                if time.monotonic() >= deadline:
                    raise _is_in_use(found, timeout) from None
            except TimeoutError:
                raise _is_in_use(found, timeout) from None
        elif time.monotonic() >= deadline:
            raise _is_in_use(found, timeout)
        else:
            await asyncio.sleep(_LOOK_EVERY)
        found = await look(transport, found.publisher_id)


async def _resume_once(server: Server, found: Found) -> SignalExporter:
    return await SignalExporter.resume(
        found.publisher_id,
        url=server.url,
        namespace=server.namespace,
        conn_timeout=1,
        presence_ttl=found.settings.presence,
        retention=found.settings.retention,
    )


def _is_in_use(found: Found, timeout: float | None) -> StepFailed:
    waited = "" if timeout is None else f", and did not leave it within {timeout:g} s"
    return StepFailed(
        f"{found.publisher_id} is in use by {owner_name(found.owner)}{waited}; wait longer with --timeout, or end it "
        f"with 'state-signals abort {found.publisher_id}'",
        ExitCode.MISSING,
    )


async def _unknown(transport: AsyncTransport, server: Server, publisher_id: str) -> str:
    live = await live_exporters(transport)
    close = close_to(publisher_id, live)
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif live:
        hint = f"there are others: {', '.join(live[:3])}{f' and {len(live) - 3} more' if len(live) > 3 else ''}"
    else:
        hint = "there is no other one either; check --url and --namespace"
    where = "without a namespace" if server.namespace is None else f"in the namespace {server.namespace}"
    return (
        f"there is no exporter {publisher_id} at {transport.address} {where}: it was never initialized, or the server "
        f"has forgotten it; {hint}"
    )


def _aborted(reason: str) -> str:
    return f"aborted: {reason}"
