"""The main job on the digits, end to end: build, deploy, serve, evaluate and draw, with the product's own parts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from demo_files import write_examples
from demo_plot import draw
from digits_settings import DigitsSettings
from paired_rows import Rows, test_rows_from_seed
from rich.console import Console
from rich.table import Table
from served_accuracy import PATTERNS, Accuracies, accuracies
from served_models import MERGED, MODELS
from served_speed import CLIENTS, Speed, speeds

from onepath.cli.progress import shown_progress
from onepath.contract.bundle import Bundle
from onepath.export.build import build
from onepath.export.progress import Progress
from onepath.export.recipe import recipe_from_file
from onepath.server.launch import start_server
from onepath.server.repository import deploy
from onepath.server.settings import DeploySettings, ServerSettings

RECIPE = Path(__file__).with_name("recipe.yaml")
BUILD = Path("build")
REPOSITORY = BUILD / "model_repository"
RESULTS = BUILD / "demo"

_T = TypeVar("_T")
_ANY_PORT = ServerSettings(grpc_port=None, http_port=None, metrics_port=None)
_SMALL = DeploySettings(preprocess_instances=1, graph_instances=1)


def main() -> None:
    """Run the demo; everything it makes is under `build/`."""
    console, began = Console(), time.perf_counter()
    RESULTS.mkdir(parents=True, exist_ok=True)
    recipe = recipe_from_file(RECIPE)
    seconds: dict[str, float] = {}
    with shown_progress() as progress:
        with _timed("build", seconds):
            bundles = build(RECIPE, BUILD, progress)
        with _timed("deploy", seconds):
            _deploy(bundles, progress)
        renderings = DigitsSettings.model_validate(recipe.settings).renderings
        rows = test_rows_from_seed(recipe.seed, renderings=renderings)
        accuracy, speed = _measured(rows, progress, seconds)
    files = write_examples(RESULTS, rows)
    picture, numbers = RESULTS / "digits.png", RESULTS / "digits.json"
    draw(picture, accuracy, speed, rows=len(rows))
    seconds["whole demo"] = time.perf_counter() - began
    _write_numbers(numbers, accuracy, speed, rows, bundles, seconds)
    console.print(_accuracy_table(accuracy, len(rows)), _speed_table(speed))
    _print_pathway(console, bundles)
    _print_places(console, [picture, numbers, *files], seconds)


def _deploy(bundles: Sequence[Bundle], progress: Progress) -> None:
    with progress.stage("deploy", len(bundles)) as stage:
        for bundle in bundles:
            # Only the merged pipeline is timed; the others are there to be compared with, and share its cores.
            deploy(bundle, REPOSITORY, None if bundle.manifest.name == MERGED.name else _SMALL)
            stage.advance()


def _measured(rows: Rows, progress: Progress, seconds: dict[str, float]) -> tuple[Accuracies, dict[str, Speed]]:
    def measured(title: str, measure: Callable[[Callable[[], None]], _T]) -> _T:
        with progress.stage(title, len(PATTERNS)) as stage, _timed(title, seconds):
            return measure(stage.advance)

    with progress.stage("start the server, until every probe passes", 1) as stage, _timed("start", seconds):
        server = start_server(REPOSITORY, _ANY_PORT)
        stage.advance()
    with server:
        address = server.grpc_address
        return (
            measured("accuracy", lambda advance: accuracies(address, rows, advance)),
            measured("speed", lambda advance: speeds(address, rows.payloads, advance)),
        )


@contextmanager
def _timed(title: str, seconds: dict[str, float]) -> Iterator[None]:
    began = time.perf_counter()
    yield
    seconds[title] = time.perf_counter() - began


def _accuracy_table(table: Accuracies, rows: int) -> Table:
    shown = Table(title=f"Accuracy on {rows} held-out rows, through the running server (%)", title_justify="left")
    shown.add_column("present", no_wrap=True)
    for model in MODELS:
        shown.add_column(model.title.replace(" ", "\n", 1), justify="right")
    for pattern, cells in table.items():
        best = max(cells.values())
        shown.add_row(pattern, *(_cell(cells.get(model.name), best) for model in MODELS))
    return shown


def _cell(accuracy: float | None, best: float) -> str:
    if accuracy is None:
        return "–"
    return f"[bold]{100 * accuracy:.1f}[/bold]" if accuracy == best else f"{100 * accuracy:.1f}"


def _speed_table(table: dict[str, Speed]) -> Table:
    shown = Table(title="The merged pipeline's speed, clients on the same machine", title_justify="left")
    for title in ("present", "p50, 1 row (ms)", "p95, 1 row (ms)", f"rows/s, {CLIENTS} clients"):
        shown.add_column(title, justify="left" if title == "present" else "right")
    for pattern, speed in table.items():
        cells = (f"{speed.latency_p50_ms:.1f}", f"{speed.latency_p95_ms:.1f}", f"{speed.rows_per_s:.0f}")
        shown.add_row(pattern, *cells)
    return shown


def _print_pathway(console: Console, bundles: Sequence[Bundle]) -> None:
    details = bundles[0].manifest.details
    scales = details["pathway_scales"].values()
    without, with_it = details["image_test_accuracy_without_pathway"], details["test_accuracy"]["image"]
    console.print(
        f"Pathway from audio to image: {len(scales)} layers, learned scales {min(scales):+.3f} to {max(scales):+.3f}; "
        f"the image encoder has {100 * with_it:.1f} % with it, and {100 * without:.1f} % trained as long without it."
    )


def _print_places(console: Console, files: Sequence[Path], seconds: dict[str, float]) -> None:
    console.print("Seconds: " + ", ".join(f"{title} {value:.0f}" for title, value in seconds.items()))
    for path in files:
        console.print(f"wrote {path}", soft_wrap=True)
    console.print(f"bundles in {BUILD}/, deployed in {REPOSITORY}/; try them:")
    console.print(f"  onepath serve {REPOSITORY}", soft_wrap=True)
    console.print(f"  onepath predict digits --image {files[2]} --audio {files[3]}", soft_wrap=True)
    console.print(f"  onepath score digits --input {files[4]} --output {RESULTS / 'scored'}", soft_wrap=True)


def _write_numbers(
    path: Path,
    accuracy: Accuracies,
    speed: dict[str, Speed],
    rows: Rows,
    bundles: Sequence[Bundle],
    seconds: dict[str, float],
) -> None:
    numbers = {
        "rows": len(rows),
        "accuracy": accuracy,
        "speed": {pattern: asdict(entry) for pattern, entry in speed.items()},
        "bundles": {bundle.manifest.name: bundle.id for bundle in bundles},
        "training": bundles[0].manifest.details,
        "seconds": seconds,
    }
    path.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
