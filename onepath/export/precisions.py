"""The graphs of a bundle in the precisions that its recipe wants, and which of them is deployed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onepath.contract.answers import Answers
from onepath.contract.digests import canonical_json
from onepath.contract.errors import ParityError
from onepath.contract.graphs import GraphEntry
from onepath.contract.proofs import ProofStep
from onepath.contract.writing import Content
from onepath.export.graph_chain import GraphChain
from onepath.export.onnx_file import OnnxFile
from onepath.export.precision.held_out import HeldOut
from onepath.export.precision.variants import REPORT, Variant, precision_variants
from onepath.export.proofs import Batch
from onepath.export.proving import answers_in_runs, proved_on_probes
from onepath.export.proving.sessions import GraphSession
from onepath.export.recipe import Recipe
from onepath.export.recipe.precision import wanted_graphs
from onepath.export.rows import RowSource

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Precisions:
    """The graphs of a bundle.

    Attributes:
        graph: the one to deploy.
        graph_file: its file.
        variants: the others, the float32 one among them if it is not deployed.
        files: the entry and file of each graph that is not the float32 one.
        proofs: how far each of these is from the float32 one.
        answers: of each of these to the golden probes.
        reports: path in the bundle to content.
    """

    graph: GraphEntry
    graph_file: OnnxFile
    variants: tuple[GraphEntry, ...] = ()
    files: Sequence[tuple[GraphEntry, OnnxFile]] = ()
    proofs: tuple[ProofStep, ...] = ()
    answers: Answers = field(default_factory=dict)
    reports: Mapping[str, Content] = field(default_factory=dict)


def precisions_of_graph(
    chain: GraphChain, source: RowSource, targets: Sequence[int], recipe: Recipe, probes: Batch, work: Path
) -> Precisions:
    """Return the graphs in the precisions that a recipe wants; a warning tells of those that failed or do not pay.

    Args:
        chain: the float32 graph.
        source: held-out rows.
        targets: the class index of each, or none.
        recipe: says what is wanted.
        probes: the golden probes.
        work: a folder for the graphs.
    """
    wanted = [graph for graph in wanted_graphs(recipe.export.precision) if graph.precisions != {"fp32"}]
    if not wanted:
        return Precisions(chain.entry, chain.file)
    outcome = precision_variants(
        chain.file,
        wanted,
        entry=chain.entry,
        held_out=HeldOut(source, targets, recipe.task),
        gates=recipe.tolerances.precision,
        seed=recipe.seed,
        work=work,
    )
    for warning in outcome.warnings:
        _LOGGER.warning("%s", warning)
    answered = [each for variant in outcome.variants if (each := _answered(variant, chain, probes))]
    chosen = next((variant for variant, _, _ in answered if variant.chosen), None)
    others = [variant.entry for variant, _, _ in answered if variant is not chosen]
    return Precisions(
        graph=chosen.entry if chosen else chain.entry,
        graph_file=chosen.file if chosen else chain.file,
        variants=(*([chain.entry] if chosen else []), *others),
        files=[(variant.entry, variant.file) for variant, _, _ in answered],
        proofs=tuple(proof for _, proof, _ in answered),
        answers={name: array for _, _, answers in answered for name, array in answers.items()},
        reports={REPORT: canonical_json(outcome.report)},
    )


def _answered(variant: Variant, chain: GraphChain, probes: Batch) -> tuple[Variant, ProofStep, Answers] | None:
    """Return a variant with its proof, measured on the golden probes too, and its answers to them.

    None for one that passed its gate on the held-out rows and does not on the probes.
    """
    stage = f"precision:{variant.entry.precisions}"
    with GraphSession(variant.file) as session:
        answers = {stage: answers_in_runs(session, probes, rows=variant.entry.max_batch_size)}
    last = list(chain.answers)[-1]
    try:
        return variant, proved_on_probes(variant.proof, {**chain.answers, **answers}, last, stage), answers
    except ParityError as error:
        _LOGGER.warning("%s was dropped: on %s it is off by %.3g", variant.entry.precisions, error.where, error.error)
        return None
