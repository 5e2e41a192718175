"""What is typed: bytes from a terminal as keys."""

from __future__ import annotations

import codecs

__all__ = ["KeyReader"]

_SEQUENCES = {
    "[A": "up",
    "OA": "up",
    "[B": "down",
    "OB": "down",
    "[5~": "page-up",
    "[6~": "page-down",
    "[H": "home",
    "OH": "home",
    "[1~": "home",
    "[7~": "home",
    "[F": "end",
    "OF": "end",
    "[4~": "end",
    "[8~": "end",
    "[Z": "back-tab",
}
"""What follows the escape character, by terminals of the xterm family (ECMA-48 and its private extensions)."""

_CONTROLS = {"\t": "tab", "\r": "enter", "\n": "enter", "\x7f": "backspace", "\b": "backspace", "\x15": "clear"}

_LONGEST_SEQUENCE = 32


class KeyReader:
    """Turns bytes into keys: printable characters as they are, others by name.

    A sequence may come in pieces. What is left of one when nothing follows is the escape key: ask `flush()`.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""

    @property
    def is_waiting(self) -> bool:
        """Whether a sequence has begun that has not ended."""
        return bool(self._pending)

    def feed(self, data: bytes) -> list[str]:
        """Return the keys in what was read."""
        text = self._pending + self._decoder.decode(data)
        self._pending = ""
        keys = []
        while text:
            if text[0] != "\x1b":
                key = _CONTROLS.get(text[0], text[0] if text[0].isprintable() else None)
                length = 1
            elif (length := _sequence_length(text)) == 0:
                self._pending = text
                break
            else:
                key = "escape" if length == 1 else _SEQUENCES.get(text[1:length])
            if key is not None:
                keys.append(key)
            text = text[length:]
        return keys

    def flush(self) -> list[str]:
        """Return the keys in what was begun: nothing has followed."""
        had, self._pending = self._pending, ""
        return ["escape"] if had else []


def _sequence_length(text: str) -> int:
    """Return how long the sequence at the beginning of a text is; 0: it has not ended."""
    if len(text) == 1:
        return 0
    if text[1] == "O":
        return 3 if len(text) > 2 else 0
    if text[1] != "[":
        # The escape key, and another one after it.
        return 1
    for place in range(2, min(len(text), _LONGEST_SEQUENCE)):
        if "@" <= text[place] <= "~":
            return place + 1
    return _LONGEST_SEQUENCE if len(text) >= _LONGEST_SEQUENCE else 0
