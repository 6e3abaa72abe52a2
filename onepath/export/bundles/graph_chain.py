"""The float32 graph of a bundle: exported for its targets, proved, and taken through passes that are proved too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy import float64
from numpy.typing import NDArray

from onepath.contract.answers import Answers
from onepath.contract.graphs import GraphEntry
from onepath.contract.proofs import Measurement, ProofStep, Step
from onepath.contract.stages import SERVED
from onepath.contract.tensors import TensorSpec
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.graphs.exporter import onnx_file_from_graph
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.passes import PASSES, PassResult, run_passes
from onepath.export.progress import Steps
from onepath.export.proofs import Batch, Seen
from onepath.export.proving import answers_in_runs, prove_onnx, proved_on_probes
from onepath.export.proving.onnx_parity import ParityBatches, engine, parity_batches, prove_pass
from onepath.export.proving.sessions import GraphSession
from onepath.export.recipe import Recipe
from onepath.export.recipe.document import ExportRecipe
from onepath.export.rows import RowSource
from onepath.export.targets import TargetProfile, check_graph, targets_from_names, versions_for

GRAPH = "graphs/model.onnx"

_Array = NDArray[float64]


@dataclass(frozen=True)
class GraphChain:
    """The float32 graph with its proofs.

    Attributes:
        entry: what the manifest says of it.
        file: the graph after its last pass.
        proofs: of the export and of each pass that was kept.
        answers: of torch and of each of these to the golden probes, the last one's last.
        seen: what each of these was compared on besides.
        passes: what became of each pass, as JSON.
    """

    entry: GraphEntry
    file: OnnxFile
    proofs: tuple[ProofStep, ...]
    answers: Answers
    seen: Sequence[tuple[Step, Sequence[Seen]]]
    passes: Sequence[Mapping[str, Any]]


def proved_graph(
    graph: PresenceGraph,
    outputs: Sequence[TensorSpec],
    source: RowSource,
    recipe: Recipe,
    *,
    probes: Batch,
    served: _Array,
    work: Path,
    step: Steps,
) -> GraphChain:
    """Return the float32 graph of a collapsed model, which every target of the recipe can load.

    Args:
        graph: of the collapsed model, run by torch.
        outputs: the task's tensors.
        source: held-out rows.
        recipe: the recipe.
        probes: the golden probes.
        served: what torch answers to them.
        work: a folder for the graphs.
        step: told of each step.

    Raises:
        ParityError: ONNX Runtime does not answer as torch does.
        UnsupportedModuleError: the model cannot be exported, or a target cannot load it.
    """
    export = recipe.export
    targets = targets_from_names(export.targets)
    opset, ir_version = versions_for(targets, opset=export.opset, ir_version=export.ir_version)
    path = work / Path(GRAPH).name
    names = [spec.name for spec in outputs]
    specs = [entry.tensor for entry in source.modalities]
    file = step(
        "export",
        lambda: onnx_file_from_graph(graph, specs, outputs=names, opset=opset, ir_version=ir_version, path=path),
    )
    check_graph(file, targets)
    batches = parity_batches(source, export.max_batch_size, recipe.seed)
    tolerances, seen = recipe.tolerances, _SeenByFile()
    proof = step("parity", lambda: prove_onnx(graph, file, batches=batches, tolerances=tolerances, seen=seen.of(file)))
    results = step("passes", lambda: _passed(file, recipe, targets=targets, batches=batches, seen=seen, work=work))
    last = results[-1].file if results else file
    entry = _entry(last, export, opset=opset, ir_version=ir_version)
    kept = [(result.proof, result.file) for result in results if result.proof is not None]
    proofs, answers = _on_probes([(proof, file), *kept], probes, served, export.max_batch_size)
    compared = [(each.step, seen.of(made)) for each, made in [(proof, file), *kept]]
    return GraphChain(entry, last, proofs, answers, compared, [result.as_json() for result in results])


def _passed(
    file: OnnxFile,
    recipe: Recipe,
    *,
    targets: Sequence[TargetProfile],
    batches: ParityBatches,
    seen: _SeenByFile,
    work: Path,
) -> list[PassResult]:
    def prove(before: OnnxFile, after: OnnxFile) -> tuple[Measurement, ...]:
        return prove_pass(before, after, batches=batches, tolerances=recipe.tolerances, seen=seen.of(after))

    return run_passes(file, PASSES, prove=prove, work=work, targets=targets, notes={"engine": engine()})


def _entry(file: OnnxFile, export: ExportRecipe, *, opset: int, ir_version: int) -> GraphEntry:
    return GraphEntry(
        file=GRAPH,
        data=None if file.data_path is None else f"{GRAPH}.data",
        opset=opset,
        ir_version=ir_version,
        targets=export.targets,
        max_batch_size=export.max_batch_size,
    )


class _SeenByFile:
    """What the proof of each graph's file compared; a pass that is dropped leaves its own behind."""

    def __init__(self) -> None:
        self._found: dict[Path, list[Seen]] = {}

    def of(self, file: OnnxFile) -> list[Seen]:
        """Return what was compared of a file, to be added to."""
        return self._found.setdefault(file.path, [])


def _on_probes(
    steps: Sequence[tuple[ProofStep, OnnxFile]], probes: Batch, served: _Array, most_rows: int
) -> tuple[tuple[ProofStep, ...], Answers]:
    """Return each step's proof, measured on the golden probes too, and the answers of its graph to them."""
    answers: dict[str, _Array] = {SERVED: served}
    proofs, before = [], SERVED
    for proof, file in steps:
        with GraphSession(file) as session:
            answers[proof.step] = answers_in_runs(session, probes, rows=most_rows)
        proofs.append(proved_on_probes(proof, answers, before, proof.step))
        before = proof.step
    return tuple(proofs), answers
