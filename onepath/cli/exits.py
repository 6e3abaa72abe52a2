"""How commands end: an exit code, one clear sentence for what went wrong, and a traceback only where asked for."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperGroup

from onepath.contract.errors import OnepathError

FAILED = 1
"""The command could not do its job."""
UNEXPECTED = 70
"""An error that onepath did not foresee."""
INTERRUPTED = 130
"""Ctrl-C, as shells report it."""
TERMINATED = 143
"""SIGTERM, as shells report it."""

_ANYWHERE = ("--debug", "-v", "-vv", "--verbose")


class CommandGroup(TyperGroup):
    """The commands; errors become sentences here, and global options are understood behind a command as well."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # a click context, of typer's own copy or not
        """Parse arguments, the global options first."""
        parsed: list[str] = super().parse_args(ctx, hoisted(args))
        return parsed

    def invoke(self, ctx: Any) -> Any:  # a click context and whatever a command returns
        """Run the command and turn errors into exit codes."""
        try:
            return super().invoke(ctx)
        except OnepathError as error:
            raise typer.Exit(report(error, FAILED, debug=ctx.params.get("debug", False))) from error
        except KeyboardInterrupt as error:
            typer.echo("interrupted", err=True)
            raise typer.Exit(INTERRUPTED) from error


def hoisted(arguments: Sequence[str]) -> list[str]:
    """Return arguments with the global options in front, as far as `--`.

    >>> hoisted(["verify", "build/digits", "--debug", "--", "-v"])
    ['--debug', 'verify', 'build/digits', '--', '-v']
    """
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    first = [argument for argument in arguments[:end] if argument in _ANYWHERE]
    rest = [argument for argument in arguments[:end] if argument not in _ANYWHERE]
    return [*first, *rest, *arguments[end:]]


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM unwind the stack, as Ctrl-C does, so that no temporary folder is left behind.

    Raises:
        SystemExit: it came. Until it has left the block it is a `KeyboardInterrupt`, which nobody takes for an error.
    """
    came: list[int] = []

    def end(number: int, _frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    usual = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except KeyboardInterrupt as error:
        if came:
            raise SystemExit(TERMINATED) from error
        raise
    finally:
        signal.signal(signal.SIGTERM, usual)


def report(error: BaseException, code: int, *, debug: bool) -> int:
    """Say what went wrong on the error output, and return the exit code."""
    if debug:
        typer.echo("".join(traceback.format_exception(error)), err=True)
    typer.secho(f"error: {error}", err=True, fg=typer.colors.RED)
    return code


def report_unexpected(error: Exception, *, debug: bool) -> int:
    """Say that something unforeseen went wrong, and return the exit code."""
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    hint = "" if debug else "; run again with --debug to see where"
    return report(RuntimeError(f"onepath failed unexpectedly ({reason}){hint}"), UNEXPECTED, debug=False)
