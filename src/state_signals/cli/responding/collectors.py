"""Long-lived commands: started by one event of an exporter, ended by another one."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass

from state_signals.cli import output
from state_signals.cli.responding.actions import Action, Shell
from state_signals.cli.responding.endings import WAS_ENDED, Answer, Ending
from state_signals.messages import Signal

__all__ = ["Collectors", "Span"]

_SETTLED = 0.1
"""Seconds after which a collector that still runs is taken to have started."""

_AT_ONCE = 100
"""Collectors that run at the same time: the wire does not decide how many processes there are."""

_REMEMBERED = 1_000
"""Collectors that have ended and were never asked to."""

_LONGEST_LABEL = 60

_ORPHANED = "was ended early, for its exporter had shown no sign of life for too long"


@dataclass(frozen=True, slots=True)
class Span:
    """A command, and the events between which it runs.

    Attributes:
        start: the event that it is started on.
        stop: the event that it is ended on.
        command: what the shell executes.
    """

    start: str
    stop: str
    command: str

    @property
    def label(self) -> str:
        """The command as people recognize it."""
        return output.shortened(" ".join(self.command.split()), _LONGEST_LABEL)


class _Run:
    """One run of a collector, from its start on."""

    def __init__(self, span: Span, action: Action, signal: Signal) -> None:
        self.label = span.label
        self.action = action
        self.signal_id = signal.id
        self._publisher_id = signal.publisher_id
        self._is_started = False
        self._is_orphaned = False
        self.task = asyncio.create_task(self._run())

    async def started(self) -> Answer:
        """Wait until it is settled. Return whether it has started."""
        if not self._is_started:
            await asyncio.wait((self.task,), timeout=_SETTLED)
            self._is_started = not self.task.done()
        return Answer(1, None) if self._is_started else self.task.result().answer_to_start()

    def orphaned(self) -> None:
        """End it, for its exporter is dead; should that come back, it has to know."""
        if not self._is_orphaned and not self.task.done():
            output.note(f"{self.label} of {output.shortened(self._publisher_id, 200)} {_ORPHANED}")
            self._is_orphaned = True
            self.action.stop()

    async def stopped(self) -> Answer:
        """End it, if that has not happened. Return what came of it."""
        self.action.stop()
        ending = await asyncio.shield(self.task)
        if self._is_orphaned:
            return Answer(0, _ORPHANED)
        return ending.answer_to_stop() if self._is_started else ending.answer_to_start()

    async def _run(self) -> Ending:
        ending = await self.action.run()
        if self._is_started and ending.by in ("itself", "limit"):
            output.note(f"{self.label} of {output.shortened(self._publisher_id, 200)} {ending.early()}")
        return ending


class Collectors:
    """The collectors of all exporters; each exporter has its own.

    Args:
        spans: the commands.
        shell: what executes them.
        limit: seconds that each may run; None: for ever.
    """

    def __init__(self, spans: Sequence[Span], shell: Shell, limit: float | None) -> None:
        self._spans = spans
        self._shell = shell
        self._limit = limit
        self._runs: OrderedDict[tuple[str, Span], _Run] = OrderedDict()
        self._running: set[_Run] = set()
        self._is_ending = False

    async def start(self, signal: Signal) -> list[Answer]:
        """Start those that a signal starts. Return an answer for each, once they are settled."""
        spans = [span for span in self._spans if span.start == signal.event]
        return await self._each(spans, [self._started(span, signal) for span in spans])

    async def stop(self, signal: Signal) -> list[Answer]:
        """End those that a signal ends. Return an answer for each, once they have ended."""
        spans = [span for span in self._spans if span.stop == signal.event]
        return await self._each(spans, [self._stopped(span, signal.publisher_id) for span in spans])

    async def end_all_of(self, publisher_id: str) -> list[Answer]:
        """End whatever still runs for an exporter, which is gone. Return an answer for each."""
        spans = [span for span in self._spans if (publisher_id, span) in self._runs]
        running = [span for span in spans if not self._runs[publisher_id, span].task.done()]
        for span in spans:
            if span not in running:
                # That it has ended was told when it did.
                del self._runs[publisher_id, span]
        return await self._each(running, [self._stopped(span, publisher_id) for span in running])

    @property
    def publishers(self) -> set[str]:
        """The exporters that some run for."""
        return {publisher_id for (publisher_id, _), run in self._runs.items() if not run.task.done()}

    def end_orphans_of(self, publisher_id: str) -> None:
        """End those of an exporter that is dead."""
        for span in self._spans:
            run = self._runs.get((publisher_id, span))
            if run is not None:
                run.orphaned()

    def end(self, *, kill: bool = False) -> None:
        """End all, at once if `kill`; start none any more."""
        self._is_ending = True
        for run in self._running:
            run.action.stop(kill=kill)

    async def ended(self) -> None:
        """Wait until all have ended."""
        if self._running:
            await asyncio.wait([run.task for run in self._running])

    async def _started(self, span: Span, signal: Signal) -> Answer:
        key = (signal.publisher_id, span)
        run = self._runs.get(key)
        if run is not None and signal.id is not None and run.signal_id == signal.id:
            # The same signal again: it has been acted on.
            return await run.started()
        if run is not None and not run.task.done():
            return Answer(0, f"is still running, for no {span.stop} has come since the last {span.start}")
        if self._is_ending:
            return WAS_ENDED
        if len(self._running) >= _AT_ONCE:
            return Answer(0, f"was not started, for {_AT_ONCE} collectors are running")
        run = self._runs[key] = _Run(
            span, Action(self._shell, span.command, signal, self._limit, leaves_nothing=True), signal
        )
        self._runs.move_to_end(key)
        self._running.add(run)
        run.task.add_done_callback(lambda _: self._running.discard(run))
        self._forget()
        return await run.started()

    async def _stopped(self, span: Span, publisher_id: str) -> Answer:
        run = self._runs.pop((publisher_id, span), None)
        if run is None:
            return Answer(0, f"was not running, for no {span.start} has come")
        return await run.stopped()

    async def _each(self, spans: Sequence[Span], works: Iterable[Awaitable[Answer]]) -> list[Answer]:
        """Do it for all at once. Return the answers: who has failed is named, and among several everyone is."""
        answers = await asyncio.gather(*works)
        return [
            Answer(answer.ras, f"{span.label}: {answer.message}")
            if answer.message and (answer.ras != 1 or len(spans) > 1)
            else answer
            for span, answer in zip(spans, answers, strict=True)
        ]

    def _forget(self) -> None:
        """Forget who has ended and was never asked to, if these are too many."""
        if len(self._runs) > _REMEMBERED:
            done = next((key for key, run in self._runs.items() if run.task.done()), None)
            if done is not None:
                del self._runs[done]
