"""From a bundle's graph to an engine in the bundle: built, audited, held against ONNX Runtime, and only then put in."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from onepath.contract.bundle import Bundle, open_bundle
from onepath.contract.engines import FUSION, GRAPH
from onepath.contract.errors import OnepathError
from onepath.contract.graphs import EngineEntry, GraphEntry, Precision
from onepath.contract.manifest import Manifest
from onepath.contract.proofs import Measurement
from onepath.contract.tensors import TensorSpec
from onepath.export.engine.audit import Audit, audit_parts, layers_from_json
from onepath.export.engine.builder import BuildOptions, EngineBuilder, EngineRefusedError
from onepath.export.engine.element_types import engine_model
from onepath.export.engine.parity import batches_of, prove_engine, run_parts
from onepath.export.engine.products import products_of
from onepath.export.engine.recording import add_engine, entry_of_engine, notes_of, proof_of_engine
from onepath.export.engine.releases import check_version, engine_targets
from onepath.export.engine.split import split_graph
from onepath.export.graphs.onnx_file import OnnxFile, onnx_file_from_model

Say = Callable[[str], None]
"""Told of each stage, in words."""
_MakePart = Callable[[str, ir.Model], bytes]
"""Builds the engine of a part's graph, given the part's name."""
_OPT_ROWS = 8


class NoGraphError(OnepathError):
    """A bundle without a graph in the precision that an engine was asked for; `available` lists those that it has."""

    available: tuple[str, ...]

    def __init__(self, manifest: Manifest, precision: str) -> None:
        available = tuple(graph.precisions for graph in manifest.graphs)
        super().__init__(
            f"{manifest.name} has no graph in {precision}, only in {' and '.join(available)}: an engine has the "
            f"precision of its graph. Build one with: onepath build RECIPE --precision {precision}",
            available=available,
        )


@dataclass(frozen=True)
class EngineRequest:
    """Which engine to build.

    Attributes:
        precision: of the graph that it is made of.
        opt_rows: the number of rows to tune it for, at most the graph's `max_batch_size`; that of
            `opt_rows_from_deployment` unless given.
        workspace_gib: the most memory that a layer may use on the side.
        timing_cache: a file of measured times, read where it is there and written afterwards.
        split: whether to make encoders and fusion separate engines at once, and not only where it must be.
        release: of the Triton that will serve it, `YY.MM`; those that the graph was checked against unless given.
    """

    precision: Precision
    opt_rows: int | None = None
    workspace_gib: float = 4.0
    timing_cache: Path | None = None
    split: bool = False
    release: str | None = None

    @property
    def arguments(self) -> list[str]:
        """The same as options of `onepath engine`, for a machine that has no timing cache yet."""
        given = ["--precision", self.precision]
        given += [] if self.opt_rows is None else ["--opt-rows", str(self.opt_rows)]
        given += ["--workspace-gib", f"{self.workspace_gib:g}"]
        return given + ["--split"] * self.split + (["--release", self.release] if self.release else [])

    def options(self, graph: GraphEntry, deployment: Mapping[str, Any]) -> BuildOptions:  # JSON
        """Return how the engine of a graph is built.

        Args:
            graph: that it is made of.
            deployment: the bundle's own settings, as its manifest holds them.
        """
        most = graph.max_batch_size
        rows = opt_rows_from_deployment(deployment, most) if self.opt_rows is None else min(self.opt_rows, most)
        return BuildOptions(rows, most, round(self.workspace_gib * (1 << 30)), self.timing_cache)


def opt_rows_from_deployment(deployment: Mapping[str, Any], most: int) -> int:  # JSON
    """Return the rows to tune an engine for: the largest preferred batch that it takes, or else 8, or its most.

    >>> opt_rows_from_deployment({"preferred_batch_sizes": [4, 16, 64]}, most=32), opt_rows_from_deployment({}, most=32)
    (16, 8)
    >>> opt_rows_from_deployment({"preferred_batch_sizes": [64]}, most=4)
    4

    Args:
        deployment: a bundle's own settings, as its manifest holds them.
        most: the most rows of one run.
    """
    sizes = deployment.get("preferred_batch_sizes") or ()
    return max((size for size in sizes if isinstance(size, int) and 1 <= size <= most), default=min(_OPT_ROWS, most))


@dataclass(frozen=True)
class BuiltEngine:
    """An engine that was put into a bundle.

    Attributes:
        bundle: with it.
        entry: what the manifest says of it.
        audit: the precisions of its layers.
        measurements: how far it is from ONNX Runtime.
        refusal: why the whole graph could not be one engine, where it could not.
        notes: the servers that cannot load it, or of which that is not known, in words.
    """

    bundle: Bundle
    entry: EngineEntry
    audit: Audit
    measurements: tuple[Measurement, ...]
    refusal: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Parts:
    engines: Mapping[str, bytes]
    graphs: Mapping[str, ir.Model]
    features: tuple[TensorSpec, ...] = ()
    refusal: tuple[str, ...] = ()


def build_engine(path: Path, request: EngineRequest, builder: EngineBuilder, say: Say = lambda _: None) -> BuiltEngine:
    """Return the engine of a bundle's graph for this machine's GPU, after putting it into the bundle.

    An engine for the same kind of GPU in the same precision is replaced; those for others stay beside it.

    Args:
        path: the bundle's folder.
        request: which engine.
        builder: builds, inspects and runs engines.
        say: told of each stage.

    Raises:
        NoGraphError: the bundle has no graph in this precision.
        EngineReleaseError: none of the servers that the graph is meant for has the library's version.
        EngineRefusedError: the library takes neither the graph nor its parts.
        EngineAuditError: too few of the engine's products are in the precision, in one of its parts or in all.
        UnreadableEngineError: the library does not tell in what the engine computes.
        ParityError: the engine's answers are too far from ONNX Runtime's.
        UnsupportedModuleError: the graph cannot be written for an engine, or not be cut.
        BundleIntegrityError: the bundle is not intact; whatever is raised, it is left as it was.
    """
    bundle = open_bundle(path)
    graph = graph_in_precision(bundle.manifest, request.precision)
    notes = check_version(builder.version, engine_targets(graph.targets, request.release))
    model, options = OnnxFile(path / graph.file).lazy_model(), request.options(graph, bundle.manifest.deployment)
    batches = batches_of(bundle, options)  # what cannot be proved is not worth the minutes of a build
    with tempfile.TemporaryDirectory(prefix="onepath-engine-") as folder:
        make = _part_maker(builder, options, folder=Path(folder), say=say)
        parts = _built(model, bundle.manifest.modality_names, make, split=request.split, say=say)
    say("auditing the layers' precisions")
    layers = {part: layers_from_json(builder.inspect(engine)) for part, engine in parts.engines.items()}
    products = {part: products_of(part_model) for part, part_model in parts.graphs.items()}
    audit = audit_parts(layers, products, request.precision)
    say("comparing its answers with ONNX Runtime's")
    runs = {part: builder.load(engine) for part, engine in parts.engines.items()}
    engine = run_parts(runs, bundle.manifest.modalities)
    measurements, against = prove_engine(bundle, graph, engine, batches)
    entry = entry_of_engine(graph, options, builder, parts=parts.engines, features=parts.features)
    proof = proof_of_engine(bundle.manifest, entry, parts.engines, measurements, notes=notes_of(audit, against))
    amended = add_engine(path, entry, proof, parts.engines)
    return BuiltEngine(amended, entry, audit, measurements, refusal=parts.refusal, notes=notes)


def graph_in_precision(manifest: Manifest, precision: Precision) -> GraphEntry:
    """Return the bundle's graph in a precision, the first where it has several.

    Raises:
        NoGraphError: it has none.
    """
    found = next((graph for graph in manifest.graphs if graph.precision == precision), None)
    if found is None:
        raise NoGraphError(manifest, precision)
    return found


def _part_maker(builder: EngineBuilder, options: BuildOptions, *, folder: Path, say: Say) -> _MakePart:
    def make(part: str, model: ir.Model) -> bytes:
        say(f"building {part} for {builder.device.name}, {options.opt_rows} of 1 to {options.max_rows} rows")
        file = onnx_file_from_model(engine_model(model), folder / f"{part}.onnx")
        return builder.build(file.path, options)

    return make


def _built(model: ir.Model, modalities: Sequence[str], make: _MakePart, *, split: bool, say: Say) -> _Parts:
    """Return the engine of the whole graph; where the library refuses that, those of its parts."""
    refusal: tuple[str, ...] = ()
    if not split:
        try:
            return _Parts({GRAPH: make(GRAPH, model)}, {GRAPH: model})
        except EngineRefusedError as error:
            refusal = error.problems
            say(f"the whole graph cannot be one engine ({refusal[0]}); its encoders and its fusion are built apart")
    cut = split_graph(model, modalities)
    graphs = {**cut.encoders, FUSION: cut.fusion}
    engines = {part: make(part, part_model) for part, part_model in graphs.items()}
    return _Parts(engines, graphs, cut.features, refusal)
