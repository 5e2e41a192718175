"""What the protocol asks of the server, and what it is told: the words between the core and a transport.

The core says *what* is to be done; `state_signals.transport.commands` knows by which commands, and the transports move
them. A request is carried out once, or nobody knows whether it was: then the connection counts as lost. Each may be
made again without harm.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

__all__ = [
    "Answer",
    "Beat",
    "Beaten",
    "CatchUp",
    "CaughtUp",
    "CheckJournal",
    "CheckPresence",
    "Claim",
    "Claimed",
    "Discover",
    "Discovered",
    "Done",
    "Entry",
    "ExporterReply",
    "ExporterRequest",
    "Introduce",
    "Introduced",
    "JournalChecked",
    "Leave",
    "Look",
    "Looked",
    "OpenResponses",
    "PositionTaken",
    "PresenceChecked",
    "Publish",
    "Query",
    "Redeliver",
    "Release",
    "ResponderReply",
    "ResponderRequest",
    "ResponsesOpened",
    "Restore",
    "SaveRoster",
    "ShowPresence",
    "stream_id",
]


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A signal in the journal: its position and the exact bytes that are broadcast."""

    seq: int
    data: bytes


class Done(msgspec.Struct, frozen=True, gc=False):
    """The reply to a request that has nothing to tell."""


class PositionTaken(msgspec.Struct, frozen=True, gc=False):
    """The reply to `Publish` when the journal has a signal at that position, ours from before or somebody else's."""


# What an exporter asks for


class Claim(msgspec.Struct, frozen=True, gc=False):
    """Make a `publisher_id` ours, unless it is somebody else's; read what its last owner has left.

    Attributes:
        owner: who we are; unique.
        ttl: seconds after which the claim ends unless a `Beat` renews it.
        instead_of: an owner that is known to be dead, and is replaced.
    """

    publisher_id: str
    owner: bytes
    ttl: float
    instead_of: bytes | None = None


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """Whose the `publisher_id` is now, and what was found.

    Attributes:
        owner: the owner; ours if the claim succeeded.
        expires_in: seconds until that claim ends if nobody renews it; infinite: never.
        head: `seq` of the newest signal in the journal; 0: there is none.
        record: what `Publish.record` has kept, by field.
        roster: JSON by responder_id, as `SaveRoster` has kept it.
        server_time: seconds since the epoch by the server's clock.
        newest: id of the newest response in the stream; None: there is none.
    """

    owner: bytes | None
    expires_in: float
    head: int
    record: Mapping[bytes, bytes]
    roster: Mapping[bytes, bytes]
    server_time: float
    newest: bytes | None = None


class Publish(msgspec.Struct, frozen=True, gc=False):
    """Write a signal to the journal and broadcast it, in one step.

    Attributes:
        entry: the signal.
        is_journaled: False: only broadcast it.
        record: facts about the exporter to keep beside its journal, by field.
        forgotten: fields of the record to delete.
        forgets_roster: delete the roster, too.
        verdicts: what has become of rounds, to be written down.
    """

    publisher_id: str
    entry: Entry
    is_journaled: bool = True
    record: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    forgotten: tuple[str, ...] = ()
    forgets_roster: bool = False
    verdicts: tuple[bytes, ...] = ()


class Redeliver(msgspec.Struct, frozen=True, gc=False):
    """Send a signal again, to one responder only."""

    responder_id: str
    signal_id: str
    data: bytes


class CheckJournal(msgspec.Struct, frozen=True, gc=False):
    """Look whether the journal still holds what was written."""

    publisher_id: str


class JournalChecked(msgspec.Struct, frozen=True, gc=False):
    """What the server still has.

    Attributes:
        head: `seq` of the newest signal in the journal; 0: there is none.
        owner: whose the `publisher_id` is; None: nobody's.
        newest: that signal as it was broadcast; empty: there is none.
    """

    head: int
    owner: bytes | None
    newest: bytes = b""


class Restore(msgspec.Struct, frozen=True, gc=False):
    """Put everything back that the server has lost, and broadcast `again`, in one step.

    Attributes:
        entries: the whole journal, as far as it is remembered; empty: leave it alone.
        again: signals to broadcast, whose rounds are open.
        record: see `Publish`.
        roster: see `SaveRoster`.
    """

    publisher_id: str
    entries: tuple[Entry, ...]
    again: tuple[bytes, ...]
    record: Mapping[str, bytes]
    roster: Mapping[str, bytes]


class Beat(msgspec.Struct, frozen=True, gc=False):
    """Show that the exporter lives, and put off the expiry of what is its own. Answered by `Beaten`.

    Attributes:
        ttl: see `Claim`.
        position: how far the responses were read, to be kept in the record.
        verdicts: see `Publish`.
    """

    publisher_id: str
    ttl: float
    position: bytes | None = None
    verdicts: tuple[bytes, ...] = ()


