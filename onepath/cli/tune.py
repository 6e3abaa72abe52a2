"""`onepath tune`: which deployment settings suit a bundle on this machine, measured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onepath.cli.deploy import deploy_command
from onepath.cli.exits import terminable
from onepath.cli.tables import examples
from onepath.cli.tuning_tables import print_tuning

if TYPE_CHECKING:
    from onepath.contract.bundle import Bundle
    from onepath.tuning import TuneSettings, TuningReport

EXAMPLES = examples(
    "onepath tune build/digits",
    "onepath tune build/digits --latency-ms 20 --percentile p99 --concurrency 16 --minutes 10",
    "onepath tune digits --objective latency --min-rows-per-s 100 --pattern image+text --dry-run",
)
CONTEXT: dict[str, Any] = {}  # click's settings

_OUTPUT = Path("build/tune")


class Percentile(str, Enum):
    """Which latency counts."""

    P50 = "p50"
    P95 = "p95"
    P99 = "p99"


class Objective(str, Enum):
    """What is best within the bounds."""

    THROUGHPUT = "throughput"
    LATENCY = "latency"


class Kind(str, Enum):
    """Where the graph runs."""

    CPU = "cpu"
    GPU = "gpu"


def command(  # noqa: PLR0913 - each parameter is an option
    bundle: Annotated[str, typer.Argument(help="A bundle's folder, or the name of one in build/.")],
    *,
    latency_ms: Annotated[float, typer.Option(min=0.001, help="The most that the latency may be.")] = 50.0,
    percentile: Annotated[Percentile, typer.Option(help="Which latency counts.")] = Percentile.P95,
    objective: Annotated[
        Objective, typer.Option(help="The highest throughput, or the lowest latency, within the bounds.")
    ] = Objective.THROUGHPUT,
    min_rows_per_s: Annotated[float, typer.Option(min=0, help="The least that the throughput may be.")] = 0.0,
    concurrency: Annotated[int, typer.Option(min=1, help="Clients; each waits for its answer before it asks on.")] = 4,
    rows: Annotated[int, typer.Option(min=1, help="Rows of a request.")] = 1,
    pattern: Annotated[
        str | None, typer.Option(help="What every row has, such as image+text; all patterns in turn unless given.")
    ] = None,
    kind: Annotated[Kind, typer.Option(help="Where the graph runs.")] = Kind.CPU,
    minutes: Annotated[float, typer.Option(min=0.01, max=10_080, help="How long it may take.")] = 5.0,
    window_s: Annotated[
        float, typer.Option(min=0.1, max=3600, help="How long the answers of one candidate are counted.")
    ] = 4.0,
    warm_up_s: Annotated[float, typer.Option(min=0, max=3600, help="How long its clients ask before that.")] = 1.0,
    fresh: Annotated[
        bool, typer.Option("--fresh/--resume", help="Measure all anew, or go on with what was measured before.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where the journal and the results go.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Leave the bundle as it is.")] = False,
) -> None:
    """Measure which settings suit a bundle on this machine, and write them into it.

    Precisions, threads and instances of the graph, batching and preprocessing are tried one after the other, each on a
    real server with clients on this machine. The best settings within the latency bound become those that `onepath
    deploy` takes, and a picture of all of them is put into the bundle. Can be interrupted, and called again to go on.
    """
    from onepath.cli.places import bundle_path
    from onepath.contract.bundle import open_bundle
    from onepath.tuning import Goal, Load, TuneSettings

    load = Load(rows=rows, concurrency=concurrency, pattern=pattern, warm_up_s=warm_up_s, window_s=window_s)
    goal = Goal(
        objective=objective.value,
        percentile=percentile.value,
        latency_ms=latency_ms,
        min_rows_per_s=min_rows_per_s,
    )
    opened = open_bundle(bundle_path(bundle))
    settings = TuneSettings(load=load, goal=goal, minutes=minutes, kind=kind.value)
    report, folder = _tuned(opened, settings, output, fresh=fresh)
    print_tuning(report, folder)
    _finish(opened, report, folder, dry_run=dry_run)


def _tuned(bundle: Bundle, settings: TuneSettings, output: Path | None, *, fresh: bool) -> tuple[TuningReport, Path]:
    from onepath.contract.bundle import SHORT_ID
    from onepath.tuning import tune
    from onepath.tuning.amending import id_without_tuning

    name = f"{bundle.manifest.name}-{id_without_tuning(bundle.manifest)[:SHORT_ID]}"
    folder = output or _OUTPUT / name
    try:
        with terminable(), _shown(settings.minutes) as watch:
            return tune(bundle, settings, folder, fresh=fresh, watch=watch), folder
    except (KeyboardInterrupt, SystemExit):
        typer.echo(f"what was measured is in {folder}; call again to go on from there", err=True)
        raise


@contextmanager
def _shown(minutes: float) -> Iterator[Callable[[Any, str], None]]:
    """Give what shows each measurement: the time as a bar on a terminal, a line each elsewhere."""
    from onepath.cli.progress import shown_progress

    with shown_progress() as progress, progress.stage("measuring", round(60 * minutes)) as stage:

        def watch(entry: Any, name: str) -> None:  # an entry of the journal
            figures = entry.figures
            said = f"failed: {entry.failure}" if figures is None else f"{figures.rows_per_s:.0f} rows/s"
            stage.advance(round(entry.wall_s))
            stage.note(f"{name}: {said}")
            if not sys.stderr.isatty():
                typer.echo(f"  {name}: {said}", err=True)

        yield watch


def _finish(bundle: Bundle, report: TuningReport, folder: Path, *, dry_run: bool) -> None:
    from onepath.tuning.amending import PICTURE, write_choice
    from onepath.tuning.report import check_choice

    chosen = check_choice(report)
    typer.echo(f"chosen: {chosen.name}")
    typer.echo(f"to deploy it without writing it into the bundle: {deploy_command(bundle.path, report.deployment)}")
    if dry_run:
        typer.echo("a dry run: the bundle is as it was")
        return
    amended = write_choice(bundle, report, folder / PICTURE)
    typer.echo(f"wrote it to {bundle.path}, whose id is now {amended.short_id} (was {bundle.short_id})")
    typer.echo("a signature of it has to be made anew; what is deployed is as it was")
    typer.echo(f"next: onepath deploy {bundle.path}")
