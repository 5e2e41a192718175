"""The commands by name, and how the program as a whole ends.

What a command imports is imported when that command is used: asking for help must be quick.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from state_signals._version import __version__
from state_signals.cli import output
from state_signals.cli.completion import COMPLETE_VARIABLE
from state_signals.cli.exit_codes import EXIT_CODES_HELP, ExitCode, by_signal
from state_signals.exceptions import InvalidArgument, InvalidType, StateSignalsError, TransportError

__all__ = ["COMMANDS", "run"]

COMMANDS = {
    "demo": "See the whole thing work, in under 20 seconds.",
    "server": "Run a Redis server for trying out and for tests.",
    "run": "Run a command between a start and a stop signal.",
    "respond": "Act on signals with shell commands.",
    "init": "Begin a run whose signals are published by commands that follow.",
    "publish": "Announce a state in a run that init has begun.",
    "shutdown": "End a run that init has begun.",
    "abort": "Tell everybody that a run is over, and why.",
    "listen": "Print signals as they come.",
    "ps": "Show the exporters: state, age, last event, roster.",
    "history": "Show what happened in runs.",
    "timeline": "Draw what happened in a run.",
    "watch": "Watch runs and their responders live.",
    "doctor": "Check connection and server, and say what to do.",
    "bench": "Measure rounds on the server.",
    "acl": "Print least-privilege rules for the server's users.",
    "completion": "Print what a shell needs to complete commands and options.",
}
"""Each command's one-line help. The command is the function of that name in the module of that name."""

_HELP = {"help_option_names": ["-h", "--help"]}

# typer does not export its usage error; 0.26 replaced the one of click by its own.
_USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]


class _Commands(TyperGroup):
    """The group of all commands, which knows their names without importing them."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"state_signals.cli.{cmd_name}")
        app = _typer()
        app.command(
            cmd_name,
            cls=_command_with(getattr(module, "USAGE", None)),
            epilog=getattr(module, "EPILOG", None),
            short_help=COMMANDS[cmd_name],
            context_settings=_HELP,
        )(getattr(module, cmd_name))
        return typer.main.get_command(app)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            import difflib  # noqa: PLC0415 - only for those who need it

            close = difflib.get_close_matches(name, COMMANDS, n=1)
            ctx.fail(f"no such command: {name}" + (f"; did you mean {close[0]}?" if close else ""))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # typer would make it exit code 1, as if a responder had failed.
            output.discard_stdout()
            return ExitCode.OK

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _command_with(usage: str | None) -> type[TyperCommand]:
    """Return the class of a command whose help says how it is called; None: as its parameters say."""

    class Command(TyperCommand):
        def collect_usage_pieces(self, ctx: Any) -> list[str]:
            # Some versions of typer put what is required into braces.
            return [usage] if usage else [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    return Command


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Return the exit code.

    Args:
        arguments: without the program's name; default: the process's.
    """
    output.make_writable()
    given = list(sys.argv[1:] if arguments is None else arguments)
    _complete_if_asked()
    try:
        code = _main_command().main(given or ["--help"], prog_name=output.PROGRAM, standalone_mode=False)
    except _USAGE_ERROR as error:
        return _usage_error(error, given)
    except StateSignalsError as error:
        output.error(str(error))
        return _code_of(error)
    except (KeyboardInterrupt, typer.Abort) as error:
        is_ctrl_c = isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt)
        return by_signal(2) if is_ctrl_c else ExitCode.ABORTED
    except BrokenPipeError:
        output.discard_stdout()
        return ExitCode.OK
    except Exception as error:  # noqa: BLE001 - Python's own exit code would say that a responder failed
        return _unexpected(error)
    return code if isinstance(code, int) else ExitCode.OK


def _complete_if_asked() -> None:
    """Have a shell answered that asks what may come next, instead of doing what stands there."""
    if COMPLETE_VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # noqa: PLC0415 - typer's module has no list of names

        completion_init()


def _code_of(error: StateSignalsError) -> ExitCode:
    if isinstance(error, InvalidArgument | InvalidType):
        return ExitCode.USAGE
    return ExitCode.NO_CONNECTION if isinstance(error, TransportError) else ExitCode.ABORTED


def _usage_error(error: Any, given: Sequence[str]) -> int:
    command = given[0] if given and given[0] in COMMANDS else ""
    hint = f"try '{f'{output.PROGRAM} {command}'.rstrip()} --help'"
    if command == "run" and "--" not in given and type(error).__name__ == "NoSuchOption":
        hint = f"CMD and its options come after --; {hint}"
    # Where typer checks values with pydantic, that puts a word of its own before the reason.
    output.error(f"{error.format_message().replace('Value error, ', '')} ({hint})")
    return ExitCode.USAGE


def _unexpected(error: Exception) -> int:
    import traceback  # noqa: PLC0415 - only for those who need it

    for line in "".join(traceback.format_exception(error)).splitlines():
        output.note(line)
    output.error("this is a defect; please report it with the lines above")
    return ExitCode.ABORTED


def _typer() -> typer.Typer:
    # Without markup, help needs no rich. Errors are printed by run().
    return typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


def _main_command() -> Any:
    app = _typer()
    app.callback(
        cls=_Commands,
        context_settings=_HELP,
        epilog=f"{EXIT_CODES_HELP}\n\n'{output.PROGRAM} COMMAND --help' tells more, with examples.",
    )(_main)
    return typer.main.get_command(app)


def _version(is_asked: bool) -> None:
    if is_asked:
        output.print_line(f"{output.PROGRAM} {__version__}")
        raise typer.Exit


def _main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Announce state changes to every tool on every host, and know by name who has acted on them."""
