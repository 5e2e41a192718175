"""Which function acts on a signal, and what its return or error answers."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state_signals import InvalidArgument, InvalidType, Response, Signal
from state_signals.codec import encode_response
from state_signals.handlers import Handlers


def signal(event: str, publisher_id: str = "fio-1") -> Signal:
    return Signal(publisher_id, "fio", event, "node1")


def handler(_: Signal) -> None: ...


def other(_: Signal) -> None: ...


async def asynchronous(_: Signal) -> None: ...


def test_a_function_acts_on_the_events_that_it_is_registered_for():
    handlers = Handlers(can_await=False)
    handlers.add(("start", "stop"))(handler)
    assert handlers.find(signal("start")) is handler
    assert handlers.find(signal("stop")) is handler
    assert handlers.find(signal("pause")) is None


def test_a_function_without_events_acts_on_every_other_one():
    handlers = Handlers(can_await=False)
    handlers.add(())(other)
    handlers.add(("start",))(handler)
    assert handlers.find(signal("start")) is handler
    assert handlers.find(signal("stop")) is other


def test_the_decorator_leaves_the_function_as_it_is():
    assert Handlers(can_await=False).add(("start",))(handler) is handler


@pytest.mark.parametrize("wrong", [(handler,), ("start", None), (["start", "stop"],)])
def test_events_are_text_so_that_a_decorator_without_parentheses_is_noticed(wrong: tuple[Any, ...]):
    with pytest.raises(InvalidType, match=r'as in @responder.on\("benchmark-start"\)'):
        Handlers(can_await=False).add(wrong)


def test_an_event_has_one_function_and_a_refused_registration_changes_nothing():
    handlers = Handlers(can_await=False)
    handlers.add(("start",))(handler)
    with pytest.raises(InvalidArgument, match="there is a function for 'start' already"):
        handlers.add(("stop", "start"))(other)
    assert handlers.find(signal("start")) is handler
    assert handlers.find(signal("stop")) is None


def test_there_is_one_function_for_every_other_event():
    handlers = Handlers(can_await=False)
    handlers.add(())(handler)
    with pytest.raises(InvalidArgument, match="there is a function for 'every other event' already"):
        handlers.add(())(other)


@pytest.mark.parametrize("wrong", [asynchronous, functools.partial(asynchronous)])
def test_an_async_function_is_refused_where_nobody_would_await_it(wrong):
    with pytest.raises(
        InvalidType, match=r"asynchronous.* is async, which needs the responder of state_signals.asyncio"
    ):
        Handlers(can_await=False).add(("start",))(wrong)
    handlers = Handlers(can_await=True)
    handlers.add(("start",))(wrong)
    assert handlers.find(signal("start")) is wrong


def test_what_still_is_to_be_awaited_is_no_success():
    loop = asyncio.new_event_loop()
    try:
        for returned in (asynchronous(signal("start")), loop.create_future()):
            with pytest.raises(InvalidType, match="something to await"):
                Handlers.success(returned)
    finally:
        loop.close()


def test_it_is_finished_when_the_last_exporter_that_was_followed_shuts_down():
    handlers = Handlers(can_await=False)
    assert not handlers.is_finished(signal("start", "a"))
    assert not handlers.is_finished(signal("initialization", "b"))
    assert not handlers.is_finished(signal("shutdown", "a"))
    assert handlers.is_finished(signal("shutdown", "b"))


def test_an_exporter_that_was_never_followed_finishes_nothing():
    handlers = Handlers(can_await=False)
    assert not handlers.is_finished(signal("shutdown", "stranger"))
    handlers.is_finished(signal("start", "a"))
    assert not handlers.is_finished(signal("shutdown", "stranger"))
    assert handlers.is_finished(signal("shutdown", "a"))


def test_an_exporter_that_shuts_down_twice_finishes_once():
    handlers = Handlers(can_await=False)
    handlers.is_finished(signal("start", "a"))
    assert handlers.is_finished(signal("shutdown", "a"))
    assert not handlers.is_finished(signal("shutdown", "a"))


@pytest.mark.parametrize(
    ("returned", "message"), [(None, None), ("started", "started"), ("", ""), (0, None), (False, None)]
)
def test_returning_is_success_and_a_text_is_the_message(returned, message):
    assert Handlers.success(returned) == (1, message)


def test_raising_is_failure_and_the_error_is_the_message():
    assert Handlers.failure(OSError("disk full")) == (0, "OSError: disk full")


@given(st.lists(st.text(max_size=4) | st.sampled_from(["\ud800", "\udcff"])).map("".join))
def test_whatever_an_error_says_can_be_sent_and_printed(text):
    ras, message = Handlers.failure(ValueError(text))
    assert message is not None
    assert message.encode()
    assert encode_response(Response("r", "p", "start", ras, message))


def test_an_error_that_cannot_say_what_is_wrong_is_still_an_answer():
    class Broken(Exception):
        def __str__(self):
            raise RuntimeError

    assert Handlers.failure(Broken()) == (0, "Broken")


def test_an_endless_error_is_cut():
    _, message = Handlers.failure(ValueError("x" * 10_000_000))
    assert message is not None
    assert len(message) == 10_000
