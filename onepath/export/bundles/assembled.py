"""The model of one bundle: merged from blocks, taken as fused, or one encoder alone, with the rows to prove it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from torch import nn

from onepath.contract.answers import Answers
from onepath.contract.errors import RecipeError
from onepath.contract.manifest import AbsentRule, ModalityEntry
from onepath.contract.proofs import ProofStep
from onepath.contract.stages import MERGE_REFERENCE
from onepath.export.bundles.random_models import random_models_told
from onepath.export.bundles.single import SingleModality
from onepath.export.bundles.sources import Sources
from onepath.export.models.fit import fused_misfit
from onepath.export.proofs import Batch, Seen
from onepath.export.proving import (
    answers_of_blocks,
    answers_of_merge,
    probe_batch,
    prove_merge,
    proved_on_probes,
    width_of_logits,
)
from onepath.export.recipe import Recipe
from onepath.export.recipe.bundles import EncoderBundle, FusedBundle, MergedBundle, models_of
from onepath.export.recipe.code import run_code
from onepath.export.recipe.names import encoded_modality
from onepath.export.rows import RowSource
from onepath.merging.lego import LegoMerge


@dataclass(frozen=True)
class Assembled:
    """A bundle's model before its collapse.

    Attributes:
        model: a `MultimodalModel`.
        source: its modalities and held-out rows.
        probes: the golden probes.
        proofs: the chain so far.
        answers: to the probes of a merged model, and of the merge made again from its parents or from only the blocks
            of each probe's modalities.
        seen: what blocks that were merged were compared on besides.
        details: how it was made, for people.
    """

    model: nn.Module
    source: RowSource
    probes: Batch
    proofs: Sequence[ProofStep] = ()
    answers: Answers = field(default_factory=dict)
    seen: Sequence[Seen] = ()
    details: Mapping[str, Any] = field(default_factory=dict)  # JSON


def assemble(name: str, recipe: Recipe, sources: Sources, rows: RowSource) -> Assembled:
    """Return the model of the recipe's bundle `name`, with the proof of how it was merged.

    Raises:
        RecipeError: a model is not of the kind that the bundle needs, or cannot be run on the rows.
        ParityError: the merged model differs from what merging only the present blocks gives.
        UnsupportedModuleError: the blocks cannot be merged.
    """
    bundle = recipe.bundles[name]
    model, source = model_of_bundle(name, recipe, sources, rows)
    names = [each for _, each in models_of(bundle)]
    details = _settings(bundle) if isinstance(bundle, MergedBundle) else {bundle.model: bundle.source}
    probes, seen = probe_batch(source, recipe.export.probes_per_pattern), list[Seen]()
    with random_models_told(model, recipe, probes):
        blocks = _Merge(bundle, sources, source) if isinstance(bundle, MergedBundle) else None
        proofs = sources.merge_step(names, model, None if blocks is None else blocks.proof(model, recipe, seen))
        answers = _answers(name, recipe, sources, rows, model=model, probes=probes) if proofs else {}
        if MERGE_REFERENCE in answers:
            proofs = [proved_on_probes(proof, answers, MERGE_REFERENCE, "merge") for proof in proofs]
    return Assembled(model, source, probes, proofs, answers, seen, details | sources.details(names, recipe))


def _settings(bundle: MergedBundle) -> dict[str, Any]:  # JSON
    return {"method": bundle.method, "head": bundle.head, "weights": dict(bundle.weights)}


def _answers(
    name: str, recipe: Recipe, sources: Sources, rows: RowSource, *, model: nn.Module, probes: Batch
) -> Answers:
    """Return what a merged model answers to the golden probes, and before it what that is held against."""
    return {**_reference(name, recipe, sources, rows, probes=probes), "merge": answers_of_merge(model, probes)}


def _reference(name: str, recipe: Recipe, sources: Sources, rows: RowSource, *, probes: Batch) -> Answers:
    """Return what the golden probes' answers of a merged model are held against.

    That is the merge made again from its parents, and of only the blocks of each probe's modalities where blocks are
    merged. There is none of a merge whose parents training has changed since.
    """
    bundle = recipe.bundles[name]
    again = sources.with_merges_made_again([each for _, each in models_of(bundle)])
    if isinstance(bundle, MergedBundle):
        merge = _Merge(bundle, again or sources, _with_rule(rows, rows.names, "remerge"))
        return {MERGE_REFERENCE: merge.answers(probes)}
    if again is None:
        return {}
    reference, _ = model_of_bundle(name, recipe, again, rows)
    return {MERGE_REFERENCE: answers_of_merge(reference, probes)}


def model_of_bundle(name: str, recipe: Recipe, sources: Sources, rows: RowSource) -> tuple[nn.Module, RowSource]:
    """Return the model of the recipe's bundle `name`, a `MultimodalModel`, and the rows of its modalities.

    Args:
        name: the bundle's.
        recipe: the recipe.
        sources: what its models are made of.
        rows: held-out ones of all the recipe's modalities.

    Raises:
        RecipeError: a model is not of the kind that the bundle needs, or cannot be run on the rows.
        UnsupportedModuleError: the blocks cannot be merged.
    """
    bundle = recipe.bundles[name]
    if isinstance(bundle, MergedBundle):
        blocks = {modality: sources.block(modality, bundle.blocks) for modality in rows.names}
        return merge_blocks(blocks, bundle), _with_rule(rows, rows.names, "remerge")
    if isinstance(bundle, FusedBundle):
        fused = sources.fused(bundle.source)
        problem = fused_misfit(fused, recipe)
        if problem:
            raise RecipeError(recipe.name, [(f"bundles.{name}.source", problem)])
        return cast(nn.Module, fused), _with_rule(rows, fused.modalities, "skip")
    return _single(name, bundle, recipe, sources, rows)


def _single(
    name: str, bundle: EncoderBundle, recipe: Recipe, sources: Sources, rows: RowSource
) -> tuple[nn.Module, RowSource]:
    modality = encoded_modality(bundle, recipe) or bundle.source
    source, encoder = _with_rule(rows, [modality], "remerge"), sources.encoder(bundle.source)
    width = run_code(
        lambda: width_of_logits(encoder, source), source=recipe.name, place=f"bundles.{name}.source, run on one row"
    )
    return SingleModality(modality, encoder, width), source


def _with_rule(rows: RowSource, modalities: Sequence[str], rule: AbsentRule) -> RowSource:
    """Return rows of some modalities, with what their absence means to the model, unless they are required."""
    by_name = {entry.name: entry for entry in rows.modalities}
    return replace(rows, modalities=[_ruled(by_name[modality], rule) for modality in modalities])


def _ruled(entry: ModalityEntry, rule: AbsentRule) -> ModalityEntry:
    return entry if entry.absent == "required" else entry.model_copy(update={"absent": rule})


@dataclass(frozen=True)
class _Merge:
    """A merge of blocks, held against merging only some of them."""

    bundle: MergedBundle
    sources: Sources
    source: RowSource

    def _blocks(self) -> dict[str, nn.Module]:
        return {name: self.sources.block(name, self.bundle.blocks) for name in self.source.names}

    def _of(self, names: Sequence[str]) -> nn.Module:
        blocks = self._blocks()
        return merge_blocks({name: blocks[name] for name in names}, self.bundle)

    def proof(self, model: nn.Module, recipe: Recipe, seen: list[Seen]) -> ProofStep:
        tolerance = recipe.tolerances.merge
        return prove_merge(model, self._blocks(), self._of, source=self.source, tolerance=tolerance, seen=seen)

    def answers(self, probes: Batch) -> NDArray[np.float64]:
        patterns = self.source.patterns
        return answers_of_blocks(self._blocks(), self._of, patterns=patterns, probes=probes)


def merge_blocks(blocks: Mapping[str, nn.Module], bundle: MergedBundle) -> nn.Module:
    """Return a bundle's merge of some of its modalities' blocks, in eval mode."""
    weights = {name: bundle.weights.get(name, 1.0) for name in blocks}
    return LegoMerge(blocks, method=bundle.method, head=bundle.head, weights=weights).eval()
