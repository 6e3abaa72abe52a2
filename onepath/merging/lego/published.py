"""What the published MM-Lego code computes where it is wrong or wasteful, for comparisons with its results only.

Nothing here runs unless a block, a merge or a chain is built with `compat="published"`. A weight is what it is in the
corrected forms, the share of its own modality; where the published `alpha` weighs the other operand, it is turned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.lego.fourier import Spectrum
from onepath.merging.lego.heads import HeadMethod, WholeHeadMethod, linear
from onepath.merging.lego.layers import LEAK, CrossAttention, LegoLayer, joined_heads, split_heads
from onepath.merging.lego.methods import MergeMethod, mean, product, sum_
from onepath.merging.lego.transport import published_transport

if TYPE_CHECKING:
    from onepath.merging.lego.mixers import TokenMixer
    from onepath.merging.lego.settings import LegoSettings

Published = TypeVar("Published")


class BlockParts(Protocol):
    """What the published forms take of a `LegoBlock`; see there."""

    settings: LegoSettings

    @property
    def mixers(self) -> nn.Module | None:
        """The mixers of all depths, in a block without an encoder."""

    def own_latent(self, rows: int) -> Tensor:
        """Return the learned latent for a batch."""

    def tokens(self, values: Tensor) -> Tensor:
        """Return the encoder's features, or the values themselves without one."""

    def layer(self, index: int) -> LegoLayer:
        """Return the weights of one depth."""

    def mixer(self, index: int) -> TokenMixer:
        """Return the mixer of one depth."""


ROUNDING = 1e-12
"""An imaginary part below this is taken as +0: the published phase of a negative number depends on the sign of zero."""


def published_spectrum(block: BlockParts, values: Tensor, latent: Tensor | None = None) -> Spectrum:
    """Return a block's spectrum by complex transforms at every depth, with the encoder run anew for each.

    This is also what the published forward costs: a latent of its own for every row, and attention in plain steps.

    Args:
        block: in any form.
        values: what its encoder takes.
        latent: `(rows, latents, width)` to start from; the block's own without it.
    """
    form = block.settings
    current = block.own_latent(values.shape[0]) if latent is None else latent
    state = Spectrum(current, torch.zeros_like(current))
    for index in range(form.depth):
        context = _without_attention(block, index, block.tokens(values))
        if not form.frequency_domain:
            state = Spectrum(_layer_output(block.layer(index), state.real, context), state.imag)
            continue
        start = torch.fft.fft(_unit(current, form.fourier_dim) if form.normalise else current, dim=form.fourier_dim)
        read = torch.fft.fft(context, dim=form.fourier_dim).real if form.context_fft else context
        state = Spectrum(_layer_output(block.layer(index), start.real, read), start.imag)
        after = torch.complex(state.real, state.imag if form.track_imaginary else torch.zeros_like(state.imag))
        if index < form.depth - 1:
            current = torch.fft.ifft(after, dim=form.fourier_dim)
    return state


class PublishedTokens(nn.Module):
    """The tokens of a block without an encoder in a weave: `(rows, passes, tokens, feature_dim)`.

    Each pass sends what the one before it made through the first depth's mixer again.

    Args:
        block: whose mixer and depth are taken.
    """

    def __init__(self, block: BlockParts) -> None:
        super().__init__()
        self.block = block

    def forward(self, values: Tensor) -> Tensor:
        """Return the tokens after each pass."""
        tokens, passes = self.block.tokens(values), []
        for _ in range(self.block.settings.depth):
            tokens = self.block.mixer(0)(tokens)
            passes.append(tokens)
        return torch.stack(passes, dim=1)


def published_weave(
    blocks: Sequence[BlockParts], streams: Sequence[Tensor], steps: Sequence[tuple[int, int]]
) -> Spectrum:
    """Return the latent of a weave with no transform, in which every pass uses the first depth's weights.

    It starts from the first block's latent, where the published chain has one of its own.

    Args:
        blocks: without encoders.
        streams: of each block, what `PublishedTokens` returned.
        steps: (block, pass) in order.
    """
    latent = blocks[0].own_latent(streams[0].shape[0])
    for column, index in steps:
        latent = blocks[column].layer(0)(latent, streams[column][:, index])
    return Spectrum(latent, torch.zeros_like(latent))


