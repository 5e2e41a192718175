"""`state-signals doctor`: what it finds on good, odd and missing servers, and that it disturbs nobody."""

from __future__ import annotations

import functools
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from state_signals import SignalExporter, SignalResponder
from state_signals.cli import app
from state_signals.cli.examining import asking
from state_signals.cli.examining.privileges import Role, attempts, rules
from state_signals.server import EmbeddedServer
from tests.cli.conftest import STATE_SIGNALS, Recorder, Start
from tests.cli.doctoring import Doctor, examined
from tests.conftest import wait_until
from tests.faults.groups import SERVICE, Cluster, Sentinels
from tests.transport.strangers import stranger

SOON = ("--connect-timeout", "0.5")


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    return functools.partial(examined, capsys)


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


# As a program


def test_people_get_lines(start: Start, own: EmbeddedServer, admin: Any) -> None:
    program = start("doctor", "--url", own.url)
    assert program.wait() == 0
    assert "\x1b" not in program.out
    assert program.out.startswith(f"ok       URL            {own.url}\n")
    assert "\n                        -> " in program.out
    assert program.err == "state-signals: 1 note, 18 ok\n"


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
        (["--url", "http://user:secret@host"], "--url must be redis://"),
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
