"""`onepath engine`: a TensorRT engine of a bundle's graph, for the GPU of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import onepath
from onepath.cli.deploy import Precision
from onepath.cli.tables import examples
from onepath.contract.errors import MissingExtraError

if TYPE_CHECKING:
    from onepath.export.engine import BuiltEngine, EngineBuilder, EngineRequest

EXAMPLES = examples(
    "onepath engine build/digits --precision bf16",
    "onepath engine build/digits --precision fp16 --opt-rows 16 --timing-cache build/timing.cache",
    "onepath deploy build/digits --precision bf16 --kind gpu",
)
CONTEXT: dict[str, Any] = {}  # click's settings

_OPT_ROWS_HELP = (
    "The number of rows to tune it for; unless given, the largest preferred batch size of the bundle's deployment "
    "settings that the graph takes, or else 8, and never more than the graph takes."
)
_SPLIT_HELP = "Build the encoders and the fusion as separate engines, also where one could hold the whole graph."
_RELEASE_HELP = "Of the Triton that will serve it, such as 26.06; the bundle's targets unless given."


def command(
    bundle: Annotated[str, typer.Argument(help="A bundle's folder, or the name of one in build/.")],
    *,
    precision: Annotated[
        Precision, typer.Option(help="That of the graph to build from, which the bundle must have.")
    ] = Precision.FP32,
    opt_rows: Annotated[int | None, typer.Option(min=1, help=_OPT_ROWS_HELP)] = None,
    workspace_gib: Annotated[
        float, typer.Option(min=0.001, max=1024, help="The most memory that a layer may use on the side.")
    ] = 4.0,
    timing_cache: Annotated[
        Path | None,
        typer.Option(help="A file of measured times: read where it is there, written afterwards.", dir_okay=False),
    ] = None,
    split: Annotated[bool, typer.Option("--split", help=_SPLIT_HELP)] = False,
    release: Annotated[str | None, typer.Option(help=_RELEASE_HELP)] = None,
) -> None:
    """Build a TensorRT engine for this machine's GPU, and put it into the bundle.

    Only an engine whose layers are in the asked precision, and that answers as ONNX Runtime does on this machine, is
    put in; it then has its link in the proof chain. One for the same kind of GPU and precision is replaced, others stay
    beside it. Only a Triton with the very version of TensorRT that built it can load it.
    """
    from onepath.cli.places import bundle_path

    try:
        from onepath.export.engine import EngineRequest, build_engine
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "onepath":  # a part of onepath itself, which no extra brings
            raise
        raise MissingExtraError(str(error.name), "export", purpose="building an engine") from error
    path = bundle_path(bundle)
    request = EngineRequest(
        precision=precision.value,
        opt_rows=opt_rows,
        workspace_gib=workspace_gib,
        timing_cache=timing_cache,
        split=split,
        release=release,
    )
    builder = _builder(path, request)
    _show(build_engine(path, request, builder, lambda stage: typer.echo(f"{stage} …", err=True)))


def _builder(path: Path, request: EngineRequest) -> EngineBuilder:
    """Return what calls TensorRT, after the bundle was found to have a graph whose engine can be served."""
    from onepath.contract.bundle import open_bundle
    from onepath.export.engine.build import graph_in_precision
    from onepath.export.engine.container import (
        NoTensorRTError,
        checkout_of_package,
        docker_command,
        release_from_targets,
    )
    from onepath.export.engine.releases import engine_targets
    from onepath.export.engine.tensorrt_builder import TensorRTBuilder, UnusableTensorRTError

    graph = graph_in_precision(open_bundle(path).manifest, request.precision)
    targets = engine_targets(graph.targets, request.release)
    try:
        return TensorRTBuilder()
    except UnusableTensorRTError as error:
        release = release_from_targets(targets)
        checkout = checkout_of_package(Path(onepath.__file__).parent)
        docker = docker_command(path, request.arguments, release=release, checkout=checkout)
        raise NoTensorRTError(str(error), docker=docker, release=release) from error


def _show(built: BuiltEngine) -> None:
    entry, audit = built.entry, built.audit
    counts = ", ".join(f"{count} in {precision}" for precision, count in audit.counts.items())
    worst = max(built.measurements, key=lambda measured: measured.error)
    typer.echo(f"{entry.precision} engine for {entry.gpu} (compute capability {entry.compute_capability})")
    typer.echo(f"  TensorRT {entry.tensorrt}, tuned for {entry.opt_rows} of 1 to {entry.max_rows} rows")
    typer.echo(f"  products: {counts}; at most {worst.error:.1e} off (tolerance {worst.tolerance:.0e}, {worst.inputs})")
    for part, file in entry.files.items():
        typer.echo(f"  {part}: {file}")
    for note in built.notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"the bundle's id is now {built.bundle.short_id}")
    typer.echo(f"next: onepath deploy {built.bundle.path} --precision {entry.precision} --kind gpu")
