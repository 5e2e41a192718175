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
    "Expect",
    "InitializedId",
    "Metadata",
    "MinSuccess",
    "Namespace",
    "Periodic",
    "Presence",
    "ProcessName",
    "PublisherId",
    "Sample",
    "Server",
    "StallTimeout",
    "Tag",
    "Url",
    "WaitFor",
    "WaitProgress",
    "check_publisher_id",
    "check_texts",
    "check_wait",
    "epilog",
]

DEFAULT_URL = "redis://localhost:6379"

URL_FORMS = (
    "redis://[USER:PASSWORD@]HOST[:PORT][/DB], unix:///PATH, redis+sentinel://HOST[:PORT][,HOST...]/SERVICE or "
    "redis+cluster://HOST[:PORT][,HOST...]; with TLS rediss://, rediss+sentinel:// or rediss+cluster://."
)

_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")

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
# What an exporter is told, in one process or step by step
ProcessName = Annotated[str, typer.Argument(metavar="NAME", help="What the responders see as the process's name.")]
WaitFor = Annotated[
    int | None,
    typer.Option(
        "--wait",
        metavar="N",
        min=0,
        help="How many responders to wait for; 0: nobody has to be there.  [default: 1, or who is expected]",
    ),
]
Expect = Annotated[
    list[str] | None,
    typer.Option("--expect", metavar="ID", help="A responder to wait for, by its id. May be repeated."),
]
Tag = Annotated[str | None, typer.Option("--tag", metavar="TEXT", help="Tag of what is announced.")]
Sample = Annotated[int, typer.Option("--sample", metavar="N", help="Number of the sample that is announced; -1: none.")]
Metadata = Annotated[
    str | None, typer.Option("--metadata", metavar="JSON", help="An object to send with what is announced.")
]
MinSuccess = Annotated[
    str | None,
    typer.Option(
        "--min-success",
        metavar="N|P%",
        help="How many responders have to succeed, or which share.  [default: all]",
    ),
]
StallTimeout = Annotated[
    float,
    typer.Option(
        "--stall-timeout",
        metavar="SECONDS",
        help="How long to wait for one that neither answers nor says that it works; -1: for ever.",
    ),
]
Periodic = Annotated[
    bool,
    typer.Option(
        "--periodic/--no-periodic",
        help="While waiting for responders, announce again every second, for those that start late.",
    ),
]
Presence = Annotated[
    float,
    typer.Option(
        "--presence",
        metavar="SECONDS",
        help="A responder that shows no sign of life for so long is lost; -1: none ever is.",
    ),
]

# Which exporter is meant
InitializedId = Annotated[str, typer.Argument(metavar="ID", help="The exporter's id, as init has printed it.")]
PublisherId = Annotated[
    str | None,
    typer.Argument(
        metavar="PUBLISHER_ID", help="An exporter, how its id begins, or a process: its newest run.", show_default=False
    ),
]

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
    if scheme not in _SCHEMES or not url.startswith(f"{scheme}://"):
        from state_signals.transport.urls import redacted  # noqa: PLC0415 - only for those who need it

        raise InvalidArgument(f"--url must be {URL_FORMS.removesuffix('.')}, not {redacted(url)!r:.200}")
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


def check_publisher_id(beginning: str | None) -> None:
    """Refuse what no `publisher_id` can begin with.

    Raises:
        InvalidArgument: if it is too long, or is not valid Unicode.
    """
    if beginning is not None:
        check_name("PUBLISHER_ID", beginning)


def epilog(*examples: str, more: str = "") -> str:
    """Return the end of a command's help: examples, and what else there is to know."""
    return "\n\n".join(part for part in ("\b\nExamples:\n" + "\n".join(f"  {line}" for line in examples), more) if part)
