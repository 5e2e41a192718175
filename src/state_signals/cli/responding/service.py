"""What `respond` does: each exporter's signals one after the other, different exporters' side by side."""

from __future__ import annotations

import asyncio
import signal as process_signals
from collections import OrderedDict, deque
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from state_signals.asyncio import SignalResponder
from state_signals.cli import output
from state_signals.cli.exit_codes import ExitCode, by_signal
from state_signals.cli.options import Server
from state_signals.cli.responding.actions import Action, Shell
from state_signals.cli.responding.collectors import Collectors, Span
from state_signals.cli.responding.endings import WAS_ENDED, Answer, combined
from state_signals.cli.responding.vigil import keep_vigil
from state_signals.cli.session import Interrupted, Interrupts, connected, log_to_stderr
from state_signals.exceptions import StateSignalsError
from state_signals.messages import INITIALIZATION, SHUTDOWN, Signal

__all__ = ["Duties", "Service", "serve"]

_AT_ONCE = 16
"""Commands that run at the same time: the wire does not decide how many processes there are."""

_WAITING = 1_000
"""Signals that are taken from the server before they can be acted on."""

_PROGRESS_EVERY = 1.0
"""Seconds between two looks at whether a command has written something, which the exporter is told then."""

_REMEMBERED = 1_000
"""Exporters whose subscription is noted once, not upon each announcement."""


def serve(service: Service) -> int:
    """Run a service to its end. Return the exit code.

    Raises:
        InvalidArgument, InvalidType: for a service that cannot work.
        TransportError: without a connection at the beginning, or if the server refuses an answer.
    """
    log_to_stderr()
    return asyncio.run(service.run())


@dataclass(frozen=True, kw_only=True)
class Duties:
    """What to do, and for whom.

    Attributes:
        commands: by event.
        spans: commands that run from one event to another one.
        shell: path of what executes them.
        timeout: seconds that a command of `commands` may take; None: for ever.
        span_timeout: seconds that a command of `spans` may run; None: for ever.
        orphan_timeout: seconds that a command of `spans` goes on after its exporter has died; None: for ever.
        grace: seconds from SIGTERM to SIGKILL; None: for ever.
        once: end when the exporters that were acted for have shut down.
        tag: the only tag to act on.
        publisher: the only exporter to act for.
    """

    commands: Mapping[str, str]
    spans: Sequence[Span] = ()
    shell: str = "/bin/sh"
    timeout: float | None = None
    span_timeout: float | None = None
    orphan_timeout: float | None = 300.0
    grace: float | None = 5.0
    once: bool = False
    tag: str | None = None
    publisher: str | None = None


