"""Groups of real servers on loopback: a master with a replica and Sentinels, and a Cluster.

Each server has a guard, so none outlives the tests, however those end.
"""

from __future__ import annotations

import random
import secrets
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.retry import Retry

from state_signals.server import find_executable
from state_signals.server.guard import Guard

__all__ = ["HOST", "SERVICE", "Cluster", "Node", "Sentinels", "until"]

HOST = "127.0.0.1"
SERVICE = "jobs"

_DEADLINE = 60.0
"""Seconds after which a group counts as broken; on an idle machine it takes a few."""

_POLL = 0.02

_PORTS = range(12_000, 22_000)
"""Outside of those that systems give to outgoing connections, as are those of the Cluster's bus, 10000 above."""

_PORTS_TRIED = 5

_SERVER = ('save ""', "appendonly no", "repl-diskless-sync yes", "repl-diskless-sync-delay 0")


def until(condition: Callable[[], object], what: str, *, seconds: float = _DEADLINE) -> None:
    """Wait for a condition; a server that does not answer has not fulfilled it."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(redis.RedisError, OSError):
            if condition():
                return
        assert time.monotonic() < deadline, f"{what}: not within {seconds} seconds"
        time.sleep(_POLL)


class Node:
    """One server, in a directory of its own. A new port is found for it if its own is taken before it starts.

    Args:
        configured: returns its configuration, without port and directory.
        options: further arguments of the program.
        password: what it wants to hear from clients.
    """

    def __init__(self, configured: Callable[[], list[str]], *options: str, password: str | None = None) -> None:
        self._password = password
        self._configured = configured
        self._options = options
        self._directory = Path(tempfile.mkdtemp(prefix="state-signals-group-"))
        self._guard: Guard | None = None
        self.port = _free_port()
        self._client: redis.Redis | None = None

    def start(self) -> None:
        """Start it where it was; it answers when this returns."""
        is_new = not (self._directory / "server.conf").exists()
        for _ in range(_PORTS_TRIED):
            if is_new:
                lines = [f"port {self.port}", f"bind {HOST}", f'dir "{self._directory}"', *self._configured()]
                if self._password is not None:
                    lines.append(f'requirepass "{self._password}"')
                (self._directory / "server.conf").write_text("\n".join(lines) + "\n")
            command = [str(find_executable()), str(self._directory / "server.conf"), *self._options]
            self._guard = guard = Guard(command, directory=self._directory)
            until(lambda: not guard.is_alive() or self.client.ping(), "the server answers")  # noqa: B023
            if guard.is_alive():
                return
            guard.end(grace=0)
            assert is_new, guard.log
            assert "in use" in guard.log, guard.log
            self.port = _free_port()
        raise AssertionError("no free port was found")

    @property
    def client(self) -> redis.Redis:
        """Somebody who looks at the server."""
        if self._client is None or self._client.connection_pool.connection_kwargs["port"] != self.port:
            self._client = redis.Redis(
                host=HOST,
                port=self.port,
                password=self._password,
                decode_responses=True,
                socket_timeout=5,
                socket_connect_timeout=5,
                retry=Retry(NoBackoff(), 0),
                protocol=2,
            )
        return self._client

    def ask(self, *command: str | int) -> Any:
        """Return the reply to a command as the server gives it."""
        return self.client.execute_command(*command)

    @property
    def is_alive(self) -> bool:
        return self._guard is not None and self._guard.is_alive()

    def info(self, section: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.info(section)
        return found

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._guard
        self._guard.end(grace=0)

    def pause(self) -> None:
        """Freeze it: its connections stay open."""
        assert self._guard
        self._guard.send(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._guard
        self._guard.send(signal.SIGCONT)

    def lag(self) -> None:
        """Cut a replica off from its master: what that acknowledges from now on, the replica never has."""
        # An error, because the master wants no password: the replica tries again and again.
        self.ask("CONFIG", "SET", "masterauth", "wrong")
        self.ask("CLIENT", "KILL", "TYPE", "master")
        until(lambda: self.info("replication")["master_link_status"] == "down", "the replica is cut off")

    def stop(self) -> None:
        """End it, and leave nothing behind."""
        if self._client is not None:
            self._client.close()
        if self._guard is not None:
            self._guard.end(grace=0)
        shutil.rmtree(self._directory, ignore_errors=True)


class _Group:
    """Servers that are started and ended together.

    Args:
        password: what all of them want to hear.
    """

    def __init__(self, password: str | None = None) -> None:
        self._password = password
        self._nodes = ExitStack()

    def _credentials(self) -> str:
        return "" if self._password is None else f":{quote(self._password, safe='')}@"

    def _among_themselves(self) -> list[str]:
        return [] if self._password is None else [f'masterauth "{self._password}"']

    def __enter__(self) -> Self:
        try:
            self._form()
        except BaseException:
            self._nodes.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._nodes.close()

    def _form(self) -> None:
        raise NotImplementedError

    def _node(self, configured: Callable[[], list[str]], *options: str) -> Node:
        node = Node(configured, *options, password=self._password)
        self._nodes.callback(node.stop)
        node.start()
        return node


class Sentinels(_Group):
    """A master, a replica, and three Sentinels of which two have to agree."""

    @property
    def url(self) -> str:
        """The URL of the master, whichever it is."""
        places = ",".join(f"{HOST}:{each.port}" for each in self.sentinels)
        query = "" if self._password is None else f"?sentinel_password={quote(self._password, safe='')}"
        return f"redis+sentinel://{self._credentials()}{places}/{SERVICE}{query}"

    @property
    def master(self) -> Node:
        """The server that the Sentinels call the master."""
        port = self._named()
        return next(each for each in self.servers if each.port == port)

    @property
    def replica(self) -> Node:
        master = self.master
        return next(each for each in self.servers if each is not master)

    def fail_over(self) -> None:
        """Tell a Sentinel to make the replica the master, which lives."""
        self.sentinels[0].ask("SENTINEL", "FAILOVER", SERVICE)

    def await_master(self, node: Node) -> None:
        """Wait until all Sentinels call a server the master."""
        until(
            lambda: {self._named(each) for each in self.sentinels} == {node.port}, "the Sentinels agree on the master"
        )

    def _named(self, sentinel: Node | None = None) -> int:
        asked = sentinel or next(each for each in self.sentinels if each.is_alive)
        _, port = asked.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return int(port)

    def _form(self) -> None:
        server = [*_SERVER, *self._among_themselves()]
        master = self._node(lambda: server)
        self.servers = [master, self._node(lambda: [*server, f"replicaof {HOST} {master.port}"])]
        until(lambda: self.servers[1].info("replication")["master_link_status"] == "up", "the replica follows")
        self.sentinels: list[Node] = []
        names = [secrets.token_hex(20) for _ in range(3)]
        for name in names:
            self.sentinels.append(self._node(lambda: self._sentinel(name, names), "--sentinel"))  # noqa: B023
        until(lambda: all(map(self._is_ready, self.sentinels)), "the Sentinels know each other and the replica")

    def _sentinel(self, name: str, names: list[str]) -> list[str]:
        # Those that were started before are told now, and hear of it from them.
        known = zip(names, self.sentinels, strict=False)
        said = [] if self._password is None else [f"auth-pass {SERVICE}", "sentinel-pass"]
        return [
            f"sentinel myid {name}",
            f"sentinel monitor {SERVICE} {HOST} {self.servers[0].port} 2",
            f"sentinel down-after-milliseconds {SERVICE} 1000",
            f"sentinel failover-timeout {SERVICE} 10000",
            *(f'sentinel {each} "{self._password}"' for each in said),
            *(f"sentinel known-sentinel {SERVICE} {HOST} {other.port} {each}" for each, other in known),
        ]

    def _is_ready(self, sentinel: Node) -> bool:
        facts = _pairs(sentinel.ask("SENTINEL", "MASTER", SERVICE))
        replicas = [_pairs(each) for each in sentinel.ask("SENTINEL", "REPLICAS", SERVICE)]
        return (
            (facts["flags"], facts["num-other-sentinels"]) == ("master", "2")
            and [(each["flags"], each["master-link-status"]) for each in replicas] == [("slave", "ok")]
            and "OK" in sentinel.ask("SENTINEL", "CKQUORUM", SERVICE)
        )


class Cluster(_Group):
    """Three masters with a third of the slots each, and a replica of each."""

    @property
    def url(self) -> str:
        """The URL, which names two of the nodes."""
        return f"redis+cluster://{self._credentials()}{HOST}:{self.nodes[0].port},{HOST}:{self.nodes[3].port}"

    @property
    def masters(self) -> list[Node]:
        """The three that have slots."""
        return [self._at(int(port)) for port in sorted(each[2][1] for each in self._slots())]

    def await_master(self, node: Node) -> None:
        """Wait until a replica has taken over."""
        until(lambda: node.info("replication")["role"] == "master", "the replica takes over")

    def owner(self, key: str) -> Node:
        """The master that has a key."""
        slot = key_slot(key.encode())
        (port,) = {int(found[2][1]) for found in self._slots() if found[0] <= slot <= found[1]}
        return self._at(port)

    def replica(self, key: str) -> Node:
        """The replica of the master that has a key."""
        slot = key_slot(key.encode())
        (ports,) = [[int(each[1]) for each in found[3:]] for found in self._slots() if found[0] <= slot <= found[1]]
        return self._at(ports[0])

    def heal(self) -> None:
        """Start what has ended, and wait until every master has a replica that follows it."""
        for node in self.nodes:
            node.resume()
            if not node.is_alive:
                node.start()
            node.ask("CONFIG", "SET", "masterauth", self._password or "")
        until(lambda: all(map(self._is_whole, self.nodes)), "the Cluster is whole")

    def _at(self, port: int) -> Node:
        return next(each for each in self.nodes if each.port == port)

    def _slots(self) -> list[Any]:
        alive = next(each for each in self.nodes if each.is_alive)
        found: list[Any] = alive.ask("CLUSTER", "SLOTS")
        return found

    def _form(self) -> None:
        configuration = [
            *(*_SERVER, *self._among_themselves()),
            *("cluster-enabled yes", "cluster-config-file nodes.conf", "cluster-node-timeout 1500"),
        ]
        self.nodes = [self._node(lambda: configuration) for _ in range(6)]
        for number, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            node.ask("CLUSTER", "MEET", HOST, self.nodes[0].port)
        masters, replicas = self.nodes[:3], self.nodes[3:]
        edges = [0, 5461, 10923, 16384]
        for node, first, end in zip(masters, edges, edges[1:], strict=False):
            node.ask("CLUSTER", "ADDSLOTS", *range(first, end))
        names = {node: node.ask("CLUSTER", "MYID") for node in masters}
        for master, replica in zip(masters, replicas, strict=True):
            until(lambda: names[master] in replica.ask("CLUSTER", "NODES"), "the nodes know each other")  # noqa: B023
            until(lambda: replica.ask("CLUSTER", "REPLICATE", names[master]), "the replica is told")  # noqa: B023
        until(lambda: all(map(self._is_whole, self.nodes)), "the Cluster is whole")

    def _is_whole(self, node: Node) -> bool:
        """Whether a node sees all slots served, by three masters with a replica each, and follows its own."""
        found: Any = node.ask("CLUSTER", "INFO")
        facts: Any = dict(line.split(":") for line in found.split()) if isinstance(found, str) else found
        groups = [each[2:] for each in node.ask("CLUSTER", "SLOTS")]
        replication = node.info("replication")
        return (
            facts["cluster_state"] == "ok"
            and sorted(int(each[1]) for group in groups for each in group) == sorted(each.port for each in self.nodes)
            and [len(group) for group in groups] == [2, 2, 2]
            and replication.get("master_link_status", "up") == "up"
        )


def _pairs(reply: Any) -> dict[str, str]:
    return reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))


def _free_port() -> int:
    """Return a port that is free, as is the one for a Cluster's bus."""
    while True:
        port = random.choice(_PORTS)
        with suppress(OSError), socket.socket() as one, socket.socket() as other:
            one.bind((HOST, port))
            other.bind((HOST, port + 10_000))
            return port
