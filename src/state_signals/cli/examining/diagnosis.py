"""Why there is no connection, step by step, and what to try: pure."""

from __future__ import annotations

import errno
import os
import ssl
from collections.abc import Iterator
from enum import StrEnum

from redis import exceptions as redis_exceptions

from state_signals.cli.examining.findings import Finding, Verdict

__all__ = ["Speaker", "looked_up", "not_connected", "not_looked_up", "recognised", "unusable"]

_START_ONE = "`state-signals server` starts one on this machine."


class Speaker(StrEnum):
    """Who answers on a port."""

    REDIS = "a Redis server"
    TLS = "something that wants TLS"
    HTTP = "an HTTP server"
    SSH = "an SSH server"
    SILENT = "something that does not answer"
    GONE = "something that hangs up"
    OTHER = "something else"


def recognised(said: bytes | None) -> Speaker:
    r"""Return who says this to `PING\r\n`; None: nothing, in time; empty: it hung up."""
    if said is None:
        return Speaker.SILENT
    if not said:
        return Speaker.GONE
    # A record of TLS: an alert or a handshake, of version 3.
    if said[:2] in (b"\x15\x03", b"\x16\x03"):
        return Speaker.TLS
    # Without a status line, too: PING is no request of HTTP 1.
    for beginning, who in ((b"HTTP/", Speaker.HTTP), (b"<", Speaker.HTTP), (b"SSH-", Speaker.SSH)):
        if said.startswith(beginning):
            return who
    is_redis = said.startswith(b"+PONG") or (said[:1] == b"-" and said[1:3].isalpha() and said[1:3].isupper())
    return Speaker.REDIS if is_redis else Speaker.OTHER


def looked_up(host: str, addresses: list[str]) -> Finding:
    """Return the finding about a name that is known."""
    found = f"{host} is {', '.join(addresses)}" if addresses != [host] else f"{host} needs none"
    return Finding("look-up", Verdict.OK, found, facts={"host": host, "addresses": addresses})


def not_looked_up(host: str, error: BaseException | None, seconds: float) -> Finding:
    """Return the finding about a name that is not known; without an error, nobody has said so in time."""
    why = f"no answer within {seconds:g} s" if error is None else _reason(error)
    return Finding(
        "look-up",
        Verdict.PROBLEM,
        f"the name {host!r:.200} cannot be looked up: {why}",
        "Check the spelling, and what `getent hosts NAME` says on this machine; or put the address into the URL.",
        {"host": host},
    )


def not_connected(where: str, error: BaseException, seconds: float) -> Finding:
    """Return the finding about an address that cannot be connected to."""
    return Finding(
        "connection",
        Verdict.PROBLEM,
        f"no connection to {where}: {_connection_reason(error, seconds)}",
        _connection_remedy(error),
        {"address": where},
    )


def unusable(where: str, error: BaseException, speaker: Speaker, *, is_tls: bool, said: str = "") -> Finding:
    """Return the finding about a connection that is made, and then is of no use.

    Args:
        where: the address.
        error: what was raised on the way.
        speaker: who has answered to a plain `PING` there.
        is_tls: whether TLS was tried.
        said: what it answered.
    """
    facts = {"address": where}
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return Finding(
                "TLS",
                Verdict.PROBLEM,
                f"the certificate of {where} is not accepted: {each.verify_message or each}",
                "Name the authority that has signed it (?ssl_ca_certs=FILE in the URL), and the host as the certificate"
                " names it.",
                facts,
            )
        if isinstance(each, redis_exceptions.AuthenticationError) or "NOAUTH" in str(each):
            return _not_authenticated(str(each), facts)
        if isinstance(each, redis_exceptions.ResponseError) and "DB index" in str(each):
            remedy = "Take the number at the end out of the URL, or raise `databases` in the server's configuration."
            return Finding("database", Verdict.PROBLEM, f"the server has no such database: {each}", remedy, facts)
    if speaker is Speaker.REDIS and is_tls:
        return Finding(
            "TLS",
            Verdict.PROBLEM,
            f"{where} does not speak TLS: it is a plain Redis port",
            "Use redis:// instead of rediss://, or the port on which the server has TLS.",
            facts,
        )
    is_stranger = speaker in (Speaker.HTTP, Speaker.SSH, Speaker.OTHER)
    if is_tls and not is_stranger and any(isinstance(each, ssl.SSLError | FileNotFoundError) for each in _chain(error)):
        return Finding(
            "TLS",
            Verdict.PROBLEM,
            f"no TLS connection to {where}: {_reason(error)}",
            "Check the URL's ssl_ options (files, client certificate), and that this port has TLS.",
            facts,
        )
    return _of_speaker(where, error, speaker, said, facts)


