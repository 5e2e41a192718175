"""One side of one contender, in a process of its own: `python -m benchmarks.worker`, told what to do line by line.

Each line on standard input is a JSON object; each is answered by one on standard output. It ends with its input.

All is written as coroutines. With a party whose methods are plain these never wait for a loop, and there is none.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
import inspect
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from benchmarks.contenders.base import Told

Says = dict[str, object]

_PR_SET_PDEATHSIG = 1


class Stage:
    """Carries out what it is told.

    Args:
        party: a surveyor or responders; its methods are coroutines.
        sleep: lets time pass, and the party do what it does in the background.
    """

    def __init__(self, party: Any, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._party = party
        self._sleep = sleep

    async def open(self) -> Says:
        await self._party.open()
        return {}

    async def gather(self, count: int) -> Says:
        """Wait until so many have subscribed; return how long that took, and the CPU."""
        began, cpu = time.perf_counter(), time.process_time()
        await self._party.gather(count)
        return {"took": time.perf_counter() - began, "cpu": time.process_time() - cpu}

    async def survey(self, rounds: int, limit: float) -> Says:
        """Do rounds, for some seconds at most; return how long each took, and the CPU and answers of all."""
        survey, took, answers = self._party.survey, [], []
        until, cpu = time.perf_counter() + limit, time.process_time()
        for _ in range(rounds):
            before = time.perf_counter()
            answers.append(await survey())
            after = time.perf_counter()
            took.append(after - before)
            if after > until:
                break
        return {"cpu": time.process_time() - cpu, "took": took, "answers": sum(answers), "fewest": min(answers)}

    async def hurry(self, timeout: float) -> Says:
        """Do a round with those who are slow; return how long it took, and how many had answered by then."""
        began = time.perf_counter()
        answers = await self._party.hurry(timeout)
        return {"took": time.perf_counter() - began, "answers": answers}

    async def announce(self, signals: int, limit: float) -> Says:
        """Publish signals that nobody waits for, for some seconds at most."""
        began = time.perf_counter()
        done = 0
        while done < signals and time.perf_counter() - began < limit:
            await self._party.announce()
            done += 1
        return {"signals": done, "took": time.perf_counter() - began}

    async def idle(self, seconds: float) -> Says:
        """Do nothing; return the CPU that it takes."""
        cpu = time.process_time()
        await self._sleep(seconds)
        return {"cpu": time.process_time() - cpu}

    async def close(self) -> Says:
        await self._party.close()
        return {}


class Plain:
    """A party whose methods are plain, as one whose methods are coroutines."""

    def __init__(self, party: Any) -> None:
        self._party = party

    async def open(self) -> None:
        self._party.open()

    async def gather(self, count: int) -> None:
        self._party.gather(count)

    async def survey(self) -> int:
        answers: int = self._party.survey()
        return answers

    async def hurry(self, timeout: float) -> int:
        answers: int = self._party.hurry(timeout)
        return answers

    async def announce(self) -> None:
        self._party.announce()

    async def close(self) -> None:
        self._party.close()


async def serve(stage: Stage, readline: Callable[[], Awaitable[str]], answer: Callable[[Says], None]) -> None:
    while line := await readline():
        told = json.loads(line)
        try:
            answer(await getattr(stage, told.pop("do"))(**told))
        except Exception as error:  # noqa: BLE001 - whoever told us tells it
            answer(failed(error))


def failed(error: BaseException) -> Says:
    traceback.print_exc()
    return {"error": f"{type(error).__name__}: {error}", "is_installed": not isinstance(error, ImportError)}


def run(party: Any, answer: Callable[[Says], None]) -> None:
    if inspect.iscoroutinefunction(party.open):
        asyncio.run(serve(Stage(party, asyncio.sleep), lambda: asyncio.to_thread(sys.stdin.readline), answer))
        return

    async def sleep(seconds: float) -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - there is no loop

    async def readline() -> str:
        return sys.stdin.readline()

    try:
        serve(Stage(Plain(party), sleep), readline, answer).send(None)
    except StopIteration:
        return


def end_with_parent() -> None:
    """Get SIGKILL when whoever told us ends, where the system can do that: we may be frozen, or not listening."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    end_with_parent()
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(said: Says) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    told = Told(**json.loads(sys.stdin.readline()))
    try:
        module: Any = importlib.import_module(f"benchmarks.contenders.{told.contender}")
    except ImportError as error:
        answer(failed(error))
        return
    answer({})
    run((module.Surveyor if told.role == "surveyor" else module.Responders)(told), answer)
    # Threads of libraries that do not end are no reason to stay.
    os._exit(0)


if __name__ == "__main__":
    main()
