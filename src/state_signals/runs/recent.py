"""Which of all runs on a server somebody asks for."""

from __future__ import annotations

from dataclasses import dataclass

from state_signals.runs.assembly import RunLog
from state_signals.runs.model import Run
from state_signals.runs.reader import RunReader

__all__ = ["Numbered", "newest_runs", "numbered"]


@dataclass(frozen=True, slots=True)
class Numbered:
    """A run among those of its exporter.

    Attributes:
        run: the run.
        number: its position, from 1.
        of: how many there are.
        now: when they were read, by the server's clock.
    """

    run: Run
    number: int
    of: int
    now: float

    @property
    def duration(self) -> float:
        """Seconds that it took, or has taken so far; if nobody has ended it, until the last that was heard of it."""
        return max(0.0, self._until - self.run.began_at)

    @property
    def _until(self) -> float:
        if self.run.ended_at is not None:
            return self.run.ended_at
        if self.run.state in ("live", "detached"):
            return self.now
        heard = [self.run.began_at, self.run.last_seen or 0.0]
        for each in self.run.rounds:
            heard += [each.published_at, each.ended_at or 0.0]
            heard += [action.answered_at or 0.0 for action in each.actions.values()]
        return max(heard)


def numbered(log: RunLog) -> list[Numbered]:
    """Return the runs of an exporter, oldest first."""
    runs = log.runs
    now = 0.0 if log.vitals is None else log.vitals.now
    return [Numbered(run, number, len(runs), now) for number, run in enumerate(runs, 1)]


async def newest_runs(
    reader: RunReader, *, limit: int, since: float | None = None, tag: str | None = None
) -> list[Numbered]:
    """Return the newest runs of all exporters, newest first.

    Args:
        reader: where they are.
        limit: how many at the most.
        since: only those that began then or later, in seconds since the epoch.
        tag: only those with this tag.

    Raises:
        TransportError: if they cannot be read.
    """
    active = [(await reader.last_active(name), name) for name in await reader.publisher_ids()]
    found: list[Numbered] = []
    for moment, name in sorted(active, reverse=True):
        # No run has begun after the last that was heard of its exporter.
        if moment < (since or 0.0) or (len(found) == limit and found[-1].run.began_at >= moment):
            break
        runs = [each for each in numbered(await reader.log(name)) if tag in (None, each.run.tag)]
        found += [each for each in runs if each.run.began_at >= (since or 0.0)]
        found.sort(key=lambda each: each.run.began_at, reverse=True)
        del found[limit:]
    return found
