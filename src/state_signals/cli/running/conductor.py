"""What `run` does, step by step, and which exit code comes of it."""

from __future__ import annotations

import asyncio
import os
import signal as process_signals
import time
from dataclasses import dataclass
from typing import Any

from state_signals.asyncio import SignalExporter
from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode, by_signal
from state_signals.cli.options import Server
from state_signals.cli.running.child import Child
from state_signals.cli.running.programs import CommandNotFound
from state_signals.cli.session import Interrupted, Interrupts, connected, log_to_stderr
from state_signals.cli.waiting.rounds import RoundReporter, listed
from state_signals.cli.waiting.waits import RoundWait, SubscriptionWait
from state_signals.codec import encode_signal
from state_signals.exceptions import (
    IllegalEvent,
    InvalidArgument,
    InvalidType,
    ServerUnreachable,
    StateSignalsError,
    TransportError,
)
from state_signals.messages import NO_TAG, RESERVED_EVENTS, Envelope, Signal
from state_signals.results import Outcome, PublishResult, ResultCodes

__all__ = ["Plan", "conduct"]

_SHUTDOWN = 20.0
"""Seconds that a lost server has to come back, so that the responders hear of the end."""

_SHUTDOWN_AFTER_INTERRUPT = 2.0
"""The same, once somebody wants it to end."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `run` was asked for.

    Attributes:
        name: the exporter's process name.
        argv: the command.
        program: path of what is executed.
        wait: how many responders to wait for.
        expect: ids of responders to wait for.
        subscribe_timeout: seconds to wait for them; None: for ever.
        timeout: seconds to wait for the answers to one signal; None: for ever.
        tag: tag of the signals.
        sample: sample number of the signals.
        metadata: metadata of the signals.
        start_event: what is announced before the command runs.
        stop_event: what is announced after it has ended.
        keep_going: run the command even if a responder is not there or fails.
        periodic: announce again while waiting for responders.
        min_success: how many successes make a round one: a count, or a share (float); None: all.
        stall_timeout: seconds without an answer or a sign of work after which a responder is missing; None: never.
        grace: seconds that the command has to end after SIGTERM or SIGHUP, before it is killed; None: for ever.
        presence: seconds without a sign of life after which a responder is lost; None: never.
        passes_url: the server's URL for the command's environment; None: leave that alone.
    """

    name: str
    argv: list[str]
    program: str
    wait: int
    expect: list[str]
    subscribe_timeout: float | None
    timeout: float | None
    tag: str | None
    sample: int
    metadata: dict[str, Any] | None
    start_event: str
    stop_event: str
    keep_going: bool
    periodic: bool
    min_success: float | None
    stall_timeout: float | None
    grace: float | None
    presence: float | None
    passes_url: str | None


def conduct(plan: Plan, server: Server, *, as_json: bool) -> int:
    """Do what the plan says. Return the exit code.

    Raises:
        InvalidArgument, InvalidType: for a plan that cannot work; nothing was announced.
    """
    # Rounds and late answers are reported here; the library need not warn of them as well.
    log_to_stderr(without=("_log_result", "_warn"))
    return asyncio.run(_Conductor(plan, server, RoundReporter(as_json=as_json)).run())


