"""The model of one bundle: merged from blocks, taken as fused, or one encoder alone, with the rows to prove it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from torch import nn

from onepath.contract.manifest import AbsentRule, ModalityEntry, ProofStep
from onepath.export.prove import prove_merge, width_of_logits
from onepath.export.recipe import FusedBundle, MergedBundle, Recipe
from onepath.export.rows import RowSource
from onepath.export.single import SingleModality
from onepath.export.trained import Trained
from onepath.merging.lego import LegoMerge


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
    by_name = {entry.name: entry for entry in entries}
    if isinstance(bundle, MergedBundle):
        source = RowSource(_with_rule(entries, "remerge"), assets, trained.rows)
        return _merged(bundle, trained, source, recipe.tolerances.merge)
    if isinstance(bundle, FusedBundle):
        model = trained.fused[bundle.source]
        used = _with_rule([by_name[modality] for modality in model.modalities], "skip")
        source = RowSource(used, assets, trained.rows)
        return Assembled(cast(nn.Module, model), source, details={"fused": bundle.source})
    entry = by_name[bundle.source]
    source = RowSource(_with_rule([entry], "remerge"), assets, trained.rows)
    encoder = trained.encoders[entry.name]
    single = SingleModality(entry.name, encoder, width_of_logits(encoder, source))
    return Assembled(single, source, details={"encoder": bundle.source})


def _with_rule(entries: Sequence[ModalityEntry], rule: AbsentRule) -> list[ModalityEntry]:
    """Return the modalities with what their absence means to the model, unless they are required."""
    return [entry if entry.absent == "required" else entry.model_copy(update={"absent": rule}) for entry in entries]


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
