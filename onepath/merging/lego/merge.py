"""LegoMerge: blocks that were trained apart, merged without training, exact for every subset that a row may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.contract.plugins import load_plugin
from onepath.merging.lego.block import LegoBlock, check_mergeable
from onepath.merging.lego.description import Description, merged_description, method_name
from onepath.merging.lego.fourier import Spectrum
from onepath.merging.lego.heads import head_method, logits_by_pattern
from onepath.merging.lego.methods import MergeMethod
from onepath.merging.lego.published import published_head, published_method
from onepath.merging.lego.settings import Compat, check_compat
from onepath.merging.multimodal import all_present, check_modality_names, run_dense

MOST_BLOCKS = 12
"""With more, a head for each of the 2^blocks subsets would not be small any more."""


class BlockSpectrum(nn.Module):
    """A block as an encoder: `values -> (rows, 2, latents, width)`, the real and the imaginary part of its spectrum."""

    def __init__(self, block: LegoBlock) -> None:
        super().__init__()
        self.block = block

    def forward(self, values: Tensor) -> Tensor:
        """Return the block's spectrum."""
        return torch.stack(self.block.encoded(values), dim=1)


class LegoMerge(nn.Module):
    """Blocks merged in the frequency domain, with their heads merged for each presence pattern.

    A row that has only some of the modalities gets what `LegoMerge` of only those blocks would have given, and a row
    with one modality gets that block's own logits. Heads are merged from the blocks' own at every call, so that weights
    loaded later count, and gradients reach them. The blocks are used, not copied.

    Args:
        blocks: modality to block, in the order of the presence columns.
        method: a merge method, or the name of one in the group `onepath.merge_methods`.
        head: how heads are merged, `slerp`, `linear` or `transport`.
        weights: modality to its weight, in spectra and heads alike; 1 where not given. Only ratios count.
        compat: `published` merges by the published formulas (`onepath.merging.lego.published`), for comparisons only:
            no row may lack a modality, and it cannot be collapsed.

    Raises:
        UnsupportedModuleError: the blocks do not fit together, a weight is not positive, or a method has no such form.
        UnknownPluginError: no such method is installed.
    """

    def __init__(
        self,
        blocks: Mapping[str, nn.Module],
        *,
        method: str | MergeMethod = "harmonic",
        head: str = "slerp",
        weights: Mapping[str, float] | None = None,
        compat: Compat | None = None,
    ) -> None:
        super().__init__()
        known = lego_blocks(blocks, compat)
        self.modalities, self.compat = tuple(known), compat
        self.weights = weights_from_mapping(weights or {}, self.modalities)
        self.method_name, self.head = method_name(method), head
        self.method = _merge_method(method, compat)
        self.head_method = published_head(head) if compat else head_method(head)
        self.settings = next(iter(known.values())).settings
        self.encoders = nn.ModuleDict({name: BlockSpectrum(block) for name, block in known.items()})

    @property
    def blocks(self) -> dict[str, LegoBlock]:
        """Modality to its block."""
        return {name: cast(BlockSpectrum, self.encoders[name]).block for name in self.modalities}

    def description(self) -> Description:
        """Return what the numbers mean beside the weights, as JSON data: equal for equal models."""
        form = {"method": self.method_name, "compat": self.compat}
        settings = {name: block.settings for name, block in self.blocks.items()}
        return merged_description("lego_merge", settings, head=self.head, weights=self.weights, **form)

    def absent(self, modality: str) -> Tensor:
        """Return zeros `(2, latents, width)`."""
        return torch.zeros_like(self.blocks[modality].latent).expand(2, -1, -1)

    def fuse(self, features: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
        """Return `scores`, logits `(rows, classes)`; see `MultimodalModel.fuse`.

        Raises:
            UnsupportedModuleError: a row lacks a modality, in published form.
        """
        check_complete(present, self.compat)
        spectra = Spectrum(*torch.stack([features[name] for name in self.modalities], dim=1).unbind(2))
        pooled = self.method(spectra, present, self.weights).real.mean(1)
        heads = [block.head for block in self.blocks.values()]
        return {"scores": logits_by_pattern(pooled, present, heads, weights=self.weights, method=self.head_method)}

    def forward(self, values: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return logits `(rows, classes)`.

        Args:
            values: modality to what its encoder takes; anything where a row is absent.
            present: bool `(rows, modalities)`; all present without it.
        """
        return run_dense(self, values, all_present(values, present, self.modalities))["scores"]


def _merge_method(method: str | MergeMethod, compat: str | None) -> MergeMethod:
    if compat == "published":
        return published_method(method_name(method))
    return load_plugin("onepath.merge_methods", method) if isinstance(method, str) else method


def lego_blocks(blocks: Mapping[str, nn.Module], compat: str | None) -> dict[str, LegoBlock]:
    """Return the blocks, checked to fit together and to be what a form for comparisons takes.

    Raises:
        UnsupportedModuleError: one is not a `LegoBlock`, one differs in form, a name or the form for comparisons is
            none, or there are too few or too many.
    """
    check_compat(compat)
    check_modality_names(blocks)
    for name, block in blocks.items():
        if not isinstance(block, LegoBlock):
            raise UnsupportedModuleError(
                f"block {name}", f"it is a {type(block).__name__}", "wrap its encoder in a LegoBlock"
            )
    if len(blocks) > MOST_BLOCKS:
        raise UnsupportedModuleError(
            f"{len(blocks)} blocks", f"at most {MOST_BLOCKS} can be merged", "merge fewer modalities"
        )
    known = cast(dict[str, LegoBlock], dict(blocks))
    check_mergeable(known)
    if compat == "published" and len(known) < 2:
        raise UnsupportedModuleError("one block with compat 'published'", "it takes two", "leave compat out")
    return known


def weights_from_mapping(weights: Mapping[str, float], modalities: tuple[str, ...]) -> tuple[float, ...]:
    """Return one weight a modality, 1 where not given.

    Raises:
        UnsupportedModuleError: a weight is not positive and finite, or its modality is unknown.
    """
    for name, weight in weights.items():
        if name not in modalities:
            raise UnsupportedModuleError(
                f"the weight of {name!r}", "there is no such block", f"use one of {', '.join(modalities)}"
            )
        if not 0 < weight < float("inf"):
            raise UnsupportedModuleError(
                f"the weight of {name!r}", f"it is {weight}", "give a positive number, or leave the block out"
            )
    return tuple(float(weights.get(name, 1.0)) for name in modalities)


def check_complete(present: Tensor, compat: str | None) -> None:
    """Check that every row has every modality, where the published form is asked for.

    Raises:
        UnsupportedModuleError: one lacks something.
    """
    if compat == "published" and not bool(present.all()):
        raise UnsupportedModuleError(
            "a row that lacks a modality", "the published form has no rule for it", "leave compat out"
        )
