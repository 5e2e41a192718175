"""Who took part in a run, and when: pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from state_signals.runs.facts import Facts
from state_signals.runs.model import Member, Round
from state_signals.runs.vitals import RosterEntry, Vitals

__all__ = ["Membership"]


@dataclass(slots=True)
class _Stay:
    """When one responder came and left, by turns: moments, oldest first, and whether it was there from then on."""

    moments: list[float] = field(default_factory=list)
    is_there: list[bool] = field(default_factory=list)
    ttl: float | None = None


class Membership:
    """Who was on the roster of a run at which time, as far as the streams and the roster tell.

    Args:
        announcements: what was said about the initializations of the run.
        vitals: how its exporter is now, if the run goes on.
        is_over: whether the run has ended: then nobody else can turn out to have been there.

    Attributes:
        is_known: whether everybody is known that can be: the roster was looked at, or the run is over.
    """

    def __init__(self, announcements: Iterable[Facts], vitals: Vitals | None, *, is_over: bool) -> None:
        self.is_known = is_over or vitals is not None
        self._vitals = vitals
        self._stays: dict[str, _Stay] = {}
        found = [each for facts in announcements for each in facts.presence.items()]
        for (name, at, came), ttl in sorted(found, key=lambda each: each[0][1:]):
            stay = self._stays.setdefault(name, _Stay())
            stay.moments.append(at)
            stay.is_there.append(came)
            if came:
                stay.ttl = ttl

    @property
    def _roster(self) -> Mapping[str, RosterEntry]:
        return {} if self._vitals is None else self._vitals.roster

    def has_subscribed(self, name: str) -> bool:
        """Whether a responder has ever subscribed, or is on the roster."""
        return name in self._stays or name in self._roster

    def at(self, moment: float) -> list[str]:
        """Return who was on the roster at some time: those that came before, and those of which that is not known."""
        names = [name for name, stay in self._stays.items() if _was_there(stay, moment)]
        return names + [name for name in self._roster if name not in self._stays]

    def left_after(self, name: str, moment: float) -> float | None:
        """Return when a responder left next; None: it did not."""
        stay = self._stays.get(name)
        if stay is None:
            return None
        first = bisect_right(stay.moments, moment)
        later = zip(stay.moments[first:], stay.is_there[first:], strict=True)
        return next((at for at, is_there in later if not is_there), None)

    def members(self, rounds: Iterable[Round]) -> dict[str, Member]:
        """Return everybody who took part, in the order in which they came."""
        names = dict.fromkeys((*self._stays, *self._roster))
        speak_v1 = set()
        for each in rounds:
            for name, action in each.actions.items():
                names[name] = None
                # Its exporter has written it down, for it lies in no stream.
                if action.ras is not None and action.took is None:
                    speak_v1.add(name)
        return {name: self._member(name, speaks_v2=name not in speak_v1) for name in names}

    def _member(self, name: str, *, speaks_v2: bool) -> Member:
        stay, entry = self._stays.get(name), self._roster.get(name)
        ttl = stay.ttl if stay is not None else entry.ttl if entry is not None else None
        return Member(
            responder_id=name,
            subscribed_at=None if stay is None else _first(stay),
            left_at=None if stay is None or stay.is_there[-1] else stay.moments[-1],
            last_seen=None if self._vitals is None else self._vitals.seen.get(name),
            ttl=ttl,
            speaks_v2=stay is not None or (speaks_v2 if entry is None else entry.speaks_v2 or entry.is_expected),
            is_expected=stay is None and entry is not None and entry.is_expected,
        )


def _was_there(stay: _Stay, moment: float) -> bool:
    place = bisect_right(stay.moments, moment) - 1
    return place >= 0 and stay.is_there[place]


def _first(stay: _Stay) -> float | None:
    return next((at for at, is_there in zip(stay.moments, stay.is_there, strict=True) if is_there), None)
