"""`state-signals acl`: users of a real server that may do just what the rules say, and what they can do then."""

from __future__ import annotations

import hashlib
import io
import json
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import pytest
import redis

from state_signals import Signal
from state_signals.cli import app
from state_signals.cli.examining.privileges import Role, attempts, grants, rules
from state_signals.server import EmbeddedServer
from state_signals.transport.keys import Keys
from tests.cli.conftest import Start
from tests.conftest import wait_until
from tests.parties import Parties, eventually, in_thread
from tests.programs import finished, program

SECRET = "a secret: > # ( ~ \xe9"

NAMESPACES = [None, "lab.1"]

ELSEWHERE = {"role", "cluster|slots", "select", "client|setinfo"}
"""What is needed with Sentinels, in a Cluster, on another database, and by redis-py only."""


@pytest.fixture(scope="module")
def guarded() -> Iterator[EmbeddedServer]:
    """A server for the users of these tests."""
    with EmbeddedServer() as running:
        yield running


@pytest.fixture
def admin(guarded: EmbeddedServer) -> Iterator[Any]:
    """Somebody who may do everything, on an empty server."""
    with redis.Redis.from_url(guarded.url, decode_responses=True) as client:
        client.flushall()
        client.execute_command("ACL", "LOG", "RESET")
        client.execute_command("CONFIG", "RESETSTAT")
        yield client


Login = Callable[..., str]


@pytest.fixture
def login(
    guarded: EmbeddedServer, admin: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Login]:
    """Makes users by the rules that are printed, and returns URLs for them."""
    made: list[str] = []

    def login(role: str, namespace: str | None = None) -> str:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(SECRET.encode() + b"\n")))
        scope = ["--namespace", namespace] if namespace else []
        version = ["--server-version", str(guarded.version)]
        assert app.run(["acl", role, *scope, *version, "--json", "--password-from-stdin"]) == 0
        printed = json.loads(capsys.readouterr().out)
        admin.execute_command(*printed["command"])
        made.append(printed["user"])
        return f"redis://{printed['user']}:{quote(SECRET, safe='')}@127.0.0.1:{guarded.port}"

    yield login
    for user in made:
        admin.execute_command("ACL", "DELUSER", user)


def is_refused(url: str, *command: Any) -> bool:
    with redis.Redis.from_url(url) as client:
        try:
            client.execute_command(*command)
        except redis.exceptions.NoPermissionError:
            return True
        return False


def refused(admin: Any, guarded: EmbeddedServer) -> list[Any]:
    """What the server has refused to anybody."""
    is_setinfo_unknown = (7, 0) <= version_of(guarded) < (7, 2)
    found = admin.execute_command("ACL", "LOG")
    return [each for each in found if not (is_setinfo_unknown and "client" in str(each))]


def version_of(server: EmbeddedServer) -> tuple[int, int]:
    major, minor, *_ = (int(part) for part in str(server.version).split("."))
    return major, minor


# What they may


@pytest.fixture
async def run(login: Login, start: Start, namespace: str | None) -> AsyncIterator[Any]:
    """Exporters and responders as users of their own, and an observer."""
    exporters = Parties("asyncio", login("exporter", namespace))
    responders = Parties("asyncio", login("responder", namespace))
    scope = ["--namespace", namespace] if namespace else []
    observer = start("listen", "--responses", "--json", "--url", login("observer", namespace), *scope)
    observer.says("state-signals: listening")
    yield SimpleNamespace(exporters=exporters, responders=responders, observer=observer, namespace=namespace)
    await exporters.close()
    await responders.close()
    observer.send(signal.SIGTERM)
    assert observer.wait() == 143


MORTAL = """
    import sys, time
    from state_signals import SignalExporter
    url, namespace = sys.argv[1:]
    exporter = SignalExporter("fio", url=url, namespace=namespace or None, publisher_id="fio-1", presence_ttl=1.0)
    assert exporter.initialize_and_wait(1, ["start", "stop"], timeout=20) == 0
    assert exporter.publish_signal("start", timeout=20).ok
    print("published", flush=True)
    time.sleep(60)
"""
"""An exporter that does not come to its end."""


