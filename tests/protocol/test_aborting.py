"""A run that somebody ends for everybody, and says why."""

from __future__ import annotations

import json

import pytest

from state_signals.codec import decode_signal
from state_signals.protocol.events import AbortRequested, MessageRefused
from state_signals.protocol.exporter import ExporterProtocol
from tests.protocol.stage import Responder, answer, events, events_of, identifier, initialized, publish


def request(core: ExporterProtocol, signal_id: str | None = identifier(1), message: str | None = "disk full") -> None:
    """Have an operator ask for the end."""
    answer(core, "operator", signal_id, None, event="shutdown", state="abort", message=message)


def test_whoever_names_the_initialization_is_listened_to():
    core = initialized("a")
    request(core)
    assert events(core) == [AbortRequested("disk full", "operator")]


def test_a_reason_is_not_needed():
    core = initialized("a")
    request(core, message=None)
    assert events(core) == [AbortRequested("no reason given", "operator")]


@pytest.mark.parametrize(("message", "reason"), [("é" * 5_000, "é" * 1_024), (r"no \ud800", "no ?")])
def test_a_reason_is_passed_on_as_responders_take_it(message, reason):
    core = initialized("a")
    core.message_received(
        b'{"responder_id": "operator", "publisher_id": "fio-1", "event": "shutdown", "state": "abort", '
        b'"signal_id": "%s", "message": "%s"}' % (identifier(1).encode(), message.encode()),
        0.5,
    )
    [event] = events(core)
    assert event == AbortRequested(reason, "operator")
    core.shutdown(aborted=event.reason, now=1.0, sent=1.0)
    [data] = core.said(1.0)
    assert decode_signal(data).aborted == reason


def test_what_is_meant_for_another_run_changes_nothing():
    core = initialized("a")
    request(core, identifier(99))
    request(core, None)
    assert len(events_of(core, MessageRefused)) == 2
    assert core.counters["unknown-signal"] == 2


def test_what_has_ended_is_not_aborted():
    core = initialized("a")
    core.shutdown(now=1.0, sent=1.0)
    request(core)
    assert not events_of(core, AbortRequested)


def test_responders_are_told_why():
    core = initialized("a")
    core.shutdown(aborted="disk full", now=1.0, sent=1.0)
    [data] = core.said(1.0)
    assert json.loads(data)["metadata"]["_state_signals"]["aborted"] == "disk full"
    assert decode_signal(data).aborted == "disk full"
    responder = Responder(core.server, replay="all")
    responder.comes(1.0)
    received = events(responder)[-1]
    assert received.signal.aborted == "disk full"


def test_an_end_in_good_order_says_nothing_of_it():
    core = initialized("a")
    publish(core)
    core.said()
    core.shutdown(now=1.0, sent=1.0)
    [data] = core.said(1.0)
    assert "aborted" not in json.loads(data)["metadata"]["_state_signals"]
    assert decode_signal(data).aborted is None
