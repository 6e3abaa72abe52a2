"""The commands, and the options that all of them have."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

from onepath import __version__
from onepath.cli import build, deploy, doctor, engine, inspect, plan, predict, score, serve, sign, tune, verify
from onepath.cli.exits import CommandGroup, report_unexpected

_OVERVIEW = """\b
From training to answers:
  onepath plan export/digits/recipe.yaml
  onepath build export/digits/recipe.yaml
  onepath tune build/digits
  onepath deploy build/digits --repository build/model_repository
  onepath serve build/model_repository
  onepath predict digits --image seven.png --audio seven.wav

\b
Exit codes: 0 done, 1 the command could not do its job, 2 wrong usage,
70 an error that was not foreseen, 130 interrupted.
"""

app = typer.Typer(
    name="onepath",
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=_OVERVIEW,
)
for _command in (plan, build, tune, engine, sign, deploy, serve, predict, score, verify, inspect, doctor):
    _name = _command.__name__.rpartition(".")[2]
    app.command(_name, epilog=_command.EXAMPLES, context_settings=_command.CONTEXT)(_command.command)


def run() -> None:
    """Run the command that this process's arguments name, and exit with its code."""
    try:
        typer.main.get_command(app)(prog_name="onepath")
    except Exception as error:  # noqa: BLE001 - the last one to see it; a person gets a sentence
        debug = "--debug" in sys.argv
        if debug:
            traceback.print_exception(error)
        sys.exit(report_unexpected(error, debug=debug))


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"onepath {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something fails.")] = False,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True, help="Log what is done; twice for more.")] = 0,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Merge multimodal models, prove that nothing changed, and serve them with any modality missing."""
    if verbose:
        _log_to_stderr(verbose)


def _log_to_stderr(verbose: int) -> None:
    import logging

    from rich.console import Console
    from rich.logging import RichHandler

    handler = RichHandler(console=Console(stderr=True), show_path=False)
    level = logging.DEBUG if verbose > 1 else logging.INFO
    logging.basicConfig(level=level, format="%(name)s: %(message)s", handlers=[handler], force=True)
