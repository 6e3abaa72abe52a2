"""What a bundle is compared with: for each modality, a model of this modality alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn

from onepath.export.bundles.sources import Sources
from onepath.export.recipe import Recipe
from onepath.export.recipe.bundles import BundleRecipe, EncoderBundle, MergedBundle
from onepath.export.recipe.merges import CrossModalMerge, WeightMerge
from onepath.export.recipe.names import encoded_modality

_NONE = (
    "the recipe has no model of it alone; let the training code return its encoder, or name a parent in a bundle of "
    "`model: encoder`"
)


@dataclass(frozen=True)
class SingleEncoders:
    """Models of one modality each.

    Attributes:
        encoders: modality to model, as it was before anything was merged into it.
        origins: modality to what that model is, in words.
        left_out: modality to the reason why there is none.
    """

    encoders: Mapping[str, nn.Module]
    origins: Mapping[str, str]
    left_out: Mapping[str, str]


def single_encoders(name: str, modalities: Sequence[str], recipe: Recipe, sources: Sources) -> SingleEncoders:
    """Return what a caller who has only one of a bundle's modalities would use.

    In this order: the encoder that was trained, the block that is merged, or the parent that this bundle, or another of
    the recipe, takes for this modality. Behind a merge of models of one modality stands one of them: the target of
    pathways, or the model that weighs most, the first of equals.

    Args:
        name: the bundle's.
        modalities: its own.
        recipe: the recipe.
        sources: what its models are made of.
    """
    found = {modality: _encoder(name, modality, recipe, sources) for modality in modalities}
    known = {modality: each for modality, each in found.items() if each is not None}
    return SingleEncoders(
        encoders={modality: model for modality, (model, _) in known.items()},
        origins={modality: origin for modality, (_, origin) in known.items()},
        left_out={modality: _NONE for modality, each in found.items() if each is None},
    )


def _encoder(name: str, modality: str, recipe: Recipe, sources: Sources) -> tuple[nn.Module, str] | None:
    trained, bundle = sources.trained, recipe.bundles[name]
    if modality in trained.encoders:
        return trained.encoders[modality], "the encoder that was trained"
    blocks = bundle.blocks if isinstance(bundle, MergedBundle) else {}
    if modality in blocks or modality in trained.blocks:
        return sources.block(modality, blocks), f"the block {blocks.get(modality, 'that was trained')}"
    others = [each for each in recipe.bundles.values() if each is not bundle]
    for each in (bundle, *others):
        for source in _sources_of_modality(each, modality, recipe):
            parent = parent_behind(source, recipe)
            return sources.made[parent].model, f"the parent {parent}"
    return None


def _sources_of_modality(bundle: BundleRecipe, modality: str, recipe: Recipe) -> Iterator[str]:
    """Yield the parent or merge that a bundle takes as a model of one modality alone."""
    if isinstance(bundle, EncoderBundle):
        if bundle.source in recipe.models and encoded_modality(bundle, recipe) == modality:
            yield bundle.source
    elif isinstance(bundle, MergedBundle) and modality in bundle.blocks:
        yield bundle.blocks[modality]


def parent_behind(name: str, recipe: Recipe) -> str:
    """Return the parent that a merge is compared with, or a parent's own name.

    Args:
        name: of a parent or a merge.
        recipe: the recipe.
    """
    while name in recipe.merges:
        merge = recipe.merges[name]
        name = merge.target if isinstance(merge, CrossModalMerge) else _heaviest(merge)
    return name


def _heaviest(merge: WeightMerge) -> str:
    return max(merge.models, key=merge.models.__getitem__)
