"""The Lego block: an encoder and a learned latent that reads the encoder's features in the frequency domain."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.lego.description import Description, block_description
from onepath.merging.lego.fourier import Spectrum, fourier, inverse_fourier, real_fourier
from onepath.merging.lego.layers import CrossAttention, GatedFeedForward, LegoLayer, TaskHead
from onepath.merging.lego.settings import LegoSettings, check_settings

SMALLEST_NORM = 1e-12


class LegoBlock(nn.Module):
    """An encoder whose features a latent reads `depth` times; blocks of any encoders can be merged.

    The encoder runs once a call. Nothing that is passed in and no parameter is ever changed by a call, and a row's
    result depends on that row only. After MM-Lego (arXiv 2405.19950).

    Args:
        encoder: `values (rows, …) -> (rows, feature_dim)` or `(rows, tokens, feature_dim)`.
        settings: sizes and form.

    >>> block = LegoBlock(nn.Linear(5, 12), LegoSettings(feature_dim=12, classes=3, latents=6, width=8))
    >>> block(torch.zeros(2, 5)).shape
    torch.Size([2, 3])
    """

    def __init__(self, encoder: nn.Module, settings: LegoSettings) -> None:
        super().__init__()
        check_settings(settings)
        self.settings = settings
        self.encoder = encoder
        self.latent = nn.Parameter(torch.randn(settings.latents, settings.width))
        self.layers = nn.ModuleList(_layers(settings))
        self.head = TaskHead(settings.width, settings.classes)

    def forward(self, values: Tensor) -> Tensor:
        """Return logits, `(rows, classes)`, of the values that the encoder takes."""
        spectrum = self.spectrum(self.mixed(self.context(values)))
        return self.head(spectrum.real.mean(1))  # type: ignore[no-any-return]

    def description(self) -> Description:
        """Return what the numbers mean beside the weights, as JSON data: equal for equal blocks."""
        return block_description(self)

    def context(self, values: Tensor) -> Tensor:
        """Return the encoder's features as tokens, `(rows, tokens, feature_dim)`.

        Raises:
            UnsupportedModuleError: the encoder's output has another shape than the settings say.
        """
        features = self.encoder(values)
        tokens = features.unsqueeze(1) if features.ndim == 2 else features
        _check_context(tokens, self.settings)
        return tokens  # type: ignore[no-any-return]

    def mixed(self, context: Tensor) -> Tensor:
        """Return the tokens that every depth reads: the real part of their transform over the token axis."""
        return real_fourier(context) if self.settings.frequency_domain else context

    def spectrum(self, mixed: Tensor, latent: Tensor | None = None) -> Spectrum:
        """Return the latent after all depths, in the frequency domain, both parts `(rows, latents, width)`.

        Args:
            mixed: what `mixed` returned.
            latent: `(rows, latents, width)` to start from; the block's own without it.
        """
        current = self.own_latent(mixed.shape[0]) if latent is None else latent
        state = self.step(0, current, mixed)
        for index in range(1, self.settings.depth):
            state = self.step(index, self.latent_from(state), mixed)
        return state

    def own_latent(self, rows: int) -> Tensor:
        """Return the learned latent for a batch, `(rows, latents, width)`."""
        return self.latent.expand(rows, *self.latent.shape)

    def step(self, index: int, latent: Tensor, mixed: Tensor) -> Spectrum:
        """Return the spectrum after one depth.

        Args:
            index: the depth, from 0.
            latent: `(rows, latents, width)`, not in the frequency domain.
            mixed: what `mixed` returned.
        """
        start = self._transformed(latent)
        layer = self.layers[0 if self.settings.share_layers else index]
        return Spectrum(layer(start.real, mixed), start.imag)

    def latent_from(self, state: Spectrum) -> Tensor:
        """Return the latent that the next depth starts from, `(rows, latents, width)`."""
        if not self.settings.frequency_domain:
            return state.real
        imag = state.imag if self.settings.track_imaginary else torch.zeros_like(state.imag)
        return inverse_fourier(Spectrum(state.real, imag))

    def _transformed(self, latent: Tensor) -> Spectrum:
        if not self.settings.frequency_domain:
            return Spectrum(latent, torch.zeros_like(latent))
        return fourier(_unit_columns(latent) if self.settings.normalise else latent)


def check_mergeable(blocks: dict[str, LegoBlock]) -> None:
    """Check that blocks have latents and heads of one form.

    Raises:
        UnsupportedModuleError: there is no block, or one differs, naming the block and the setting.
    """
    if not blocks:
        raise UnsupportedModuleError("no blocks", "there is nothing to merge", "give at least one block")
    first, *others = blocks
    for name in others:
        for setting in ("latents", "width", "classes", "frequency_domain", "normalise", "track_imaginary"):
            mine, theirs = (getattr(blocks[key].settings, setting) for key in (name, first))
            if mine != theirs:
                raise UnsupportedModuleError(
                    f"block {name}",
                    f"its {setting} is {mine}, and that of block {first} is {theirs}",
                    f"train both with the same {setting}",
                )


def _layers(settings: LegoSettings) -> list[LegoLayer]:
    count = 1 if settings.share_layers else settings.depth
    return [
        LegoLayer(
            CrossAttention(settings.width, settings.feature_dim, settings.heads, settings.head_width, settings.dropout),
            GatedFeedForward(settings.width, settings.dropout),
        )
        for _ in range(count)
    ]


def _unit_columns(latent: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(latent, dim=1, keepdim=True)
    return latent / norm.clamp(min=SMALLEST_NORM)


def _check_context(tokens: Tensor, settings: LegoSettings) -> None:
    expected = "any number of" if settings.tokens is None else str(settings.tokens)
    if tokens.ndim != 3 or tokens.shape[2] != settings.feature_dim or settings.tokens not in (None, tokens.shape[1]):
        raise UnsupportedModuleError(
            "the block's encoder",
            f"its features are {tuple(tokens.shape)}, and the settings say "
            f"(rows, {expected} tokens, {settings.feature_dim})",
            "set feature_dim and tokens to what the encoder returns",
        )