@pytest.mark.parametrize("namespace", NAMESPACES)
async def test_a_whole_run_is_refused_nothing(run: Any, admin: Any, guarded: EmbeddedServer) -> None:
    options: dict[str, Any] = {"namespace": run.namespace, "presence_ttl": 1.0}
    acted: list[str] = []

    def act(heard: Signal) -> str:
        acted.append(heard.event)
        return "done"

    await run.responders.running("a", {"start": act}, responder_id="a", **options)
    # An exporter dies, and another one takes its place.
    with program(MORTAL, run.exporters.url, run.namespace or "") as mortal:
        assert mortal.stdout
        assert await in_thread(mortal.stdout.readline) == "published\n"
        # What is not urgent may be on its way yet.
        roster = Keys(run.namespace).roster("fio-1")
        await eventually(lambda: admin.hexists(roster, "a"), "the saved roster")
    exporter = await run.exporters.resumed("fio-1", namespace=run.namespace, presence_ttl=1.0)
    assert exporter.subs == {"a"}
    # Somebody who comes late hears of it from the server.
    late = await run.responders.running("late", {"start": act}, responder_id="late", **options)
    await eventually(lambda: exporter.subs == {"a", "late"}, "the late responder")
    assert (await exporter.publish_signal("start")).messages == {"a": "done", "late": "done"}
    # Somebody who dies while it acts gets the signal again.
    mortal, heard = await run.responders.listening("mortal", responder_id="mortal", **options)
    await mortal.srespond(await heard.next("initialization"))
    await eventually(lambda: "mortal" in exporter.subs, "the mortal responder")
    publishing = run.exporters.task(exporter.publish_signal("stop", timeout=20, on_lost="wait"))
    await heard.next("stop")
    await run.responders.crash(mortal)
    again, heard = await run.responders.listening("mortal", responder_id="mortal", **options)
    await again.srespond(await heard.next("initialization"))
    stop = await heard.next("stop")
    assert stop.redelivered
    await again.srespond(stop, 1)
    assert (await publishing).ok
    # Who says good-bye is off the roster, there, too; who dies is lost, because it shows no longer that it lives.
    await again.close()
    await eventually(lambda: "mortal" not in exporter.subs, "the good-bye")
    await run.responders.crash(late)
    assert list((await exporter.publish_signal("start", timeout=20)).reports) == ["a", "late"]
    await exporter.close()
    run.observer.says('"event": "shutdown"')
    assert '"type": "response"' in run.observer.out
    assert "not printed" not in run.observer.err
    await run.exporters.close()
    await run.responders.close()
    assert acted.count("start") == 4
    assert refused(admin, guarded) == []


@pytest.mark.parametrize("namespace", ["lab.1"])
def test_the_commands_are_refused_nothing(
    login: Login, start: Start, admin: Any, guarded: EmbeddedServer, namespace: str | None
) -> None:
    scope = ["--namespace", namespace] if namespace else []

    def done(role: Role, *arguments: str) -> int:
        return start(*arguments, "--url", urls[role], *scope).wait()

    def calls(name: str) -> int:
        count: int = admin.info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"]
        return count

    urls = {role: login(role, namespace) for role in Role}
    collector = start(
        *("respond", "--while", "begin..end", "sleep 60", "--id", "a", "--once", "--orphan-timeout", "1"),
        *("--url", urls[Role.RESPONDER], *scope),
    )
    assert done(Role.EXPORTER, "init", "fio", "--id", "fio-2", "--events", "begin,end") == 0
    assert done(Role.EXPORTER, "publish", "fio-2", "begin") == 0
    # The collector looks whether its exporter lives.
    before = calls("hget")
    wait_until(lambda: calls("hget") > before, timeout=20, what="the look at the exporter")
    assert done(Role.EXPORTER, "publish", "fio-3", "begin") not in (0, 4)
    for command in (
        ["ps", "--all"],
        ["history"],
        ["history", "fio-2", "--json"],
        ["watch", "--once"],
        ["timeline", "fio-2"],
    ):
        assert done(Role.OBSERVER, *command) == 0
    assert done(Role.EXPORTER, "publish", "fio-2", "end") == 0
    assert done(Role.EXPORTER, "shutdown", "fio-2") == 0
    assert collector.wait() == 0
    assert refused(admin, guarded) == []


