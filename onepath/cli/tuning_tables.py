"""What `onepath tune` prints: every candidate as a line of a table, what failed, and how precisions compare."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from onepath.cli.tables import print_table

if TYPE_CHECKING:
    from onepath.tuning import TuningReport
    from onepath.tuning.figures import Figures
    from onepath.tuning.report import Measured

_HEADINGS = ("settings", "rows/s", "× default", "p50 ms", "p95 ms", "p99 ms", "CPU ms/row", "runs", "")
_RESULTS = {"wins": "is faster than", "ties": "is as fast as", "loses": "is slower than"}

_BUSY = 0.15
"""Above this noise a person is told that the machine was not quiet."""


def print_tuning(report: TuningReport, folder: Path) -> None:
    """Print what a tuning run found, and where its picture and its figures are."""
    rows = [_cells(each, each.figures) for each in report.measured if each.figures is not None]
    print_table(f"{report.name}: {_load_text(report)}", _HEADINGS, rows)
    for each in report.measured:
        if each.failure is not None:
            typer.echo(f"{each.name} failed: {each.failure}")
    for verdict in report.verdicts:
        compared = f"{verdict.precision} {_RESULTS[verdict.result]} fp32 here"
        typer.echo(f"{compared}: {verdict.ratio:.2f} × ({verdict.settings})")
    machine = report.context.machine
    typer.echo(f"on {machine.cpu}, {machine.cores} cores, which the clients shared with the server")
    typer.echo(
        "a×b: graph instances × threads of each; figures are relative to the default measured nearest in time; "
        f"differences below {report.noise:.0%} count as noise"
    )
    if report.noise > _BUSY:
        typer.echo("the machine was too busy to tell settings apart: tune again while nothing else runs on it")
    if not report.finished:
        typer.echo("the time was up before everything was measured; call again to go on")
    typer.echo(f"picture: {folder / 'tuning.png'}, figures: {folder / 'tuning.json'}")


def _load_text(report: TuningReport) -> str:
    load = report.context.load
    counted = ((load.concurrency, "client"), (load.rows, "row"))
    clients, rows = (f"{count} {noun}{'s' * (count != 1)}" for count, noun in counted)
    return f"{clients}, {rows} a request, {load.pattern or 'every presence pattern'}"


def _cells(each: Measured, figures: Figures) -> tuple[str, ...]:
    marks = {"chosen": each.is_chosen, "default": each.is_default, "front": each.is_on_front}
    marks["out of bounds"] = not each.is_within
    return (
        each.name,
        f"{figures.rows_per_s:.1f}",
        "" if each.ratio is None else f"{each.ratio:.2f}",
        *(f"{value:.1f}" for value in (figures.p50_ms, figures.p95_ms, figures.p99_ms)),
        f"{figures.cpu_ms_per_row:.1f}",
        str(len(each.runs)),
        ", ".join(name for name, holds in marks.items() if holds),
    )
