"""The proof of an engine: it answers on this machine as ONNX Runtime does, at the batch sizes that are served."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from onepath.contract.bundle import Bundle
from onepath.contract.engines import FEATURES, FUSION, GRAPH, engine_dtype, features_name
from onepath.contract.errors import UnsupportedModuleError
from onepath.contract.graphs import GraphEntry, Precision
from onepath.contract.manifest import ModalityEntry
from onepath.contract.proofs import Measurement
from onepath.contract.tensors import state_name
from onepath.export.engine.builder import BuildOptions, Run
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.proofs import Arrays, Batch, compare
from onepath.export.proving.sessions import CPU, CUDA, GraphSession
from onepath.export.rows import RowSource

ENGINE_TOLERANCES: Mapping[Precision, float] = {"fp32": 1e-3, "fp16": 1e-2, "bf16": 5e-2, "int8": 5e-2}
"""The largest difference of any output between an engine and ONNX Runtime, chosen before anything is measured.

It is absolute for probabilities; of an embedding, whose scale is its own, it is divided by the largest output above 1.
In float32 the two add up in another order; in 16 bits each rounds where the other may not."""

_SEED = 0


def prove_engine(
    bundle: Bundle, graph: GraphEntry, engine: Callable[[Batch], Arrays], batches: Sequence[Batch]
) -> tuple[tuple[Measurement, ...], str]:
    """Return how far an engine's answers are from ONNX Runtime's, and in words which graph that ran.

    Args:
        bundle: whose probes and manifest say what rows are like.
        graph: that the engine was made of.
        engine: runs the engine.
        batches: rows to compare on.

    Raises:
        ParityError: an answer is farther off than the table of tolerances allows.
    """
    reference, against = run_reference(bundle, graph)
    measured = compare(
        f"the engine in {graph.precision}",
        reference=reference,
        candidate=engine,
        batches=batches,
        tolerance=ENGINE_TOLERANCES[graph.precision],
        relative=bundle.manifest.task != "classification",
    )
    return measured, against


def batches_of(bundle: Bundle, options: BuildOptions) -> list[Batch]:
    """Return the golden probes, rows of each presence pattern, of mixed ones at every size that matters, and noise.

    Args:
        bundle: an opened bundle.
        options: the numbers of rows that an engine is built for.

    Raises:
        UnsupportedModuleError: no golden probe has every modality, so that there are no rows of each pattern.
    """
    names = bundle.manifest.modality_names
    probes = [row.payloads for row in bundle.probes.rows]
    whole = [row for row in probes if {*row} == {*names}]
    if not whole:
        problem = "no golden probe has every modality, so that an engine cannot be proved with each presence pattern"
        raise UnsupportedModuleError(f"the bundle {bundle.manifest.name}", problem, "build it with `onepath build`")
    source = RowSource(bundle.manifest.modalities, bundle.path / "assets", whole)
    most = options.max_rows
    sizes = sorted({size for size in (1, 2, options.opt_rows, most - 1, most) if 1 <= size <= most})
    return [
        *(source.decoded("golden probes", probes[start : start + most]) for start in range(0, len(probes), most)),
        *source.each_pattern(min(2, most)),
        *(source.mixed(size) for size in sizes),
        source.random(most, _SEED),
    ]


def run_reference(bundle: Bundle, graph: GraphEntry) -> tuple[Callable[[Batch], Arrays], str]:
    """Return what runs a bundle's graph in ONNX Runtime, and which graph in words.

    That is the float32 graph where ONNX Runtime cannot run the other one on this machine, such as bfloat16 on a CPU.
    """
    reference = bundle.manifest.reference
    try:
        run, entry = _run_graph(bundle.path / graph.file), graph
    except Exception:  # noqa: BLE001 - ONNX Runtime's errors have no common base
        run, entry = _run_graph(bundle.path / reference.file), reference
    return run, f"the graph in {entry.precisions}, onnxruntime {ort.__version__}"


def run_parts(runs: Mapping[str, Run], modalities: Sequence[ModalityEntry]) -> Callable[[Batch], Arrays]:
    """Return what runs an engine for a batch: its one part, or every encoder on every row and then the fusion.

    Args:
        runs: part to what runs it.
        modalities: the bundle's.
    """

    def run(batch: Batch) -> Arrays:
        values = {entry.name: _as_engine(batch, entry) for entry in modalities}
        states = {state_name(name): array for name, array in batch.states.items()}
        if GRAPH in runs:
            return runs[GRAPH](values | states)
        features = {features_name(name): runs[name]({name: array})[FEATURES] for name, array in values.items()}
        return runs[FUSION](features | states)

    return run


def _as_engine(batch: Batch, entry: ModalityEntry) -> NDArray[np.generic]:
    return batch.values[entry.name].astype(engine_dtype(entry.tensor.dtype), copy=False)


def _run_graph(path: Path) -> Callable[[Batch], Arrays]:
    here = {name: settings for name, settings in {**CUDA, **CPU}.items() if name in ort.get_available_providers()}
    return GraphSession(OnnxFile(path), providers=here, explains=False)
