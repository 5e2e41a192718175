"""The bounds on what this package sends, accepts and remembers, in one place."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_LIMITS", "Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds that protect a process from its peers, and its peers from it.

    Attributes:
        max_payload: bytes in one message, both ways.
        max_depth: levels of nested arrays and objects in one message, both ways.
        max_name: characters in an identifier, an event, a host name or a tag, both ways.
        max_roster: responders that one exporter keeps track of.
        max_remembered: closed rounds that an exporter, or unanswered signals that a responder, can still put a name
            to; older ones are forgotten first.
        max_journal_memory: bytes of its newest signals that an exporter remembers, to restore the journal of a server
            that has lost it (and `max_remembered` signals at the most).
        max_at_once: responders that answer an initialization at the same time; if more are expected, they are asked to
            spread their answers.
        spread_each: seconds for each answer then: a server needs about half of that for one.
        max_spread: seconds for all of them, as an exporter asks for it, and as a responder does it.
        max_ahead: bytes of signals that a responder holds back while it fetches earlier ones of the same exporter.
    """

    max_payload: int = 1024 * 1024
    max_depth: int = 64
    max_name: int = 1024
    max_roster: int = 100_000
    max_remembered: int = 1024
    max_journal_memory: int = 16 * 1024 * 1024
    max_ahead: int = 4 * 1024 * 1024
    max_at_once: int = 500
    spread_each: float = 50e-6
    max_spread: float = 2.0


DEFAULT_LIMITS = Limits()