def published_slerp(operands: Tensor, weights: Tensor) -> Tensor:
    """Return the interpolation of the first two operands by the formula for unit vectors, whatever their norms.

    It is not a number for equal, opposite and zero operands.

    Args:
        operands: `(operands, …, size)`.
        weights: `(results, operands)`, see `onepath.merging.lego.heads.slerp`.
    """
    first, second = operands[0], operands[min(1, operands.shape[0] - 1)]
    norms = (
        torch.linalg.vector_norm(first, dim=-1, keepdim=True),
        torch.linalg.vector_norm(second, dim=-1, keepdim=True),
    )
    cosine = ((first * second).sum(-1, keepdim=True) / (norms[0] * norms[1])).clamp(-1, 1)
    rest = second - first * cosine
    direction = rest / torch.linalg.vector_norm(rest, dim=-1, keepdim=True)
    share = _share_of_second(weights).reshape(-1, *[1] * first.ndim)
    angle = share * torch.arccos(cosine)
    result: Tensor = first * torch.cos(angle) + direction * torch.sin(angle)
    return result


def published_linear(operands: Tensor, weights: Tensor) -> Tensor:
    """Return the mean of the first two operands with their weights exchanged; see `published_slerp`."""
    second = _share_of_second(weights).unsqueeze(1)
    return linear(operands[:2], torch.cat([second, 1 - second], dim=1))


def published_harmonic(spectra: Spectrum, present: Tensor, weights: Sequence[float]) -> Spectrum:
    """Return the first two spectra's harmonic mean times 2α(1−α), at the arithmetic mean of their phases.

    With α the second block's share, the first one's magnitude is weighed by α. See `MergeMethod`.
    """
    alpha = weights[1] / (weights[0] + weights[1])
    real, imag = spectra.real[:, :2], spectra.imag[:, :2]
    imag = torch.where(imag.abs() < ROUNDING, torch.zeros_like(imag), imag)
    radius, phase = torch.hypot(real, imag), torch.atan2(imag, real).mean(1)
    denominator = alpha * radius[:, 1] + (1 - alpha) * radius[:, 0]
    length = 2 * alpha * (1 - alpha) * radius[:, 0] * radius[:, 1] / denominator
    return Spectrum(length * torch.cos(phase), length * torch.sin(phase))


def _layer_output(layer: LegoLayer, latent: Tensor, context: Tensor) -> Tensor:
    attended = _attention_output(layer.attention, latent, context) + latent
    return cast(Tensor, layer.feed_forward(attended)) + attended


def _attention_output(attention: CrossAttention, latent: Tensor, context: Tensor) -> Tensor:
    """Return what the latent reads, with every score and probability held in memory."""
    normed = attention.context_norm(context)
    projected = attention.query(attention.query_norm(latent)), attention.key(normed), attention.value(normed)
    query, key, value = (split_heads(part, attention.heads).flatten(0, 1) for part in projected)
    probabilities = (torch.einsum("bid,bjd->bij", query, key) * attention.scale).softmax(-1)
    read = torch.einsum("bij,bjd->bid", probabilities, value)
    read = read.reshape(latent.shape[0], attention.heads, *read.shape[1:])
    return functional.leaky_relu(attention.output(joined_heads(read)), LEAK)


def _unit(latent: Tensor, dim: int) -> Tensor:
    return latent / cast(Tensor, torch.linalg.vector_norm(latent, dim=dim, keepdim=True))


def _without_attention(block: BlockParts, index: int, tokens: Tensor) -> Tensor:
    if block.mixers is None:
        return tokens
    return cast(Tensor, block.mixer(index).feed_forward(tokens)) + tokens


def _share_of_second(weights: Tensor) -> Tensor:
    pair = weights[:, :2]
    return pair[:, -1] / pair.sum(1).clamp(min=torch.finfo(weights.dtype).tiny)


def _unweighted(method: MergeMethod) -> MergeMethod:
    def merged(spectra: Spectrum, present: Tensor, weights: Sequence[float]) -> Spectrum:
        return method(spectra, present, [1.0] * len(weights))

    return merged


PUBLISHED_METHODS: Mapping[str, MergeMethod] = {
    "sum": _unweighted(sum_),
    "mean": _unweighted(mean),
    "product": _unweighted(product),
    "harmonic": published_harmonic,
}
PUBLISHED_HEADS: Mapping[str, HeadMethod] = {
    "slerp": published_slerp,
    "linear": published_linear,
    "transport": WholeHeadMethod(published_transport),
}


def published_method(name: str) -> MergeMethod:
    """Return the published form of a merge method.

    Raises:
        UnsupportedModuleError: it has none.
    """
    return _known(PUBLISHED_METHODS, "merge method", name)


def published_head(name: str) -> HeadMethod:
    """Return the published form of a head method.

    Raises:
        UnsupportedModuleError: it has none.
    """
    return _known(PUBLISHED_HEADS, "head method", name)


def _known(table: Mapping[str, Published], kind: str, name: str) -> Published:
    if name not in table:
        raise UnsupportedModuleError(
            f"{kind} {name!r} with compat 'published'", "it has no such form", f"use one of {', '.join(sorted(table))}"
        )
    return table[name]
