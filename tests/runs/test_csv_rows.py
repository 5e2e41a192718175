"""Rows of CSV: what a program reads from them again, and what a spreadsheet does not carry out."""

from __future__ import annotations

import csv
import math

import pytest

from state_signals.runs.csv_rows import row


def read(line: str) -> list[str]:
    (found,) = csv.reader([line])
    return found


def test_what_is_written_is_read_again() -> None:
    texts = ["", "plain", 'a "quoted", text', "'", " =not at the beginning", "夜間"]
    assert read(row(texts)) == texts


def test_numbers_stay_numbers_and_what_is_not_known_is_empty() -> None:
    assert row([-1, -0.5, 1.25, math.inf, True, False, None, 3], end="") == "-1,-0.500000,1.250000,inf,true,false,,3"


@pytest.mark.parametrize("begin", "=+-@＝＋－＠")  # noqa: RUF001 - the wide ones are meant
def test_no_text_begins_a_formula(begin: str) -> None:
    assert read(row([f"{begin}1+1", "x"])) == [f"'{begin}1+1", "x"]


def test_a_row_ends_as_the_standard_says() -> None:
    assert row(["a", "b"]) == "a,b\r\n"
