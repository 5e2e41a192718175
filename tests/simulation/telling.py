"""How the trace shows what goes over the wire: short enough to be read."""

from __future__ import annotations

import json
from typing import Any

import msgspec

__all__ = ["Shown"]

_LONGEST = 60
_ID = 32


class Shown:
    """Something that is shown when, and only if, somebody looks."""

    __slots__ = ("_what",)

    def __init__(self, what: Any) -> None:
        self._what = what

    def __str__(self) -> str:
        return _show(self._what)


def _show(what: Any) -> str:
    if isinstance(what, bytes):
        return _message(what)
    if isinstance(what, tuple | list):
        return "[" + ", ".join(map(_show, what)) + "]"
    if isinstance(what, dict):
        return "{" + ", ".join(f"{_show(key)}: {_show(value)}" for key, value in what.items()) + "}"
    if type(what).__name__ == "Signal":
        return f"<{what.event} {what.seq} {str(what.id)[:6]} of {what.publisher_id}{' AGAIN' * what.redelivered}>"
    if isinstance(what, msgspec.Struct):
        facts = msgspec.structs.asdict(what).items()
        shown = (f"{name}={_show(value)}" for name, value in facts if value not in ((), {}, None))
        return f"{type(what).__name__}({', '.join(shown)})"
    text = str(what)
    return text[: 6 if len(text) == _ID else 200]


def _message(data: bytes) -> str:
    text = data.decode(errors="replace")
    try:
        message = json.loads(data)
        envelope = (message.get("metadata") or {}).get("_state_signals", {})
        if "responder_id" in message:
            facts = {name: message[name] for name in ("ras", "state", "again", "ttl") if name in message}
            about = f"{message['event']} {str(message.get('signal_id'))[:6]} of {message['publisher_id']}"
            return f"<{message['responder_id']} answers {about} {facts}>"
        again = " AGAIN" * ("redelivered" in envelope)
        return f"<{message['event']} {envelope.get('seq')} {envelope.get('id', '')[:6]}{again}>"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
