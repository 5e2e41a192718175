"""Moments and durations in few characters."""

from __future__ import annotations

import pytest

from state_signals.cli.times import age, clock, seconds


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, ""), (-3, "0s"), (0.9, "0s"), (59.9, "59s"), (60, "1m"), (3_600, "1h"), (200_000, "2d")],
)
def test_ages(value: float | None, shown: str) -> None:
    assert age(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (-1, "<1 ms"),
        (0.0004, "<1 ms"),
        (0.012, "12 ms"),
        (0.9996, "1.00 s"),
        (1.524, "1.52 s"),
        (9.996, "10.0 s"),
        (73.12, "73.1 s"),
        (99.96, "100 s"),
        (998, "998 s"),
        (15_000, "4.2 h"),
        (9e9, "104167 d"),
    ],
)
def test_durations(value: float | None, shown: str) -> None:
    assert seconds(value) == shown


def test_a_moment_beyond_all_calendars() -> None:
    assert clock(1e30) == "--:--:--"
    assert len(clock(1.79e9)) == 8
