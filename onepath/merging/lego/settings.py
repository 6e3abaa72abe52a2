"""The sizes and the form of a Lego block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.encoders.shapes import check_dropout, check_sizes

Compat = Literal["published"]


@dataclass(frozen=True)
class LegoSettings:
    """The sizes and the form of a block; blocks that are merged share all but `feature_dim`, `tokens` and `depth`.

    Attributes:
        feature_dim: width of the encoder's output; without an encoder, of the tokens that the block is given.
        classes: number of logits.
        latents: rows of the latent.
        width: columns of the latent.
        depth: how often the latent reads the features.
        heads: attention heads.
        head_width: width of one head.
        tokens: 1 if the encoder returns `(rows, feature_dim)` or one token, else the number of its tokens, or None if
            that differs from call to call.
        dropout: on attention probabilities and on the feed-forward's output, in training; a collapsed block has none.
        frequency_domain: read in the frequency domain.
        normalise: divide the latent by its norm along the transformed axis before each transform.
        track_imaginary: carry the imaginary part of the spectrum from depth to depth.
        share_layers: use the same weights at every depth.
        fourier_dim: what is transformed and normalised: 1, the latent's rows and the tokens; 2, their features. Over
            features the latent is complex from the second depth on.
        context_fft: transform the context too. Over tokens that depends on their order: turn it off for a bag, whose
            order means nothing.
        compat: `published` computes as the published code does, for comparisons only: the encoder runs anew at every
            depth, the transforms are complex and zero columns not finite, and a block without an encoder throws its
            self-attention away. It can be neither collapsed nor exported.
    """

    feature_dim: int
    classes: int
    latents: int = 64
    width: int = 64
    depth: int = 2
    heads: int = 8
    head_width: int = 64
    tokens: int | None = 1
    dropout: float = 0.0
    frequency_domain: bool = True
    normalise: bool = True
    track_imaginary: bool = True
    share_layers: bool = False
    fourier_dim: int = 1
    context_fft: bool = True
    compat: Compat | None = None


def check_settings(settings: LegoSettings) -> None:
    """Check that every size is at least 1, that the dropout is a chance, and that the form is known.

    Raises:
        UnsupportedModuleError: naming the setting that is wrong.
    """
    names = ("feature_dim", "classes", "latents", "width", "depth", "heads", "head_width", "tokens")
    check_sizes("the block's settings", **{name: getattr(settings, name) for name in names})
    check_dropout("the block's settings", settings.dropout)
    if settings.fourier_dim not in (1, 2):
        raise UnsupportedModuleError(
            "the block's settings",
            f"fourier_dim is {settings.fourier_dim}",
            "give 1 for rows and tokens or 2 for features; a transform over the batch would mix its rows",
        )
    check_compat(settings.compat)


def check_compat(compat: str | None) -> None:
    """Check that a form for comparisons is known.

    Raises:
        UnsupportedModuleError: it is not.
    """
    if compat not in (None, "published"):
        raise UnsupportedModuleError(f"compat {compat!r}", "it is not known", "leave it out, or use published")


def known_tokens(name: str, settings: LegoSettings) -> int:
    """Return the number of tokens of a block in a chain, where an absent row's tokens must have a shape.

    Args:
        name: the block's, for the message.
        settings: the block's.

    Raises:
        UnsupportedModuleError: the settings leave it open.
    """
    if settings.tokens is None:
        raise UnsupportedModuleError(
            f"block {name}", "its number of tokens is open, so an absent row has no shape", "set its tokens"
        )
    return settings.tokens
