"""The names that `import state_signals` gives, and what it costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import state_signals


def names_that_type_checkers_see() -> set[str]:
    tree = ast.parse(Path(state_signals.__file__).read_text(encoding="utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"]
    imports = [node for node in blocks[0].body if isinstance(node, ast.ImportFrom)]
    return {alias.name for node in imports for alias in node.names}


@pytest.mark.parametrize("name", state_signals.__all__)
def test_every_public_name_resolves(name):
    assert getattr(state_signals, name) is not None
    assert name in dir(state_signals)


def test_type_checkers_see_exactly_the_public_names():
    assert names_that_type_checkers_see() == set(state_signals.__all__)


def test_public_names_are_listed_once_and_in_order():
    constants = [name for name in state_signals.__all__ if name.isupper()]
    classes = [name for name in state_signals.__all__ if name[0].isupper() and name not in constants]
    assert [*sorted(constants), *sorted(set(classes)), "__version__"] == state_signals.__all__


def test_an_unknown_name_raises_attribute_error():
    with pytest.raises(AttributeError, match="module 'state_signals' has no attribute 'SignalExprter'"):
        _ = state_signals.SignalExprter


def test_everything_is_imported_by_a_star():
    names: dict[str, object] = {}
    exec("from state_signals import *", names)
    assert set(state_signals.__all__) <= set(names)


def test_the_version_is_a_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+([a-z]+\d+)?(\.dev\d+)?", state_signals.__version__)


def imported_by(statement: str) -> set[str]:
    """Return the top-level modules that a statement imports in a fresh interpreter."""
    program = f"import sys; before = set(sys.modules); {statement}; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return {module.partition(".")[0] for module in done.stdout.split()}


def test_a_bare_import_is_cheap():
    imported = imported_by("import state_signals")
    assert "state_signals" in imported
    assert not imported & {"redis", "hiredis", "msgspec", "asyncio", "typer", "rich", "json", "logging", "threading"}


def test_errors_and_messages_come_without_a_client_or_a_terminal():
    imported = imported_by(
        "from state_signals import *; import state_signals.exceptions; import state_signals.messages"
    )
    assert not imported & {"typer", "rich"}
    imported = imported_by("from state_signals import Signal, Response, PublishResult, TransportError")
    assert not imported & {"redis", "hiredis", "asyncio", "typer", "rich"}
