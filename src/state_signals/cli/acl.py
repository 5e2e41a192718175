"""`state-signals acl`: least-privilege rules for the server's users."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from state_signals.cli import output
from state_signals.cli.examining.privileges import Role, rules
from state_signals.cli.exit_codes import ExitCode
from state_signals.cli.options import AsJson, Namespace, epilog
from state_signals.exceptions import InvalidArgument

__all__ = ["EPILOG", "acl"]

EPILOG = epilog(
    "state-signals acl exporter",
    "state-signals acl responder --user collectors --namespace lab",
    "state-signals acl observer --password-from-stdin < observer.password | redis-cli",
    more="Exit codes: 0 fine, 2 usage.",
)

_OLDEST = (6, 2)

_VERSION = re.compile(r"(\d{1,4})(?:\.(\d{1,4}))?(?:\.\d+)*")

# What redis-cli would read as something else than a part of a word, and what the server does not take.
_USER = re.compile(r"[^\s\"'\\]{1,128}")


def acl(
    role: Annotated[Role, typer.Argument(metavar="ROLE", help="Who the user is.", show_default=False)],
    user: Annotated[
        str | None, typer.Option(metavar="NAME", help="The user's name.  [default: state-signals-ROLE]")
    ] = None,
    namespace: Namespace = None,
    server_version: Annotated[
        str,
        typer.Option(
            metavar="VERSION",
            help="The server's version, as `state-signals doctor` tells it. From 7 on (Redis, Valkey), rules can say "
            "which command is for which key; for 6.2 (Redis, KeyDB) they are looser.",
        ),
    ] = "7.0",
    password_from_stdin: Annotated[
        bool,
        typer.Option(
            "--password-from-stdin", help="Read the password (one line), and print its hash instead of a placeholder."
        ),
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Print ACL rules that allow a role what it needs on the server, and no more.

    An exporter announces and collects answers, a responder hears and answers,
    an observer only reads: listen, ps, watch, history, timeline.

    Nothing is sent: the line is for redis-cli, or whatever else an
    administrator of the server uses. It replaces the user, if there is one.
    """
    name = _user(f"state-signals-{role}" if user is None else user)
    words = ["ACL", "SETUSER", name, "reset", "on"]
    words.append(f"#{_hash()}" if password_from_stdin else ">PASSWORD")
    # `reset` leaves channels as the server's acl-pubsub-default says.
    words += ["resetchannels", *rules(role, namespace or None, _version(server_version))]
    if as_json:
        output.print_line(output.json_line({"role": str(role), "user": name, "command": words}))
    else:
        output.print_line(" ".join(words))
    if not password_from_stdin:
        output.note("put the user's password in the place of PASSWORD, or give it with --password-from-stdin")
    return ExitCode.OK


def _user(name: str) -> str:
    if not name.isprintable() or not _USER.fullmatch(name):
        raise InvalidArgument(
            f"--user must be 1 to 128 printable characters without spaces, quotes and backslashes, not {name!r:.200}"
        )
    return name


def _version(text: str) -> tuple[int, int]:
    found = _VERSION.fullmatch(text)
    if found is None:
        raise InvalidArgument(f"--server-version must be a version such as 7.2, not {text!r:.80}")
    version = (int(found[1]), int(found[2] or 0))
    if version < _OLDEST:
        raise InvalidArgument(f"--server-version {text}: at least 6.2 is needed")
    return version


def _hash() -> str:
    import hashlib  # noqa: PLC0415 - help needs none
    import sys  # noqa: PLC0415

    # Bytes: a password need not be text in this locale.
    password = sys.stdin.buffer.readline().rstrip(b"\r\n") if sys.stdin is not None else b""
    if not password:
        raise InvalidArgument("--password-from-stdin: there is no password on standard input")
    return hashlib.sha256(password).hexdigest()
