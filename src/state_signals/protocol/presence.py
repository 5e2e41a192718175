"""Who is alive, as far as an exporter can tell from proofs of life."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from state_signals.requests import PresenceChecked

__all__ = ["Presence"]


@dataclass(slots=True)
class _Vital:
    """What is known of one responder.

    Attributes:
        ttl: seconds that a proof of life is good for.
        seen_at: our time of the newest one.
        score: the server's time of the newest one that was read there; None: none was.
        checked_at: our time of the last look for it there: when we asked, for the reply may have come long after.
    """

    ttl: float
    seen_at: float
    score: float | None = None
    checked_at: float = -math.inf


class Presence:
    """The proofs of life of responders.

    Their age is taken from the server's clock when a proof is first seen, and from ours from then on: neither clocks of
    hosts that differ nor a new server with another clock make the living dead.

    Args:
        ttl: seconds that a proof of life is good for, at the most; None: everybody counts as alive.
    """

    def __init__(self, ttl: float | None) -> None:
        self.ttl = ttl
        self._vitals: dict[str, _Vital] = {}
        self._grace_from = self._looked_at = -math.inf

    def follow(self, responder_id: str, ttl: float | None, now: float) -> None:
        """Expect proofs of life of a responder that promises them every `ttl` seconds; None: it promises none."""
        if ttl is None or self.ttl is None:
            self._vitals.pop(responder_id, None)
        else:
            self._vitals[responder_id] = _Vital(min(ttl, self.ttl), now)

    def heard(self, responder_id: str, now: float) -> None:
        """Take a message of a responder as a proof of life."""
        vital = self._vitals.get(responder_id)
        if vital is not None:
            vital.seen_at = now

    def forget(self, responder_id: str) -> None:
        """Expect nothing of a responder any more."""
        self._vitals.pop(responder_id, None)

    def forget_all(self) -> None:
        """Expect nothing of anybody any more."""
        self._vitals.clear()

    def outage_ended(self, now: float) -> None:
        """Give everybody as long as a proof of life is good for: nobody could show any."""
        self._grace_from = now

    def followed(self, names: Iterable[str]) -> tuple[str, ...]:
        """Return those of the names whose proofs of life are expected."""
        return tuple(name for name in names if name in self._vitals)

    def ttl_of(self, responder_id: str) -> float | None:
        """Return the seconds that a responder's proofs of life are good for; None: it promises none."""
        vital = self._vitals.get(responder_id)
        return None if vital is None else vital.ttl

    def interval(self) -> float:
        """Return the seconds between two looks at the server, while somebody is waited for."""
        return min(1.0, (self.ttl or 3.0) / 3)

    def checked(self, reply: PresenceChecked, asked_at: float, now: float) -> None:
        """Take what the server knew at some time since `asked_at`."""
        self._looked_at = asked_at
        for name, score in reply.seen.items():
            vital = self._vitals.get(name)
            if vital is None:
                continue
            last_look, vital.checked_at = vital.checked_at, asked_at
            if score is None and last_look == -math.inf:
                # Nobody could look before: its time begins now.
                vital.seen_at = max(vital.seen_at, now)
            if score is None or score == vital.score:
                continue
            age = max(0.0, reply.server_time - score)
            if vital.score is not None:
                # It is newer than our last look, whatever a clock that was set says.
                age = min(age, now - last_look)
            vital.score = score
            vital.seen_at = max(vital.seen_at, now - age)

    def lost(self, names: Iterable[str], since: float) -> list[str]:
        """Return those of the names that are lost; see `is_lost`."""
        # Most rounds are over before anybody has looked.
        return [name for name in names if self.is_lost(name, since)] if self._looked_at >= since else []

    def is_lost(self, responder_id: str, since: float = -math.inf) -> bool:
        """Whether a responder that promised proofs of life had given none for too long at our last look.

        A look that is older than `since` says nothing.
        """
        vital = self._vitals.get(responder_id)
        if vital is None or vital.checked_at < since:
            return False
        return vital.checked_at - max(vital.seen_at, self._grace_from) > vital.ttl