def _of_speaker(where: str, error: BaseException, speaker: Speaker, said: str, facts: dict[str, str]) -> Finding:
    remedy = {
        Speaker.REDIS: "What it says tells why; on the server's own machine `redis-cli` may get in.",
        Speaker.TLS: "Use rediss:// instead of redis://.",
        Speaker.SILENT: "The server may hang, or a firewall or proxy takes the connection in its place: look at the "
        "server's process and log.",
        Speaker.GONE: "The server may want TLS (rediss://), or takes no connections from this machine "
        "(protected-mode, a firewall or proxy): look at its log.",
    }.get(speaker, "Check host and port.")
    check = "TLS" if speaker is Speaker.TLS else "protocol"
    # Who refuses says why, and who is not known can be recognised by it.
    is_quoted = speaker is Speaker.OTHER or (speaker is Speaker.REDIS and said.startswith("-"))
    quoted = f" ({said.partition(chr(10))[0].strip()!r:.200})" if is_quoted else ""
    why = "" if speaker in (Speaker.TLS, Speaker.HTTP, Speaker.SSH) else f": {_reason(error)}"
    return Finding(check, Verdict.PROBLEM, f"at {where} there is {speaker}{quoted}{why}", remedy, facts)


def _not_authenticated(text: str, facts: dict[str, str]) -> Finding:
    if "WRONGPASS" in text or "invalid" in text.lower():
        found, remedy = "the server does not know this user and password", "Check both in the URL."
    elif "without any password configured" in text:
        found = "the server has no password for the default user, and the URL has one"
        remedy = "Take it out of the URL, or add the user: redis://USER:PASSWORD@..."
    else:
        found, remedy = "the server wants a password", "Put user and password into the URL: redis://USER:PASSWORD@..."
    escape = " What is special in them has to be percent-encoded."
    return Finding("authentication", Verdict.PROBLEM, found, remedy + escape, facts)


def _connection_reason(error: BaseException, seconds: float) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {seconds:g} s"
    return _reason(error)


def _connection_remedy(error: BaseException) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, TimeoutError):
        return "The host is down, or a firewall drops what is sent to this port."
    if number == errno.ECONNREFUSED:
        return (
            "Nothing listens there. Check the port, that the server runs, and that its `bind` is not only for its own "
            f"machine. {_START_ONE}"
        )
    if number == errno.ENOENT:
        return f"There is no such socket: check the path, and `unixsocket` of the server. {_START_ONE}"
    if number in (errno.EACCES, errno.EPERM):
        return "This user may not: check the permissions of the socket (`unixsocketperm`), or the firewall's rules."
    return "Check the address, and the route from this machine to it."


def _reason(error: BaseException) -> str:
    """Return what says most about an error: the system's reason, or its own text."""
    for each in _chain(error):
        number = each.errno if isinstance(each, OSError) else None
        if isinstance(number, int) and number > 0 and not isinstance(each, ssl.SSLError):
            return os.strerror(number)
    last = list(_chain(error))[-1]
    text = last.strerror if isinstance(last, OSError) and last.strerror else str(last)
    return (text or type(last).__name__).rstrip(".")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what it came of."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__ or current.__context__
