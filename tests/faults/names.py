"""Host names that cannot be looked up for a while."""

from __future__ import annotations

import socket
import threading
from typing import Any

__all__ = ["Names"]


class Names:
    """A host name of this machine.

    Args:
        host: the name.

    Attributes:
        is_gone: whether it is looked up in vain.
        is_slow: whether each look-up takes until `goes_on`.
        failures: how many were in vain.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.is_gone = False
        self.is_slow = False
        self.goes_on = threading.Event()
        self.failures = 0
        self._look_up = socket.getaddrinfo

    def getaddrinfo(self, host: Any, *arguments: Any, **options: Any) -> Any:
        """Stand in for the function of the module `socket`."""
        if host == self.host and self.is_slow:
            self.goes_on.wait(30)
        if host == self.host and self.is_gone:
            self.failures += 1
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return self._look_up("127.0.0.1" if host == self.host else host, *arguments, **options)
