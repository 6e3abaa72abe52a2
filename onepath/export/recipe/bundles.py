"""What a recipe says of its bundles: blocks merged without training, a fused model, or one encoder."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from onepath.contract.tensors import Closed


class MergedBundle(Closed):
    """A bundle of blocks merged without training.

    Attributes:
        model: `merged`.
        method: a plug-in of the group `onepath.merge_methods`: `harmonic`, `mean`, `product`, `sum`, or an installed
            one.
        head: how the blocks' heads are merged.
        weights: modality to its weight; equal where not given. Only ratios count.
        blocks: modality to the parent or merge that is its block; the training code's where not given.
    """

    model: Literal["merged"]
    method: str = "harmonic"
    head: Literal["slerp", "linear", "transport"] = "slerp"
    weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    blocks: dict[str, str] = Field(default_factory=dict)


class FusedBundle(Closed):
    """A bundle of a fused and fine-tuned model, of several modalities.

    Attributes:
        model: `fused`.
        source: a parent or a merge, or else one of the fused models that the training code returns.
    """

    model: Literal["fused"]
    source: str


class EncoderBundle(Closed):
    """A bundle of one single-modality model.

    Attributes:
        model: `encoder`.
        source: a parent or a merge, or else the modality whose encoder the training code returns.
        modality: what a parent or a merge encodes; needed where the recipe has several modalities and `source` is not
            the name of one.
    """

    model: Literal["encoder"]
    source: str
    modality: str | None = None


BundleRecipe = Annotated[MergedBundle | FusedBundle | EncoderBundle, Field(discriminator="model")]


def models_of(bundle: MergedBundle | FusedBundle | EncoderBundle) -> list[tuple[str, str]]:
    """Return the names that a bundle takes its models by, with the place in the recipe that names them."""
    if isinstance(bundle, MergedBundle):
        return [(f"blocks.{modality}", source) for modality, source in bundle.blocks.items()]
    return [("source", bundle.source)]
