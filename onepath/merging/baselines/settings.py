"""The sizes of a model whose latent reads tokens, and the two published choices of them."""

from __future__ import annotations

from dataclasses import dataclass

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.encoders.shapes import check_sizes


@dataclass(frozen=True)
class LatentSettings:
    """The sizes of a latent, and of what it does to tokens and to itself.

    Attributes:
        latents: rows of the latent.
        width: columns of the latent.
        depth: how often each token is read.
        self_per_cross: attentions among latents after each reading.
        cross_heads: of the attention to tokens.
        latent_heads: of the attention among latents.
        head_width: of one head.
        bands: frequencies of the features of tokens' places; 0 for none.
        max_frequency: of them, see `fourier_features`.
        share_layers: use the same weights at every depth.
        dropout: on attention probabilities and on the feed-forward's output, in training.
    """

    latents: int
    width: int
    depth: int
    self_per_cross: int = 0
    cross_heads: int = 1
    latent_heads: int = 8
    head_width: int = 64
    bands: int = 2
    max_frequency: float = 2.0
    share_layers: bool = False
    dropout: float = 0.0


PERCEIVER = LatentSettings(latents=64, width=64, depth=2)
"""The sizes of the Perceiver that MM-Lego ships; its depth and frequencies, which it leaves open, are ours."""

HEALNET = LatentSettings(latents=512, width=512, depth=3, self_per_cross=1)
"""The published sizes of HEALNet."""


def check_latent_settings(settings: LatentSettings) -> None:
    """Check the sizes.

    Raises:
        UnsupportedModuleError: naming the setting that is too small.
    """
    names = ("latents", "width", "depth", "cross_heads", "latent_heads", "head_width")
    check_sizes("the latent's settings", **{name: getattr(settings, name) for name in names})
    for name in ("self_per_cross", "bands"):
        if getattr(settings, name) < 0:
            raise UnsupportedModuleError(
                "the latent's settings", f"{name} is {getattr(settings, name)}", "give 0 for none, or more"
            )
