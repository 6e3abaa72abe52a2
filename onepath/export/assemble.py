"""The model of one bundle: merged from blocks, taken as fused, or one encoder alone, with the rows to prove it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from torch import nn

from onepath.contract.manifest import ModalityEntry, ProofStep
from onepath.export.prove import prove_merge
from onepath.export.recipe import FusedBundle, MergedBundle, Recipe
from onepath.export.rows import RowSource
from onepath.export.single import SingleModality
from onepath.export.trained import Trained
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


def assemble(name: str, recipe: Recipe, trained: Trained, entries: Sequence[ModalityEntry], assets: Path) -> Assembled:
    """Return the model of the recipe's bundle `name`."""
    bundle = recipe.bundles[name]
    if isinstance(bundle, MergedBundle):
        source = RowSource(entries, assets, trained.rows)
        return _merged(bundle, trained, source, recipe.tolerances.merge)
    if isinstance(bundle, FusedBundle):
        model = cast(nn.Module, trained.fused[bundle.source])
        fused_names = cast(MultimodalModel, model).modalities
        used = [next(entry for entry in entries if entry.name == modality) for modality in fused_names]
        return Assembled(model, RowSource(used, assets, trained.rows), details={"fused": bundle.source})
    entry = next(entry for entry in entries if entry.name == bundle.source)
    single = SingleModality(entry.name, trained.encoders[entry.name], len(recipe.labels))
    return Assembled(single, RowSource([entry], assets, trained.rows), details={"encoder": bundle.source})


def _merged(bundle: MergedBundle, trained: Trained, source: RowSource, tolerance: float) -> Assembled:
    blocks = {name: trained.blocks[name] for name in source.names}

    def merged_from(names: Sequence[str]) -> nn.Module:
        weights = {name: bundle.weights.get(name, 1.0) for name in names}
        return LegoMerge(
            {name: blocks[name] for name in names}, method=bundle.method, head=bundle.head, weights=weights
        ).eval()

    model = merged_from(source.names)
    proof = prove_merge(model, blocks, merged_from, source=source, tolerance=tolerance)
    details = {"method": bundle.method, "head": bundle.head, "weights": dict(bundle.weights)}
    return Assembled(model, source, [proof], details)
