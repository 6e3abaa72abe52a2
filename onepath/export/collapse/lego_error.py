"""How far a collapsed block or its merged heads are from the ones before, in float64 on random features."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.export.collapse.flops import FUSION
from onepath.export.collapse.lego_chain import CollapsedChain
from onepath.export.collapse.lego_heads import FoldedHeads
from onepath.export.collapse.report import FoldedLayer
from onepath.export.collapse.storing import numbers, relative, wide
from onepath.merging.lego.block import LegoBlock
from onepath.merging.lego.fuse import LegoFuse
from onepath.merging.lego.heads import logits_by_pattern
from onepath.merging.lego.merge import LegoMerge

_ROWS, _OPEN_TOKENS, _PATTERNS = 4, 5, 63
_Part = TypeVar("_Part", bound=nn.Module)


@torch.no_grad()
def block_error(block: LegoBlock, features: nn.Module, chain: CollapsedChain, head: nn.Linear | None = None) -> float:
    """Return ‖new − old‖/‖old‖ of the spectrum, its average and the logits, with the stored numbers in float64.

    The encoder, which a collapse keeps, is left out: both are given the same random features.

    Args:
        block: before its collapse.
        features: its collapsed part before the latent.
        chain: its collapsed latent.
        head: its collapsed head, where it has one of its own.
    """
    before, new_features = _without_encoder(block, block), _without_encoder(features, block)
    after = _wide(chain, block.latent)
    tokens = _drawn(_ROWS, block.settings.tokens or _OPEN_TOKENS, block.settings.feature_dim, like=block.latent)
    was, read = before.encoded(tokens), new_features(tokens)
    spectrum, pooled, kept = after.spectrum(read), after.pooled(read), after.start_real.shape[0]
    pairs = [
        (spectrum.real, was.real[:, :kept]),
        (spectrum.imag, was.imag[:, :kept]),
        (pooled, was.real.mean(1)),
    ]
    if head is not None:
        logits = _wide(head, block.latent)(functional.layer_norm(pooled, pooled.shape[-1:]))
        pairs.append((logits, before.head(was.real.mean(1))))
    return _apart(pairs)


@torch.no_grad()
def heads_error(model: LegoMerge | LegoFuse, heads: FoldedHeads) -> float:
    """Return ‖new − old‖/‖old‖ of the logits of random pooled vectors, one for each of up to 63 presence patterns.

    Args:
        model: before its collapse; its heads are merged in float64.
        heads: its collapsed ones, their stored numbers taken in float64.
    """
    own = [_wide(block.head, block.latent) for block in model.blocks.values()]
    like, count = own[0].linear.weight, 2 ** len(model.modalities) - 1
    index = torch.linspace(1, count, min(count, _PATTERNS), device=like.device, dtype=torch.float64).round().long()
    present = (index.unsqueeze(1) >> torch.arange(len(model.modalities), device=like.device) & 1).bool()
    pooled = _drawn(len(index), like.shape[1], like=like)
    was = logits_by_pattern(pooled, present, own, weights=model.weights, method=model.head_method)
    chosen = {name: wide(tensor.index_select(0, index)) for name, tensor in heads.named_parameters()}
    rows = torch.arange(len(index), device=like.device)
    return _apart([(cast(Tensor, torch.func.functional_call(heads, chosen, (pooled, rows))), was)])


def heads_entry(model: LegoMerge | LegoFuse, heads: FoldedHeads, rule: str, *, besides: int = 0) -> FoldedLayer:
    """Return the report's entry of merged heads; its FLOPs are those of the whole fusion outside of modules.

    Args:
        model: before its collapse.
        heads: its collapsed ones.
        rule: name of the collapse rule.
        besides: further constants of the fusion.
    """
    transforms = isinstance(model, LegoFuse) and any(block.settings.frequency_domain for block in model.blocks.values())
    return FoldedLayer(
        "heads",
        rule,
        f"{2 ** len(model.modalities) - 1} merged heads to constants"
        + ("; transforms between the steps of the chain to scalings" if transforms else ""),
        parts=(FUSION,),
        error=heads_error(model, heads),
        parameters_before=sum(numbers(block.head) for block in model.blocks.values()),
        parameters_after=numbers(heads) + besides,
    )


def _apart(pairs: Sequence[tuple[Tensor, Tensor]]) -> float:
    new, old = (torch.cat([part.flatten() for part in parts]) for parts in zip(*pairs, strict=True))
    return relative(new - old, old)


def _without_encoder(module: _Part, block: LegoBlock) -> _Part:
    """Return a copy in float64 and eval mode in which the block's encoder is an identity, and is not copied."""
    kept: dict[int, object] = {} if block.encoder is None else {id(block.encoder): nn.Identity()}
    return _wide(module, block.latent, kept)


def _wide(module: _Part, like: Tensor, kept: dict[int, object] | None = None) -> _Part:
    return copy.deepcopy(module, kept).to(wide(like).dtype).eval()


def _drawn(*shape: int, like: Tensor) -> Tensor:
    """Return normal numbers of a fixed seed, that touch no generator but their own."""
    numbers = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return numbers.to(wide(like))
