"""The graphs of a bundle in the precisions that its recipe wants, and which of them is deployed."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onepath.contract.answers import Answers
from onepath.contract.digests import canonical_json
from onepath.contract.errors import ParityError, UnsupportedModuleError
from onepath.contract.graphs import GraphEntry
from onepath.contract.proofs import ProofStep
from onepath.contract.writing import Content
from onepath.export.bundles.graph_chain import GraphChain
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.precision.held_out import HeldOut
from onepath.export.precision.report import report_without
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
        emulated: what a CPU runs in the place of that one; None where it runs it itself.
        variants: the others, the float32 one among them if it is not deployed.
        files: the entry and file of each graph that is not the float32 one.
        proofs: how far each of these is from the float32 one.
        answers: of each of these to the golden probes.
        reports: path in the bundle to content.
    """

    graph: GraphEntry
    graph_file: OnnxFile
    emulated: OnnxFile | None = None
    variants: tuple[GraphEntry, ...] = ()
    files: Sequence[tuple[GraphEntry, OnnxFile]] = ()
    proofs: tuple[ProofStep, ...] = ()
    answers: Answers = field(default_factory=dict)
    reports: Mapping[str, Content] = field(default_factory=dict)

    @property
    def runnable_file(self) -> OnnxFile:
        """What gives the deployed graph's answers on a CPU."""
        return self.emulated or self.graph_file


@dataclass(frozen=True)
class _Answered:
    """A variant that was measured on the golden probes too.

    Attributes:
        variant: the graph.
        emulated: what a CPU runs in its place, where it must.
        proof: how far it is from the float32 graph.
        answers: to the probes.
    """

    variant: Variant
    emulated: OnnxFile | None
    proof: ProofStep
    answers: Answers


def precisions_of_graph(
    chain: GraphChain, recipe: Recipe, *, source: RowSource, targets: Sequence[int], probes: Batch, work: Path
) -> Precisions:
    """Return the graphs in the precisions that a recipe wants; a warning tells of those that failed or do not pay.

    Args:
        chain: the float32 graph.
        recipe: says what is wanted.
        source: held-out rows.
        targets: the class index of each, or none.
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
    answered, dropped = _all_answered(outcome.variants, chain, probes)
    chosen = next((each for each in answered if each.variant.chosen), None)
    others = [each.variant.entry for each in answered if each is not chosen]
    return Precisions(
        graph=chosen.variant.entry if chosen else chain.entry,
        graph_file=chosen.variant.file if chosen else chain.file,
        emulated=chosen.emulated if chosen else None,
        variants=(*([chain.entry] if chosen else []), *others),
        files=[(each.variant.entry, each.variant.file) for each in answered],
        proofs=tuple(each.proof for each in answered),
        answers={name: array for each in answered for name, array in each.answers.items()},
        reports={REPORT: canonical_json(report_without(outcome.report, dropped))},
    )


def _all_answered(
    variants: Sequence[Variant], chain: GraphChain, probes: Batch
) -> tuple[list[_Answered], dict[str, str]]:
    """Return the variants that pass on the golden probes too, and why each of the others does not."""
    answered, dropped = [], {}
    for variant in variants:
        words = variant.entry.precisions
        try:
            answered.append(_answered(variant, chain, probes))
        except ParityError as error:
            dropped[words] = f"it is off by {error.error:.3g}, over {error.tolerance:.3g}, on {error.where}"
            _LOGGER.warning("%s was dropped: %s", words, dropped[words])
    return answered, dropped


def _answered(variant: Variant, chain: GraphChain, probes: Batch) -> _Answered:
    """Return a variant with its proof, measured on the golden probes too, and its answers to them.

    Raises:
        ParityError: it passed its gate on the held-out rows and does not on the probes.
    """
    stage = f"precision:{variant.entry.precisions}"
    emulated = None if _runs_here(variant) else variant.emulated
    with GraphSession(emulated or variant.file) as session:
        answers = {stage: answers_in_runs(session, probes, rows=variant.entry.max_batch_size)}
    last = list(chain.answers)[-1]
    proof = proved_on_probes(variant.proof, {**chain.answers, **answers}, last, stage)
    return _Answered(variant, emulated, proof, answers)


def _runs_here(variant: Variant) -> bool:
    """Return whether a CPU runs the graph itself, as it does those that need no emulation and many in float16."""
    try:
        with GraphSession(variant.file):
            return True
    except UnsupportedModuleError:
        return variant.emulated is None