@pytest.mark.parametrize("namespace", [None])
async def test_what_is_allowed_is_used(
    run: Any, login: Login, start: Start, admin: Any, guarded: EmbeddedServer, namespace: str | None
) -> None:
    # A rule that nobody needs shows in what the server has carried out.
    await test_a_whole_run_is_refused_nothing(run, admin, guarded)
    await in_thread(test_the_commands_are_refused_nothing, login, start, admin, guarded, namespace)
    used = {name.removeprefix("cmdstat_") for name in admin.info("commandstats")}
    needed = {name for role in Role for grant in grants(role, namespace) for name in grant.commands}
    assert needed - used - ELSEWHERE == set()


@pytest.mark.parametrize("role", list(Role))
def test_what_is_tried_is_what_is_allowed(role: Role) -> None:
    needed = {name for grant in grants(role, None) for name in grant.commands}
    tried = {each.name for each in attempts(role, None, "nobody")}
    assert needed - tried - ELSEWHERE == {"multi", "exec"}
    assert not [each for each in attempts(role, None, "nobody") if "*" in each.on.removesuffix(":owner:*")]


# What they may not

COMMANDS: dict[str, tuple[Any, ...]] = {
    "to empty the server": ("FLUSHALL",),
    "to list all keys": ("KEYS", "*"),
    "to read other keys": ("GET", "somebody's"),
    "to read other streams": ("XRANGE", "somebody's", "-", "+"),
    "to write other keys": ("SET", "somebody's", "1"),
    "to delete other keys": ("DEL", "somebody's"),
    "to see the configuration": ("CONFIG", "GET", "*"),
    "to change the configuration": ("CONFIG", "SET", "timeout", "1"),
    "to run scripts": ("EVAL", "return 1", "0"),
    "to end connections": ("CLIENT", "KILL", "TYPE", "normal"),
    "to see what others do": ("MONITOR",),
    "to change users": ("ACL", "SETUSER", "x"),
    "to end the server": ("SHUTDOWN", "NOSAVE"),
    "to move the server": ("REPLICAOF", "127.0.0.1", "1"),
    "to publish elsewhere": ("PUBLISH", "somebody's", "x"),
    "to listen elsewhere": ("SUBSCRIBE", "somebody's"),
    "to listen to everything": ("PSUBSCRIBE", "*"),
    "another namespace's journal": ("XRANGE", "state-signals:other:{x}:signals", "-", "+"),
    "another namespace's exporters": ("ZREVRANGEBYSCORE", "state-signals:other:exporters", "1", "0"),
}


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("role", list(Role))
def test_nobody_may(login: Login, role: str, namespace: str | None) -> None:
    url = login(role, namespace)
    assert [what for what, command in COMMANDS.items() if not is_refused(url, *command)] == []


@pytest.mark.parametrize(
    "command",
    [
        ("XADD", "state-signals:{x}:signals", "*", "s", "x"),
        ("XADD", "state-signals:{x}:responses", "*", "r", "x"),
        ("HSET", "state-signals:{x}:record", "info", "x"),
        ("SET", "state-signals:{x}:owner", "x"),
        ("DEL", "state-signals:{x}:owner"),
        ("ZADD", "state-signals:presence", "1", "x"),
        ("ZREM", "state-signals:exporters", "x"),
        ("PEXPIRE", "state-signals:{x}:signals", "1"),
        ("PUBLISH", "event-signal-pubsub", "x"),
        ("PUBLISH", "event-signal-response", "x"),
    ],
)
def test_an_observer_may_not_write(login: Login, command: tuple[str, ...]) -> None:
    assert is_refused(login("observer"), *command)


