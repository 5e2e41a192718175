"""Who is subscribed to what on a connection that many share, and what waits for each. No connection in here."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import hiredis
import redis

from state_signals.transport import replies
from state_signals.transport.failures import once_more

__all__ = ["Mail", "Switchboard"]

_MOST_MESSAGES = 4_096
_MOST_BYTES = 4 * 1024 * 1024
"""What waits for one subscriber; who falls behind farther starts anew, with the journal, as if disconnected."""


class Mail:
    """What has come for one subscriber, and that has not taken yet.

    Args:
        changed: called when there is news.

    Attributes:
        channels: those that it was subscribed to.
        error: why nothing comes any more.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.channels: set[bytes] = set()
        self.error: Exception | None = None
        self._changed = changed
        self._messages: list[bytes] = []
        self._bytes = 0
        self._unconfirmed: set[bytes] = set()

    @property
    def is_subscribed(self) -> bool:
        """Whether the server has confirmed all channels that were asked for."""
        return not self._unconfirmed

    @property
    def has_messages(self) -> bool:
        """Whether there is something to take."""
        return bool(self._messages)

    def take(self) -> Sequence[bytes]:
        """Return the messages that have come, and keep them no longer."""
        arrived, self._messages, self._bytes = self._messages, [], 0
        return arrived

    def expect(self, name: bytes) -> None:
        """Wait for a channel to be confirmed."""
        self.channels.add(name)
        self._unconfirmed.add(name)

    def confirmed(self, name: bytes) -> None:
        """Take note that a channel is subscribed to."""
        self._unconfirmed.discard(name)
        if not self._unconfirmed:
            self._changed()

    def put(self, data: bytes) -> bool:
        """Take a message. Return whether there was room for it: if not, nothing comes any more."""
        if len(self._messages) >= _MOST_MESSAGES or self._bytes > _MOST_BYTES:
            self.fail(redis.ConnectionError("more was published than could be acted on"))
            return False
        self._messages.append(data)
        self._bytes += len(data)
        self._changed()
        return True

    def fail(self, error: Exception) -> None:
        """Take note that nothing comes any more."""
        self.error = error
        self._changed()


class Switchboard:
    """The subscriptions of a connection."""

    def __init__(self) -> None:
        self._subscribers: dict[bytes, dict[Mail, None]] = {}
        # What the server was asked, in that order: to subscribe to a channel, for somebody; None: to unsubscribe.
        self._asked: deque[tuple[bytes, Mail] | None] = deque()

    @property
    def is_idle(self) -> bool:
        """Whether nobody is subscribed."""
        return not self._subscribers

    def join(self, mail: Mail, names: Iterable[bytes]) -> bytes:
        """Subscribe somebody to channels; return what is to be sent.

        Also to those that others are subscribed to: the reply shows that the connection works.
        """
        commands = []
        for name in names:
            self._subscribers.setdefault(name, {})[mail] = None
            mail.expect(name)
            self._asked.append((name, mail))
            commands.append(replies.pack(("SUBSCRIBE", name)))
        return b"".join(commands)

    def leave(self, mail: Mail) -> bytes:
        """Hand nothing to somebody any more; return what is to be sent."""
        commands = []
        while mail.channels:
            name = mail.channels.pop()
            subscribers = self._subscribers.get(name, {})
            if subscribers.pop(mail, mail) is None and not subscribers:
                del self._subscribers[name]
                self._asked.append(None)
                commands.append(replies.pack(("UNSUBSCRIBE", name)))
        return b"".join(commands)

    def received(self, reply: Any) -> bytes:
        """Hand on what was published, and what was confirmed or refused; return what is to be sent."""
        data = replies.published(reply)
        if data is not None:
            # A signal handler may have somebody leave meanwhile.
            full = [mail for mail in tuple(self._subscribers.get(reply[1], ())) if not mail.put(data)]
            return b"".join([self.leave(mail) for mail in full])
        if isinstance(reply, hiredis.ReplyError) or (isinstance(reply, list) and reply[0] != b"pong"):
            self._replied(reply)
        return b""

    def lost(self, error: Exception) -> None:
        """Tell everybody that the connection is lost."""
        self._asked.clear()
        subscribers, self._subscribers = self._subscribers, {}
        for mail in {mail: None for each in subscribers.values() for mail in each}:
            mail.fail(once_more(error))

    def _replied(self, reply: Any) -> None:
        asked = self._asked.popleft() if self._asked else None
        if asked is None:
            return
        name, mail = asked
        try:
            replies.check(reply)
        except (redis.RedisError, OSError) as error:
            mail.fail(error)
        else:
            mail.confirmed(name)
