"""`onepath score`: Parquet files through a pipeline, without a server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onepath.cli.arguments import pairs_from_arguments
from onepath.cli.tables import examples

if TYPE_CHECKING:
    from onepath.scoring import ScoreReport

EXAMPLES = examples(
    "onepath score digits --input rows.parquet --output scored/",
    "onepath score build/digits --input 'rows/*.parquet' --output scored/ --column image=photo",
    "onepath score digits --input rows/ --output scored/ --media-root /data/media --overwrite",
)
CONTEXT: dict[str, Any] = {}  # click's settings


def command(  # noqa: PLR0913 - each parameter is an option
    model: Annotated[
        str, typer.Argument(help="A bundle's folder, the name of one in build/, or of a pipeline in a repository.")
    ],
    *,
    inputs: Annotated[
        list[str], typer.Option("--input", "-i", help="A Parquet file, a folder of them, or a pattern; repeatable.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder to write to, a file for each input.")],
    repository: Annotated[
        Path | None, typer.Option("--repository", "-r", help="Look for the pipeline in this model repository.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option(help="MODALITY=COLUMN where the names differ; repeatable.", show_default=False)
    ] = None,
    media_root: Annotated[
        Path | None,
        typer.Option(help="Paths start here and lead nowhere else; without it they start at the Parquet file."),
    ] = None,
    keep_payloads: Annotated[bool, typer.Option("--keep-payloads", help="Copy media bytes to the output.")] = False,
    prefix: Annotated[str, typer.Option(help="Put this before the names of the added columns.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace output files that exist.")] = False,
    batch_rows: Annotated[int | None, typer.Option(min=1, help="Rows that are decoded at a time.")] = None,
    decode_threads: Annotated[int, typer.Option(min=1, help="Payloads that are decoded at the same time.")] = 4,
    graph_threads: Annotated[int | None, typer.Option(min=1, help="Threads of the graph; one per core.")] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(help="An ONNX Runtime execution provider, the preferred one first.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Score Parquet files without a server.

    Rows go through the same preprocessing and the same graph as on a server. A column of bytes holds media themselves,
    a column of strings their paths; text is a string, a table's row a struct or JSON. Null, empty and missing columns
    mean absent. A payload that cannot be used is said in its row and stops nothing. Each output has its input's
    columns but media bytes, then label, score, the model's outputs, a status for each modality, _status, _presence and
    _bundle; it appears under its name only when it is whole.
    """
    from onepath.cli.places import pipeline_from_name
    from onepath.scoring import EngineSettings, ScoreSettings, score

    engine = EngineSettings(graph_threads=graph_threads, decode_threads=decode_threads)
    if provider:
        engine = engine.model_copy(update={"providers": tuple(provider)})
    settings = ScoreSettings(
        columns=pairs_from_arguments(column or [], "--column"),
        media_root=media_root,
        keep_payloads=keep_payloads,
        prefix=prefix,
        overwrite=overwrite,
        batch_rows=batch_rows,
        engine=engine,
    )
    pipeline = pipeline_from_name(model, repository)
    with _advancing() as advance:
        report = score(pipeline, inputs, output, settings, advance)
    if as_json:
        typer.echo(_json_from_report(report, pipeline.id))
    else:
        _print_report(report, f"{pipeline.manifest.name} {pipeline.id[:12]}")


@contextmanager
def _advancing() -> Iterator[Callable[[int, int], None]]:
    """Give the function that scoring tells of its progress: a bar on a terminal, nothing elsewhere."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("scoring", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _json_from_report(report: ScoreReport, bundle_id: str) -> str:
    facts = asdict(report) | {"files": [str(path) for path in report.files], "rows_per_s": report.rows_per_s}
    return json.dumps({"bundle": bundle_id} | facts, ensure_ascii=False)


def _print_report(report: ScoreReport, model: str) -> None:
    typer.echo(f"scored {report.rows:,} rows with {model} in {report.seconds:.1f} s: {report.rows_per_s:,.0f} rows/s")
    for pattern, count in report.presence.items():
        typer.echo(f"  {count:>9,}  {pattern}")
    for status, count in report.unusable.items():
        typer.echo(f"  {count:>9,}  without an answer: {status}")
    for modality, count in report.bad_payloads.items():
        typer.echo(
            f"  {count:>9,}  with a payload of {modality} that could not be used; see the column {modality}_status"
        )
    for note in report.notes:
        typer.echo(f"note: {note}")
    for path in report.files:
        typer.echo(f"wrote {path}")
