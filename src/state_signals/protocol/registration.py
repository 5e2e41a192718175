"""What a server keeps of an exporter beside its signals: whose it is, that it lives, and who is on its roster."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from state_signals.requests import Beat, Claim, Claimed, SaveRoster

__all__ = ["Member", "Record", "Registration", "read_member", "read_record"]

_POSITION = re.compile(rb"\d{1,19}-\d{1,19}")

_CLAIM_AGAIN = 1.0
"""Seconds between two looks whether somebody else's claim is renewed."""

_MOST_DEPARTED = 10_000
"""Names that are remembered of those that were taken off the roster."""

_RENEWED_BY = 0.25
"""Seconds by which a claim lives longer than expected if it was renewed."""

_SURE_FOR = 2 / 3
"""Share of its time after which a claim that was not renewed is in doubt."""


@dataclass(frozen=True, slots=True)
class Member:
    """What the roster keeps of a responder.

    Attributes:
        ttl: seconds that its proofs of life are good for; None: it promises none.
        speaks_v2: whether it has named the signal that it answered.
        is_expected: whether it was put there and has not subscribed.
    """

    ttl: float | None = None
    speaks_v2: bool = False
    is_expected: bool = False

    def encode(self) -> bytes:
        """Return it as the JSON that the roster holds."""
        return _encoded(self)


@functools.lru_cache(maxsize=64)
def _encoded(member: Member) -> bytes:
    """Return a member as JSON: thousands are alike."""
    facts: dict[str, Any] = {"v": 2 if member.speaks_v2 else 1}
    if member.ttl is not None:
        facts["ttl"] = member.ttl
    if member.is_expected:
        facts["expected"] = True
    return json.dumps(facts).encode()


def read_member(data: bytes) -> Member:
    """Return what a roster holds of a responder; whoever may have written it."""
    try:
        facts = json.loads(data)
        ttl = facts.get("ttl")
        return Member(
            ttl=float(ttl) if isinstance(ttl, int | float) else None,
            speaks_v2=facts.get("v") == 2,
            is_expected=facts.get("expected") is True,
        )
    except (ValueError, AttributeError, RecursionError, OverflowError):
        return Member()


@dataclass(frozen=True, slots=True)
class Record:
    """The facts that another process needs to resume an exporter.

    Attributes:
        process_name: as in the signals.
        runner_host: as in the signals.
        events: the legal events; None: not initialized.
        tag: of the initialization.
        announcement: id of the initialization.
        ttl: seconds that the exporter's proofs of life are good for.
        began: server time of its first claim.
        after: position of the last signal of whoever had the name before, and has ended.
        position: how far its responses were read.
    """

    process_name: str
    runner_host: str
    events: list[str] | None = None
    tag: str | None = None
    announcement: str | None = None
    ttl: float | None = None
    began: float | None = None
    after: int = 0
    position: bytes | None = None

    def encode(self) -> bytes:
        """Return it as JSON, without the position, which is kept beside it."""
        names = ("process_name", "runner_host", "events", "tag", "announcement", "ttl", "began", "after")
        return json.dumps({name: getattr(self, name) for name in names}).encode()


def read_record(fields: Mapping[bytes, bytes]) -> Record | None:
    """Return a record as it was kept; None if there is none that can be used."""
    try:
        facts = json.loads(fields[b"info"])
        events = facts.get("events")
        record = Record(
            process_name=str(facts["process_name"]),
            runner_host=str(facts["runner_host"]),
            events=None if events is None or b"init" not in fields else [str(event) for event in events],
            tag=_text(facts.get("tag")),
            announcement=_text(facts.get("announcement")),
            ttl=None if facts.get("ttl") is None else float(facts["ttl"]),
            began=None if facts.get("began") is None else float(facts["began"]),
            after=facts["after"] if isinstance(facts.get("after"), int) else 0,
            position=position if _POSITION.fullmatch(position := fields.get(b"position", b"")) else None,
        )
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return None
    return record


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


