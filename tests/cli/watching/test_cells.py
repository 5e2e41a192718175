"""Text in cells: cut, filled, wrapped, and harmless."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from state_signals.cli.watching.cells import ASCII, UNICODE, Span, clipped, fit, line_width, plain, safe, wrapped
from tests.cli.watching.scenes import HOSTILE


@pytest.mark.parametrize("width", [0, 1, 2, 3, 7, 40])
@pytest.mark.parametrize("name", [*HOSTILE, "", "fio"])
def test_a_text_is_as_wide_as_asked(name: str, width: int) -> None:
    for glyphs in (UNICODE, ASCII):
        assert cell_len(fit(safe(name), width, glyphs)) == width


def test_what_is_cut_says_so() -> None:
    assert fit("collector", 6, UNICODE) == "colle…"
    assert fit("collector", 6, ASCII) == "colle~"
    assert fit("训练作业", 6, UNICODE) == "训练… "
    assert fit("7s", 4, UNICODE, to_the_right=True) == "  7s"


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_is_shown_that_a_terminal_obeys(name: str) -> None:
    assert safe(name).isprintable()


def test_marks_do_not_pile_up() -> None:
    assert safe("e" + "\u0301" * 50 + "x") == "e\u0301\u0301x"


@pytest.mark.parametrize("width", [1, 5, 10, 11, 12, 30])
def test_a_line_is_as_wide_as_asked(width: int) -> None:
    line = clipped((Span("hello ", "title"), Span("训练训"), Span("")), width, UNICODE)
    assert line_width(line) == width
    assert plain(line).rstrip() == plain(line).rstrip(" ")
    assert ("…" in plain(line)) == (width < 12)


def test_a_style_survives_the_cut() -> None:
    line = clipped((Span("failed", "bad"), Span(" after a long time")), 12, UNICODE)
    assert line == (Span("failed", "bad"), Span(" afte…"))


def test_lines_are_broken_between_words() -> None:
    spans = (Span("perf ", ""), Span("failed", "bad"), Span(": No space left on device", ""))
    assert [plain(line).rstrip() for line in wrapped(spans, 14, 9)] == ["perf failed:", "No space left", "on device"]
    assert [plain(line).rstrip() for line in wrapped(spans, 14, 2)] == ["perf failed:", "No space left"]


@pytest.mark.parametrize("width", [2, 3, 7, 20])
@pytest.mark.parametrize("name", HOSTILE)
def test_no_broken_line_is_too_wide(name: str, width: int) -> None:
    for line in wrapped((Span("x "), Span(safe(name)), Span(" y")), width, 5):
        assert cell_len(plain(line).rstrip()) <= width
