"""LegoFuse: one latent that passes through the layers of all present blocks, stacked or interleaved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.lego.block import LegoBlock
from onepath.merging.lego.description import Description, merged_description
from onepath.merging.lego.fourier import Spectrum
from onepath.merging.lego.heads import head_method, logits_by_pattern
from onepath.merging.lego.merge import check_complete, lego_blocks, weights_from_mapping
from onepath.merging.lego.published import PublishedTokens, published_head, published_weave
from onepath.merging.lego.rowwise import chosen
from onepath.merging.lego.settings import Compat, known_tokens
from onepath.merging.multimodal import all_present, run_dense

Order = Literal["stack", "weave"]


class ContextTokens(nn.Module):
    """A block's encoder alone: `values -> (rows, tokens, feature_dim)`; see `LegoBlock.context`."""

    def __init__(self, block: LegoBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, values: Tensor) -> Tensor:
        """Return the features as tokens."""
        return self.block.context(values)


class LegoFuse(nn.Module):
    """Blocks fused into one chain, to be fine-tuned together.

    The latent starts as that of the first present block, and skips the steps of blocks that are absent; a row with one
    modality therefore gets, before fine-tuning, that block's own logits. Between any two steps the latent leaves the
    frequency domain, as it does inside a block. The blocks are used, not copied; everything in them is trainable.

    Args:
        blocks: modality to block, in the order of the presence columns and of the chain.
        order: `stack` runs all layers of one block before those of the next; `weave` runs the first layer of every
            block, then the second of every block, and so on.
        head: how heads are merged, `slerp`, `linear` or `transport`.
        weights: modality to its weight in the merged heads; 1 where not given.
        compat: `published` does what the published code does and the paper does not say, for comparisons only: heads
            merge by its formulas, a stack's spectrum is handed to the next block as if it were a latent, and a weave,
            of blocks without encoders, is `published_weave`. No row may lack a modality, and it cannot be collapsed.

    Raises:
        UnsupportedModuleError: the blocks do not fit together, an order is unknown, or a number of tokens is open.
    """

    def __init__(
        self,
        blocks: Mapping[str, nn.Module],
        *,
        order: Order = "stack",
        head: str = "slerp",
        weights: Mapping[str, float] | None = None,
        compat: Compat | None = None,
    ) -> None:
        super().__init__()
        known = lego_blocks(blocks, compat)
        _check_chain(order, compat, known)
        self.modalities = tuple(known)
        self.order, self.compat, self.head = order, compat, head
        self.weights = weights_from_mapping(weights or {}, self.modalities)
        self.head_method = published_head(head) if compat else head_method(head)
        self.schedule = schedule([block.settings.depth for block in known.values()], order)
        tokens = PublishedTokens if self._weaves_as_published else ContextTokens
        self.encoders = nn.ModuleDict({name: tokens(block) for name, block in known.items()})

    @property
    def blocks(self) -> dict[str, LegoBlock]:
        """Modality to its block."""
        return {name: cast(ContextTokens, self.encoders[name]).block for name in self.modalities}

    def description(self) -> Description:
        """Return what the numbers mean beside the weights, as JSON data: equal for equal models."""
        form = {"order": self.order, "compat": self.compat}
        settings = {name: block.settings for name, block in self.blocks.items()}
        return merged_description("lego_fuse", settings, head=self.head, weights=self.weights, **form)

    def absent(self, modality: str) -> Tensor:
        """Return zeros of the shape of one row's context."""
        block = self.blocks[modality]
        tokens = block.latent.new_zeros(known_tokens(modality, block.settings), block.settings.feature_dim)
        if self._weaves_as_published:
            return tokens.expand(block.settings.depth, -1, -1)
        return tokens if block.mixers is None else tokens.expand(len(block.mixers.each), -1, -1)

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `scores`, logits `(rows, classes)`; see `MultimodalModel.fuse`.

        Raises:
            UnsupportedModuleError: a row lacks a modality, in published form.
        """
        check_complete(present, self.compat)
        pooled = self.spectrum(features, present).real.mean(1)
        heads = [block.head for block in self.blocks.values()]
        return {"scores": logits_by_pattern(pooled, present, heads, weights=self.weights, method=self.head_method)}

    def spectrum(self, features: Mapping[str, Tensor], present: Tensor) -> Spectrum:
        """Return the latent after the whole chain, in the frequency domain, both parts `(rows, latents, width)`."""
        blocks = list(self.blocks.values())
        if self._weaves_as_published:
            return published_weave(blocks, [features[name] for name in self.modalities], self.schedule)
        mixed = [block.mixed(features[name]) for name, block in self.blocks.items()]
        state = _zeros(blocks[0], present.shape[0])
        begun = torch.zeros_like(present[:, 0])
        for column, layer in self.schedule:
            block, here = blocks[column], present[:, column]
            handed = block.started(state.real) if self._hands_over_spectra(layer) else block.restarted(state)
            start = chosen(begun, handed, block.own_start(present.shape[0]))
            state = chosen(here, block.step(layer, start, mixed[column]), state)
            begun = begun | here
        return state

    def forward(self, values: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits `(rows, classes)`; see `LegoMerge.forward`."""
        return run_dense(self, values, all_present(values, present, self.modalities))["scores"]

    @property
    def _weaves_as_published(self) -> bool:
        return self.compat == "published" and self.order == "weave"

    def _hands_over_spectra(self, layer: int) -> bool:
        return self.compat == "published" and layer == 0


def schedule(depths: Sequence[int], order: Order) -> tuple[tuple[int, int], ...]:
    """Return the steps of a chain as (block, layer).

    >>> schedule([2, 1], "stack")
    ((0, 0), (0, 1), (1, 0))
    >>> schedule([2, 1], "weave")
    ((0, 0), (1, 0), (0, 1))
    """
    steps = [(block, layer) for block, depth in enumerate(depths) for layer in range(depth)]
    return tuple(steps if order == "stack" else sorted(steps, key=lambda step: (step[1], step[0])))


def _zeros(block: LegoBlock, rows: int) -> Spectrum:
    zeros = torch.zeros_like(block.own_latent(rows))
    return Spectrum(zeros, zeros)


def _check_chain(order: str, compat: str | None, blocks: Mapping[str, LegoBlock]) -> None:
    if order not in ("stack", "weave"):
        raise UnsupportedModuleError(f"order {order!r}", "it is not known", "use stack or weave")
    for name, block in blocks.items():
        known_tokens(name, block.settings)
    if compat == "published" and order == "weave" and any(block.mixers is None for block in blocks.values()):
        raise UnsupportedModuleError(
            "compat 'published' with order 'weave'",
            "the published interleaving is defined for blocks without encoders only",
            "leave compat out",
        )
