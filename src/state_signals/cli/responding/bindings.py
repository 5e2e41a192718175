"""Which command belongs to which event: `--on` and `--while`, read and checked."""

from __future__ import annotations

from collections.abc import Iterable

from state_signals.arguments import check_name
from state_signals.exceptions import InvalidArgument

__all__ = ["commands_by_event", "spans"]

_SPAN_FORM = "--while takes START..STOP and CMD, as in --while benchmark-start..benchmark-stop 'vmstat 1'"


def commands_by_event(given: Iterable[str]) -> dict[str, str]:
    """Return the command of each event.

    Args:
        given: each as `EVENT=CMD`.

    Raises:
        InvalidArgument: for what is not that, or cannot be acted on.
    """
    commands: dict[str, str] = {}
    for text in given:
        event, equals, command = text.partition("=")
        if not event or not equals or not command.strip():
            raise InvalidArgument(f"--on takes EVENT=CMD, as in --on benchmark-start='pcp start', not {text!r:.200}")
        check_name("--on", event)
        if event == "initialization":
            raise InvalidArgument(
                "--on cannot act on 'initialization': answering it is how a responder subscribes; "
                "act on the first event of the run instead"
            )
        if event in commands:
            raise InvalidArgument(f"--on is given twice for {event!r}; let one CMD do both, as in 'first && second'")
        commands[event] = command
    return commands


def spans(given: Iterable[str], words: Iterable[str]) -> list[tuple[str, str, str]]:
    """Return start event, stop event and command of each collector.

    Args:
        given: each as `START..STOP`, whose command is the next of the words, or as `START..STOP=CMD`.
        words: commands, in the order of those that they belong to.

    Raises:
        InvalidArgument: for what is not that, or cannot be acted on.
    """
    found: list[tuple[str, str, str]] = []
    rest = list(words)
    for text in given:
        events, equals, command = text.partition("=")
        if not equals:
            if not rest:
                raise InvalidArgument(f"{_SPAN_FORM}; there is no CMD for {text!r:.200}")
            command = rest.pop(0)
        start, stop = _events(events)
        if not command.strip():
            raise InvalidArgument(f"{_SPAN_FORM}; the CMD for {events!r:.200} is empty")
        if (start, stop, command) in found:
            raise InvalidArgument(f"--while is given twice for the same events and CMD: {text!r:.200}")
        found.append((start, stop, command))
    if rest:
        raise InvalidArgument(
            f"{rest[0]!r:.200} belongs to no event; give it as --on EVENT=CMD or --while START..STOP CMD"
        )
    return found


def _events(text: str) -> tuple[str, str]:
    start, _, stop = text.partition("..")
    if not start or not stop or stop.startswith(".") or ".." in stop:
        raise InvalidArgument(f"{_SPAN_FORM}, not {text!r:.200}")
    check_name("--while", text)
    if start == stop:
        raise InvalidArgument(f"--while cannot start and stop on the same event, {start!r}")
    for event in (start, stop):
        if event == "initialization":
            raise InvalidArgument(
                "--while cannot act on 'initialization': answering it is how a responder subscribes; "
                "start with the first event of the run instead"
            )
    if start == "shutdown":
        raise InvalidArgument("--while cannot start on 'shutdown': that is the end of a run")
    return start, stop
