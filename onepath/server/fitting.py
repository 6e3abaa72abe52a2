"""Whether settings fit what is deployed: the rows of a batch, and the precisions that a processor computes in.

On a CPU, ONNX Runtime 1.31 has no kernel for a product in bfloat16 and does not load such a graph. One in float16 it
computes in float32, between casts: that is right, and 0.89 × to 0.95 × as fast as the float32 graph on the digits.
"""

from __future__ import annotations

from onepath.contract.errors import OnepathError
from onepath.contract.graphs import PRECISIONS, GraphEntry, Precision
from onepath.contract.manifest import Manifest
from onepath.server.settings import DeploySettings
from onepath.server.variants import graph_of_precision

LACKING_ON_CPU: frozenset[Precision] = frozenset({"bf16"})
"""Precisions that ONNX Runtime cannot compute in on a CPU."""
CAST_ON_CPU: frozenset[Precision] = frozenset({"fp16"})
"""Precisions that it computes in float32 on a CPU."""


class UnfitSettingsError(OnepathError):
    """Settings that what is deployed cannot be served with."""

    def __init__(self, problem: str, *, advice: str) -> None:
        super().__init__(f"{problem}; {advice}")


def check_fit(manifest: Manifest, settings: DeploySettings, *, given: DeploySettings | None = None) -> None:
    """Check that what is deployed can be served with settings.

    Args:
        manifest: as deployed, so that its graph is the one that runs.
        settings: in full.
        given: of which the batch sizes were asked for; those of a bundle's own settings are left out where they are
            too large, because an engine may take fewer rows than the graph that they were measured with.

    Raises:
        UnfitSettingsError: the graph cannot run on a CPU, or takes fewer rows than a preferred batch has.
    """
    graph = manifest.graph
    lacking = _lacking(graph)
    if settings.kind == "cpu" and lacking:
        raise UnfitSettingsError(
            f"{manifest.name} in {graph.precisions} cannot be served on a CPU, on which ONNX Runtime does not compute "
            f"in {', '.join(sorted(lacking))}",
            advice=_elsewhere(manifest),
        )
    sizes = () if given is None else given.preferred_batch_sizes
    too_large = sorted(size for size in sizes if size > graph.max_batch_size)
    if too_large:
        raise UnfitSettingsError(
            f"{manifest.name} takes at most {graph.max_batch_size} rows at once, and a preferred batch has "
            f"{' or '.join(map(str, too_large))}",
            advice=f"choose a --preferred-batch-size of at most {graph.max_batch_size}",
        )


def precisions_that_run(manifest: Manifest, kind: str) -> tuple[Precision, ...]:
    """Return the precisions that a bundle can be deployed in on a kind of processor, its own choice first if it can.

    Args:
        manifest: the bundle's.
        kind: `cpu` or `gpu`.
    """
    found = dict.fromkeys(graph.precision for graph in manifest.graphs)
    return tuple(each for each in found if kind != "cpu" or not _lacking(graph_of_precision(manifest, each)))


def slower_than_float32(manifest: Manifest, settings: DeploySettings) -> str | None:
    """Return what to tell of a graph that is slower than the float32 one where it runs; None where that is not known.

    Args:
        manifest: as deployed.
        settings: in full.
    """
    cast = _precisions(manifest.graph) & CAST_ON_CPU
    if settings.kind != "cpu" or not cast:
        return None
    return (
        f"on a CPU, ONNX Runtime computes {', '.join(sorted(cast))} in float32, with casts in between: it is no faster "
        f"than the fp32 graph, and may be slower; {_elsewhere(manifest, without=cast)}"
    )


def _elsewhere(manifest: Manifest, *, without: frozenset[Precision] = frozenset()) -> str:
    """Return what to do about a graph that does not suit a CPU: where it runs, and which others suit it."""
    fits = {*precisions_that_run(manifest, "cpu")} - {manifest.graph.precision, *without}
    others = " or ".join(precision for precision in PRECISIONS if precision in fits)
    return f"deploy with --kind gpu, or with --precision {others}" if others else "deploy with --kind gpu"


def _lacking(graph: GraphEntry) -> frozenset[Precision]:
    return _precisions(graph) & LACKING_ON_CPU


def _precisions(graph: GraphEntry) -> frozenset[Precision]:
    return frozenset({graph.precision, *graph.modality_precision.values()})