class Beaten(msgspec.Struct, frozen=True, gc=False):
    """Whose the `publisher_id` is (None: nobody's), and now, by the server's clock."""

    owner: bytes | None
    server_time: float


class CheckPresence(msgspec.Struct, frozen=True, gc=False):
    """Ask for the last proof of life of responders."""

    responder_ids: tuple[str, ...]


class PresenceChecked(msgspec.Struct, frozen=True, gc=False):
    """Their last proofs of life, and now, all by the server's clock; None: there is none."""

    seen: Mapping[str, float | None]
    server_time: float


class SaveRoster(msgspec.Struct, frozen=True, gc=False):
    """Keep the roster: JSON by responder_id, and who is no longer on it."""

    publisher_id: str
    joined: Mapping[str, bytes]
    gone: tuple[str, ...] = ()


class Release(msgspec.Struct, frozen=True, gc=False):
    """Give the `publisher_id` up if it is ours: delete claim, presence, record and roster. The streams expire.

    Attributes:
        owner: who we are.
        keeps_record: leave record and roster to whoever resumes the exporter.
        lives_on: with that, let the exporter count as live until what is its own expires.
        position: how far the responses were read, to be kept in the record.
        roster: what they have changed in the roster, and was not saved; None: nothing.
        verdicts: see `Publish`.
    """

    publisher_id: str
    owner: bytes
    keeps_record: bool = False
    lives_on: bool = False
    position: bytes | None = None
    roster: SaveRoster | None = None
    verdicts: tuple[bytes, ...] = ()


class OpenResponses(msgspec.Struct, frozen=True, gc=False):
    """Make sure that the stream of the responses is there, and find out where to go on reading.

    Attributes:
        after: id of the newest response that was read; None: none was.
    """

    publisher_id: str
    after: bytes | None = None


class ResponsesOpened(msgspec.Struct, frozen=True, gc=False):
    """Where to read on, and whether responses that were read are gone (then the server has lost data)."""

    after: bytes
    has_lost: bool


# What a responder asks for


class Discover(msgspec.Struct, frozen=True, gc=False):
    """Ask which exporters have shown that they live, in the last `window` seconds."""

    window: float


class Discovered(msgspec.Struct, frozen=True, gc=False):
    """Their last proofs of life by publisher_id, and now, by the server's clock."""

    seen: Mapping[str, float]
    server_time: float


class Introduce(msgspec.Struct, frozen=True, gc=False):
    """Ask what there is to know about an exporter."""

    publisher_id: str


class Introduced(msgspec.Struct, frozen=True, gc=False):
    """What is known about an exporter: its record by field (empty: none), and its newest signal (None: no journal)."""

    publisher_id: str
    record: Mapping[bytes, bytes]
    newest: bytes | None


class Look(msgspec.Struct, frozen=True, gc=False):
    """Ask for the newest signal in a journal."""

    publisher_id: str


class Looked(msgspec.Struct, frozen=True, gc=False):
    """It, as it was broadcast; None: there is none."""

    publisher_id: str
    newest: bytes | None


class CatchUp(msgspec.Struct, frozen=True, gc=False):
    """Read a page of the journal: at most `count` entries that come after the signal with `seq` `after`.

    Attributes:
        beyond: id of the last entry of the page before, to go on from there; None: this is the first page.
    """

    publisher_id: str
    after: int
    count: int
    beyond: bytes | None = None


class CaughtUp(msgspec.Struct, frozen=True, gc=False):
    """The signals as they were broadcast, in order.

    Attributes:
        last: id of the last entry that was read, whatever it holds; None: there was none.
        is_whole: whether there are no more.
    """

    publisher_id: str
    signals: tuple[bytes, ...]
    last: bytes | None = None
    is_whole: bool = True


class Answer(msgspec.Struct, frozen=True, gc=False):
    """Send a response to the stream `reply`, or to the version 1 channel if that is None or gone."""

    data: bytes
    reply: str | None


class ShowPresence(msgspec.Struct, frozen=True, gc=False):
    """Show that responders live."""

    responder_ids: tuple[str, ...]


class Leave(msgspec.Struct, frozen=True, gc=False):
    """Take responders out of the presence."""

    responder_ids: tuple[str, ...]


ExporterRequest = (
    Claim | Publish | Redeliver | CheckJournal | Restore | Beat | CheckPresence | SaveRoster | Release | OpenResponses
)
ExporterReply = Claimed | Done | PositionTaken | JournalChecked | Beaten | PresenceChecked | ResponsesOpened
Query = Discover | Introduce | Look | CatchUp
ResponderRequest = Query | Answer | ShowPresence | Leave
ResponderReply = Discovered | Introduced | Looked | CaughtUp | Done


def stream_id(text: bytes) -> tuple[int, int]:
    """Return the id of a stream's entry as something that can be compared."""
    milliseconds, _, number = text.partition(b"-")
    return int(milliseconds), int(number or 0)
