"""What users pass, checked: each function returns a good value or says what is wrong with a bad one."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final, Literal

from state_signals.exceptions import InvalidArgument, InvalidType
from state_signals.limits import DEFAULT_LIMITS, Limits

__all__ = [
    "SHORTEST_TTL",
    "can_be_key",
    "check_callback",
    "check_count",
    "check_events",
    "check_min_success",
    "check_name",
    "check_names",
    "check_on_lost",
    "check_presence_ttl",
    "check_replay",
    "check_retention",
    "check_text",
    "identifier",
    "is_unicode",
    "limits_for",
    "seconds",
]

SHORTEST_TTL: Final = 0.1
"""Seconds that a proof of life is good for, at the least."""

_LONGEST_TTL: Final = 86_400.0


def check_name(what: str, value: str, limits: Limits = DEFAULT_LIMITS) -> None:
    """Refuse a text of ours that peers would refuse.

    Raises:
        InvalidArgument: if it is too long or not valid Unicode.
    """
    if len(value) > limits.max_name:
        raise InvalidArgument(f"{what} has {len(value)} characters; the limit is {limits.max_name}: {value[:40]!r}...")
    if not is_unicode(value):
        raise InvalidArgument(f"{what} is not valid Unicode text: {value[:80]!r}")


def is_unicode(text: str) -> bool:
    """Whether it can be encoded: lone surrogates cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def can_be_key(publisher_id: str) -> bool:
    """Whether a Cluster keeps all keys of an exporter in one place: what is in the braces must not be empty."""
    return publisher_id != "" and not publisher_id.startswith("}")


def check_text(what: str, value: object) -> None:
    """Refuse what is no text, or none that peers take.

    Raises:
        InvalidType, InvalidArgument: and says why.
    """
    if not isinstance(value, str):
        raise InvalidType(f"{what} must be str, not {type(value).__name__}")
    check_name(what, value)


def identifier(what: str, given: str | None, default: str) -> str:
    """Return a valid identifier; the default if none is given.

    Raises:
        InvalidType, InvalidArgument: unless it is printable text, not empty and not too long.
    """
    name = default if given is None else given
    check_text(what, name)
    if not name or not name.isprintable():
        raise InvalidArgument(f"{what} must be printable text and not empty, not {name!r:.80}")
    if not can_be_key(name):
        raise InvalidArgument(f"{what} must not begin with a closing brace: {name!r:.80}")
    return name


def check_events(value: object) -> list[str]:
    """Return a valid list of event names.

    Raises:
        InvalidType: unless it is a list, tuple or set of texts.
        InvalidArgument: if one is empty or too long.
    """
    events = check_names("legal_events", value)
    if not all(events):
        raise InvalidArgument("legal_events holds an empty name")
    return events


def check_names(what: str, value: object, limits: Limits = DEFAULT_LIMITS) -> list[str]:
    """Return a valid list of names.

    Raises:
        InvalidType: unless it is a list, tuple or set of texts.
        InvalidArgument: if one is too long or not valid Unicode.
    """
    if not isinstance(value, list | tuple | set | frozenset):
        raise InvalidType(f"{what} must be a list of str, not {type(value).__name__}")
    for name in value:
        if not isinstance(name, str):
            raise InvalidType(f"{what} must be a list of str, but holds {name!r:.80}")
        check_name(what, name, limits)
    return list(value)


def check_count(what: str, value: object) -> None:
    """Refuse what is no count.

    Raises:
        InvalidType: unless it is an int.
        InvalidArgument: if it is negative.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidType(f"{what} must be int, not {type(value).__name__}")
    if value < 0:
        raise InvalidArgument(f"{what} must not be negative: {value}")


def check_min_success(value: object) -> float | None:
    """Return a valid `min_success`: None, a count (int), or a share (float from 0 to 1).

    Raises:
        InvalidType: for any other type.
        InvalidArgument: for a negative count or a share outside 0 to 1.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidType(f"min_success must be a count (int) or a share (float), not {type(value).__name__}")
    if isinstance(value, float) and not 0.0 <= value <= 1.0:
        raise InvalidArgument(f"min_success as a share must be from 0.0 to 1.0, not {value}; give a count as an int")
    if value < 0:
        raise InvalidArgument(f"min_success must not be negative: {value}")
    return value


def seconds(what: str, value: object) -> float | None:
    """Return a duration in seconds; None for -1 and None, which mean for ever.

    Raises:
        InvalidType: unless it is an int, a float, a timedelta or None.
        InvalidArgument: if it is negative (but for -1) or not a number.
    """
    if value is None:
        return None
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            raise InvalidArgument(f"{what} is beyond what a float holds; -1 or None waits for ever") from None
    else:
        raise InvalidType(f"{what} must be seconds (int, float), a timedelta or None, not {type(value).__name__}")
    if number in (-1, math.inf):
        return None
    if math.isnan(number) or number < 0:
        raise InvalidArgument(f"{what} must not be negative (-1 or None: for ever), not {value}")
    return number


def check_callback(what: str, value: object) -> None:
    """Refuse what cannot be called; None is no callback.

    Raises:
        InvalidType: and says what it is.
    """
    if value is not None and not callable(value):
        raise InvalidType(f"{what} must be a function, not {type(value).__name__}")


def check_retention(value: object) -> None:
    """Refuse what is no number of seconds that a key can live.

    Raises:
        InvalidType, InvalidArgument: and says why.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidType(f"retention must be seconds (int or float), not {type(value).__name__}")
    if not 0 < value < math.inf:
        raise InvalidArgument(f"retention must be positive and finite, not {value}")


def check_presence_ttl(value: object) -> float | None:
    """Return a valid `presence_ttl` in seconds; None: no proofs of life.

    Raises:
        InvalidType, InvalidArgument: unless it is at least 0.1 seconds; at most a day makes sense.
    """
    number = seconds("presence_ttl", value)
    if number is not None and not SHORTEST_TTL <= number <= _LONGEST_TTL:
        raise InvalidArgument(f"presence_ttl must be from {SHORTEST_TTL} to {_LONGEST_TTL:.0f} seconds, not {value}")
    return number


def check_on_lost(value: object) -> bool:
    """Return whether `on_lost` is `"wait"`, and not `"fail"`.

    Raises:
        InvalidArgument: if it is neither.
    """
    if value not in ("fail", "wait"):
        raise InvalidArgument(f"on_lost must be 'fail' or 'wait', not {value!r:.80}")
    return value == "wait"


def check_replay(value: object) -> Literal["state", "none", "all"]:
    """Return a valid `replay`.

    Raises:
        InvalidType, InvalidArgument: and says what is.
    """
    if not isinstance(value, str):
        raise InvalidType(f"replay must be 'state', 'none' or 'all', not {type(value).__name__}")
    modes: dict[str, Literal["state", "none", "all"]] = {"state": "state", "none": "none", "all": "all"}
    if value not in modes:
        raise InvalidArgument(f"replay must be 'state', 'none' or 'all', not {value!r:.80}")
    return modes[value]


def limits_for(max_payload: int | None) -> Limits:
    """Return the limits, with another `max_payload` (bytes) if one is given.

    Raises:
        InvalidType, InvalidArgument: unless it is a positive int.
    """
    if max_payload is None:
        return DEFAULT_LIMITS
    if isinstance(max_payload, bool) or not isinstance(max_payload, int):
        raise InvalidType(f"max_payload must be int, not {type(max_payload).__name__}")
    if max_payload < 1:
        raise InvalidArgument(f"max_payload must be positive, not {max_payload}")
    return Limits(max_payload=max_payload)
