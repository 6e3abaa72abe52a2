"""What a bundle is compared with: for each modality, a model of this modality alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from torch import nn

from onepath.export.bundles.sources import Sources
from onepath.export.recipe import Recipe
from onepath.export.recipe.bundles import BundleRecipe, EncoderBundle, FusedBundle, MergedBundle
from onepath.export.recipe.merges import CrossModalMerge, WeightMerge
from onepath.export.recipe.names import encoded_modality
from onepath.merging.reparameterization import scales

_NONE = (
    "the recipe has no model of it alone; let the training code return its encoder, or name a parent in a bundle of "
    "`model: encoder`"
)


@dataclass(frozen=True)
class SingleEncoders:
    """Models of one modality each.

    Attributes:
        encoders: modality to model, as it was before anything was merged into it; or as the training code left it.
        origins: modality to what that model is, in words, also where that is not what it was before.
        left_out: modality to the reason why there is none.
    """

    encoders: Mapping[str, nn.Module]
    origins: Mapping[str, str]
    left_out: Mapping[str, str]


def single_encoders(name: str, modalities: Sequence[str], recipe: Recipe, sources: Sources) -> SingleEncoders:
    """Return what a caller who has only one of a bundle's modalities would use.

    In this order: the encoder that was trained, the parent that this bundle takes for this modality, the block that was
    trained, or the parent that another bundle takes. Behind a merge of models of one modality stands one of them: the
    target of pathways, or the model that weighs most, the first of equals.

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
        model = trained.encoders[modality]
        return model, f"the encoder that was trained{_changed(model, bundle, sources)}"
    own = [*_sources_of_modality(bundle, modality, recipe)]
    if not own and modality in trained.blocks:
        model = trained.blocks[modality]
        return model, f"the block that was trained{_changed(model, bundle, sources)}"
    others = [each for each in recipe.bundles.values() if each is not bundle]
    for source in (*own, *(found for each in others for found in _sources_of_modality(each, modality, recipe))):
        parent = parent_behind(source, recipe)
        made = sources.made[parent]
        trained_on = ", as the training code changed it" if recipe.code is not None and not made.is_as_made else ""
        return made.model, f"the parent {parent}{trained_on}{_changed(made.model, bundle, sources)}"
    return None


def _changed(model: nn.Module, bundle: BundleRecipe, sources: Sources) -> str:
    """Return in words why a model may not be what it was before anything was merged into it, or nothing."""
    if scales(model):
        return ", with the weights of another model merged into it"
    if isinstance(bundle, FusedBundle):
        own = {id(parameter) for parameter in model.parameters()}
        fused = cast(nn.Module, sources.fused(bundle.source))
        if any(id(parameter) in own for parameter in fused.parameters()):
            return ", which is a part of the fused model and changed with it"
    return ""


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
