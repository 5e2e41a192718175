"""The tree of errors."""

from __future__ import annotations

import builtins
import re

import pytest

from state_signals import MalformedMessage, PublishResult, RoundFailed, StateSignalsError, TransportError, exceptions
from state_signals.exceptions import __all__ as NAMES  # noqa: N812


def drawn_tree() -> dict[str, tuple[str, str | None]]:
    """Each error in the docstring's drawing, with its parent and the builtin error beside it."""
    found: dict[str, tuple[str, str | None]] = {}
    ancestors = ["StateSignalsError"]
    for line in (exceptions.__doc__ or "").splitlines():
        if drawn := re.match(r"    ((?:│   |    )*)[├└]── (\w+)(?: \((\w+)\))?", line):
            level = len(drawn[1]) // 4 + 1
            ancestors[level:] = [drawn[2]]
            found[drawn[2]] = (ancestors[level - 1], drawn[3])
    return found


TREE = drawn_tree()


def test_the_drawing_shows_every_error_and_no_other():
    assert {"StateSignalsError", *TREE} == set(NAMES)
    defined = {name for name, value in vars(exceptions).items() if isinstance(value, type)}
    assert defined == set(NAMES)


@pytest.mark.parametrize("name", TREE)
def test_each_error_hangs_where_it_is_drawn_and_is_also_the_builtin_error_beside_it(name):
    parent, builtin = TREE[name]
    bases = [getattr(exceptions, parent)]
    if builtin is not None:
        bases.append(getattr(builtins, builtin))
    assert getattr(exceptions, name).__bases__ == tuple(bases)


@pytest.mark.parametrize("name", NAMES)
def test_each_error_is_documented(name):
    assert getattr(exceptions, name).__doc__


def test_everything_is_caught_with_one_name():
    assert StateSignalsError.__bases__ == (Exception,)
    assert all(issubclass(getattr(exceptions, name), StateSignalsError) for name in NAMES)


def test_what_a_program_catches_when_the_server_is_away():
    assert issubclass(TransportError, OSError)


def test_a_malformed_message_has_a_reason_to_count_by():
    error = MalformedMessage("too-deep", "more than 64 levels")
    assert error.reason == "too-deep"
    assert str(error) == "too-deep: more than 64 levels"


def test_a_failed_round_has_its_result():
    result = PublishResult(ok=False)
    error = RoundFailed("start was no success", result)
    assert error.result is result
    assert str(error) == "start was no success"
