"""The collapse rule for a Lego block on its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.export.collapse.constants import linear_after_norm
from onepath.export.collapse.lego_chain import CollapsedChain
from onepath.export.collapse.lego_context import features_from_block
from onepath.export.collapse.report import FoldedLayer
from onepath.export.collapse.rules import Folding
from onepath.merging.lego.block import LegoBlock
from onepath.merging.lego.fourier import half_length


class CollapsedLegoBlock(nn.Module):
    """A block in one path: `values -> logits (rows, classes)`.

    Args:
        block: to take the encoder and the weights from.
    """

    def __init__(self, block: LegoBlock) -> None:
        super().__init__()
        self.features = features_from_block(block)
        self.chain = CollapsedChain(block)
        self.head = linear_after_norm(block.head.norm, block.head.linear)

    def forward(self, values: Tensor) -> Tensor:
        """Return logits, `(rows, classes)`."""
        pooled = self.chain.pooled(self.features(values))
        return self.head(functional.layer_norm(pooled, pooled.shape[-1:]))  # type: ignore[no-any-return]


def lego_block(module: nn.Module) -> Folding | None:
    """Fold a `LegoBlock` into a `CollapsedLegoBlock`.

    Requires: dropout is not wanted any more.

    Ensures: equal logits in real arithmetic, for any number of rows; the encoder is the block's own.
    """
    if not isinstance(module, LegoBlock):
        return None
    with torch.no_grad():
        return Folding(CollapsedLegoBlock(module), (FoldedLayer("", "lego_block", folded_parts(module)),))


def folded_parts(block: LegoBlock) -> str:
    """Return what the collapse of a block folds, in words."""
    settings = block.settings
    parts = ["norms into the layers after them"]
    if settings.frequency_domain:
        parts.insert(0, f"{settings.latents} spectrum rows to {half_length(settings.latents)}, transforms to scalings")
    if settings.tokens == 1:
        parts.insert(0, f"cross-attention over one token to an affine map, {settings.depth} times")
    return "; ".join(parts)
