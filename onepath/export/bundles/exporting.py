"""From an assembled model to the files of its bundle: collapse → ONNX → passes → precisions, each step proved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onepath.contract.answers import ANSWERS, Answers, bytes_from_answers
from onepath.contract.comparisons import COMPARISONS
from onepath.contract.digests import canonical_json
from onepath.contract.graphs import GraphEntry
from onepath.contract.probes import Probe, ProbeSet
from onepath.contract.proofs import ProofStep
from onepath.contract.stages import COLLAPSE_REFERENCE, SERVED
from onepath.contract.tensors import TensorSpec
from onepath.contract.writing import Content
from onepath.export.bundles.assembled import Assembled
from onepath.export.bundles.graph_chain import GraphChain, proved_graph
from onepath.export.bundles.outputs import outputs_of_graph
from onepath.export.bundles.precisions import Precisions, precisions_of_graph
from onepath.export.bundles.random_models import random_models_told
from onepath.export.bundles.robustness import robustness_of_bundle
from onepath.export.bundles.sources import Sources, finite
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.progress import Steps
from onepath.export.proving import first_output, probe_rows, prove_collapse, run_graph
from onepath.export.proving.collapse import Collapsed
from onepath.export.proving.storing import stored_comparisons
from onepath.export.recipe import Recipe
from onepath.export.rows import RowSource

WEIGHTS = "weights/model.safetensors"
PROBES = "probes.json"
REPORT = "reports/collapse.json"
PASSES_REPORT = "reports/passes.json"


@dataclass(frozen=True)
class Exported:
    """What an export made of a model.

    Attributes:
        outputs: the task's tensors of one row.
        graph: the graph to deploy.
        variants: the other graphs.
        chain: the proofs.
        files: path in the bundle to content.
        details: figures for people.
    """

    outputs: Sequence[TensorSpec]
    graph: GraphEntry
    variants: tuple[GraphEntry, ...]
    chain: tuple[ProofStep, ...]
    files: Mapping[str, Content]
    details: Mapping[str, Any]  # JSON


def export_model(
    name: str, assembled: Assembled, recipe: Recipe, sources: Sources, *, work: Path, step: Steps
) -> Exported:
    """Return the files of a bundle, each of its steps proved.

    Args:
        name: the bundle's.
        assembled: its model and rows.
        recipe: the recipe.
        sources: what the recipe's models are made of.
        work: a folder for graphs, which must outlive the result.
        step: told of each step.

    Raises:
        ParityError: a step changed the result by more than its tolerance.
        GateError: the bundle is not as good with some presence pattern as the recipe asks.
        UnsupportedModuleError: a part of the model cannot be collapsed or exported exactly.
    """
    source, export, probes = assembled.source, recipe.export, assembled.probes
    collapsed = step("collapse", lambda: _collapsed(assembled, recipe))
    graph = PresenceGraph(collapsed.model, recipe.task).eval()
    outputs = outputs_of_graph(graph, source, recipe)
    served = first_output(run_graph(graph, probes))
    chain = proved_graph(graph, outputs, source, recipe, probes=probes, served=served, work=work, step=step)
    targets = sources.trained.targets
    made = step(
        "precision",
        lambda: precisions_of_graph(chain, recipe, source=source, targets=targets, probes=probes, work=work),
    )
    report = step("robustness", lambda: robustness_of_bundle(name, recipe, sources, assembled=assembled, made=made))
    answers = {**assembled.answers, **collapsed.answers, SERVED: served, **chain.answers, **made.answers}
    files: dict[str, Content] = {
        COMPARISONS: _compared(assembled, collapsed, chain),
        **_files(collapsed, answers, source, outputs[0].name, export.probes_per_pattern),
        **_graph_files(chain, made),
        PASSES_REPORT: canonical_json(chain.passes),
        **made.reports,
        **report.files,
        **_asset_files(source.assets, source.names),
    }
    proofs = (*assembled.proofs, collapsed.proof, *chain.proofs, *made.proofs)
    return Exported(outputs, made.graph, made.variants, proofs, files, report.details)


def _collapsed(assembled: Assembled, recipe: Recipe) -> Collapsed:
    with random_models_told(assembled.model, recipe, assembled.probes):
        return prove_collapse(
            assembled.model,
            source=assembled.source,
            tolerances=recipe.tolerances,
            seed=recipe.seed,
            probes=assembled.probes,
            before="merge" if assembled.proofs else COLLAPSE_REFERENCE,
            known=assembled.answers,
            also=recipe.export.also_collapse,
        )


def _compared(assembled: Assembled, collapsed: Collapsed, chain: GraphChain) -> bytes:
    """Return what the proofs compared on other rows than the probes, the graph's first: not all of it may fit."""
    seen = [*chain.seen, ("collapse", collapsed.seen), ("merge", assembled.seen)]
    kept = stored_comparisons(assembled.probes, seen, last=chain.proofs[-1].step)
    return canonical_json(kept.model_dump(mode="json", exclude_none=True))


def _files(
    collapsed: Collapsed, answers: Answers, source: RowSource, output: str, per_pattern: int
) -> dict[str, Content]:
    rows = zip(probe_rows(source, per_pattern), answers[SERVED].tolist(), strict=True)
    probes = ProbeSet(
        output=output, rows=tuple(Probe(payloads=dict(row), expected=tuple(answer)) for row, answer in rows)
    )
    return {
        WEIGHTS: collapsed.weights,
        PROBES: canonical_json(probes.model_dump(mode="json")),
        ANSWERS: bytes_from_answers(answers),
        REPORT: canonical_json(finite(collapsed.report.as_json())),
    }


def _graph_files(chain: GraphChain, made: Precisions) -> dict[str, Content]:
    graphs = [(chain.entry, chain.file), *made.files]
    return {name: path for entry, file in graphs for name, path in zip(entry.files, file.paths, strict=True)}


def _asset_files(assets: Path, modalities: Sequence[str]) -> dict[str, bytes]:
    return {
        f"assets/{path.relative_to(assets).as_posix()}": path.read_bytes()
        for modality in modalities
        for path in sorted((assets / modality).rglob("*"))
        if path.is_file()
    }
