"""TLS, through a proxy: not every server program can do it. What is encrypted comes in records, not in replies."""

from __future__ import annotations

import asyncio
import selectors
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from state_signals.exceptions import ServerUnreachable
from state_signals.server import EmbeddedServer
from state_signals.transport import base
from tests.parties import Parties
from tests.transport.sides import DEADLINE, Side
from tests.transport.strangers import Acceptor

CERTIFICATE = Path(__file__).with_name("localhost.pem")
"""Of nobody but these tests, with its key."""


class Proxy(Acceptor):
    """Takes TLS off what goes to a server."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(CERTIFICATE)
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        connection.settimeout(DEADLINE)
        try:
            client = self._context.wrap_socket(connection, server_side=True)
        except OSError:
            return
        client.settimeout(None)
        server = socket.create_connection(("127.0.0.1", self._server))
        self._open += [client, server]
        _pass_on(client, server)


def _pass_on(client: ssl.SSLSocket, server: socket.socket) -> None:
    """Pass on what either says. Both ways in one thread: a TLS connection is no good for two."""
    others: dict[object, socket.socket] = {client: server, server: client}
    with selectors.DefaultSelector() as selector, suppress(OSError, ValueError):
        for each in others:
            selector.register(each, selectors.EVENT_READ)  # type: ignore[arg-type]
        is_open = True
        while is_open:
            ready = [client] if client.pending() else [key.fileobj for key, _ in selector.select()]
            for source in ready:
                data = source.recv(65_536)  # type: ignore[union-attr]
                is_open &= bool(data)
                others[source].sendall(data)
    for each in (client, server):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(server: EmbeddedServer) -> Iterator[Proxy]:
    assert server.port is not None
    made = Proxy(server.port)
    yield made
    made.close()


@pytest.fixture
def url(redis_url: str, proxy: Proxy) -> str:
    return f"rediss://localhost:{proxy.port}?ssl_ca_certs={CERTIFICATE}"


@pytest.fixture(params=["own", "shared"])
async def side(request: pytest.FixtureRequest, shell: str, url: str) -> AsyncIterator[Side]:
    made = Side(shell, url=url, is_shared=request.param == "shared")
    yield made
    await made.close()


async def test_commands_and_inboxes(side: Side, redis_url: str) -> None:
    await side.connect()
    # Larger than a record, and several replies in one.
    data = bytes(range(256)) * 4_000
    assert await side.batch(("SET", "k", data), ("GET", "k"), ("GET", "none")) == [b"OK", data, None]
    subscription, collection = await side.subscribe("a"), await side.collect("s")
    plain = Side("asyncio", url=redis_url)
    for number in range(300):
        await plain.batch(("PUBLISH", "a", b"%d" % number * 1000), ("XADD", "s", "*", "r", number))
    assert await side.receive_all(subscription, 300) == [b"%d" % number * 1000 for number in range(300)]
    assert await side.receive_all(collection, 300) == [b"%d" % number for number in range(300)]
    await plain.close()


async def test_silence_and_lost_connections(side: Side, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "IDLE", 0.1)
    await side.connect()
    inbox = await side.subscribe("a")
    receiving = asyncio.create_task(side.receive(inbox))
    # It was tried several times in between.
    assert not (await asyncio.wait([receiving], timeout=0.5))[0]
    assert await side.execute("PUBLISH", "a", "1") == 1
    assert await receiving == [b"1"]
    proxy.hang_up()
    with pytest.raises(ServerUnreachable):
        await side.receive(inbox)
    with pytest.raises(ServerUnreachable):
        async with asyncio.timeout(DEADLINE):
            while True:
                await side.execute("PING")
    await side.connect()
    assert await side.execute("PING") == b"PONG"


async def test_a_round(shell: str, url: str) -> None:
    parties = Parties(shell, url)
    await parties.running("pcp", {"start": lambda _: "ä" * 50_000})
    exporter = await parties.exporter()
    assert await exporter.initialize_and_wait(1, ["start"], timeout=DEADLINE) == 0
    for _ in range(20):
        assert (await exporter.publish_signal("start", metadata={"x": "y" * 50_000}, timeout=DEADLINE)).ok
    await parties.close()


async def test_a_certificate_of_somebody_else_is_not_accepted(shell: str, proxy: Proxy) -> None:
    for url in (f"rediss://localhost:{proxy.port}", f"redis://localhost:{proxy.port}"):
        side = Side(shell, url=url)
        with pytest.raises(ServerUnreachable, match=f"cannot connect to the server at {url}"):
            await side.connect(2.0)
        await side.close()
