"""Rounds under faults, and whether nothing was lost: what every fault test drives and checks in the same way."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from state_signals import Outcome, PublishResult, Signal
from state_signals.messages import RESERVED_EVENTS
from tests.parties import EVENTS, Parties, eventually, in_thread

__all__ = ["PATIENCE", "Run", "Script", "command", "cut_all", "held", "stall", "warnings"]

PATIENCE = 60.0
"""Seconds that a round may take under faults: far more than it needs on a machine that is busy with other things."""


class Script:
    """A responder that acts as it is told, and records what it was asked to act on.

    Args:
        act: called (and awaited, with asyncio, if it is to be) with each signal; a text is the answer's message, an
            error is a failure. None: just succeed.

    Attributes:
        responder: the responder; set when it runs.
        seen: the samples of the signals that it has acted on, in order, by `publisher_id`.
        signals: the same signals.
        outcomes: how it has ended each sample, by `publisher_id` and sample.
    """

    def __init__(self, act: Callable[[Signal], object] | None = None) -> None:
        self.responder: Any = None
        self.seen: dict[str, list[int]] = {}
        self.signals: list[Signal] = []
        self.outcomes: dict[tuple[str, int], Outcome] = {}
        self._act = act

    @property
    def name(self) -> str:
        """The `responder_id`."""
        name: str = self.responder.responder_id
        return name

    def __call__(self, signal: Signal) -> object:
        if signal.event in RESERVED_EVENTS:
            return None
        self.seen.setdefault(signal.publisher_id, []).append(signal.sample_no)
        self.signals.append(signal)
        where = signal.publisher_id, signal.sample_no
        self.outcomes[where] = Outcome.FAILED
        returned = None if self._act is None else self._act(signal)
        if inspect.isawaitable(returned):
            return self._end(where, returned)
        self.outcomes[where] = Outcome.SUCCEEDED
        return returned

    async def _end(self, where: tuple[str, int], returned: Awaitable[object]) -> object:
        answer = await returned
        self.outcomes[where] = Outcome.SUCCEEDED
        return answer


class Run:
    """One exporter, its rounds, and the responders that are to act on them.

    Rounds are numbered by their `sample`, from 1: that is what exactly once and in order are checked by.

    Args:
        parties: makes exporter and responders.

    Attributes:
        exporter: the exporter, after `begin`.
        scripts: the responders.
        results: the result of each round by its sample; None: it raised.
    """

    def __init__(self, parties: Parties) -> None:
        self.parties = parties
        self.exporter: Any = None
        self.scripts: list[Script] = []
        self.results: dict[int, PublishResult | None] = {}

    async def responder(
        self, name: str = "pcp", act: Callable[[Signal], object] | None = None, **options: Any
    ) -> Script:
        """Add a responder that runs; it acts on every signal by `act`."""
        script = Script(act)
        script.responder = await self.parties.running(name, {None: script}, **options)
        self.scripts.append(script)
        return script

    async def begin(self, *, strangers: int = 0, **options: Any) -> Any:
        """Make the exporter, and wait until all responders, and as many others, have subscribed. Return it."""
        self.exporter = await self.parties.exporter(**options)
        count = len(self.scripts) + strangers
        assert await self.exporter.initialize_and_wait(count, EVENTS, timeout=PATIENCE, periodic=bool(strangers)) == 0
        return self.exporter

    async def round(self, event: str = "start", **options: Any) -> PublishResult:
        """Publish the next signal, and return what became of it."""
        sample = len(self.results) + 1
        self.results[sample] = None
        options.setdefault("timeout", PATIENCE)
        result: PublishResult = await self.exporter.publish_signal(event, sample=sample, **options)
        self.results[sample] = result
        return result

    async def check(self, *, is_hasty: bool = False) -> None:
        """Check that every responder saw each signal once and in order, and that the rounds have told the truth.

        Signals whose `publish_signal` has raised were either never sent, or they count like the others. Rounds whose
        timeouts leave no time for faults, which `is_hasty` says, may have ended before an answer came.
        """
        published = [sample for sample, result in self.results.items() if result is not None]
        for script in self.scripts:
            await eventually(lambda: self._has_seen(script, published), f"the last signal at {script.name}")  # noqa: B023
            seen = script.seen.get(self.exporter.pub_id, [])
            assert [sample for sample, count in Counter(seen).items() if count > 1] == [], f"twice at {script.name}"
            assert seen == sorted(seen), f"out of order at {script.name}"
            unsent = {sample for sample, result in self.results.items() if result is None}
            assert [sample for sample in published if sample not in seen] == [], f"missed at {script.name}"
            assert set(seen) <= {*published, *unsent}
        for sample, result in self.results.items():
            if result is not None and not result.pending:
                self._check_outcomes(sample, result, is_hasty=is_hasty)

    def _has_seen(self, script: Script, published: list[int]) -> bool:
        return not published or published[-1] in script.seen.get(self.exporter.pub_id, [])

    def _check_outcomes(self, sample: int, result: PublishResult, *, is_hasty: bool) -> None:
        told = {script.name: result.reports[script.name].outcome for script in self.scripts}
        true = {script.name: script.outcomes[self.exporter.pub_id, sample] for script in self.scripts}
        if is_hasty:
            true |= dict.fromkeys(result.missing.keys() & true.keys(), Outcome.MISSING)
        assert told == true, f"the outcomes of round {sample}"


def held(shell: str, gate: threading.Event) -> Callable[[Signal], object]:
    """Return what a responder of that shell does that is not done with a signal before the gate is open."""

    def wait(_: Signal) -> None:
        assert gate.wait(PATIENCE), "nobody has opened the gate"

    async def wait_in_loop(_: Signal) -> None:
        async with asyncio.timeout(PATIENCE):
            while not gate.is_set():  # noqa: ASYNC110 - it is an event of threads
                await asyncio.sleep(0.002)

    return wait_in_loop if shell == "asyncio" else wait


def cut_all(client: redis.Redis) -> int:
    """Cut the connections of all other clients, and return how many there were."""
    return sum(client.execute_command("CLIENT", "KILL", "TYPE", kind) for kind in ("normal", "pubsub"))


def command(url: str, *words: Any) -> Any:
    """Send one command to a server, over a connection of its own."""
    with redis.Redis.from_url(url) as client:
        return client.execute_command(*words)


async def stall(seconds: float) -> float:
    """Return how late a plain wait of so many seconds ends on this machine, now."""

    def wait() -> float:
        began = time.monotonic()
        # No busy thread of ours may be on it: this is the wait that a caller does.
        time.sleep(seconds)
        return time.monotonic() - began - seconds

    late: float = await in_thread(wait)
    return late


@contextmanager
def warnings(*words: str) -> Iterator[list[str]]:
    """Collect the warnings that are logged in the body and have any of the words in them; all without words."""
    found: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = record.getMessage()
            if record.levelno >= logging.WARNING and (not words or any(word in text for word in words)):
                found.append(text)

    collector = Collector()
    logger = logging.getLogger("state_signals")
    logger.addHandler(collector)
    try:
        yield found
    finally:
        logger.removeHandler(collector)