@pytest.mark.parametrize(
    ("role", "command"),
    [
        ("responder", ("PUBLISH", "event-signal-pubsub", "forged")),
        ("responder", ("XADD", "state-signals:{x}:signals", "*", "s", "forged")),
        ("responder", ("XRANGE", "state-signals:{x}:responses", "-", "+")),
        ("responder", ("ZADD", "state-signals:exporters", "1", "x")),
        ("responder", ("PEXPIRE", "state-signals:{x}:signals", "1")),
        ("responder", ("SUBSCRIBE", "event-signal-response")),
        ("exporter", ("SUBSCRIBE", "event-signal-pubsub")),
        ("exporter", ("ZADD", "state-signals:presence", "1", "x")),
        ("exporter", ("PUBLISH", "event-signal-response", "forged")),
        ("exporter", ("DEL", "state-signals:exporters")),
    ],
)
def test_from_redis_7_on_nobody_can_pass_for_another(
    login: Login, guarded: EmbeddedServer, role: str, command: tuple[str, ...]
) -> None:
    if version_of(guarded) < (7, 0):
        pytest.skip("Redis 6.2 cannot tell which command is for which key")
    assert is_refused(login(role), *command)


# What is printed


def test_the_line_is_for_redis_cli(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.run(["acl", "responder"]) == 0
    said = capsys.readouterr()
    assert said.out == (
        "ACL SETUSER state-signals-responder reset on >PASSWORD resetchannels +ping +select +role +cluster|slots +time "
        "+multi +exec +subscribe +unsubscribe &event-signal-pubsub &event-signal-redelivery:* "
        "(+publish &event-signal-response) "
        "(+xrange +xrevrange %R~state-signals:{*}:signals) (+hgetall +hget %R~state-signals:{*}:record) "
        "(+get %R~state-signals:{*}:owner) (+xadd %W~state-signals:{*}:responses) "
        "(+zrevrangebyscore +zscore %R~state-signals:exporters) "
        "(+zadd +zrem +zremrangebyscore +pexpire %W~state-signals:presence)\n"
    )
    assert said.err == (
        "state-signals: put the user's password in the place of PASSWORD, or give it with --password-from-stdin\n"
    )


def test_rules_for_older_servers_have_neither_selectors_nor_key_permissions() -> None:
    for role in Role:
        words = rules(role, "lab", (6, 2))
        assert {word[0] for word in words} == {"+", "~", "&"}
        assert len(words) == len(set(words))
        assert all("lab" in word for word in words if word[0] != "+")


@pytest.mark.parametrize(
    ("version", "is_allowed"), [("6.2.14", True), ("6.3", True), ("7", False), ("7.2.4", True), ("9", True)]
)
def test_what_a_version_does_not_know_is_not_allowed_there(
    version: str, is_allowed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.run(["acl", "observer", "--server-version", version]) == 0
    assert ("+client|setinfo" in capsys.readouterr().out) == is_allowed


def test_a_password_is_printed_as_its_hash(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"caf\xe9 au lait\r\nmore\n")))
    assert app.run(["acl", "exporter", "--user", "fio", "--password-from-stdin"]) == 0
    said = capsys.readouterr()
    digest = hashlib.sha256(b"caf\xe9 au lait").hexdigest()
    assert f"SETUSER fio reset on #{digest} " in said.out
    assert said.err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["acl"], "Missing argument 'ROLE'"),
        (["acl", "admin"], "'admin'"),
        (["acl", "exporter", "--user", "a b"], "--user must be"),
        (["acl", "exporter", "--user", ""], "--user must be"),
        (["acl", "exporter", "--user", "\x1b[31m"], "--user must be"),
        (["acl", "exporter", "--namespace", "a:b"], "namespace must be"),
        (["acl", "exporter", "--server-version", "6.0.16"], "at least 6.2 is needed"),
        (["acl", "exporter", "--server-version", "new\x1b"], "--server-version must be a version"),
        (["acl", "exporter", "--password-from-stdin"], "there is no password on standard input"),
    ],
)
def test_what_cannot_work_is_a_usage_error(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"\n")))
    assert app.run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.isprintable() or said.err.count("\n") == 1
    assert "\x1b" not in said.err


@pytest.mark.parametrize("command", ["acl", "doctor", "bench"])
def test_help_is_quick_and_has_examples(command: str) -> None:
    program = (
        "import sys; from state_signals.cli.app import run; run(sys.argv[1:]);"
        "print([name for name in ('redis', 'asyncio', 'msgspec', 'rich') if name in sys.modules], file=sys.stderr)"
    )
    done = finished(program, command, "--help")
    assert done.stderr == "[]\n"
    assert done.stdout.count(f"\n    state-signals {command}") == 3
    assert "Exit codes: 0" in done.stdout
