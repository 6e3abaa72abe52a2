"""The collapse rule for LegoFuse: the latent chain on half the spectrum, with no transform anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse.lego_block import folded_parts, refuse_dropout
from onepath.export.collapse.lego_chain import CollapsedChain
from onepath.export.collapse.lego_context import features_from_block
from onepath.export.collapse.lego_heads import folded_heads
from onepath.export.collapse.report import FoldedLayer
from onepath.export.collapse.rules import Folding
from onepath.merging.lego.block import LegoBlock
from onepath.merging.lego.description import Description, collapsed_description
from onepath.merging.lego.fourier import averaged, half_length
from onepath.merging.lego.fuse import LegoFuse
from onepath.merging.lego.merge import all_present
from onepath.merging.lego.rowwise import chosen
from onepath.merging.lego.settings import known_tokens
from onepath.merging.multimodal import run_dense


class CollapsedLegoFuse(nn.Module):
    """A `LegoFuse` in one path of weights; see `onepath.merging.multimodal.MultimodalModel`.

    Args:
        fuse: to take the weights from.
    """

    def __init__(self, fuse: LegoFuse) -> None:
        super().__init__()
        self.modalities, self.schedule = fuse.modalities, fuse.schedule
        self._source = fuse.description()
        self.shapes = {name: _shape(name, block) for name, block in fuse.blocks.items()}
        self.encoders = nn.ModuleDict({name: features_from_block(block) for name, block in fuse.blocks.items()})
        self.chains = nn.ModuleDict({name: CollapsedChain(block) for name, block in fuse.blocks.items()})
        self.heads = folded_heads(fuse)

    def description(self) -> Description:
        """Return the description of the model before its collapse, marked as `collapsed`."""
        return collapsed_description(self._source)

    def absent(self, modality: str) -> Tensor:
        """Return zeros of the shape of one row's features."""
        return self._chain(0).shares.new_zeros(self.shapes[modality])

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `scores`, logits `(rows, classes)`; see `MultimodalModel.fuse`."""
        state = self._chain(0).start(present.shape[0])
        begun = torch.zeros_like(present[:, 0])
        for column, layer in self.schedule:
            chain, here = self._chain(column), present[:, column]
            start = chosen(begun, chain.rescaled(state), chain.start(present.shape[0]))
            state = chosen(here, chain.step(layer, start, features[self.modalities[column]]), state)
            begun = begun | here
        return {"scores": self.heads(averaged(state.real, self._chain(0).shares), present)}

    def forward(self, values: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits `(rows, classes)`; see `LegoMerge.forward`."""
        return run_dense(self, values, all_present(values, present, self.modalities))["scores"]

    def _chain(self, column: int) -> CollapsedChain:
        return cast(CollapsedChain, self.chains[self.modalities[column]])


def lego_fuse(module: nn.Module) -> Folding | None:
    """Fold a `LegoFuse` into a `CollapsedLegoFuse`.

    Requires: no dropout that acts, as in eval mode; no `compat`; every block's number of tokens is set.

    Ensures: the scores of eval mode, equal in real arithmetic, for every presence pattern; the encoders are the
    blocks' own.
    """
    if not isinstance(module, LegoFuse):
        return None
    for name, block in module.blocks.items():
        refuse_dropout(f"block {name}", block)
    if module.compat is not None:
        raise UnsupportedModuleError(
            f"a LegoFuse with compat={module.compat!r}", "it is for comparisons only", "build it without compat"
        )
    layers = [
        FoldedLayer(f"encoders.{name}", "lego_fuse", folded_parts(block)) for name, block in module.blocks.items()
    ]
    heads = FoldedLayer("heads", "lego_fuse", f"{2 ** len(module.modalities) - 1} merged heads to constants")
    with torch.no_grad():
        return Folding(CollapsedLegoFuse(module), (*layers, heads))


def _shape(name: str, block: LegoBlock) -> tuple[int, int]:
    settings, tokens = block.settings, known_tokens(name, block.settings)
    if tokens == 1:
        return settings.depth, settings.width
    kept = half_length(tokens) if settings.frequency_domain else tokens
    return kept, settings.feature_dim
