"""The options that commands share, and the checks of what they are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

import typer

from state_signals.arguments import check_name, check_text, seconds
from state_signals.exceptions import InvalidArgument

__all__ = [
    "URL_FORMS",
    "AsJson",
    "ConnectTimeout",
    "Namespace",
    "Server",
    "Url",
    "WaitProgress",
    "check_texts",
    "check_wait",
    "epilog",
]

DEFAULT_URL = "redis://localhost:6379"

URL_FORMS = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/DB], unix:///PATH, redis+sentinel://HOST[:PORT][,HOST...]/SERVICE or "
    "redis+cluster://HOST[:PORT][,HOST...]; with TLS rediss://, rediss+sentinel:// or rediss+cluster://."
)

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="STATE_SIGNALS_URL",
        metavar="URL",
        help=f"The server: {URL_FORMS}  [default: {DEFAULT_URL}]",
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        envvar="STATE_SIGNALS_NAMESPACE",
        metavar="NAME",
        help="Scope on a shared server; runs in different namespaces never see each other.",
    ),
]
ConnectTimeout = Annotated[
    float, typer.Option("--connect-timeout", metavar="SECONDS", help="How long to try to connect; -1: for ever.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
WaitProgress = Annotated[
    bool | None,
    typer.Option(
        "--wait-progress/--no-wait-progress",
        help="Show on standard error who is waited for; not on a terminal, as lines.  [default: on a terminal only]",
    ),
]


@dataclass(frozen=True)
class Server:
    """Which server and which namespace on it, and how long to try.

    Attributes:
        url: the server's URL.
        namespace: scope on it; None: the one without a name.
        connect_timeout: seconds to try to connect; infinite: for ever.

    Raises:
        InvalidArgument: for what cannot be a server of another process.
    """

    url: str
    namespace: str | None
    connect_timeout: float

    @classmethod
    def given(cls, url: str | None, namespace: str | None, connect_timeout: float) -> Server:
        """Return it from what the options were given."""
        # An empty environment variable is none.
        where = url or DEFAULT_URL
        _check_url(where)
        wait = check_wait("--connect-timeout", connect_timeout)
        return cls(where, namespace or None, float("inf") if wait is None else wait)


def _check_url(url: str) -> None:
    scheme = url.partition(":")[0]
    try:
        # Of several hosts, each has a port of its own; those are looked at when the URL is used.
        _ = "+" in scheme or urlsplit(url).port
    except ValueError:
        # The reason would quote what comes after the last colon, which may be part of the password.
        raise InvalidArgument(
            "the --url cannot be read: the port is no number, or the user or password holds characters "
            "that have to be percent-encoded (/ is %2F, # is %23, ? is %3F, [ is %5B)"
        ) from None
    if scheme == "memory":
        raise InvalidArgument("memory:// lives within one process; give the --url of a server")
    check_text("--url", url)


def check_wait(option: str, value: float) -> float | None:
    """Return a number of seconds to wait; None for ever.

    Raises:
        InvalidArgument: for a negative one other than -1.
    """
    return seconds(option, value)


def check_texts(**texts: str | None) -> None:
    """Refuse texts that cannot be sent, before anything is.

    Raises:
        InvalidArgument: if one is too long, or is not valid Unicode (as an argument in another encoding is not).
    """
    for what, text in texts.items():
        if text is not None:
            check_name("--" + what.replace("_", "-"), text)


def epilog(*examples: str, more: str = "") -> str:
    """Return the end of a command's help: examples, and what else there is to know."""
    return "\n\n".join(part for part in ("\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples), more) if part)
