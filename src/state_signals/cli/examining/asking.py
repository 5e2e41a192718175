"""Asking one server without anything in between, and looking at who is on a port. For threads, with time limits."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Any

import hiredis

from state_signals.cli.examining.diagnosis import Speaker, recognised
from state_signals.cli.examining.privileges import Attempt
from state_signals.transport.base import Refusal
from state_signals.transport.lines import Deadline, Dialer, Line
from state_signals.transport.replies import pack

__all__ = ["Asked", "connect", "dialled", "look_at", "look_up", "refusals"]

SocketAddress = tuple[Any, ...]

_GLANCE = 2.0
"""Seconds within which whoever is on a port says what it is."""

_ROUTED = ("MOVED", "ASK", "CROSSSLOT")
"""Errors that say where a key is: whoever gets them may use it."""


class Asked:
    """A connection on which commands are asked one after the other; errors among the replies are `Refusal`.

    Args:
        line: the connection.
        seconds: how long each reply may take.
    """

    def __init__(self, line: Line, seconds: float) -> None:
        self.line = line
        self._seconds = seconds

    def ask(self, *commands: tuple[Any, ...]) -> list[Any]:
        """Send commands and return their replies.

        Raises:
            redis.RedisError, OSError: without replies.
        """
        data = b"".join(pack(command) for command in commands)
        return [_reply(each) for each in self.line.exchange(data, len(commands), Deadline(self._seconds))]

    def timed(self, command: tuple[Any, ...]) -> tuple[Any, float, float]:
        """Return the reply to a command, and when, by the monotonic clock, it was sent and came."""
        before = time.perf_counter()
        (reply,) = self.ask(command)
        return reply, before, time.perf_counter()

    def subscribe(self, channel: str) -> Refusal | None:
        """Subscribe to a channel; return why the server refuses, if it does."""
        deadline = Deadline(self._seconds)
        self.line.send(pack(("SUBSCRIBE", channel)), deadline)
        while True:
            # What is published on channels that came before may arrive first.
            reply = _reply(self.line.read(1, deadline)[0])
            if isinstance(reply, Refusal):
                return reply
            if isinstance(reply, list) and reply[:1] == [b"subscribe"]:
                return None

    def published(self) -> Any:
        """Return the payload of the next message of the channel that was subscribed to."""
        return self.line.read(1, Deadline(self._seconds))[0][-1]

    def close(self) -> None:
        """Close the connection."""
        self.line.close()


def refusals(dial: Any, attempts: list[Attempt]) -> list[Attempt]:
    """Return those of some attempts that the server does not allow. None of them has any effect.

    Commands are queued in a transaction that cannot be carried out, for something is wrong in it from the start: a
    server looks at permissions before it queues a command. Subscriptions are made, and ended with their connection.

    Args:
        dial: returns a new connection, as `Asked`.
        attempts: what to try.

    Raises:
        NotImplementedError: if the server does not do transactions as Redis does.
        redis.RedisError, OSError: without a connection.
    """
    asked: Asked = dial()
    try:
        (begun,) = asked.ask(("MULTI",))
        if isinstance(begun, Refusal):
            return [Attempt("multi", "", ("MULTI",))]
        # Refused before it is queued, whoever asks: it has no key.
        (spoilt,) = asked.ask(("GET",))
        if not isinstance(spoilt, Refusal):
            raise NotImplementedError("it does not refuse what is wrong in a transaction")
        queued = [each for each in attempts if each.name != "subscribe"]
        *replies, executed = asked.ask(*(each.words for each in queued), ("EXEC",))
    finally:
        asked.close()
    found = [each for each, reply in zip(queued, replies, strict=True) if _is_forbidden(reply)]
    if _is_forbidden(executed):
        found.append(Attempt("exec", "", ("EXEC",)))
    return found + _refused_subscriptions(dial, [each for each in attempts if each.name == "subscribe"])


def _refused_subscriptions(dial: Any, attempts: list[Attempt]) -> list[Attempt]:
    asked: Asked = dial()
    try:
        return [each for each in attempts if asked.subscribe(each.on) is not None]
    finally:
        asked.close()


def _is_forbidden(reply: Any) -> bool:
    if not isinstance(reply, Refusal) or reply.kind in _ROUTED:
        return False
    # EXEC: "EXECABORT Transaction discarded because of: NOPERM ...".
    return "NOPERM" in reply.text or "unknown command" in reply.text.lower()


def look_up(host: str, port: int, seconds: float) -> list[SocketAddress]:
    """Return the addresses of a host, each as arguments of `socket.socket` and an address to connect to.

    Raises:
        OSError, UnicodeError: if there are none.
        TimeoutError: if nobody has said so in time.
    """
    outcome: list[Any] = []

    def ask() -> None:
        try:
            outcome.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            outcome.append(error)

    # A thread, because the system has no time limit for it, and none can be interrupted.
    thread = threading.Thread(target=ask, name="state-signals-look-up", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise TimeoutError
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    found: list[SocketAddress] = outcome[0]
    return found


def connect(address: SocketAddress, seconds: float) -> socket.socket:
    """Return a connection to an address of `look_up`.

    Raises:
        OSError: if there is none.
    """
    family, kind, protocol, _, where = address
    made = socket.socket(family, kind, protocol)
    try:
        made.settimeout(seconds)
        made.connect(where)
    except BaseException:
        made.close()
        raise
    return made


def look_at(address: SocketAddress, seconds: float) -> tuple[Speaker, str]:
    """Return who is on a port, and what it says first."""
    said: bytes | None = b""
    with suppress(OSError), connect(address, min(seconds, _GLANCE)) as made:
        try:
            made.sendall(b"PING\r\n")
            said = made.recv(512)
        except TimeoutError:
            said = None
    return recognised(said), (said or b"").decode(errors="replace").strip()


def dialled(source: Any, seconds: float, **where: Any) -> Asked:
    """Return a new connection, made as redis-py makes it: with TLS, user and password.

    Raises:
        redis.RedisError, OSError: if there is none.
    """
    return Asked(Dialer(source).dial(Deadline(seconds), **where), seconds)


def _reply(reply: Any) -> Any:
    if not isinstance(reply, hiredis.ReplyError):
        return reply
    text = str(reply)
    kind = text.partition(" ")[0]
    return Refusal(kind if kind.isupper() else "ERR", text)
