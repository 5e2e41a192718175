"""What a shell command learns about the signal that it acts on.

What comes over the network reaches it through the environment alone: it is never part of what a shell reads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from state_signals.messages import Signal

__all__ = ["environment_for"]


def environment_for(signal: Signal) -> dict[bytes, bytes]:
    """Return our environment with a signal's facts in it, as UTF-8 whatever the locale is."""
    facts = {
        "EVENT": signal.event,
        "TAG": signal.tag,
        "SAMPLE": str(signal.sample_no),
        "PUBLISHER_ID": signal.publisher_id,
        "PROCESS_NAME": signal.process_name,
        "RUNNER_HOST": signal.runner_host,
        "ID": signal.id or "",
        "METADATA": json.dumps(signal.metadata or {}),
        "ABORTED": signal.aborted or "",
        "REDELIVERED": "1" if signal.redelivered else "",
    }
    return {**os.environb, **dict(_encoded(facts.items()))}


def _encoded(facts: Iterable[tuple[str, str]]) -> Iterable[tuple[bytes, bytes]]:
    for name, value in facts:
        # The environment ends a value at the first NUL.
        yield f"SIGNAL_{name}".encode(), value.replace("\0", "\\x00").encode(errors="backslashreplace")
