"""Real servers for the tests, on free ports, and helpers to wait for conditions."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
import redis
from hypothesis import HealthCheck, settings

from state_signals.server import EmbeddedServer
from tests.parties import Parties, Wire

# A busy machine is no bug of ours.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)
def pytest_report_to_serializable(report: pytest.CollectReport | pytest.TestReport) -> None:
    """Show what is no valid Unicode escaped: what a test has logged goes from one process to another."""
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Undo what a test does to the package's loggers: the command line, run in this process, sets them up."""
    loggers = [
        logging.getLogger(name) for name in ("state_signals", "state_signals.exporter", "state_signals.responder")
    ]
    before = [(each.handlers[:], each.propagate, each.level, each.disabled) for each in loggers]
    yield
    for each, state in zip(loggers, before, strict=True):
        each.handlers[:], each.propagate, level, each.disabled = state
        each.setLevel(level)


@pytest.fixture(scope="session")
def server() -> Iterator[EmbeddedServer]:
    """One server for all tests that leave it as they found it."""
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def redis_url(server: EmbeddedServer) -> Iterator[str]:
    """The URL of an empty server; afterwards nothing of the test may be connected or stored there."""
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        yield server.url


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty transport of each kind."""
    if request.param == "memory":
        return f"memory://{uuid.uuid4()}"
    found: str = request.getfixturevalue("redis_url")
    return found


@pytest.fixture(params=["sync", "asyncio"])
def shell(request: pytest.FixtureRequest) -> str:
    """Which of the two sets of classes is used."""
    name: str = request.param
    return name


@pytest.fixture
async def parties(shell: str, url: str) -> AsyncIterator[Parties]:
    """Makes exporters and responders; all are closed afterwards."""
    made = Parties(shell, url)
    yield made
    await made.close()


@pytest.fixture
def wire(url: str) -> Iterator[Wire]:
    """A bystander that sees every byte."""
    bystander = Wire(url)
    yield bystander
    bystander.close()


def wait_until(condition: Callable[[], object], *, timeout: float = 10.0, what: str = "the condition") -> None:
    """Poll until a condition holds; fail when the deadline passes first."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"{what} did not hold within {timeout} seconds")
        threading.Event().wait(0.005)
