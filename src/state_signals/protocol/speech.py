"""What an exporter says, before it has a position: its signals, and what it tells of itself to whoever resumes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from state_signals.messages import NO_TAG, Envelope, Signal
from state_signals.protocol.outgoing import Publication
from state_signals.protocol.registration import Record
from state_signals.protocol.server_side import ServerSide

__all__ = ["Speech"]


@dataclass(slots=True)
class Speech:
    """Who speaks, and how.

    Attributes:
        publisher_id: the exporter's identifier.
        process_name: what it calls itself.
        runner_host: host that it says it runs on.
        reply: key of the stream that collects the responses; None: the version 1 channel does.
        strict_v1: whether it says nothing beyond version 1.
        new_id: makes the signals' identifiers.
        server: where it is heard.
    """

    publisher_id: str
    process_name: str
    runner_host: str
    reply: str | None
    strict_v1: bool
    new_id: Callable[[], str]
    server: ServerSide

    def publication(
        self,
        event: str,
        sample: int,
        tag: str | None,
        metadata: dict[str, Any] | None,
        *,
        wait: float | None,
        sent: float,
        aborted: str | None = None,
        spread: float | None = None,
    ) -> Publication:
        """Return a signal that is to go out, with a new identifier.

        Raises:
            InvalidType: for what is no text, no number or no object.
        """
        signal = Signal(
            self.publisher_id,
            self.process_name,
            event,
            self.runner_host,
            sample,
            NO_TAG if tag is None else tag,
            metadata,
        )
        signal_id = self.new_id()
        envelope = None
        if not self.strict_v1:
            envelope = Envelope(
                id=signal_id,
                # Unless it has to wait, and another one is given up meanwhile.
                seq=self.server.outgoing.next_position,
                sent=sent,
                reply=self.reply,
                wait=wait,
                ttl=self.server.presence.ttl,
                journal=self.server.is_journaled,
                aborted=aborted,
                spread=spread,
            )
        return Publication(signal, envelope, signal_id)

    def record(self, events: list[str] | None, tag: str | None, announcement: str) -> Record:
        """Return what whoever resumes it has to know."""
        registration = self.server.registration
        return Record(
            process_name=self.process_name,
            runner_host=self.runner_host,
            events=events,
            tag=tag,
            announcement=announcement,
            ttl=registration.ttl,
            began=registration.began,
            after=registration.after,
        )
