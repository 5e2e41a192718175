"""One line for one signal or one response: for people, or as JSON."""

from __future__ import annotations

import sys
import time
from typing import Any

from state_signals.cli import output
from state_signals.codec import WireResponse
from state_signals.messages import INITIALIZATION, NO_TAG, Signal

__all__ = ["response_line", "response_object", "signal_line", "signal_object"]

_LONGEST_METADATA = 120
_LONGEST_NAME = 200
_LONGEST_MESSAGE = 400


def signal_object(signal: Signal, received: float) -> dict[str, Any]:
    """Return what is known of a signal: the version 1 fields, what version 2 adds, and when it was received."""
    return {
        "type": "signal",
        "publisher_id": signal.publisher_id,
        "process_name": signal.process_name,
        "event": signal.event,
        "runner_host": signal.runner_host,
        "sample_no": signal.sample_no,
        "tag": signal.tag,
        "metadata": signal.metadata,
        "id": signal.id,
        "seq": signal.seq,
        "sent": signal.sent,
        "received": received,
    }


def response_object(response: WireResponse, received: float) -> dict[str, Any]:
    """Return what is known of a response: the version 1 fields, what version 2 adds, and when it was received."""
    return {
        "type": "response",
        "responder_id": response.responder_id,
        "publisher_id": response.publisher_id,
        "event": response.event,
        "ras": response.ras,
        "message": response.message,
        "signal_id": response.signal_id,
        "state": response.state,
        "took": response.took,
        "sent": response.sent,
        "received": received,
    }


def signal_line(signal: Signal, received: float) -> str:
    """Return a signal as a line for people, with nothing in it that a terminal obeys."""
    parts = [_when(received), _name(signal.publisher_id), output.styled(_name(signal.event), "bold", sys.stdout)]
    if signal.sample_no != -1:
        parts.append(f"sample={signal.sample_no}")
    if signal.tag != NO_TAG:
        parts.append(f"tag={_name(signal.tag)}")
    if signal.metadata:
        parts.append(output.shortened(output.json_line(signal.metadata), _LONGEST_METADATA))
    return "  ".join(parts)


def response_line(response: WireResponse, received: float) -> str:
    """Return a response as a line for people, with nothing in it that a terminal obeys."""
    if response.state is not None:
        answer, style = _name(response.state), "yellow"
    elif response.event == INITIALIZATION:
        answer, style = "subscribed", "green"
    elif response.ras is None:
        answer, style = "no answer", "red"
    else:
        answer, style = ("succeeded", "green") if response.ras == 1 else ("failed", "red")
    parts = [
        _when(received),
        _name(response.publisher_id),
        _name(response.event),
        "<-",
        _name(response.responder_id),
        output.styled(answer, style, sys.stdout),
    ]
    if response.took is not None:
        parts.append(f"{response.took:.3f} s")
    if response.message:
        parts.append(output.shortened(output.escaped(response.message), _LONGEST_MESSAGE))
    return "  ".join(parts)


def _when(received: float) -> str:
    moment = time.strftime("%H:%M:%S", time.localtime(received))
    return output.styled(f"{moment}.{int(received % 1 * 1000):03d}", "dim", sys.stdout)


def _name(text: str) -> str:
    """A name that cannot be taken for two: quoted if it holds a space, and escaped."""
    shown = output.escaped(output.shortened(text, _LONGEST_NAME))
    return f'"{shown}"' if " " in shown or not shown else shown
