"""`state-signals doctor` where there is no connection that is of use: which step fails, and what to do."""

from __future__ import annotations

import functools
import json
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import redis

from state_signals.server import EmbeddedServer
from tests.cli.conftest import Start
from tests.cli.doctoring import SOON, Doctor, examined
from tests.transport.strangers import Acceptor, stranger
from tests.transport.test_tls import CERTIFICATE, Proxy


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    return functools.partial(examined, capsys)


@pytest.fixture
def own() -> Iterator[EmbeddedServer]:
    """A server that a test may break."""
    with EmbeddedServer() as running:
        yield running


def only_problem(done: SimpleNamespace) -> tuple[str, str]:
    """Return the step that failed, and what to do."""
    assert done.code == 4
    assert [each["verdict"] for each in done.found].count("problem") == 1
    assert done.found[-1]["verdict"] == "problem"
    return done.found[-1]["check"], done.found[-1]["remedy"]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 80])
def test_a_host_that_is_not_known(doctor: Doctor, host: str) -> None:
    check, remedy = only_problem(doctor("--url", f"redis://{host}", "--connect-timeout", "10"))
    assert check == "look-up"
    assert "spelling" in remedy


def test_a_name_service_that_hangs(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    never = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: never.wait(20))
    done = doctor("--url", "redis://host", "--connect-timeout", "0.1")
    never.set()
    assert only_problem(done)[0] == "look-up"
    assert "no answer within 0.1 s" in done.found[-1]["found"]


def test_a_port_that_nobody_listens_on(doctor: Doctor) -> None:
    check, remedy = only_problem(doctor("--url", "redis://127.0.0.1:1"))
    assert check == "connection"
    assert "state-signals server" in remedy


def test_a_server_that_wants_a_password(doctor: Doctor, own: EmbeddedServer) -> None:
    assert only_problem(doctor("--url", f"redis://x:y@127.0.0.1:{own.port}")) == (
        "authentication",
        "Check both in the URL. What is special in them has to be percent-encoded.",
    )
    assert "has no password" in doctor("--url", f"redis://:y@127.0.0.1:{own.port}").found[-1]["found"]
    with redis.Redis.from_url(own.url) as client:
        client.config_set("requirepass", "secret")
    done = doctor("--url", own.url)
    assert only_problem(done)[0] == "authentication"
    assert "wants a password" in done.found[-1]["found"]
    done = doctor("--url", f"redis://:wrong@127.0.0.1:{own.port}")
    assert only_problem(done)[0] == "authentication"
    assert "wrong" not in json.dumps(done.found)
    done = doctor("--url", f"redis://:secret@127.0.0.1:{own.port}")
    assert done.code == 0
    assert "secret" not in json.dumps(done.found)


def test_a_database_that_is_not_there(doctor: Doctor, own: EmbeddedServer) -> None:
    assert only_problem(doctor("--url", f"{own.url}/99"))[0] == "database"


class Teller(Acceptor):
    """Says something to whoever says something, and hangs up."""

    def __init__(self, words: bytes) -> None:
        self._words = words
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        with connection:
            connection.recv(4096)
            connection.sendall(self._words)


@pytest.mark.parametrize(
    ("scheme", "words", "check", "text"),
    [
        ("redis", b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol", "an HTTP server"),
        ("rediss", b"HTTP/1.1 400 Bad Request\r\n\r\n", "protocol", "an HTTP server"),
        ("redis", b"<html>", "protocol", "an HTTP server"),
        ("redis", b"SSH-2.0-OpenSSH_9.2\r\n", "protocol", "an SSH server"),
        ("redis", b"-DENIED Redis is running in protected mode\r\n", "protocol", "in protected mode"),
        ("redis", b"-ERR max number of clients reached\r\n", "protocol", "max number of clients"),
        ("redis", b"\x1b]0;owned\x07 hello\r\n", "protocol", "something else"),
        ("redis", b"", "protocol", "something that hangs up"),
        ("redis", b"\x15\x03\x01\x00\x02\x02\x28", "TLS", "something that wants TLS"),
    ],
)
def test_what_is_no_redis_server_is_called_so(doctor: Doctor, scheme: str, words: bytes, check: str, text: str) -> None:
    teller = Teller(words)
    try:
        done = doctor("--url", f"{scheme}://127.0.0.1:{teller.port}")
    finally:
        teller.close()
    assert only_problem(done)[0] == check
    assert text in done.found[-1]["found"]


def test_what_others_say_moves_no_cursor(start: Start) -> None:
    teller = Teller("-ERR \x1b[2J\u202e\r\n".encode())
    try:
        program = start("doctor", "--url", f"redis://127.0.0.1:{teller.port}")
        assert program.wait() == 4
    finally:
        teller.close()
    assert "\\x1b[2J" in program.out
    assert program.out.replace("\n", "").isprintable()


def test_a_server_that_hangs(doctor: Doctor, own: EmbeddedServer) -> None:
    own.pause()
    try:
        done = doctor("--url", own.url, *SOON)
    finally:
        own.resume()
    check, remedy = only_problem(done)
    assert check == "protocol"
    assert "does not answer" in done.found[-1]["found"]
    assert "may hang" in remedy


def test_a_server_that_says_nonsense(doctor: Doctor) -> None:
    with stranger(lambda _: b":1\r\n") as made:
        done = doctor("--url", f"redis://127.0.0.1:{made.port}", *SOON)
        assert only_problem(done)[0] in ("protocol", "connection")
        done = doctor("--url", f"redis+cluster://127.0.0.1:{made.port}", *SOON)
        assert only_problem(done)[0] in ("protocol", "connection")


def test_a_server_that_is_lost_meanwhile(doctor: Doctor) -> None:
    with stranger(lambda command: b"+PONG\r\n" if command[0] == b"PING" else None) as made:
        done = doctor("--url", f"redis://127.0.0.1:{made.port}")
    assert only_problem(done)[0] == "connection"
    assert "lost" in done.found[-1]["found"]


# TLS


@pytest.fixture
def proxy(own: EmbeddedServer) -> Iterator[Proxy]:
    """A port that speaks TLS."""
    assert own.port is not None
    made = Proxy(own.port)
    yield made
    made.close()


def test_tls_that_works(doctor: Doctor, proxy: Proxy) -> None:
    done = doctor("--url", f"rediss://localhost:{proxy.port}?ssl_ca_certs={CERTIFICATE}")
    assert done.code == 0
    assert done.by["TLS"]["facts"]["version"].startswith("TLSv1")
    assert done.by["look-up"]["verdict"] == "ok"
    done = doctor("--url", f"rediss://localhost:{proxy.port}?ssl_cert_reqs=none")
    assert done.by["TLS"]["verdict"] == "warning"


def test_tls_that_does_not_work(doctor: Doctor, proxy: Proxy, own: EmbeddedServer) -> None:
    done = doctor("--url", f"rediss://localhost:{proxy.port}")
    check, remedy = only_problem(done)
    assert (check, "ssl_ca_certs" in remedy) == ("TLS", True)
    check, remedy = only_problem(doctor("--url", f"rediss://127.0.0.1:{own.port}", *SOON))
    assert (check, "redis:// instead" in remedy) == ("TLS", True)
    check, remedy = only_problem(doctor("--url", f"redis://localhost:{proxy.port}", *SOON))
    assert "rediss://" in remedy
