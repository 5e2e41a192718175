"""An exporter's signals on their way: numbered without gaps, sent in order, remembered in case the server forgets.

A signal is *queued* until the server has taken it. If the connection is lost before the reply, only the journal knows
whether it did: `checked` compares. A signal whose caller has given up before it was ever sent makes no gap: positions
are given when a signal is sent.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from state_signals.codec import decode_signal, encode_signal
from state_signals.exceptions import MalformedMessage
from state_signals.limits import Limits
from state_signals.messages import Envelope, Signal
from state_signals.requests import Entry

__all__ = ["Outgoing", "Publication", "broadcast_again"]

_ROOM = 128
"""Bytes by which a signal may grow when it goes out once more."""

_LARGEST_SEQ = 10**18

_LATE = 16
"""Signals that are remembered that were given up while they were on their way."""


@dataclass(slots=True)
class Publication:
    """A signal that is to go out.

    Attributes:
        signal: the signal.
        envelope: its envelope, but for `seq`; None with `strict_v1`.
        signal_id: its identifier, on the wire or not.
        deadline: when to give it up if the server has not taken it; None: never.
        info: returns what to keep of an initialization, once it goes out; None: it is none.
        forgotten: see `Publish`.
        forgets_roster: see `Publish`.
        entry: position and bytes as sent last.
        is_attempted: whether it may be on the server.
        is_withdrawn: whether nobody wants it any more.
    """

    signal: Signal
    envelope: Envelope | None
    signal_id: str
    deadline: float | None = None
    info: Callable[[], bytes] | None = None
    forgotten: tuple[str, ...] = ()
    forgets_roster: bool = False
    entry: Entry = field(default_factory=lambda: Entry(0, b""))
    is_attempted: bool = False
    is_withdrawn: bool = False

    def encode(self, seq: int, limits: Limits, *, redelivered: bool = False) -> Entry:
        """Return the signal at a position."""
        envelope = self.envelope
        if envelope is not None and (envelope.seq != seq or redelivered):
            envelope = replace(envelope, seq=seq, redelivered=redelivered)
        return Entry(seq, encode_signal(self.signal, envelope, limits=limits))

    def check_room(self, limits: Limits) -> None:
        """Refuse a signal that would be too large in any of the forms in which it may have to go out.

        Raises:
            MessageTooLarge: and says by how much.
        """
        if self.envelope is not None:
            envelope = replace(self.envelope, seq=_LARGEST_SEQ, journal=False, again=True, redelivered=True)
            encode_signal(self.signal, envelope, limits=limits)


def broadcast_again(data: bytes, limits: Limits, *, redelivered: bool = False) -> bytes:
    """Return a signal of ours as it is broadcast once more, to all or to one responder."""
    try:
        signal = decode_signal(data, limits=limits)
    except MalformedMessage:
        # What was found beside the journal may be anybody's.
        return data
    envelope = signal.envelope
    if envelope is None:
        return data
    return encode_signal(signal, replace(envelope, again=True, redelivered=redelivered), limits=limits)


class Outgoing:
    """The queue and the memory of one exporter's signals.

    Attributes:
        head: position of the newest signal that the server has taken.
    """

    def __init__(self, limits: Limits) -> None:
        self.head = 0
        self._limits = limits
        self._queue: deque[Publication] = deque()
        self._taken: deque[Entry] = deque()
        self._bytes_taken = 0
        # Those that may get to the server after all.
        self._given_up: deque[bytes] = deque(maxlen=_LATE)

    def __len__(self) -> int:
        return len(self._queue)

    def __contains__(self, signal_id: str) -> bool:
        return any(each.signal_id == signal_id for each in self._queue)

    @property
    def next_position(self) -> int:
        """The position of the next signal that is queued, if all before it go out."""
        return self.head + len(self._queue) + 1

    def add(self, publication: Publication) -> None:
        """Queue a signal.

        Raises:
            InvalidType, InvalidArgument, MessageTooLarge: if it cannot be sent; it is not queued then.
        """
        publication.entry = publication.encode(self.next_position, self._limits)
        if len(publication.entry.data) > self._limits.max_payload - _ROOM:
            publication.check_room(self._limits)
        self._queue.append(publication)

    def first(self) -> Publication | None:
        """Return the signal to send now, encoded; None: there is none."""
        while self._queue and self._queue[0].is_withdrawn:
            withdrawn = self._queue.popleft()
            if withdrawn.is_attempted:
                self._given_up.append(withdrawn.signal_id.encode())
        if not self._queue:
            return None
        publication = self._queue[0]
        if publication.entry.seq != self.head + 1:
            publication.entry = publication.encode(self.head + 1, self._limits)
        return publication

    def taken(self, *, is_journaled: bool = True) -> Publication:
        """Take note that the server has the first signal, and return it."""
        publication = self._queue.popleft()
        self.head = publication.entry.seq
        if not is_journaled:
            return publication
        self._remember(publication.entry)
        return publication

    def dropped(self) -> Publication:
        """Take note that the server will not have the first signal, and return it."""
        return self._queue.popleft()

    def journal_is_off(self) -> None:
        """Send what is queued without a journal, and remember nothing."""
        for publication in self._queue:
            if publication.envelope is not None:
                publication.envelope = replace(publication.envelope, journal=False)
                publication.entry = Entry(0, b"")
        self._taken.clear()
        self._bytes_taken = 0

    def reply_is_off(self) -> None:
        """Have what is queued answered on the version 1 channel."""
        for publication in self._queue:
            if publication.envelope is not None:
                publication.envelope = replace(publication.envelope, reply=None)
                publication.entry = Entry(0, b"")

    def withdraw(self, signal_id: str) -> None:
        """Give a signal up."""
        for publication in self._queue:
            if publication.signal_id == signal_id:
                publication.is_withdrawn = True

    def overdue(self, now: float) -> list[Publication]:
        """Give up whose time is over, and return them."""
        if not self._queue:
            return []
        due = [
            each for each in self._queue if not each.is_withdrawn and each.deadline is not None and now >= each.deadline
        ]
        for publication in due:
            publication.is_withdrawn = True
        return due

    def next_deadline(self) -> float:
        """Return when the next one is overdue; infinite: never."""
        if not self._queue:
            return math.inf
        moments = (each.deadline for each in self._queue if not each.is_withdrawn and each.deadline is not None)
        return min(moments, default=math.inf)

    def resume(self, head: int) -> None:
        """Go on after what an earlier owner has written."""
        self.head = max(self.head, head)

    def adopt(self, head: int, newest: bytes) -> bool:
        """Go on after `newest` if it was given up before it arrived there after all. Return whether that is so."""
        if head != self.head + 1 or not any(signal_id in newest for signal_id in self._given_up):
            return False
        self.head = head
        self._remember(Entry(head, newest))
        return True

    def has_said_nothing_after(self, head: int) -> bool:
        """Whether nothing has gone out, or may have, since the journal ended at `head`."""
        return self.head == head and not (self._queue and self._queue[0].is_attempted)

    def was_taken(self, head: int, newest: bytes) -> bool:
        """Whether the first signal, sent without a reply, is in a journal that ends at `head` with `newest`.

        An earlier one that was given up may have arrived late, and taken its position.
        """
        if not self._queue or not self._queue[0].is_attempted or head < self._queue[0].entry.seq:
            return False
        return self._queue[0].signal_id.encode() in newest

    def missing_after(self, head: int) -> tuple[Entry, ...]:
        """Return what we remember of the signals that a journal which ends at `head` has lost."""
        return tuple(entry for entry in self._taken if entry.seq > head)

    def _remember(self, entry: Entry) -> None:
        self._taken.append(entry)
        self._bytes_taken += len(entry.data)
        while len(self._taken) > self._limits.max_remembered or self._bytes_taken > self._limits.max_journal_memory:
            self._bytes_taken -= len(self._taken.popleft().data)
