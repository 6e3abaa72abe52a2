"""Merged heads as constants: one weight and bias for each presence pattern, the norm's gain and bias folded in."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.export.collapse.constants import constant
from onepath.merging.lego.fuse import LegoFuse
from onepath.merging.lego.head_table import HeadTable
from onepath.merging.lego.heads import merged_heads, subset_weights
from onepath.merging.lego.merge import LegoMerge

_AT_ONCE = 256
"""How many heads are merged at once, so that twelve blocks take hundreds of MiB on the way, and not thousands."""


class FoldedHeads(nn.Module):
    """A head for each presence pattern, picked row by row.

    Args:
        table: merged heads, one a pattern.
        like: whose precision and device the heads have.
    """

    def __init__(self, table: HeadTable, like: Tensor) -> None:
        super().__init__()
        shifted = (table.weight @ table.shift.unsqueeze(-1)).squeeze(-1) + table.bias
        self.weight = constant(table.weight * table.gain.unsqueeze(1), like)
        self.bias = constant(shifted, like)

    def forward(self, pooled: Tensor, index: Tensor) -> Tensor:
        """Return logits `(rows, classes)` of `(rows, width)`, given each row's `pattern_index`, int64 `(rows,)`."""
        normed = functional.layer_norm(pooled, pooled.shape[-1:]).unsqueeze(-1)
        return (self.weight.index_select(0, index) @ normed).squeeze(-1) + self.bias.index_select(0, index)


def folded_heads(model: LegoMerge | LegoFuse) -> FoldedHeads:
    """Return the merged heads of a model, for all its patterns; merged in float32 at least, and rounded once."""
    like = next(iter(model.blocks.values())).head.linear.weight
    single = torch.promote_types(like.dtype, torch.float32)
    heads = [copy.deepcopy(block.head).to(single) for block in model.blocks.values()]
    with torch.no_grad():
        weights = subset_weights(model.weights).to(heads[0].linear.weight.device)
        parts = [merged_heads(heads, some, model.head_method) for some in torch.split(weights, _AT_ONCE)]
        return FoldedHeads(HeadTable(*(torch.cat(tensors) for tensors in zip(*parts, strict=True))), like)
