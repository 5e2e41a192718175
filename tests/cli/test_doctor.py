"""`state-signals doctor`: what it finds on good, odd and missing servers, and that it disturbs nobody."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import redis

from state_signals import SignalExporter, SignalResponder
from state_signals.cli import app
from state_signals.cli.examining import asking, checks, server_checks
from state_signals.cli.examining.diagnosis import Speaker, recognised
from state_signals.cli.examining.findings import Finding, Verdict, counted, lines_of
from state_signals.cli.privileges import Role, attempts, rules
from state_signals.server import EmbeddedServer
from tests.cli.conftest import STATE_SIGNALS, Recorder, Start
from tests.conftest import wait_until
from tests.faults.groups import SERVICE, Cluster, Sentinels
from tests.transport.strangers import Acceptor, stranger
from tests.transport.test_tls import CERTIFICATE, Proxy

SOON = ("--connect-timeout", "0.5")

Findings = dict[str, dict[str, Any]]

Doctor = Callable[..., SimpleNamespace]


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Runs it, and returns its exit code, and its findings in order and by check (the last one of each)."""

    def run(*arguments: str) -> SimpleNamespace:
        code = app.run(["doctor", "--json", *arguments])
        said = capsys.readouterr()
        assert said.err == ""
        found = [json.loads(line) for line in said.out.splitlines()]
        for each in found:
            assert set(each) == {"check", "verdict", "found", "remedy", "facts"}
            assert each["verdict"] in list(Verdict)
            # Whatever is not good can be made so.
            assert (each["remedy"] is None) == (each["verdict"] == "ok")
        return SimpleNamespace(code=code, found=found, by={each["check"]: each for each in found})

    return run


@pytest.fixture(scope="module")
def own() -> Iterator[EmbeddedServer]:
    """A server that is configured as tests like it."""
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def admin(own: EmbeddedServer) -> Iterator[Any]:
    """Somebody who may do everything; afterwards the configuration is as it was."""
    with redis.Redis.from_url(own.url, decode_responses=True) as client:
        client.flushall()
        names = ("maxmemory", "maxmemory-policy", "client-output-buffer-limit", "timeout", "maxclients", "appendonly")
        before = {name: client.config_get(name)[name] for name in names}
        yield client
        for name, value in before.items():
            client.config_set(name, value)
        client.config_set("requirepass", "")
        for user in client.acl_users():
            if user != "default":
                client.acl_deluser(user)


def user(server: EmbeddedServer, admin: Any, *words: str) -> str:
    """Return the URL of a user that may do something."""
    admin.execute_command("ACL", "SETUSER", "some", "reset", "on", ">secret", "resetchannels", *words)
    return f"redis://some:secret@127.0.0.1:{server.port}"


def version_of(server: EmbeddedServer) -> tuple[int, int]:
    major, minor, *_ = (int(part) for part in str(server.version).split("."))
    return major, minor


# A good server


def test_a_good_server_is_called_so(doctor: Doctor, own: EmbeddedServer, admin: Any) -> None:
    done = doctor("--url", own.url)
    assert done.code == 0
    assert [each["check"] for each in done.found] == [
        *("URL", "connection", "authentication", "server", "round trip", "clock"),
        *("permissions", "permissions", "permissions", "writing", "publishing"),
        *("replication", "memory", "clients", "persistence", "buffers", "idle", "parties", "version 1"),
    ]
    assert {each["check"] for each in done.found if each["verdict"] != "ok"} == {"persistence"}
    assert done.by["server"]["facts"] == {"kind": own.kind, "version": own.version}
    assert done.by["authentication"]["facts"] == {"user": "default"}
    assert 0 < done.by["round trip"]["facts"]["median"] <= done.by["round trip"]["facts"]["worst"]
    assert done.by["replication"]["facts"] == {"role": "master", "replicas": 0}


def test_it_disturbs_nobody_and_leaves_nothing(
    doctor: Doctor, redis_url: str, recorder: Recorder, server: EmbeddedServer
) -> None:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        client.config_resetstat()
        before = {each["id"] for each in client.client_list()}
        assert doctor("--url", redis_url).code == 0
        assert client.keys() == []
        assert recorder.events() == []
        wait_until(lambda: {each["id"] for each in client.client_list()} == before, what="its connections are closed")
        # What it has tried to see whether it may has not been carried out.
        carried_out = {
            name.removeprefix("cmdstat_"): calls["calls"] for name, calls in client.info("commandstats").items()
        }
    assert {"del", "set", "hset", "pexpire", "zadd", "scan"} & carried_out.keys() == set()
    assert carried_out["xadd"] == 1


