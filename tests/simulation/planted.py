"""Cores with a bug each, as somebody might have written them: the simulator has to find every one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from state_signals.protocol.exporter import ExporterProtocol
from state_signals.protocol.responder import ResponderProtocol
from state_signals.requests import CatchUp, CaughtUp, CheckJournal, JournalChecked

__all__ = ["BUGS"]


class _CountsStaleAnswers(ExporterProtocol):
    """As 1.0.1: an answer counts for the newest round of its event, whichever signal it answers."""

    def message_received(self, data: bytes | str, now: float) -> None:
        try:
            response = json.loads(data)
            newest = self._responses._newest(response["event"])
            if newest is not None and response.get("signal_id") is not None and response.get("state") is None:
                response["signal_id"] = newest.signal_id
                data = json.dumps(response).encode()
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        super().message_received(data, now)


class _CountsLateAnswers(ExporterProtocol):
    """Deadlines are looked at when somebody calls, and not before an answer is taken."""

    def _expire(self, now: float) -> None:
        if not self._is_taking:
            super()._expire(now)

    _is_taking = False

    def message_received(self, data: bytes | str, now: float) -> None:
        self._is_taking = True
        super().message_received(data, now)
        self._is_taking = False


class _ForgetsToRestore(ExporterProtocol):
    """The journal is never compared with what was written."""

    def reply_received(self, request: Any, reply: Any, now: float) -> None:
        if isinstance(request, CheckJournal):
            reply = JournalChecked(head=self._server.outgoing.head, owner=reply.owner)
        super().reply_received(request, reply, now)


class _NobodyIsLost(ExporterProtocol):
    """Proofs of life are asked for, and not looked at."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._presence.is_lost = lambda *_: False  # type: ignore[method-assign]


class _SkipsCatchUp(ResponderProtocol):
    """Journals are not read: what was broadcast meanwhile is all that there was."""

    def reply_received(self, request: Any, reply: Any, now: float) -> None:
        if isinstance(request, CatchUp):
            reply = CaughtUp(request.publisher_id, ())
        super().reply_received(request, reply, now)


class _IgnoresGaps(ResponderProtocol):
    """Each signal is handed out as it comes."""

    def message_received(self, data: bytes | str, now: float) -> None:
        signal = self._hearing._decoded(data)
        if signal is not None and signal.envelope is not None and signal.envelope.id not in self._hearing._received:
            self._hearing._hand_out(signal, now)
        else:
            super().message_received(data, now)


class _ForgetsDuplicates(ResponderProtocol):
    """What was received is not remembered."""

    def message_received(self, data: bytes | str, now: float) -> None:
        self._hearing._received.clear()
        super().message_received(data, now)


class _DoesNotRepeatAnswers(ResponderProtocol):
    """An answer that was under way when the connection was lost is taken for delivered."""

    def connection_lost(self) -> None:
        if self._answers.next() is not None:
            self._answers.sent()
        super().connection_lost()

    def _repeat_awaited(self, now: float) -> None:
        pass


class _RaisesOnNonsense(ResponderProtocol):
    """As 1.0.1: what cannot be read ends the listener."""

    def message_received(self, data: bytes | str, now: float) -> None:
        json.loads(data)
        super().message_received(data, now)


BUGS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "counts a stale answer": {"exporter_core": _CountsStaleAnswers},
    "counts an answer after the deadline": {"exporter_core": _CountsLateAnswers},
    "forgets to restore the journal": {"exporter_core": _ForgetsToRestore},
    "waits for the dead": {"exporter_core": _NobodyIsLost},
    "skips catch-up": {"responder_core": _SkipsCatchUp},
    "ignores gaps": {"responder_core": _IgnoresGaps},
    "forgets a duplicate": {"responder_core": _ForgetsDuplicates},
    "does not repeat answers": {"responder_core": _DoesNotRepeatAnswers},
    "raises on nonsense": {"responder_core": _RaisesOnNonsense},
}
"""What to make the cores of, by the bug."""
