"""What the command line prints: nothing that a terminal obeys."""

from __future__ import annotations

import io
import json
import sys
import unicodedata

import pytest

from state_signals.cli import output
from state_signals.cli.listening.messages import response_line, signal_line, signal_object
from state_signals.codec import WireResponse
from tests.cli.conftest import signal_of


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, äöü, 中文, 🎉", "plain text, äöü, 中文, 🎉"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("one\ntwo\r\tthree\0", "one\\ntwo\\r\\tthree\\x00"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe\u2066", "\\u202egnp.exe\\u2066"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\u2028\u00a0", "\\u2028\\xa0"),
        ("\udcff", "\\udcff"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_is_not_printable_is_escaped(text: str, shown: str) -> None:
    assert output.escaped(text) == shown


def test_no_control_and_no_format_character_gets_through() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert not {unicodedata.category(char) for char in output.escaped(every)} & {"Cc", "Cf", "Cs", "Zl", "Zp"}


def test_a_text_is_cut_with_dots() -> None:
    assert output.shortened("x" * 9, 9) == "x" * 9
    assert output.shortened("x" * 10, 9) == "x" * 6 + "..."


def test_json_is_valid_ascii_on_one_line_whatever_came() -> None:
    value = {"a": [float("nan"), float("inf"), 1.5], "b": "\u202e\x1b\x9b\n\udcff", "c": {"d": (float("nan"),)}}
    line = output.json_line(value)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["a"] == [None, None, 1.5]
    assert json.loads(line)["c"] == {"d": [None]}


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colours_are_for_terminals_that_want_them(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (output.styled("text", "red", Terminal()) != "text") is coloured
    assert output.styled("text", "red", io.StringIO()) == "text"


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.error("one\ntwo   \x1b[2J")
    assert capsys.readouterr().err == "state-signals: error: one two \\x1b[2J\n"


def test_a_closed_stderr_is_no_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", Closed())
    output.note("anything")


def test_what_the_locale_cannot_express_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    output.make_writable()
    output.print_line("ä")
    assert raw.getvalue() == b"\\xe4\n"


def test_a_signal_is_one_line() -> None:
    line = signal_line(signal_of(sample_no=0, tag="a tag\n\x1b[2J", metadata={"k": "\u202e" + "x" * 500}), 0.25)
    assert line.isprintable()
    assert 'fio-1  benchmark-start  sample=0  tag="a tag\\n\\x1b[2J"' in line
    assert len(line) < 300
    assert line.split("  ")[0].endswith(".250")


def test_what_a_signal_does_not_have_is_not_shown() -> None:
    assert signal_line(signal_of(), 0.0).endswith("fio-1  benchmark-start")


def test_a_signal_as_object_has_the_same_keys_always() -> None:
    assert signal_object(signal_of(), 1.0) == {
        "type": "signal",
        "publisher_id": "fio-1",
        "process_name": "fio",
        "event": "benchmark-start",
        "runner_host": "host-a",
        "sample_no": -1,
        "tag": "No tag specified",
        "metadata": None,
        "id": None,
        "seq": None,
        "sent": None,
        "received": 1.0,
    }


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"ras": 1}, "succeeded"),
        ({"ras": 0, "message": "no\nspace"}, "failed  no\\nspace"),
        ({"state": "working", "took": 1.0}, "working  1.000 s"),
        ({}, "no answer"),
    ],
)
def test_a_response_is_one_line(fields: dict[str, object], shown: str) -> None:
    response = WireResponse("pcp", "fio-1", "benchmark-start", **fields)  # type: ignore[arg-type]
    assert response_line(response, 0.0).endswith(f"fio-1  benchmark-start  <-  pcp  {shown}")