def test_the_living_are_counted(doctor: Doctor, redis_url: str) -> None:
    with (
        SignalExporter("fio", url=redis_url) as exporter,
        SignalResponder(responder_id="a", url=redis_url) as responder,
    ):
        answering = threading.Thread(target=responder.run, daemon=True)
        answering.start()
        exporter.initialize_and_wait(1, ["start"], timeout=20)
        assert exporter.publish_signal("start").ok
        with redis.Redis.from_url(redis_url) as client:
            wait_until(lambda: client.zcard("state-signals:presence"), what="the responder shows that it lives")
        done = doctor("--url", redis_url)
        assert done.by["parties"]["facts"] == {"exporters": 1, "responders": 1}
        assert done.by["version 1"]["verdict"] == "ok"
        with redis.Redis.from_url(redis_url) as client, client.pubsub() as version_1:
            version_1.subscribe("event-signal-pubsub")
            assert version_1.get_message(timeout=5)
            done = doctor("--url", redis_url)
        assert done.by["version 1"]["verdict"] == "note"
        assert done.by["version 1"]["facts"]["signal_subscribers"] == 2
        assert doctor("--url", redis_url, "--namespace", "lab").by["parties"]["facts"]["exporters"] == 0
    answering.join(20)


def test_a_server_is_asked_through_a_socket(doctor: Doctor, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with EmbeddedServer(socket_path=path) as server:
        done = doctor("--url", server.url)
    assert done.code == 0
    assert done.by["authentication"]["verdict"] == "ok"
    done = doctor("--url", f"unix://{path}")
    assert done.code == 4
    assert "no such socket" in done.found[-1]["remedy"]


# Odd servers


@pytest.mark.parametrize(
    ("options", "check", "verdict", "remedy"),
    [
        ({"maxmemory": "1gb", "maxmemory-policy": "allkeys-lru"}, "memory", "problem", "noeviction"),
        ({"maxmemory": "1gb", "maxmemory-policy": "volatile-ttl"}, "memory", "problem", "noeviction"),
        ({"maxmemory-policy": "allkeys-lru"}, "memory", "note", "noeviction"),
        ({"maxmemory": "1"}, "memory", "problem", "Raise maxmemory"),
        ({"maxmemory": "1"}, "writing", "problem", "maxmemory"),
        ({"client-output-buffer-limit": "pubsub 64kb 0 0"}, "buffers", "warning", "pubsub 32mb"),
        ({"client-output-buffer-limit": "pubsub 0 0 0"}, "buffers", "note", "pubsub 32mb"),
        ({"timeout": "3"}, "idle", "warning", "timeout 0"),
    ],
)
def test_what_is_wrong_has_a_remedy(
    doctor: Doctor, own: EmbeddedServer, admin: Any, options: dict[str, str], check: str, verdict: str, remedy: str
) -> None:
    for name, value in options.items():
        admin.config_set(name, value)
    done = doctor("--url", own.url)
    assert done.by[check]["verdict"] == verdict
    assert remedy in done.by[check]["remedy"]
    assert done.code == (1 if "problem" in {each["verdict"] for each in done.found} else 0)


def test_a_server_with_hardly_a_connection_left(doctor: Doctor, own: EmbeddedServer, admin: Any) -> None:
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(redis.Redis.from_url(own.url)).ping()
        # Three are enough for what is asked.
        admin.config_set("maxclients", len(admin.client_list()) + 3)
        done = doctor("--url", own.url)
    assert done.code == 1
    assert done.by["clients"]["verdict"] == "problem"
    assert "maxclients" in done.by["clients"]["remedy"]


def test_what_survives_a_restart(doctor: Doctor, own: EmbeddedServer, admin: Any) -> None:
    assert "nothing survives" in doctor("--url", own.url).by["persistence"]["found"]
    admin.config_set("appendonly", "yes")
    assert doctor("--url", own.url).by["persistence"]["verdict"] == "ok"


@pytest.mark.parametrize("role", list(Role))
def test_least_privileges_are_enough_for_a_role(doctor: Doctor, own: EmbeddedServer, admin: Any, role: Role) -> None:
    url = user(own, admin, *rules(role, "lab", version_of(own)))
    done = doctor("--url", url, "--namespace", "lab", "--role", role)
    assert done.by["permissions"]["verdict"] == "ok"
    assert done.code == 0
    # What it may not ask is not known, and the permission for that has a name.
    unknown = {each["check"]: each["facts"]["permission"] for each in done.found if each["verdict"] == "unknown"}
    assert unknown["state"] == "+info"
    assert unknown["configuration"] == "+config|get"
    assert done.by["server"]["facts"]["version"] == own.version
    # It is not told that it lacks what it does not want to be.
    done = doctor("--url", url, "--namespace", "lab")
    assert done.code == 0
    assert [each["verdict"] for each in done.found if each["check"] == "permissions"].count("ok") >= 1
    # In another namespace, it may do nothing.
    done = doctor("--url", url)
    assert done.code == 1
    assert {each["verdict"] for each in done.found if each["check"] == "permissions"} == {"problem"}
    assert admin.keys() == []


def test_another_role_is_a_problem_if_it_is_wanted(doctor: Doctor, own: EmbeddedServer, admin: Any) -> None:
    url = user(own, admin, *rules(Role.OBSERVER, None, version_of(own)))
    done = doctor("--url", url, "--role", "observer", "--role", "exporter")
    assert done.code == 1
    verdicts = {each["facts"]["role"]: each for each in done.found if each["check"] == "permissions"}
    assert verdicts["observer"]["verdict"] == "ok"
    assert verdicts["exporter"]["verdict"] == "problem"
    assert "`state-signals acl exporter`" in verdicts["exporter"]["remedy"]
    missing = verdicts["exporter"]["facts"]["missing"]
    assert "publish event-signal-pubsub" in missing
    assert "zadd state-signals:exporters" in missing


@pytest.mark.parametrize("role", list(Role))
def test_each_missing_permission_is_named(own: EmbeddedServer, admin: Any, role: Role) -> None:
    def dial() -> asking.Asked:
        with redis.Redis.from_url(url) as client:
            return asking.dialled(client.connection_pool, 5.0)

    needed = sorted({each.name for each in attempts(role, None, "nobody")} | {"multi", "exec"})
    for name in needed:
        url = user(own, admin, "+@all", "~*", "&*", f"-{name}")
        assert {each.name for each in asking.refusals(dial, attempts(role, None, "nobody"))} == {name}
    channels = {each.on for each in attempts(role, None, "nobody") if each.name == "subscribe"}
    url = user(own, admin, "+@all", "~*")
    refused = asking.refusals(dial, attempts(role, None, "nobody"))
    assert {each.on for each in refused if each.name == "subscribe"} == channels
    assert admin.keys() == []


def test_a_replica_and_a_sentinel_are_no_place_for_signals(doctor: Doctor) -> None:
    with Sentinels() as group:
        done = doctor("--url", group.url)
        assert done.code == 0
        assert done.by["master"]["facts"]["port"] == group.master.port
        assert done.by["replication"]["facts"]["replicas"] == 1
        done = doctor("--url", group.url.replace(f"/{SERVICE}", "/nobody"))
        assert done.code == 4
        assert "knows no master 'nobody'" in done.found[-1]["found"]
        done = doctor("--url", f"redis://127.0.0.1:{group.sentinels[0].port}")
        assert (done.code, done.by["mode"]["facts"]) == (1, {"mode": "sentinel"})
        assert "redis+sentinel://" in done.by["mode"]["remedy"]
        done = doctor("--url", f"redis://127.0.0.1:{group.replica.port}")
        assert (done.code, done.by["replication"]["verdict"], done.by["writing"]["verdict"]) == (
            1,
            "problem",
            "problem",
        )
        done = doctor("--url", f"redis+sentinel://127.0.0.1:{group.master.port}/{SERVICE}")
        assert (done.code, done.found[-1]["check"]) == (4, "sentinels")
        assert "is no Sentinel" in done.found[-1]["found"]
        group.sentinels[0].kill()
        done = doctor("--url", group.url)
        assert (done.code, done.by["sentinels"]["verdict"]) == (0, "warning")
        assert done.by["sentinels"]["facts"] == {"reached": 2, "given": 3}


def test_a_cluster_is_examined_as_a_whole(doctor: Doctor) -> None:
    with Cluster() as group:
        done = doctor("--url", group.url)
        assert done.code == 0
        assert done.by["cluster"]["facts"]["masters"] == 3
        assert {done.by[check]["verdict"] for check in ("writing", "publishing", "parties", "permissions")} == {"ok"}
        assert all(node.ask("DBSIZE") == 0 for node in group.masters)
        done = doctor("--url", f"redis://127.0.0.1:{group.nodes[0].port}")
        assert (done.code, done.by["mode"]["facts"]) == (1, {"mode": "cluster"})
        group.nodes[0].pause()
        done = doctor("--url", group.url, *SOON)
        group.nodes[0].resume()
        # Its replica may have taken over by then.
        assert done.by["protocol"]["verdict"] == "warning"


def test_no_cluster_is_told_from_one(doctor: Doctor, own: EmbeddedServer) -> None:
    done = doctor("--url", f"redis+cluster://127.0.0.1:{own.port}")
    assert done.code == 1
    assert "redis://" in done.by["mode"]["remedy"]


# No connection


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


def test_a_server_that_wants_a_password(doctor: Doctor, own: EmbeddedServer, admin: Any) -> None:
    assert only_problem(doctor("--url", f"redis://x:y@127.0.0.1:{own.port}")) == (
        "authentication",
        "Check both in the URL. What is special in them has to be percent-encoded.",
    )
    assert "has no password" in doctor("--url", f"redis://:y@127.0.0.1:{own.port}").found[-1]["found"]
    admin.config_set("requirepass", "secret")
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


def test_tls_that_works(doctor: Doctor, proxy: Proxy, admin: Any) -> None:
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


# As a program


def test_people_get_lines(start: Start, own: EmbeddedServer, admin: Any) -> None:
    program = start("doctor", "--url", own.url)
    assert program.wait() == 0
    assert "\x1b" not in program.out
    assert program.out.startswith(f"ok       URL            {own.url}\n")
    assert "\n                        -> " in program.out
    assert program.err == "state-signals: 1 note, 18 ok\n"


def test_what_others_say_moves_no_cursor(start: Start) -> None:
    teller = Teller("-ERR \x1b[2J\u202e\r\n".encode())
    try:
        program = start("doctor", "--url", f"redis://127.0.0.1:{teller.port}")
        assert program.wait() == 4
    finally:
        teller.close()
    assert "\\x1b[2J" in program.out
    assert program.out.replace("\n", "").isprintable()


def test_when_its_reader_leaves_it_ends_silently(start: Start, own: EmbeddedServer) -> None:
    command = '"$@"; echo "status $?" >&2'
    pipeline = start(argv=["sh", "-c", f"{{ {command}; }} | head -1", "sh", *STATE_SIGNALS, "doctor", "--url", own.url])
    assert pipeline.wait() == 0
    assert pipeline.out.count("\n") == 1
    assert pipeline.err == "status 0\n"


def test_ctrl_c_ends_it_at_once(start: Start) -> None:
    with stranger(is_silent=True) as made:
        program = start("doctor", "--url", f"redis://127.0.0.1:{made.port}", "--connect-timeout", "60")
        program.says("answers after")
        program.send(signal.SIGINT)
        assert program.wait() == 130
    assert program.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", "http://user:secret@host"], "url must be redis://"),
        (["--url", "redis+sentinel://u:secret@host:1"], ".../SERVICE"),
        (["--url", "memory://x"], "memory:// lives within one process"),
        (["--namespace", "a:b"], "namespace must be"),
        (["--connect-timeout", "-3"], "--connect-timeout must not be negative"),
        (["--role", "admin"], "'admin'"),
    ],
)
def test_what_cannot_work_is_a_usage_error(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["doctor", *arguments]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert message in said.err
    assert "secret" not in said.err


# Judgements


def verdict(finding: Finding | None) -> str:
    return "" if finding is None else str(finding.verdict)


@pytest.mark.parametrize(
    ("said", "who"),
    [
        (None, Speaker.SILENT),
        (b"", Speaker.GONE),
        (b"+PONG\r\n", Speaker.REDIS),
        (b"-NOAUTH Authentication required.\r\n", Speaker.REDIS),
        (b"-no", Speaker.OTHER),
        (b"\x16\x03\x03", Speaker.TLS),
        (b"220 mail\r\n", Speaker.OTHER),
    ],
)
def test_who_is_on_a_port(said: bytes | None, who: Speaker) -> None:
    assert recognised(said) is who


def test_round_trips() -> None:
    assert verdict(checks.round_trip([0.001] * 9)) == "ok"
    assert verdict(checks.round_trip([0.001] * 9 + [0.3])) == "note"
    assert verdict(checks.round_trip([0.02] * 9)) == "note"
    assert verdict(checks.round_trip([0.2] * 9)) == "warning"


def test_clocks_differ_by_no_less_than_what_is_certain() -> None:
    # The reading that took least says most.
    assert verdict(checks.clock([(100.0, 105.0, 110.0), (200.0, 200.5, 201.0)])) == "ok"
    assert verdict(checks.clock([(200.0, 201.5, 201.0)])) == "note"
    assert verdict(checks.clock([(200.0, 260.0, 200.001)])) == "warning"
    behind = checks.clock([(200.0, 190.0, 200.0)])
    assert "10 s behind" in behind.found
    assert behind.facts["difference"] == -10.0


def test_who_speaks_version_1() -> None:
    assert verdict(checks.version_1(3, 1, exporters=1, responders=3)) == "ok"
    assert verdict(checks.version_1(4, 1, exporters=1, responders=3)) == "note"
    assert verdict(checks.version_1(1, 2, exporters=1, responders=3)) == "note"


@pytest.mark.parametrize(
    ("info", "hello", "kind", "judged"),
    [
        ({"redis_version": "7.2.4"}, {}, "redis", "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.0"}, {}, "valkey", "ok"),
        ({"redis_version": "6.3.4", "executable": "/usr/bin/keydb-server"}, {}, "keydb", "ok"),
        ({"redis_version": "6.0.16"}, {}, "redis", "problem"),
        ({}, {"server": "redis", "version": "6.2.0"}, "redis", "ok"),
        ({}, {"server": "valkey", "version": "9.0.0"}, "valkey", "ok"),
        ({}, {}, "redis", "unknown"),
        ({"redis_version": "new"}, {}, "redis", "problem"),
    ],
)
def test_servers_and_their_versions(info: dict[str, str], hello: dict[str, str], kind: str, judged: str) -> None:
    finding = server_checks.kind_and_version(info, hello)
    assert (finding.facts["kind"], verdict(finding)) == (kind, judged)


