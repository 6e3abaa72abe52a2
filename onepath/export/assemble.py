"""The model of one bundle: merged from blocks, taken as fused, or one encoder alone, with the rows to prove it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from torch import nn

from onepath.contract.errors import RecipeError
from onepath.contract.manifest import AbsentRule, ModalityEntry, ProofStep
from onepath.export.prove import prove_merge, width_of_logits
from onepath.export.recipe import Recipe
from onepath.export.recipe_bundles import FusedBundle, MergedBundle
from onepath.export.recipe_names import encoded_modality
from onepath.export.rows import RowSource
from onepath.export.single import SingleModality
from onepath.export.sources import Sources
from onepath.merging.lego import LegoMerge
from onepath.merging.multimodal import MultimodalModel


@dataclass(frozen=True)
class Assembled:
    """A bundle's model before its collapse.

    Attributes:
        model: a `MultimodalModel`.
        source: its modalities and held-out rows.
        proofs: the chain so far.
        details: how it was made, for people.
    """

    model: nn.Module
    source: RowSource
    proofs: Sequence[ProofStep] = ()
    details: Mapping[str, Any] = field(default_factory=dict)  # JSON


def assemble(name: str, recipe: Recipe, sources: Sources, entries: Sequence[ModalityEntry], assets: Path) -> Assembled:
    """Return the model of the recipe's bundle `name`.

    Raises:
        RecipeError: a parent or merge is not of the kind that the bundle needs.
        ParityError: the merged model differs from what merging only the present blocks gives.
        UnsupportedModuleError: the blocks cannot be merged.
    """
    bundle = recipe.bundles[name]
    if isinstance(bundle, MergedBundle):
        return _merged(bundle, recipe, sources, RowSource(_with_rule(entries, "remerge"), assets, sources.trained.rows))
    by_name = {entry.name: entry for entry in entries}
    if isinstance(bundle, FusedBundle):
        model = sources.fused(bundle.source)
        _check_fused(name, model, recipe)
        used = _with_rule([by_name[modality] for modality in model.modalities], "skip")
        fused = RowSource(used, assets, sources.trained.rows)
        return _assembled(cast(nn.Module, model), fused, sources, [bundle.source], recipe, {"fused": bundle.source})
    entry = by_name[encoded_modality(bundle, recipe) or bundle.source]
    source = RowSource(_with_rule([entry], "remerge"), assets, sources.trained.rows)
    encoder = sources.encoder(bundle.source)
    single = SingleModality(entry.name, encoder, width_of_logits(encoder, source))
    return _assembled(single, source, sources, [bundle.source], recipe, {"encoder": bundle.source})


def _assembled(
    model: nn.Module,
    source: RowSource,
    sources: Sources,
    names: Sequence[str],
    recipe: Recipe,
    details: Mapping[str, Any],  # JSON
) -> Assembled:
    proofs = sources.merge_step(names, model)
    return Assembled(model, source, proofs, dict(details) | sources.details(names, recipe))


def _check_fused(name: str, model: object, recipe: Recipe) -> None:
    """Check that a bundle's fused model is one, of the recipe's modalities."""
    lacks = [part for part in ("modalities", "encoders", "absent", "fuse") if not hasattr(model, part)]
    if lacks:
        problem = f"is a {type(model).__name__}, which has no {lacks[0]!r}; see onepath.merging.multimodal"
        raise RecipeError(recipe.name, [(f"bundles.{name}.source", problem)])
    foreign = [modality for modality in cast(MultimodalModel, model).modalities if modality not in recipe.modalities]
    if foreign:
        raise RecipeError(recipe.name, [(f"bundles.{name}.source", f"has {foreign[0]!r}, which the recipe has not")])


def _with_rule(entries: Sequence[ModalityEntry], rule: AbsentRule) -> list[ModalityEntry]:
    """Return the modalities with what their absence means to the model, unless they are required."""
    return [entry if entry.absent == "required" else entry.model_copy(update={"absent": rule}) for entry in entries]


def _merged(bundle: MergedBundle, recipe: Recipe, sources: Sources, source: RowSource) -> Assembled:
    blocks = {name: sources.block(name, bundle.blocks) for name in source.names}

    def merged_from(names: Sequence[str]) -> nn.Module:
        return merge_blocks({name: blocks[name] for name in names}, bundle)

    model = merged_from(source.names)
    proof = prove_merge(model, blocks, merged_from, source=source, tolerance=recipe.tolerances.merge)
    details = {"method": bundle.method, "head": bundle.head, "weights": dict(bundle.weights)}
    names = [*bundle.blocks.values()]
    proofs = sources.merge_step(names, model, proof)
    return Assembled(model, source, proofs, details | sources.details(names, recipe))


def merge_blocks(blocks: Mapping[str, nn.Module], bundle: MergedBundle) -> nn.Module:
    """Return a bundle's merge of some of its modalities' blocks, in eval mode."""
    weights = {name: bundle.weights.get(name, 1.0) for name in blocks}
    return LegoMerge(blocks, method=bundle.method, head=bundle.head, weights=weights).eval()
