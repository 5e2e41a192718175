"""Running `state-signals doctor` within the tests' process."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from state_signals.cli import app
from state_signals.cli.examining.findings import Verdict

__all__ = ["SOON", "Doctor", "examined"]

Doctor = Callable[..., SimpleNamespace]

SOON = ("--connect-timeout", "0.5")


def examined(capsys: pytest.CaptureFixture[str], *arguments: str) -> SimpleNamespace:
    """Run it; return its exit code, and its findings in order and by check (the last one of each)."""
    code = app.run(["doctor", "--json", *arguments])
    said = capsys.readouterr()
    assert said.err == ""
    found = [json.loads(line) for line in said.out.splitlines()]
    for each in found:
        assert set(each) == {"check", "verdict", "found", "remedy", "facts"}
        assert each["verdict"] in list(Verdict)
        # Whatever is not good can be made so.
        assert (each["remedy"] is None) == (each["verdict"] == "ok")
    return SimpleNamespace(code=code, found=found, by={each["check"]: each for each in found})
