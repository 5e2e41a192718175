"""Responders of one process that use the same server share its connections, and show together that they live.

The counterpart of `state_signals.transport.shared_asyncio` for threads.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from state_signals.exceptions import Closed
from state_signals.transport import replies
from state_signals.transport.base import Batch
from state_signals.transport.fanout import Fanout, Post
from state_signals.transport.keys import Keys
from state_signals.transport.lines import Deadline, Dialer
from state_signals.transport.pipeline import Pipeline
from state_signals.transport.redis import RedisTransport

__all__ = ["SharedTransport"]

_JUST_NOW = 0.05
"""Seconds for which a proof of life counts as a new one, and a reply to somebody else."""

Act = Callable[[tuple[str, ...]], Any]


class _Proofs:
    """Proofs of life that go out together: whoever has to give its own gives those of all others."""

    def __init__(self) -> None:
        # Held while they go out. Reentrant, because a signal handler may interrupt that.
        self._lock = threading.RLock()
        self._names: dict[str, None] = {}
        self._shown_at = -math.inf
        self._turn = 0

    def show(self, names: tuple[str, ...], act: Act, turn: int, timeout: float) -> None:
        """Have responders shown, over the connection of that turn."""
        if not self._names.keys() >= set(names) or not self._lock.acquire(timeout=timeout):
            # Somebody waits for the answer that comes next: so for themselves first.
            act(names)
            self._names.update(dict.fromkeys(names))
            return
        try:
            now = time.monotonic()
            if turn != self._turn or now >= self._shown_at + _JUST_NOW:
                act(tuple(self._names))
                self._shown_at, self._turn = now, turn
        finally:
            self._lock.release()

    def withdraw(self, names: tuple[str, ...], timeout: float) -> None:
        """Show responders no longer."""
        for name in names:
            self._names.pop(name, None)
        # What is going out may show them once more, and must not do so after they have left.
        if self._lock.acquire(timeout=timeout):
            self._lock.release()


class _Looks:
    """Replies of the server that others have just had."""

    def __init__(self) -> None:
        # Held while somebody asks. Reentrant, because a signal handler may interrupt that.
        self._lock = threading.RLock()
        self._replies: dict[tuple[Any, int], tuple[float, Any]] = {}

    def look(self, request: Any, act: Callable[[], Any], turn: int, timeout: float) -> Any:
        """Return the reply to a request over the connection of that turn."""
        if not self._lock.acquire(timeout=timeout):
            return act()
        try:
            since = time.monotonic() - _JUST_NOW
            asked_at, reply = self._replies.get((request, turn), (-math.inf, None))
            if asked_at < since:
                asked_at, reply = time.monotonic(), act()
                self._replies = {key: each for key, each in self._replies.items() if each[0] >= since}
                self._replies[request, turn] = asked_at, reply
            return reply
        finally:
            self._lock.release()


class _Hub:
    """The connections of this process to one server."""

    def __init__(self, source: Any, address: str) -> None:
        self.dialer = Dialer(source)
        self.pipeline = Pipeline(self.dialer.dial)
        self.fanout = Fanout(self.dialer.dial, address)
        self.proofs: dict[Keys, _Proofs] = {}
        self.looks: dict[Keys, _Looks] = {}
        self.users = 0

    def close(self) -> None:
        self.pipeline.close(self.dialer.close)
        self.fanout.close()


class _Hubs:
    """Those of this process."""

    def __init__(self) -> None:
        # Reentrant, because a signal handler may close what is just being made.
        self._lock = threading.RLock()
        self._hubs: dict[str, _Hub] = {}

    def join(self, server: str, source: Any, address: str) -> _Hub:
        """Return the one for a server, with one user more."""
        with self._lock:
            hub = self._hubs.get(server)
            if hub is None:
                hub = self._hubs[server] = _Hub(source, address)
            hub.users += 1
            return hub

    def leave(self, server: str, hub: _Hub) -> None:
        """Close one, unless somebody else uses it."""
        with self._lock:
            hub.users -= 1
            is_last = not hub.users
            if is_last and self._hubs.get(server) is hub:
                del self._hubs[server]
        if is_last:
            hub.close()


_hubs = _Hubs()


def _forget() -> None:
    """Leave a process's connections to it, in a fork."""
    global _hubs  # noqa: PLW0603 - nobody else may hold its lock
    _hubs = _Hubs()


os.register_at_fork(after_in_child=_forget)


class SharedTransport(RedisTransport):
    """The part of one responder in connections that it shares with others; but for that, as its base.

    Args:
        client: a client of our own.
        keys: the names to use.
        server: what those have in common that share.
    """

    def __init__(self, client: redis.Redis, keys: Keys, server: str) -> None:
        super().__init__(client, keys, is_ours=True)
        self._server = server
        self._joining = threading.RLock()
        self._hub: _Hub | None = None
        self._turn = 0
        self._posts: list[Post] = []
        self._shown: dict[str, None] = {}
        self._is_closed = False
        self.herald = self

    def show(self, names: tuple[str, ...], act: Act, timeout: float) -> None:
        """Show that responders live; see `Herald`."""
        # Atomic: threads that come at once get the same.
        proofs = self._joined().proofs.setdefault(self.keys, _Proofs())
        self._shown.update(dict.fromkeys(names))
        proofs.show(names, act, self._turn, timeout)
        if self._is_closed:
            proofs.withdraw(names, 0.0)

    def withdraw(self, names: tuple[str, ...], timeout: float) -> None:
        """Show them no longer; see `Herald`."""
        hub = self._hub
        if hub is not None and self.keys in hub.proofs:
            hub.proofs[self.keys].withdraw(names, timeout)

    def look(self, request: Any, act: Callable[[], Any], timeout: float) -> Any:
        """Return the reply to a request that changes nothing; see `Herald`."""
        return self._joined().looks.setdefault(self.keys, _Looks()).look(request, act, self._turn, timeout)

    def close(self) -> None:
        """Leave the connections to the others; who is the last one closes them. Idempotent."""
        self.withdraw(tuple(self._shown), 0.0)
        with self._joining:
            was_closed, self._is_closed = self._is_closed, True
            hub, self._hub = self._hub, None
        for post in self._posts:
            post.close()
        if hub is not None:
            _hubs.leave(self._server, hub)
        if not was_closed:
            super().close()

    def _connect(self, deadline: Deadline) -> None:
        hub = self._joined()
        self._turn = hub.pipeline.renew(deadline)
        (reply,) = self._execute(Batch("", (("PING",),)), deadline)
        replies.check_refusal(reply)

    def _execute(self, batch: Batch, deadline: Deadline) -> list[Any]:
        hub = self._joined()
        if not self._turn:
            self._turn = hub.pipeline.renew(deadline)
        found = hub.pipeline.execute(batch, deadline, self._turn)
        self._check_open()
        return found

    def _subscribe(self, channels: Sequence[str], deadline: Deadline) -> Post:  # type: ignore[override]
        post = self._joined().fanout.subscribe(channels, deadline)
        with self._joining:
            self._posts = [*(each for each in self._posts if not each.is_over), post]
        if self._is_closed:
            post.close()
            self._check_open()
        return post

    def _joined(self) -> _Hub:
        with self._joining:
            self._check_open()
            if self._hub is None:
                self._hub = _hubs.join(self._server, self.client.connection_pool, self.address)
            return self._hub

    def _check_open(self) -> None:
        if self._is_closed:
            raise Closed("it was closed in the meantime; make a new one")
