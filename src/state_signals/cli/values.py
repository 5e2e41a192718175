"""What several commands take as text: a number of responders, an object, a list of events; checked."""

from __future__ import annotations

import json
from typing import Any

from state_signals.arguments import check_events, check_name, check_presence_ttl, check_retention, identifier
from state_signals.cli.options import check_wait
from state_signals.exceptions import IllegalEvent, InvalidArgument

__all__ = [
    "count_to_wait_for",
    "event_list",
    "expected",
    "json_object",
    "min_success",
    "presence_ttl",
    "retention_time",
]


def event_list(option: str, text: str) -> list[str]:
    """Return the events of a list with commas between them.

    Raises:
        InvalidArgument: if there is none, or one that cannot be.
    """
    from state_signals.messages import RESERVED_EVENTS  # noqa: PLC0415 - help needs no msgspec

    events = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if "" in events:
        raise InvalidArgument(
            f"{option} takes events with commas between them, as in benchmark-start,benchmark-stop, not {text!r:.200}"
        )
    for event in events:
        check_name(option, event)
        if event in RESERVED_EVENTS:
            raise IllegalEvent(f"{option}: the event {event!r} is reserved; choose another name")
    return check_events(events)


def expected(names: list[str] | None) -> list[str]:
    """Return the responders that `--expect` names.

    Raises:
        InvalidArgument: for what can be no responder's id.
    """
    return [identifier("--expect", name, "") for name in names or ()]


def count_to_wait_for(wait: int | None, expects: list[str]) -> int:
    """Return how many responders have to be there, besides those that are expected by name."""
    return (0 if expects else 1) if wait is None else wait


def min_success(text: str | None) -> float | None:
    """Return how many successes are enough: a count (int), or a share (float); None: all.

    Raises:
        InvalidArgument: for anything else.
    """
    if text is None:
        return None
    number = text.removesuffix("%")
    # Other digits than ASCII's would be a typing error.
    if not (number.isascii() and number.isdigit() and len(number) < 10) or (number != text and int(number) > 100):
        raise InvalidArgument(f"--min-success takes a count or a share, as in 3 or 80%, not {text!r:.80}")
    return int(number) if number == text else int(number) / 100


def presence_ttl(value: float) -> float | None:
    """Return seconds without a sign of life after which a responder is lost; None: never.

    Raises:
        InvalidArgument: for a time that is too short, or too long.
    """
    try:
        return check_presence_ttl(check_wait("--presence", value))
    except InvalidArgument as error:
        raise InvalidArgument(str(error).replace("presence_ttl", "--presence")) from None


def retention_time(value: float) -> float:
    """Return seconds that what is on the server outlives the run.

    Raises:
        InvalidArgument: unless it is positive.
    """
    try:
        check_retention(value)
    except InvalidArgument as error:
        raise InvalidArgument(str(error).replace("retention", "--retention")) from None
    return value


def json_object(option: str, text: str | None) -> dict[str, Any] | None:
    """Return the object that a text holds as JSON.

    Raises:
        InvalidArgument: if it holds none.
    """
    if text is None:
        return None
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{option} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidArgument(f"{option} must be a JSON object, as in '{{\"key\": 1}}', not {text[:80]}")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
