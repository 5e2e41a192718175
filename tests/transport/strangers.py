"""Something on a port that is no server, or one that says what it is told to."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import hiredis

__all__ = ["Acceptor", "Stranger", "stranger"]

Answer = Callable[[list[bytes]], bytes | None]


class Acceptor:
    """Takes connections on a port, and serves each in a thread of its own.

    Attributes:
        port: the port.
        connections: how many there were.
    """

    def __init__(self) -> None:
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def serve(self, connection: socket.socket) -> None:
        """Do what this is for."""
        raise NotImplementedError

    def hang_up(self) -> None:
        """End all connections that are open."""
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        # To close it would not wake the thread.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._threads.append(threading.Thread(target=self.serve, args=(connection,)))
            self._threads[-1].start()


class Stranger(Acceptor):
    """Something on a port that answers commands as it likes; None: it hangs up.

    Attributes:
        heard: the commands that it got, but for those by which clients introduce themselves.
    """

    def __init__(self, answer: Answer, *, is_silent: bool = False) -> None:
        self.heard: list[list[bytes]] = []
        self._answer = answer
        self._is_silent = is_silent
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        reader = hiredis.Reader()
        with connection, suppress(OSError):
            while data := connection.recv(65_536):
                reader.feed(data)
                while command := reader.gets():
                    if self._is_silent:
                        continue
                    if command[0] in (b"CLIENT", b"HELLO", b"AUTH", b"SELECT"):
                        connection.sendall(b"+OK\r\n")
                        continue
                    self.heard.append(command)
                    answer = self._answer(command)
                    if answer is None:
                        return
                    connection.sendall(answer)


@contextmanager
def stranger(answer: Answer = lambda _: None, *, is_silent: bool = False) -> Iterator[Stranger]:
    """A stranger for a while."""
    made = Stranger(answer, is_silent=is_silent)
    try:
        yield made
    finally:
        made.close()
