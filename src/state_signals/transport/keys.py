"""Every channel and key name, in one place (protocol: docs/protocol.md, "Where it lives in Redis")."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from state_signals.exceptions import InvalidArgument, InvalidType

__all__ = ["Keys"]

# Neither colon nor brace: no namespace can spell another one's keys, or move them to another Cluster slot.
_NAMESPACE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The names that one namespace uses.

    Attributes:
        namespace: a scope on a shared server; None: the one that version 1 uses.

    Raises:
        InvalidType: if the namespace is no text.
        InvalidArgument: if it is not 1 to 64 letters, digits, dots, dashes and underscores.
    """

    namespace: str | None = None

    def __post_init__(self) -> None:
        if self.namespace is None:
            return
        if not isinstance(self.namespace, str):
            raise InvalidType(f"namespace must be str or None, not {type(self.namespace).__name__}")
        if not _NAMESPACE.fullmatch(self.namespace):
            raise InvalidArgument(
                f"namespace must be 1 to 64 letters, digits, dots, dashes and underscores, not {self.namespace!r:.80}"
            )

    @property
    def signals(self) -> str:
        """The channel that every signal is broadcast on."""
        return self._channel("event-signal-pubsub")

    @property
    def responses(self) -> str:
        """The channel of version 1 responses."""
        return self._channel("event-signal-response")

    @property
    def exporters(self) -> str:
        """The sorted set of exporters by their last proof of life."""
        return f"{self._prefix}exporters"

    @property
    def presence(self) -> str:
        """The sorted set of responders by their last proof of life."""
        return f"{self._prefix}presence"

    def redeliveries(self, responder_id: str) -> str:
        """The channel on which one responder gets signals again."""
        return self._channel(f"event-signal-redelivery:{responder_id}")

    def journal(self, publisher_id: str) -> str:
        """The stream that holds an exporter's signals."""
        return self._of(publisher_id, "signals")

    def reply(self, publisher_id: str) -> str:
        """The stream that collects the responses to one exporter."""
        return self._of(publisher_id, "responses")

    def rounds(self, publisher_id: str) -> str:
        """The stream that holds what has become of an exporter's rounds."""
        return self._of(publisher_id, "rounds")

    def roster(self, publisher_id: str) -> str:
        """The hash of an exporter's responders."""
        return self._of(publisher_id, "roster")

    def record(self, publisher_id: str) -> str:
        """The hash of facts about an exporter."""
        return self._of(publisher_id, "record")

    def owner(self, publisher_id: str) -> str:
        """The text that names the process whose the exporter is."""
        return self._of(publisher_id, "owner")

    def takeover(self, publisher_id: str, dead: bytes) -> str:
        """The text that names who takes the place of a dead owner."""
        return self._of(publisher_id, f"owner:{hashlib.sha256(dead).hexdigest()[:16]}")

    def _of(self, publisher_id: str, what: str) -> str:
        # The braces make a Cluster keep all keys of one exporter in one place.
        return f"{self._prefix}{{{publisher_id}}}:{what}"

    def _channel(self, name: str) -> str:
        return name if self.namespace is None else f"{name}:{self.namespace}"

    @property
    def _prefix(self) -> str:
        return "state-signals:" if self.namespace is None else f"state-signals:{self.namespace}:"
