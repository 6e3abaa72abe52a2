"""The Lego block: an encoder and a learned latent that reads the encoder's features in the frequency domain."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.lego.description import Description, block_description
from onepath.merging.lego.domain import restarted, started
from onepath.merging.lego.fourier import Spectrum, real_fourier
from onepath.merging.lego.layers import CrossAttention, GatedFeedForward, LegoLayer, TaskHead
from onepath.merging.lego.mixers import MixedByEach, SelfAttention, TokenMixer
from onepath.merging.lego.published import published_spectrum
from onepath.merging.lego.settings import LegoSettings, check_settings

Frozen = Literal["block", "encoder"]


class LegoBlock(nn.Module):
    """An encoder whose features a latent reads `depth` times; blocks of any encoders can be merged.

    The encoder runs once a call. Nothing that is passed in and no parameter is ever changed by a call, and a row's
    result depends on that row only. After MM-Lego (arXiv 2405.19950).

    Args:
        encoder: `values (rows, …) -> (rows, feature_dim)` or `(rows, tokens, feature_dim)`. Without one the values are
            the tokens, and every depth reads them through a mixer of its own.
        settings: sizes and form.

    >>> block = LegoBlock(nn.Linear(5, 12), LegoSettings(feature_dim=12, classes=3, latents=6, width=8))
    >>> block(torch.zeros(2, 5)).shape
    torch.Size([2, 3])
    """

    def __init__(self, encoder: nn.Module | None, settings: LegoSettings) -> None:
        super().__init__()
        check_settings(settings)
        self.settings = settings
        self.encoder = encoder
        self.latent = nn.Parameter(torch.randn(settings.latents, settings.width))
        self.layers = nn.ModuleList(_layer(settings) for _ in range(_distinct(settings)))
        self.head = TaskHead(settings.width, settings.classes)
        self.frozen: Frozen | None = None
        mixers = [] if encoder is not None else [_mixer(settings) for _ in range(_distinct(settings))]
        self.mixers = MixedByEach(mixers) if mixers else None

    def forward(self, values: Tensor) -> Tensor:
        """Return logits, `(rows, classes)`, of the values that the encoder takes."""
        return self.head(self.encoded(values).real.mean(1))  # type: ignore[no-any-return]

    def description(self) -> Description:
        """Return what the numbers mean beside the weights, as JSON data: equal for equal blocks."""
        return block_description(self.settings)

    def freeze(self, part: Frozen = "block") -> None:
        """Take the block, or its encoder alone, out of training: no gradient, and eval mode, which `train` keeps.

        Raises:
            UnsupportedModuleError: the encoder is asked for, and there is none, or the part is neither.
        """
        if part not in ("block", "encoder"):
            raise UnsupportedModuleError(f"part {part!r} to freeze", "it is not known", "use block or encoder")
        if part == "encoder" and self.encoder is None:
            raise UnsupportedModuleError("the encoder to freeze", "the block has none", "freeze the block")
        self.frozen = part
        (self.encoder if part == "encoder" and self.encoder is not None else self).requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> LegoBlock:
        """Set the mode of all that is not frozen, and return the block."""
        super().train(mode and self.frozen != "block")
        if self.frozen == "encoder" and self.encoder is not None:
            self.encoder.eval()
        return self

    def encoded(self, values: Tensor, latent: Tensor | None = None) -> Spectrum:
        """Return the spectrum of values, both parts `(rows, latents, width)`; see `spectrum`."""
        if self.settings.compat == "published":
            return published_spectrum(self, values, latent)
        return self.spectrum(self.mixed(self.context(values)), latent)

    def tokens(self, values: Tensor) -> Tensor:
        """Return the encoder's features, or the values themselves without one, `(rows, tokens, feature_dim)`.

        Raises:
            UnsupportedModuleError: they are no tensor, or have another shape than the settings say.
        """
        features = values if self.encoder is None else _tensor_of(self.encoder, values)
        tokens = features.unsqueeze(1) if features.ndim == 2 else features
        _check_tokens(tokens, self.settings)
        return tokens

    def context(self, values: Tensor) -> Tensor:
        """Return the tokens that the depths read, `(rows, tokens, feature_dim)`.

        Without an encoder they differ between depths: `(rows, depth, tokens, feature_dim)`, or 1 for the depth if the
        depths share their weights.

        Raises:
            UnsupportedModuleError: the encoder's output has another shape than the settings say.
        """
        tokens = self.tokens(values)
        return tokens if self.mixers is None else self.mixers(tokens)

    def mixed(self, context: Tensor) -> Tensor:
        """Return what the attention reads, of the shape of the context: the real part of its transform."""
        form = self.settings
        return real_fourier(context, form.fourier_dim) if form.frequency_domain and form.context_fft else context

    def spectrum(self, mixed: Tensor, latent: Tensor | None = None) -> Spectrum:
        """Return the latent after all depths, in the frequency domain, both parts `(rows, latents, width)`.

        Args:
            mixed: what `mixed` returned.
            latent: `(rows, latents, width)` to start from; the block's own without it.
        """
        start = self.own_start(mixed.shape[0]) if latent is None else self.started(latent)
        state = self.step(0, start, mixed)
        for index in range(1, self.settings.depth):
            state = self.step(index, self.restarted(state), mixed)
        return state

    def own_latent(self, rows: int) -> Tensor:
        """Return the learned latent for a batch, `(rows, latents, width)`."""
        return self.latent.expand(rows, *self.latent.shape)

    def own_start(self, rows: int) -> Spectrum:
        """Return the spectrum of the learned latent for a batch, both parts `(rows, latents, width)`."""
        return Spectrum(*(part.expand(rows, -1, -1) for part in self.started(self.own_latent(1))))

    def started(self, latent: Tensor) -> Spectrum:
        """Return the spectrum of a latent `(rows, latents, width)`, normalised before the transform if set so."""
        return started(latent, self.settings)

    def restarted(self, state: Spectrum) -> Spectrum:
        """Return the spectrum that the next depth starts from, given what the depth before it returned."""
        return restarted(state, self.settings)

    def step(self, index: int, start: Spectrum, mixed: Tensor) -> Spectrum:
        """Return the spectrum after one depth.

        Args:
            index: the depth, from 0.
            start: the spectrum that it starts from.
            mixed: what `mixed` returned.
        """
        return Spectrum(self.layer(index)(start.real, self.read_at(index, mixed)), start.imag)

    def layer(self, index: int) -> LegoLayer:
        """Return the weights of one depth."""
        return cast(LegoLayer, self.layers[self._own(index)])

    def mixer(self, index: int) -> TokenMixer:
        """Return the mixer of one depth, in a block without an encoder.

        Raises:
            UnsupportedModuleError: the block has an encoder.
        """
        if self.mixers is None:
            raise UnsupportedModuleError("the block's mixers", "it has an encoder instead", "use its context")
        return cast(TokenMixer, self.mixers.each[self._own(index)])

    def read_at(self, index: int, mixed: Tensor) -> Tensor:
        """Return the part of what `mixed` returned that one depth reads, `(rows, tokens, feature_dim)`."""
        return mixed if self.mixers is None else mixed[:, self._own(index)]

    def _own(self, index: int) -> int:
        return 0 if self.settings.share_layers else index


def check_mergeable(blocks: dict[str, LegoBlock]) -> None:
    """Check that blocks have latents and heads of one form.

    Raises:
        UnsupportedModuleError: there is no block, or one differs, naming the block and the setting.
    """
    if not blocks:
        raise UnsupportedModuleError("no blocks", "there is nothing to merge", "give at least one block")
    first, *others = blocks
    for name in others:
        for setting in _SHARED:
            mine, theirs = (getattr(blocks[key].settings, setting) for key in (name, first))
            if mine != theirs:
                raise UnsupportedModuleError(
                    f"block {name}",
                    f"its {setting} is {mine}, and that of block {first} is {theirs}",
                    f"train both with the same {setting}",
                )


_SHARED = ("latents", "width", "classes", "frequency_domain", "normalise", "track_imaginary", "fourier_dim", "compat")


def _distinct(settings: LegoSettings) -> int:
    return 1 if settings.share_layers else settings.depth


def _layer(settings: LegoSettings) -> LegoLayer:
    return LegoLayer(
        CrossAttention(settings.width, settings.feature_dim, settings.heads, settings.head_width, settings.dropout),
        GatedFeedForward(settings.width, settings.dropout),
    )


def _mixer(settings: LegoSettings) -> TokenMixer:
    return TokenMixer(
        SelfAttention(settings.feature_dim, settings.heads, settings.head_width, settings.dropout),
        GatedFeedForward(settings.feature_dim, settings.dropout),
    )


def _tensor_of(encoder: nn.Module, values: Tensor) -> Tensor:
    features = encoder(values)
    if not isinstance(features, Tensor):
        raise UnsupportedModuleError(
            f"the block's {type(encoder).__name__}",
            f"it returns a {type(features).__name__}",
            "wrap it in a module that returns the features alone",
        )
    return features


def _check_tokens(tokens: Tensor, settings: LegoSettings) -> None:
    expected = "any number of" if settings.tokens is None else str(settings.tokens)
    if tokens.ndim != 3 or tokens.shape[2] != settings.feature_dim or settings.tokens not in (None, tokens.shape[1]):
        raise UnsupportedModuleError(
            "the block's encoder",
            f"its features are {tuple(tokens.shape)}, and the settings say "
            f"(rows, {expected} tokens, {settings.feature_dim})",
            "set feature_dim and tokens to what the encoder returns",
        )
