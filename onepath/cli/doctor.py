"""`onepath doctor`: what this machine can run, and what to install."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onepath.cli.exits import FAILED
from onepath.cli.tables import examples, print_table

if TYPE_CHECKING:
    from onepath.cli.machine import Fact

EXAMPLES = examples("onepath doctor", "onepath doctor --json | jq .can_serve")
CONTEXT: dict[str, Any] = {}  # click's settings


def command(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show what this machine can run.

    And what to install for the rest. Exits with 0 if it can serve, and with 1 otherwise.
    """
    from onepath.cli.machine import can_serve, facts

    found = facts()
    serves = can_serve(found)
    if as_json:
        typer.echo(json.dumps({"can_serve": serves, "facts": [asdict(fact) for fact in found]}, ensure_ascii=False))
    else:
        _print_facts(found, serves=serves)
    if not serves:
        raise typer.Exit(FAILED)


def _print_facts(found: list[Fact], *, serves: bool) -> None:
    rows = [("" if fact.ok else "✗", fact.name, fact.value) for fact in found]
    print_table("This machine", ("", "what", "found"), rows)
    for fact in found:
        if fact.advice:
            purpose = f" (for {fact.needed_for})" if fact.needed_for and not fact.ok else ""
            typer.echo(f"{fact.name}{purpose}: {fact.advice}")
    typer.echo("it can serve" if serves else "it cannot serve yet; see above for what to install")
