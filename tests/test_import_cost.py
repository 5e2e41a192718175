"""What an import brings along. How long it takes is measured by benchmarks/import_cost.py."""

from __future__ import annotations

import pytest

from tests.programs import finished

HEAVY = {
    *("redis", "hiredis", "msgspec", "typer", "click", "rich"),
    *("asyncio", "concurrent", "logging", "socket", "ssl", "json", "inspect", "dataclasses", "subprocess", "typing"),
}


def imported_by(statement: str) -> set[str]:
    """Return the modules that a bare interpreter has after a statement, and had not before."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = finished(program)
    assert (done.returncode, done.stderr) == (0, "")
    return set(done.stdout.split())


def test_a_bare_import_brings_nothing_heavy() -> None:
    loaded = imported_by("import state_signals")
    assert loaded & HEAVY == set()
    assert {name for name in loaded if name.startswith("state_signals")} == {"state_signals"}


@pytest.mark.parametrize("name", ["Signal", "ResultCodes", "PublishResult", "Closed", "Limits", "__version__"])
def test_plain_names_bring_no_client_and_no_event_loop(name: str) -> None:
    loaded = imported_by(f"from state_signals import {name}")
    assert loaded & {"redis", "hiredis", "asyncio", "typer", "rich"} == set()


@pytest.mark.parametrize("name", ["SignalExporter", "SignalResponder"])
def test_the_classes_bring_no_client_before_they_need_one(name: str) -> None:
    use = f"import state_signals; state_signals.{name}('x', url='memory://a')"
    assert imported_by(use.replace("('x', ", "(") if name == "SignalResponder" else use) & {"redis", "hiredis"} == set()


def test_the_sync_classes_bring_no_command_line_and_no_server() -> None:
    loaded = imported_by("from state_signals import SignalExporter, SignalResponder")
    assert loaded & {"typer", "click", "rich", "state_signals.server", "state_signals.cli"} == set()