class Service:
    """One responder whose actions are shell commands.

    Args:
        server: where signals come from.
        duties: what to do.
        name: beginning of the responder's id.
        responder_id: the whole of it.
    """

    def __init__(self, server: Server, duties: Duties, *, name: str | None, responder_id: str | None) -> None:
        self._server = server
        self._duties = duties
        self._identity = (name, responder_id)
        self._shell = Shell.of(duties.shell, duties.grace)
        self._collectors = Collectors(duties.spans, self._shell, duties.span_timeout)
        self._responder: SignalResponder
        self._queues: dict[str, deque[Signal]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._actions: set[Action] = set()
        self._followed: set[str] = set()
        self._subscribed: OrderedDict[str, None] = OrderedDict()
        self._is_stopping = False
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._waiting = asyncio.Semaphore(_WAITING)

    async def run(self) -> int:
        """Serve until the end. Return the exit code."""
        name, responder_id = self._identity
        self._responder = responder = SignalResponder(
            responder_name=name,
            # One attempt to connect at a time: connected() repeats them.
            conn_timeout=1,
            url=self._server.url,
            namespace=self._server.namespace,
            responder_id=responder_id,
        )
        if self._duties.publisher is not None:
            responder.lock_id(self._duties.publisher)
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with Interrupts(process_signals.SIGQUIT) as interrupts:
            try:
                await interrupts.cancelling(connected(responder.connect, self._server))
                output.note(f"responder {responder.responder_id} is ready")
                await interrupts.told_to(self._interrupted, self._serve())
            except Interrupted:
                pass
            finally:
                await responder.close()
        if interrupts.first in (None, process_signals.SIGTERM):
            # SIGTERM is how a service is ended in good order.
            return ExitCode.OK
        return by_signal(interrupts.first)

    def _interrupted(self, _: int) -> None:
        # The second one is impatient.
        for action in self._actions:
            action.stop(kill=self._is_stopping)
        self._collectors.end(kill=self._is_stopping)
        self._is_stopping = True
        self._end()

    def _end(self, error: BaseException | None = None) -> None:
        if not self._ended.done():
            if error is None:
                self._ended.set_result(None)
            else:
                self._ended.set_exception(error)

    async def _serve(self) -> None:
        endless = [self._start(self._listen())]
        patience = self._duties.orphan_timeout
        if self._duties.spans and patience is not None:
            collectors = self._collectors
            vigil = keep_vigil(self._server, patience, lambda: collectors.publishers, collectors.end_orphans_of)
            endless.append(self._start(vigil))
        try:
            await self._ended
        finally:
            self._is_stopping = True
            for task in endless:
                task.cancel()
            for action in self._actions:
                action.stop()
            self._collectors.end()
            await asyncio.wait(self._workers)
            await self._collectors.ended()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._workers.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._workers.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._end(task.exception())

    async def _listen(self) -> None:
        async for signal in self._responder.listen():
            if not self._is_for_us(signal):
                continue
            await self._waiting.acquire()
            if self._duties.once and signal.event != SHUTDOWN:
                self._followed.add(signal.publisher_id)
            queue = self._queues.get(signal.publisher_id)
            if queue is not None:
                queue.append(signal)
                continue
            self._queues[signal.publisher_id] = deque([signal])
            self._start(self._work(signal.publisher_id))

    def _is_for_us(self, signal: Signal) -> bool:
        """Whether there is something to do: also if whoever we have acted for ends without the tag that we act on."""
        return self._has_our_tag(signal) or (
            signal.event == SHUTDOWN
            and signal.publisher_id in self._followed | self._collectors.publishers | self._queues.keys()
        )

    def _has_our_tag(self, signal: Signal) -> bool:
        return self._duties.tag in (None, signal.tag)

    async def _work(self, publisher_id: str) -> None:
        """Act on one exporter's signals, until none is left."""
        queue = self._queues[publisher_id]
        try:
            while queue:
                await self._act(queue.popleft())
                self._waiting.release()
        finally:
            del self._queues[publisher_id]

    async def _act(self, signal: Signal) -> None:
        answers = await self._answers(signal)
        answer = combined(answers)
        if signal.event != SHUTDOWN:
            await self._responder.srespond(signal, answer.ras, answer.message)
        self._note(signal, answer, has_acted=bool(answers))
        if signal.event == SHUTDOWN and signal.publisher_id in self._followed:
            self._followed.remove(signal.publisher_id)
            if not self._followed:
                self._end()

    async def _answers(self, signal: Signal) -> list[Answer]:
        """Do what there is to do upon a signal: end collectors, run the command, start others if that went well."""
        if signal.event == SHUTDOWN:
            answers = await self._collectors.end_all_of(signal.publisher_id)
        else:
            answers = await self._collectors.stop(signal)
        command = self._duties.commands.get(signal.event) if self._has_our_tag(signal) else None
        if command is not None:
            answers.append(await self._run(command, signal))
            if answers[-1].ras != 1:
                return answers
        return answers + await self._collectors.start(signal)

    async def _run(self, command: str, signal: Signal) -> Answer:
        async with self._at_once:
            if self._is_stopping:
                return WAS_ENDED
            action = Action(self._shell, command, signal, self._duties.timeout)
            self._actions.add(action)
            telling = asyncio.create_task(self._tell_of_progress(action, signal))
            try:
                return (await action.run()).answer()
            finally:
                telling.cancel()
                self._actions.discard(action)

    async def _tell_of_progress(self, action: Action, signal: Signal) -> None:
        """Tell the exporter that a command works, as long as it writes something."""
        told = 0
        while signal.event != SHUTDOWN:
            await asyncio.sleep(_PROGRESS_EVERY)
            if action.received > told:
                told = action.received
                with suppress(StateSignalsError):
                    await self._responder.working(signal, action.last_line or None)

    def _note(self, signal: Signal, answer: Answer, *, has_acted: bool) -> None:
        of = f"{signal.event} of {output.shortened(signal.publisher_id, 200)}"
        if signal.event == INITIALIZATION:
            if signal.publisher_id not in self._subscribed:
                output.note(f"subscribed to {output.shortened(signal.publisher_id, 200)}")
            self._subscribed[signal.publisher_id] = None
            if len(self._subscribed) > _REMEMBERED:
                self._subscribed.popitem(last=False)
        elif has_acted:
            message = f": {answer.message}" if answer.message else ""
            output.note(f"{of}: {'succeeded' if answer.ras == 1 else 'failed'}{message}")
        else:
            output.note(f"{of}: nothing to do")