@pytest.mark.parametrize(
    ("value", "judged"),
    [
        ("normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60", "ok"),
        ("normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60", "ok"),
        ("pubsub 33554432 100000 60", "warning"),
        ("pubsub 1000000 0 0", "warning"),
        ("pubsub 0 0 0", "note"),
        ("pubsub many 0 0", "unknown"),
        ("normal 0 0 0", "unknown"),
        ("", "unknown"),
    ],
)
def test_buffers_of_slow_responders(value: str, judged: str) -> None:
    assert verdict(server_checks.buffers(value)) == judged


def test_what_survives_is_judged_by_what_the_server_says() -> None:
    assert verdict(server_checks.persistence({"aof_enabled": "1"}, "")) == "ok"
    assert "last snapshot" in server_checks.persistence({"aof_enabled": "0"}, "3600 1").found
    assert verdict(server_checks.persistence({"loading": "1"}, "")) == "problem"
    assert verdict(server_checks.persistence({"rdb_last_bgsave_status": "err"}, "3600 1")) == "warning"


def test_a_full_server() -> None:
    assert verdict(server_checks.memory({"used_memory": "79", "maxmemory": "100"}, None)) == "ok"
    assert verdict(server_checks.memory({"used_memory": "80", "maxmemory": "100"}, None)) == "warning"
    assert verdict(server_checks.memory({"used_memory": "-", "maxmemory": "lots"}, None)) == "ok"
    assert [verdict(server_checks.clients(number, 100)) for number in (79, 80, 95)] == ["ok", "warning", "problem"]
    assert verdict(server_checks.clients(5, None)) == "ok"


def test_lines_fit_the_terminal() -> None:
    finding = Finding("check", Verdict.NOTE, "a \x1b[31m" + "word " * 30, "do `this --and-that` " * 5)
    lines = lines_of(finding, 60)
    assert max(map(len, lines)) < 60
    assert all(line.isprintable() for line in lines)
    assert lines[0].startswith("note     check          a \\x1b[31mword")
    assert any(line.startswith(" " * 24 + "-> do `this --and-that`") for line in lines)
    assert len(lines_of(finding, None)) == 2


def test_the_worst_is_counted_first() -> None:
    given = [Finding("", each, "") for each in (Verdict.OK, Verdict.UNKNOWN, Verdict.PROBLEM, Verdict.OK, Verdict.NOTE)]
    assert counted(given) == "1 problem, 1 unknown, 1 note, 2 ok"
