"""What `doctor` makes of what it finds: verdicts, and how they are shown."""

from __future__ import annotations

import pytest

from state_signals.cli.examining import checks, server_checks
from state_signals.cli.examining.diagnosis import Speaker, recognised
from state_signals.cli.examining.findings import Finding, Verdict, counted, lines_of


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