class _Conductor:
    def __init__(self, plan: Plan, server: Server, reporter: RoundReporter) -> None:
        self._plan = plan
        self._server = server
        self._reporter = reporter
        self._interrupts = Interrupts(process_signals.SIGQUIT)
        self._signalling = ExitCode.OK
        self._command = 0
        self._child: Child | None = None
        self._exporter: SignalExporter

    async def run(self) -> int:
        """Do it all. Return the exit code.

        That is the signal's that ended it, or aborted, or the failed command's, or signalling's own.
        """
        plan, server = self._plan, self._server
        # One attempt to connect at a time: connected() repeats them.
        self._exporter = SignalExporter(
            plan.name,
            conn_timeout=1,
            url=server.url,
            namespace=server.namespace,
            presence_ttl=plan.presence,
            on_abort=self._end_command,
        )
        self._pass_on_messages()
        with self._interrupts:
            try:
                self._check()
                await self._conduct()
            except Interrupted:
                pass
            except TransportError as error:
                output.error(str(error))
                self._signalling = ExitCode.NO_CONNECTION
            except (InvalidArgument, InvalidType):
                raise
            except StateSignalsError as error:
                # Somebody has aborted the run, or taken it over: the command's own exit code says nothing then.
                output.error(str(error))
                self._signalling = ExitCode.ABORTED
            finally:
                await self._exporter.close()
        if self._interrupts.first is not None:
            return by_signal(self._interrupts.first)
        if self._signalling is ExitCode.ABORTED:
            return self._signalling
        return self._command or self._signalling

    def _end_command(self, reason: str) -> None:
        """End the command, for somebody has aborted the run; whatever is done with the exporter then says so, too."""
        if self._child is not None:
            output.note(f"the run is aborted ({output.shortened(reason, 200)}); the command is ended")
            self._child.told(process_signals.SIGTERM)

    def _pass_on_messages(self) -> None:
        """Have the command get what is meant for it (`kill -USR1`), which would end us before the stop is announced."""
        for number in (process_signals.SIGUSR1, process_signals.SIGUSR2):
            if process_signals.getsignal(number) is not process_signals.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, self._inform, number)

    def _inform(self, number: int) -> None:
        if self._child is not None:
            self._child.inform(number)

    def _check(self) -> None:
        """Refuse whatever could not be sent later, before anything is."""
        plan = self._plan
        for event in (plan.start_event, plan.stop_event):
            if not event or event in RESERVED_EVENTS:
                raise IllegalEvent(f"the event {event!r} is reserved; choose another name")
            signal = Signal(
                self._exporter.pub_id,
                plan.name,
                event,
                self._exporter.runner_host,
                plan.sample,
                NO_TAG if plan.tag is None else plan.tag,
                plan.metadata,
            )
            encode_signal(signal, Envelope(id="0" * 32, seq=1, sent=time.time()))

    async def _conduct(self) -> None:
        await self._interrupts.cancelling(connected(self._exporter.connect, self._server))
        try:
            if await self._gather() or self._plan.keep_going:
                await self._around_command()
        except Interrupted:
            output.note("interrupted; telling the responders")
        if self._exporter.legal_events is not None:
            await self._interrupts.cancelling(self._shut_down())

    async def _gather(self) -> bool:
        """Open the roster, and wait for those that were asked for."""
        plan, exporter = self._plan, self._exporter
        wait = SubscriptionWait(exporter, plan.wait, plan.subscribe_timeout)
        with self._reporter.waiting_for(wait):
            code = await self._interrupts.cancelling(
                exporter.initialize_and_wait(
                    plan.wait,
                    [plan.start_event, plan.stop_event],
                    plan.tag,
                    plan.expect,
                    plan.subscribe_timeout,
                    plan.periodic,
                )
            )
        self._reporter.subscribed(wait.present, wait.absent, is_enough=not code)
        if code:
            self._signalling = ExitCode.MISSING
            output.error(wait.shortage())
        return not code

    async def _around_command(self) -> None:
        """Announce the start, run the command if that went well, and announce the stop in any case."""
        try:
            if await self._round(self._plan.start_event) or self._plan.keep_going:
                await self._run_command()
            else:
                output.error(f"{self._plan.start_event} did not succeed everywhere, so the command does not run")
        except Interrupted:
            pass
        if self._interrupts.first is not None:
            output.note(f"interrupted; announcing {self._plan.stop_event} (Ctrl-C ends the wait for that)")
        await self._round(self._plan.stop_event)

    async def _round(self, event: str) -> bool:
        plan = self._plan
        wait = RoundWait(event, self._exporter.subs, plan.timeout)
        with self._reporter.waiting_for(wait):
            result = await self._interrupts.cancelling(
                self._exporter.publish_signal(
                    event,
                    plan.sample,
                    plan.tag,
                    plan.metadata,
                    plan.timeout,
                    min_success=plan.min_success,
                    stall_timeout=plan.stall_timeout,
                    on_outcome=wait.ended,
                )
            )
        self._reporter.round(event, result)
        self._reporter.late(self._exporter.counters.get("late", 0))
        verdict = self._verdict(event, result)
        self._signalling = max(self._signalling, verdict)
        return verdict is ExitCode.OK

    def _verdict(self, event: str, result: PublishResult) -> ExitCode:
        plan = self._plan
        if plan.min_success is None:
            # Whoever leaves in good order fails no round; but who was asked for has to stay to the end.
            there = {name for name, report in result.reports.items() if report.outcome is not Outcome.LEFT}
            gone = set(plan.expect) - there
            if gone or len(there) < plan.wait:
                if self._signalling is not ExitCode.MISSING:
                    names = listed(gone) or f"{plan.wait - len(there)} more"
                    output.error(f"{event}: not everybody is there any more who was asked for; missing: {names}")
                return ExitCode.MISSING
            if not result.reports:
                return ExitCode.OK
        if result.ok:
            return ExitCode.OK
        return ExitCode.FAILED if result.code is ResultCodes.SUB_FAILED else ExitCode.MISSING

    async def _shut_down(self) -> None:
        """Tell the responders that it is over, as soon as the server can be reached."""
        patience = _SHUTDOWN if self._interrupts.first is None else _SHUTDOWN_AFTER_INTERRUPT
        deadline = time.monotonic() + patience
        while True:
            try:
                # An attempt takes a second.
                await self._exporter.shutdown(self._plan.tag)
            except ServerUnreachable:
                if time.monotonic() > deadline:
                    raise
            else:
                return

    async def _run_command(self) -> None:
        if self._exporter.aborted is not None:
            # Since the start; the next step says so.
            return
        # While the outcomes were printed, there was no command yet that the terminal could have told of a Ctrl-C.
        await self._interrupts.settled()
        environment = {**os.environ, "STATE_SIGNALS_PUBLISHER_ID": self._exporter.pub_id}
        if self._plan.passes_url is not None:
            environment["STATE_SIGNALS_URL"] = self._plan.passes_url
        self._child = child = Child(self._plan.argv, self._plan.program, environment, self._plan.grace)
        try:
            self._command = await self._interrupts.told_to(child.told, child.run())
        except CommandNotFound as error:
            output.error(str(error))
            self._command = error.exit_code
        finally:
            self._child = None
