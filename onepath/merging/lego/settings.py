"""The sizes and the form of a Lego block."""

from __future__ import annotations

from dataclasses import dataclass

from onepath.contract.errors import UnsupportedModuleError


@dataclass(frozen=True)
class LegoSettings:
    """The sizes and the form of a block; blocks that are merged share all but `feature_dim`, `tokens` and `depth`.

    Attributes:
        feature_dim: width of the encoder's output.
        classes: number of logits.
        latents: rows of the latent.
        width: columns of the latent.
        depth: how often the latent reads the features.
        heads: attention heads.
        head_width: width of one head.
        tokens: 1 if the encoder returns `(rows, feature_dim)` or one token, else the number of its tokens, or None if
            that differs from call to call.
        dropout: on attention probabilities and on the feed-forward's output, in training; a collapsed block has none.
        frequency_domain: read in the frequency domain, over latent rows and over tokens. The transform over tokens
            depends on their order.
        normalise: divide each column of the latent by its norm before each transform to the frequency domain.
        track_imaginary: carry the imaginary part of the spectrum from depth to depth.
        share_layers: use the same weights at every depth.
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


def check_settings(settings: LegoSettings) -> None:
    """Check that every size is at least 1.

    Raises:
        UnsupportedModuleError: naming the one that is not.
    """
    for name in ("feature_dim", "classes", "latents", "width", "depth", "heads", "head_width"):
        if getattr(settings, name) < 1:
            raise UnsupportedModuleError(
                "the block's settings", f"{name} is {getattr(settings, name)}", "give a number of at least 1"
            )


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
