"""What every contender is: one side that asks everybody and waits for all answers, and the other that answers.

A contender is a module with a class `Surveyor` and, if it has responders of its own, a class `Responders`, whose
methods are those of `Asking` and `Answering`: all plain, or all coroutines. It is run by `benchmarks.worker` in a
process of its own. What a contender needs is imported in its module, which only that process imports; this one needs
nothing but the standard library, for state-signals 1.0.1 lives in an environment of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

__all__ = ["CHANNEL", "EVENT", "ROUND_TIMEOUT", "SLOWEST", "SLOW_EVENT", "Answering", "Asking", "Told", "survey"]

EVENT = "bench"

SLOW_EVENT = "bench-slow"
"""On which this project's asyncio responders take their time: up to SLOWEST, each another one."""

SLOWEST = 2.0

CHANNEL = "survey"
"""Channel or subject of the surveys that are written by hand."""

ROUND_TIMEOUT = 10.0
"""Seconds that a round may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a process is told.

    Attributes:
        contender: name of the module.
        role: `"surveyor"` or `"responders"`.
        url: where the server is, or where to listen.
        namespace: scope on the server, for those that know such a thing.
        count: how many responders there are in this process.
        name: what responders' names begin with, and how the surveyor is called.
        shared: whether the responders, if written by hand, share one connection.
        follows: the only surveyor whose signals are answered; None: all.
    """

    contender: str
    role: str
    url: str
    namespace: str | None = None
    count: int = 1
    name: str = "r"
    shared: bool = False
    follows: str | None = None

    @property
    def names(self) -> list[str]:
        """The responders' names."""
        return [f"{self.name}-{number}" for number in range(self.count)]

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        where = urlsplit(self.url)
        return where.hostname or "127.0.0.1", where.port or 0


class Asking(Protocol):
    """The side that asks; its methods may be coroutines, and raise NotImplementedError for what it does not know."""

    def __init__(self, told: Told) -> None: ...

    def open(self) -> Awaitable[None] | None:
        """Connect."""

    def gather(self, count: int) -> Awaitable[None] | None:
        """Return when as many responders have subscribed."""

    def survey(self) -> Awaitable[int] | int:
        """Do one round; return how many have answered."""

    def hurry(self, timeout: float) -> Awaitable[int] | int:
        """Do one round with those who are slow; return how many have answered in time."""

    def announce(self) -> Awaitable[None] | None:
        """Publish one signal without waiting for answers."""

    def close(self) -> Awaitable[None] | None:
        """End."""


class Answering(Protocol):
    """The side that answers each signal at once, in the background; its methods may be coroutines."""

    def __init__(self, told: Told) -> None: ...

    def open(self) -> Awaitable[None] | None:
        """Connect, subscribe and begin to answer."""

    def close(self) -> Awaitable[None] | None:
        """End."""


def survey(number: int, reply: str) -> dict[str, object]:
    """Return what a survey written by hand says: as much as a version 1 signal, and where answers are to go."""
    return {
        "publisher_id": reply,
        "process_name": "bench",
        "event": EVENT,
        "runner_host": "localhost",
        "sample_no": number,
        "tag": "bench",
        "id": number,
        "reply": reply,
    }
