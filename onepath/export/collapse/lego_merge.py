"""The collapse rule for LegoMerge: each modality delivers one pooled vector, or its distinct rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from onepath.export.collapse.constants import constant
from onepath.export.collapse.lego_block import folded_parts, refuse_changed, refuse_published, refuse_unfoldable
from onepath.export.collapse.lego_chain import CollapsedChain
from onepath.export.collapse.lego_context import features_from_block
from onepath.export.collapse.lego_error import block_error, heads_entry
from onepath.export.collapse.lego_heads import folded_heads
from onepath.export.collapse.report import FoldedLayer
from onepath.export.collapse.rules import Folding
from onepath.export.collapse.storing import numbers
from onepath.merging.lego.block import LegoBlock
from onepath.merging.lego.description import Description, collapsed_description
from onepath.merging.lego.fourier import Spectrum, averaged
from onepath.merging.lego.heads import pattern_index
from onepath.merging.lego.merge import LegoMerge
from onepath.merging.lego.methods import LINEAR
from onepath.merging.multimodal import all_present, run_dense

RULE = "lego_merge"


class PooledBlock(nn.Module):
    """A collapsed block that delivers `(rows, 2, distinct, width)`; `(rows, 1, 1, width)` if pooling comes first."""

    def __init__(self, block: LegoBlock, *, pools: bool) -> None:
        super().__init__()
        self.features = features_from_block(block)
        self.chain = CollapsedChain(block)
        self.pools = pools

    def forward(self, values: Tensor) -> Tensor:
        """Return the pooled vector or the distinct rows of both parts of the spectrum."""
        features = self.features(values)
        if self.pools:
            return self.chain.pooled(features).unsqueeze(1).unsqueeze(1)
        return torch.stack(self.chain.spectrum(features), dim=1)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row's result."""
        distinct, width = self.chain.start_real.shape
        return (1, 1, width) if self.pools else (2, distinct, width)


class CollapsedLegoMerge(nn.Module):
    """A `LegoMerge` in one path of weights; see `onepath.merging.multimodal.MultimodalModel`.

    Args:
        merge: to take the weights from.
    """

    def __init__(self, merge: LegoMerge) -> None:
        super().__init__()
        self.modalities, self.weights, self.method = merge.modalities, merge.weights, merge.method
        self._source = merge.description()
        self.pools = merge.method in LINEAR
        parts = {name: PooledBlock(block, pools=self.pools) for name, block in merge.blocks.items()}
        self.shapes = {name: part.shape for name, part in parts.items()}
        self.heads = folded_heads(merge)
        self.parts = _parts_from_method(merge) if self.pools else None
        self.encoders = nn.ModuleDict(parts)

    def description(self) -> Description:
        """Return the description of the model before its collapse, marked as `collapsed`."""
        return collapsed_description(self._source)

    def absent(self, modality: str) -> Tensor:
        """Return zeros of the shape of one row's features."""
        return self._shares.new_zeros(self.shapes[modality])

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `scores`, logits `(rows, classes)`; see `MultimodalModel.fuse`."""
        stacked = torch.stack([features[name] for name in self.modalities], dim=1)
        index = pattern_index(present)
        if self.parts is not None:
            vectors = stacked.flatten(2)
            return {"scores": self.heads((vectors * self.parts.index_select(0, index)).sum(1), index)}
        merged = self.method(Spectrum(stacked[:, :, 0], stacked[:, :, 1]), present, self.weights).real
        return {"scores": self.heads(averaged(merged, self._shares), index)}

    def forward(self, values: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits `(rows, classes)`; see `LegoMerge.forward`."""
        return run_dense(self, values, all_present(values, present, self.modalities))["scores"]

    @property
    def _shares(self) -> Tensor:
        return cast(PooledBlock, self.encoders[self.modalities[0]]).chain.shares


def _parts_from_method(merge: LegoMerge) -> nn.Parameter:
    """Return what a linear method makes of a 1 in one block and 0 elsewhere, `(patterns, blocks, 1)`.

    Row `pattern_index` belongs to a presence; each block's vector times its part, added up, is the method's result.
    """
    like, count = next(merge.parameters()), len(merge.modalities)
    bits = 2 ** torch.arange(count, device=like.device)
    present = (torch.arange(2**count, device=like.device).unsqueeze(1) & bits) > 0
    ones = torch.eye(count, dtype=like.dtype, device=like.device).expand(2**count, count, count)
    parts = merge.method(Spectrum(ones, torch.zeros_like(ones)), present, merge.weights).real
    return constant(parts.unsqueeze(2), like)


def lego_merge(module: nn.Module) -> Folding | None:
    """Fold a `LegoMerge` into a `CollapsedLegoMerge`.

    Requires: no dropout that acts, as in eval mode; no `compat`, in no encoder either; a merge method that works
    element by element and gives the conjugate for conjugate inputs, as every merge method must.

    Ensures: the scores of eval mode, equal in real arithmetic, for every presence pattern; the encoders are the
    blocks' own.
    """
    if not isinstance(module, LegoMerge):
        return None
    refuse_published("a LegoMerge", module.compat)
    refuse_changed("a LegoMerge", LegoMerge, module)
    for name, block in module.blocks.items():
        refuse_unfoldable(f"block {name}", block)
    result = "one pooled vector" if module.method in LINEAR else "the distinct rows of its spectrum"
    with torch.no_grad():
        collapsed = CollapsedLegoMerge(module)
    layers = [
        _entry(name, block, cast(PooledBlock, collapsed.encoders[name]), f"it delivers {result}")
        for name, block in module.blocks.items()
    ]
    shares = 0 if collapsed.parts is None else collapsed.parts.numel()
    return Folding(collapsed, (*layers, heads_entry(module, collapsed.heads, RULE, besides=shares)))


def _entry(name: str, block: LegoBlock, part: PooledBlock, delivers: str) -> FoldedLayer:
    return FoldedLayer(
        f"encoders.{name}",
        RULE,
        f"{folded_parts(block)}; {delivers}",
        error=block_error(block, part.features, part.chain),
        parameters_before=numbers(block) - numbers(block.head),
        parameters_after=numbers(part),
    )
