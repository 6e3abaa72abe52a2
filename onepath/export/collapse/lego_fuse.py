"""The collapse rule for LegoFuse: the latent chain on half the spectrum, with no transform anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse.lego_block import folded_parts
from onepath.export.collapse.lego_chain import CollapsedChain
from onepath.export.collapse.lego_context import features_from_block
from onepath.export.collapse.lego_heads import folded_heads
from onepath.export.collapse.report import FoldedLayer
from onepath.export.collapse.rules import Folding
from onepath.merging.lego.block import LegoBlock
from onepath.merging.lego.fourier import Spectrum, averaged, half_length
from onepath.merging.lego.fuse import LegoFuse
from onepath.merging.lego.merge import all_present
from onepath.merging.multimodal import run_dense


class CollapsedLegoFuse(nn.Module):
    """A `LegoFuse` in one path of weights; see `onepath.merging.multimodal.MultimodalModel`.

    Args:
        fuse: to take the weights from.
    """

    def __init__(self, fuse: LegoFuse) -> None:
        super().__init__()
        self.modalities, self.schedule = fuse.modalities, fuse.schedule
        self.shapes = {name: _shape(name, block) for name, block in fuse.blocks.items()}
        self.encoders = nn.ModuleDict({name: features_from_block(block) for name, block in fuse.blocks.items()})
        self.chains = nn.ModuleDict({name: CollapsedChain(block) for name, block in fuse.blocks.items()})
        self.heads = folded_heads(fuse)

    def absent(self, modality: str) -> Tensor:
        """Return zeros of the shape of one row's features."""
        return self._chain(0).shares.new_zeros(self.shapes[modality])

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `scores`, logits `(rows, classes)`; see `MultimodalModel.fuse`."""
        state = self._chain(0).start(present.shape[0])
        begun = torch.zeros_like(present[:, 0])
        for column, layer in self.schedule:
            chain, here = self._chain(column), present[:, column]
            start = _chosen(begun, chain.rescaled(state), chain.start(present.shape[0]))
            state = _chosen(here, chain.step(layer, start, features[self.modalities[column]]), state)
            begun = begun | here
        return {"scores": self.heads(averaged(state.real, self._chain(0).shares), present)}

    def forward(self, values: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits `(rows, classes)`; see `LegoMerge.forward`."""
        return run_dense(self, values, all_present(values, present, self.modalities))["scores"]

    def _chain(self, column: int) -> CollapsedChain:
        return cast(CollapsedChain, self.chains[self.modalities[column]])


def lego_fuse(module: nn.Module) -> Folding | None:
    """Fold a `LegoFuse` into a `CollapsedLegoFuse`.

    Requires: dropout is not wanted any more; no `compat`; every block's number of tokens is set.

    Ensures: equal scores in real arithmetic for every presence pattern; the encoders are the blocks' own.
    """
    if not isinstance(module, LegoFuse):
        return None
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
    settings = block.settings
    if settings.tokens is None:
        raise UnsupportedModuleError(
            f"block {name}", "its number of tokens is open, so an absent row has no shape", "set its tokens"
        )
    if settings.tokens == 1:
        return settings.depth, settings.width
    kept = half_length(settings.tokens) if settings.frequency_domain else settings.tokens
    return kept, settings.feature_dim


def _chosen(here: Tensor, new: Spectrum, old: Spectrum) -> Spectrum:
    wide = here.reshape(-1, 1, 1)
    return Spectrum(*(torch.where(wide, a, b) for a, b in zip(new, old, strict=True)))
