"""What a caller waits for."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from state_signals.transport.futures import happened, settle

__all__ = ["News"]


class News:
    """It, in the order in which it became known. One task waits for it."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._arrival: asyncio.Future[bool] | None = None

    def put_nowait(self, item: Any) -> None:
        """Add something."""
        self._items.append(item)
        settle(self._arrival)

    async def get(self, seconds: float | None) -> Any:
        """Return the oldest; None: there is none within `seconds`. May be cancelled without loss."""
        if not self._items:
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await happened(self._arrival, seconds)
            finally:
                self._arrival = None
        return self._items.popleft() if self._items else None

    def empty(self) -> bool:
        """Whether there is none."""
        return not self._items
