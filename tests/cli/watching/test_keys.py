"""Bytes from a terminal as keys."""

from __future__ import annotations

import pytest

from state_signals.cli.watching.keys import KeyReader


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        (b"jq/?", ["j", "q", "/", "?"]),
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA\x1bOB", ["up", "down"]),
        (b"\x1b[5~\x1b[6~\x1b[H\x1b[F\x1b[1~\x1b[4~", ["page-up", "page-down", "home", "end", "home", "end"]),
        (b"\t\x1b[Z\r\n\x7f\x08\x15", ["tab", "back-tab", "enter", "enter", "backspace", "backspace", "clear"]),
        ("é训".encode(), ["é", "训"]),
        (b"\x1b[1;5A\x1b[200~\x1b[<0;1;1Mx", ["x"]),
        (b"\x00\x01\x1f", []),
        (b"\xff", ["�"]),
        (b"\x1bq", ["escape", "q"]),
    ],
)
def test_what_is_typed(data: bytes, keys: list[str]) -> None:
    assert KeyReader().feed(data) == keys
    # Over a slow line, each byte comes by itself.
    slow = KeyReader()
    assert [key for byte in data for key in slow.feed(bytes([byte]))] == keys
    assert not slow.is_waiting


def test_the_escape_key_is_known_when_nothing_follows() -> None:
    reader = KeyReader()
    assert reader.feed(b"a\x1b") == ["a"]
    assert reader.is_waiting
    assert reader.flush() == ["escape"]
    assert reader.flush() == []
    assert reader.feed(b"[A") == ["[", "A"]


def test_a_sequence_without_end_is_given_up() -> None:
    reader = KeyReader()
    assert reader.feed(b"\x1b[" + b"1" * 100) == ["1"] * 70
    assert not reader.is_waiting
