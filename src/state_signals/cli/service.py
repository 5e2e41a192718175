"""What `respond` does: each exporter's signals one after the other, different exporters' side by side."""

from __future__ import annotations

import asyncio
import signal as process_signals
from collections import OrderedDict, deque
from collections.abc import Coroutine, Mapping
from typing import Any

from state_signals.asyncio import SignalResponder
from state_signals.cli import output
from state_signals.cli.actions import Action, Answer
from state_signals.cli.exit_codes import ExitCode, by_signal
from state_signals.cli.options import Server
from state_signals.cli.session import Interrupted, Interrupts, connected, log_to_stderr
from state_signals.messages import INITIALIZATION, SHUTDOWN, Signal

__all__ = ["Service", "serve"]

_AT_ONCE = 16
"""Commands that run at the same time: the wire does not decide how many processes there are."""

_WAITING = 1_000
"""Signals that are taken from the server before they can be acted on."""

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


class Service:
    """One responder whose actions are shell commands.

    Args:
        server: where signals come from.
        commands: by event.
        shell: path of what executes them.
        timeout: seconds that one may take; None: for ever.
        once: end when the exporters that were acted for have shut down.
        name: beginning of the responder's id.
        responder_id: the whole of it.
        tag: the only tag to act on.
        publisher: the only exporter to act for.
    """

    def __init__(
        self,
        server: Server,
        commands: Mapping[str, str],
        *,
        shell: str,
        timeout: float | None,
        once: bool,
        name: str | None,
        responder_id: str | None,
        tag: str | None,
        publisher: str | None,
    ) -> None:
        self._server = server
        self._commands = commands
        self._shell = shell
        self._timeout = timeout
        self._once = once
        self._identity = (name, responder_id)
        self._locks = (tag, publisher)
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
        tag, publisher = self._locks
        self._responder = responder = SignalResponder(
            responder_name=name,
            # One attempt to connect at a time: connected() repeats them.
            conn_timeout=1,
            url=self._server.url,
            namespace=self._server.namespace,
            responder_id=responder_id,
        )
        if tag is not None:
            responder.lock_tag(tag)
        if publisher is not None:
            responder.lock_id(publisher)
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        with Interrupts() as interrupts:
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
        self._is_stopping = True
        self._end()

    def _end(self, error: BaseException | None = None) -> None:
        if not self._ended.done():
            if error is None:
                self._ended.set_result(None)
            else:
                self._ended.set_exception(error)

    async def _serve(self) -> None:
        listening = self._start(self._listen())
        try:
            await self._ended
        finally:
            self._is_stopping = True
            listening.cancel()
            for action in self._actions:
                action.stop()
            await asyncio.wait(self._workers)

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
            await self._waiting.acquire()
            if self._once and signal.event != SHUTDOWN:
                self._followed.add(signal.publisher_id)
            queue = self._queues.get(signal.publisher_id)
            if queue is not None:
                queue.append(signal)
                continue
            self._queues[signal.publisher_id] = deque([signal])
            self._start(self._work(signal.publisher_id))

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
        command = self._commands.get(signal.event)
        answer = Answer(1, None) if command is None else await self._run(command, signal)
        if signal.event != SHUTDOWN:
            await self._responder.srespond(signal, answer.ras, answer.message)
        self._note(signal, answer, has_command=command is not None)
        if signal.event == SHUTDOWN and signal.publisher_id in self._followed:
            self._followed.remove(signal.publisher_id)
            if not self._followed:
                self._end()

    async def _run(self, command: str, signal: Signal) -> Answer:
        async with self._at_once:
            if self._is_stopping:
                return Answer(0, "the responder was ended")
            action = Action(self._shell, command, signal, self._timeout)
            self._actions.add(action)
            try:
                return await action.run()
            finally:
                self._actions.discard(action)

    def _note(self, signal: Signal, answer: Answer, *, has_command: bool) -> None:
        of = f"{signal.event} of {output.shortened(signal.publisher_id, 200)}"
        if signal.event == INITIALIZATION:
            if signal.publisher_id not in self._subscribed:
                output.note(f"subscribed to {output.shortened(signal.publisher_id, 200)}")
            self._subscribed[signal.publisher_id] = None
            if len(self._subscribed) > _REMEMBERED:
                self._subscribed.popitem(last=False)
        elif has_command:
            message = f": {answer.message}" if answer.message else ""
            output.note(f"{of}: {'succeeded' if answer.ras == 1 else 'failed'}{message}")
        else:
            output.note(f"{of}: nothing to do")
