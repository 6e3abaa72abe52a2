"""The collapse rule for LegoFuse: the latent chain on half the spectrum, with no transform anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from onepath.export.collapse.lego_block import folded_parts, refuse_changed, refuse_published, refuse_unfoldable
from onepath.export.collapse.lego_chain import CollapsedChain
from onepath.export.collapse.lego_context import features_from_block, features_shape
from onepath.export.collapse.lego_error import block_error, heads_entry
from onepath.export.collapse.lego_heads import folded_heads
from onepath.export.collapse.report import FoldedLayer
from onepath.export.collapse.rules import Folding
from onepath.export.collapse.storing import numbers
from onepath.merging.lego.block import LegoBlock
from onepath.merging.lego.description import Description, collapsed_description
from onepath.merging.lego.fourier import averaged
from onepath.merging.lego.fuse import LegoFuse
from onepath.merging.lego.heads import pattern_index
from onepath.merging.lego.rowwise import chosen
from onepath.merging.lego.settings import known_tokens
from onepath.merging.multimodal import all_present, run_dense

RULE = "lego_fuse"


class CollapsedLegoFuse(nn.Module):
    """A `LegoFuse` in one path of weights; see `onepath.merging.multimodal.MultimodalModel`.

    Args:
        fuse: to take the weights from.
    """

    def __init__(self, fuse: LegoFuse) -> None:
        super().__init__()
        self.modalities, self.schedule = fuse.modalities, fuse.schedule
        self._source = fuse.description()
        self.shapes = {
            name: features_shape(block, known_tokens(name, block.settings)) for name, block in fuse.blocks.items()
        }
        self.encoders = nn.ModuleDict({name: features_from_block(block) for name, block in fuse.blocks.items()})
        opening = self.modalities[self.schedule[0][0]]
        self.chains = nn.ModuleDict(
            {name: CollapsedChain(block, first=name == opening) for name, block in fuse.blocks.items()}
        )
        self.heads = folded_heads(fuse)

    def description(self) -> Description:
        """Return the description of the model before its collapse, marked as `collapsed`."""
        return collapsed_description(self._source)

    def absent(self, modality: str) -> Tensor:
        """Return zeros of the shape of one row's features."""
        return self._chain(0).shares.new_zeros(self.shapes[modality])

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `scores`, logits `(rows, classes)`; see `MultimodalModel.fuse`."""
        state, begun = self._chain(0).start(present.shape[0]), None
        for column, layer in self.schedule:
            chain, here = self._chain(column), present[:, column]
            start = chain.start()  # the same for all rows: what depends on it alone is computed once
            if begun is not None:
                start = chosen(begun, chain.rescaled(state), chain.start(present.shape[0]))
            state = chosen(here, chain.step(layer, start, features[self.modalities[column]]), state)
            begun = here if begun is None else begun | here
        return {"scores": self.heads(averaged(state.real, self._chain(0).shares), pattern_index(present))}

    def forward(self, values: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits `(rows, classes)`; see `LegoMerge.forward`."""
        return run_dense(self, values, all_present(values, present, self.modalities))["scores"]

    def _chain(self, column: int) -> CollapsedChain:
        return cast(CollapsedChain, self.chains[self.modalities[column]])


def lego_fuse(module: nn.Module) -> Folding | None:
    """Fold a `LegoFuse` into a `CollapsedLegoFuse`.

    Requires: no dropout that acts, as in eval mode; no `compat`, in no encoder either; every block's number of tokens
    is set.

    Ensures: the scores of eval mode, equal in real arithmetic, for every presence pattern; the encoders are the
    blocks' own.
    """
    if not isinstance(module, LegoFuse):
        return None
    refuse_published("a LegoFuse", module.compat)
    refuse_changed("a LegoFuse", LegoFuse, module)
    for name, block in module.blocks.items():
        refuse_unfoldable(f"block {name}", block)
    with torch.no_grad():
        collapsed = CollapsedLegoFuse(module)
    layers = [
        FoldedLayer(
            f"encoders.{name}",
            RULE,
            folded_parts(block) + _moved(block),
            parts=(f"chains.{name}",),
            error=block_error(block, collapsed.encoders[name], cast(CollapsedChain, collapsed.chains[name])),
            parameters_before=numbers(block) - numbers(block.head),
            parameters_after=numbers(collapsed.encoders[name], collapsed.chains[name]),
        )
        for name, block in module.blocks.items()
    ]
    return Folding(collapsed, (*layers, heads_entry(module, collapsed.heads, RULE)))


def _moved(block: LegoBlock) -> str:
    """Return what the block's part does now that the fusion did before, in words: its FLOPs are counted with it."""
    form = block.settings
    transforms = form.frequency_domain and form.context_fft and (form.fourier_dim == 2 or form.tokens != 1)
    return "; the transform of its features is its own, and no more the fusion's" if transforms else ""