@dataclass(slots=True)
class Registration:
    """The claim, the proofs of life and the saved roster of one exporter.

    Attributes:
        publisher_id: whose.
        owner: who we are.
        ttl: seconds that our claim and our proofs of life are good for.
        fate: whether the owner of another claim is dead (False), alive (True) or out of sight (None).
        is_held: whether the claim is ours.
        may_be_held: whether it was made, and may be ours.
        refused_by: the other owner, once we know that it lives.
        began: server time of the first claim.
        after: position of the last signal of whoever had the name before, and has ended.
        is_in_doubt: whether the claim may have run out, and somebody else may have taken our place: this process was
            kept from running, or out of touch. The owner has to be looked up, and the claim renewed, before all else.
    """

    publisher_id: str
    owner: bytes
    ttl: float
    fate: Callable[[bytes], bool | None]
    is_held: bool = False
    may_be_held: bool = False
    refused_by: bytes | None = None
    began: float | None = None
    after: int = 0
    is_in_doubt: bool = False
    _dead: bytes | None = None
    _rival: tuple[bytes, float] | None = None
    _claim_at: float = -float("inf")
    _beat_at: float = -float("inf")
    # When we asked for what the server has replied to since: the claim lasts at least from there.
    _asked_at: float = -float("inf")
    _renewed_at: float = -float("inf")
    _joined: dict[str, bytes] = field(default_factory=dict)
    _gone: dict[str, None] = field(default_factory=dict)
    # Those that were taken off since it was opened, also once that is saved.
    _departed: dict[str, None] = field(default_factory=dict)
    _names: set[str] = field(default_factory=set)

    def claim(self, now: float) -> Claim | None:
        """Return the claim to make now; None: not yet, or it is decided."""
        if self.is_held or self.refused_by is not None or now < self._claim_at:
            return None
        self.may_be_held = True
        self._asked_at = now
        return Claim(self.publisher_id, self.owner, self.ttl, instead_of=self._dead)

    def claimed(self, reply: Claimed, now: float) -> None:
        """Take the reply to a claim."""
        if reply.owner in (self.owner, None):
            self.is_held = True
            self._renewed()
            if self.began is None:
                # Who has crashed had not ended: whoever comes under its name goes on.
                found = read_record(reply.record)
                if found is None or found.began is None:
                    self.began, self.after = reply.server_time, reply.head
                else:
                    self.began, self.after = found.began, found.after
            return
        other = reply.owner or b""
        fate = self.fate(other)
        # Its claim ends between these two; a reply that comes late says nothing of a renewal.
        earliest, latest = self._asked_at + reply.expires_in, now + reply.expires_in
        was_renewed = self._rival is not None and (self._rival[0] != other or earliest > self._rival[1] + _RENEWED_BY)
        if fate or was_renewed:
            self.refused_by = other
        elif fate is False:
            self._dead = other
        else:
            self._claim_at = now + min(_CLAIM_AGAIN, reply.expires_in + 0.01)
        self._rival = (other, latest)

    def owner_seen(self, owner: bytes | None) -> None:
        """Take note whose claim the server holds."""
        if owner is None:
            self.is_held = False
        elif owner != self.owner:
            self.refused_by = owner

    def joined(self, responder_id: str, member: Member) -> None:
        """Have a member of the roster saved."""
        self._gone.pop(responder_id, None)
        self._departed.pop(responder_id, None)
        self._joined[responder_id] = member.encode()
        self._names.add(responder_id)

    def gone(self, responder_id: str) -> None:
        """Have somebody taken off the saved roster."""
        self._joined.pop(responder_id, None)
        self._gone[responder_id] = self._departed[responder_id] = None
        self._names.discard(responder_id)
        while len(self._departed) > _MOST_DEPARTED:
            # Whoever comes and goes under new names must not make it grow.
            del self._departed[next(iter(self._departed))]

    def has_gone(self, responder_id: str) -> bool:
        """Whether somebody was on the roster and was taken off it."""
        return responder_id in self._departed

    def roster_found(self, names: Iterable[str]) -> None:
        """Take note whom an earlier owner has left there."""
        self._names.update(names)

    def roster_is(self, names: set[str], describe: Callable[[str], Member]) -> None:
        """Have saved what has changed without our being told."""
        if names == self._names:
            return
        for name in names - self._names:
            self.joined(name, describe(name))
        for name in self._names - names:
            self.gone(name)
            # With that it is kept how far the responses were read: whoever resumes us does not hear them subscribe.
            self.beat_soon()

    def roster_forgotten(self) -> None:
        """Save nobody: the roster is deleted."""
        self._joined.clear()
        self._gone.clear()
        self._departed.clear()
        self._names.clear()

    def save(self) -> SaveRoster | None:
        """Return what of the roster is to be saved; None: nothing."""
        if not self._joined and not self._gone:
            return None
        return SaveRoster(self.publisher_id, dict(self._joined), tuple(self._gone))

    def saved(self, request: SaveRoster) -> None:
        """Take note that a part of the roster was saved."""
        for responder_id, data in request.joined.items():
            if self._joined.get(responder_id) == data:
                del self._joined[responder_id]
        for responder_id in request.gone:
            self._gone.pop(responder_id, None)

    def beat(
        self, now: float, position: bytes | None, verdicts: Callable[[], tuple[bytes, ...]] = tuple
    ) -> Beat | None:
        """Return the proof of life that is due, with what `verdicts` returns then; None: it is not."""
        if not self.is_held or now < self._beat_at:
            return None
        self._asked_at = now
        return Beat(self.publisher_id, self.ttl, position, verdicts())

    def beaten(self, now: float) -> None:
        """Take note that a proof of life was given, or cannot be."""
        self._beat_at = now + self.ttl / 3
        self._renewed()

    def doubts(self, now: float) -> bool:
        """Return whether the claim is in doubt from now on. It was not before, and is until it is renewed."""
        if self.is_in_doubt or not self.is_held or now <= self._renewed_at + self.ttl * _SURE_FOR:
            return False
        self.is_in_doubt = True
        self.beat_soon()
        return True

    def beat_soon(self) -> None:
        """Give a proof of life as soon as possible."""
        self._beat_at = -float("inf")

    def next_deadline(self) -> float:
        """Return when there is something to do; it may be in the past."""
        if self.refused_by is not None:
            return float("inf")
        if not self.is_held:
            return self._claim_at
        return self._beat_at if not (self._joined or self._gone) else -float("inf")

    def _renewed(self) -> None:
        self._renewed_at = self._asked_at
        self.is_in_doubt = False
