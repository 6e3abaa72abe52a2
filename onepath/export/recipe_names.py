"""The names in a recipe: each must be known, come before it is used, and be used."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from onepath.contract.manifest import reserved_names
from onepath.contract.plugins import known_plugins
from onepath.export.recipe_bundles import EncoderBundle, FusedBundle, MergedBundle, models_of
from onepath.export.recipe_merges import CrossModalMerge, WeightMerge, sources_of
from onepath.merging.weight_space.scope import KEEP

if TYPE_CHECKING:
    from onepath.export.recipe import Recipe

Problem = tuple[str, str]
"""Path in the recipe and what is wrong there."""


def name_problems(recipe: Recipe) -> list[Problem]:
    """Return everything that is wrong with the names of a recipe, each with its path."""
    problems = [*_modality_problems(recipe), *_merge_problems(recipe), *_bundle_problems(recipe)]
    if recipe.task == "classification" and not recipe.labels:
        problems.append(("labels", "a classification needs its labels"))
    if (recipe.code is None) == (recipe.rows is None):
        given = "neither is given" if recipe.code is None else "both are given"
        problems.append(
            ("rows", f"the held-out rows come from the training code or from a file of rows, and {given}; give one")
        )
    if recipe.code is None:
        problems += unused_problems(recipe)
    return problems


def unused_problems(recipe: Recipe) -> list[Problem]:
    """Return a problem for each parent and merge that no merge or bundle uses."""
    used = {name for merge in recipe.merges.values() for _, name in sources_of(merge)}
    used |= {name for merge in recipe.merges.values() if isinstance(merge, WeightMerge) for name in _kept(merge)}
    used |= {name for bundle in recipe.bundles.values() for _, name in models_of(bundle)}
    parts = {**dict.fromkeys(recipe.parents, "parents"), **dict.fromkeys(recipe.merges, "merges")}
    return [
        (f"{part}.{name}", "is used by no merge and no bundle; use it, or leave it out")
        for name, part in parts.items()
        if name not in used
    ]


def _modality_problems(recipe: Recipe) -> Iterator[Problem]:
    kinds = known_plugins("onepath.modalities")
    for name, modality in recipe.modalities.items():
        if modality.kind not in kinds:
            yield f"modalities.{name}.kind", f"{modality.kind!r} is not installed; known: {', '.join(kinds)}"
    for name in sorted(reserved_names(recipe.modalities) & set(recipe.modalities)):
        yield f"modalities.{name}", "the name is taken by a tensor or model of every pipeline"


def _merge_problems(recipe: Recipe) -> Iterator[Problem]:
    for name in recipe.merges:
        if name in recipe.parents:
            yield f"merges.{name}", "is the name of a parent too; rename one of them"
    if recipe.code is not None:
        for name in recipe.models:
            if name in recipe.modalities:
                part = "parents" if name in recipe.parents else "merges"
                yield f"{part}.{name}", "is also a modality, whose encoder the training code returns; rename this model"
    above = [*recipe.parents]
    for name, merge in recipe.merges.items():
        for place, source in sources_of(merge):
            if source not in above:
                yield f"merges.{name}.{place}", _why_not_above(recipe, name, source)
        form = _weight_problems(merge) if isinstance(merge, WeightMerge) else _pathway_problems(merge, recipe)
        yield from ((f"merges.{name}.{place}", problem) for place, problem in form)
        above.append(name)


def _why_not_above(recipe: Recipe, name: str, source: str) -> str:
    if source not in recipe.merges:
        return f"{source!r} is neither a parent nor a merge; known: {', '.join(recipe.models) or 'none'}"
    way = _way(recipe, source, name)
    if way:
        return f"is a cycle: {' -> '.join([name, *way])}"
    return f"{source!r} comes later, and merges are made in their order; move it up"


def _way(recipe: Recipe, start: str, goal: str, seen: tuple[str, ...] = ()) -> list[str]:
    """Return the names from one merge to another that it is made of, or nothing."""
    if start == goal:
        return [goal]
    for _, source in sources_of(recipe.merges[start]) if start in recipe.merges else ():
        rest = _way(recipe, source, goal, (*seen, start)) if source not in (*seen, start) else []
        if rest:
            return [start, *rest]
    return []


def _pathway_problems(merge: CrossModalMerge, recipe: Recipe) -> Iterator[Problem]:
    for index, auxiliary in enumerate(merge.auxiliaries):
        if merge.checkpoint is not None and auxiliary.model_fields_set != {"model"}:
            yield f"auxiliaries.{index}", "says more than its model, and the light checkpoint says it all"
        elif merge.checkpoint is None and auxiliary.scales is None and recipe.code is None:
            yield f"auxiliaries.{index}.scales", "are not given, and no code trains them: this model would do nothing"


def _weight_problems(merge: WeightMerge) -> Iterator[Problem]:
    methods = known_plugins("onepath.weight_merges")
    members = {*merge.models} | ({merge.base} if merge.base is not None else set())
    if merge.method not in methods:
        yield "method", f"{merge.method!r} is not installed; known: cross_modal, {', '.join(methods)}"
    for index, scope in enumerate(merge.scope):
        if scope.method is not None and not scope.method.startswith(KEEP) and scope.method not in methods:
            yield f"scope.{index}.method", f"{scope.method!r} is not installed; known: keep:…, {', '.join(methods)}"
        for place, name in _scope_models(scope.method, scope.weights):
            if name not in members:
                yield f"scope.{index}.{place}", f"{name!r} is not one of the merge's models"


def _scope_models(method: str | None, weights: Mapping[str, float] | None) -> Iterator[tuple[str, str]]:
    if method is not None and method.startswith(KEEP):
        yield "method", method.removeprefix(KEEP)
    yield from ((f"weights.{name}", name) for name in weights or {})


def _kept(merge: WeightMerge) -> Iterator[str]:
    for scope in merge.scope:
        yield from (name for _, name in _scope_models(scope.method, scope.weights))


def _bundle_problems(recipe: Recipe) -> Iterator[Problem]:
    for name, bundle in recipe.bundles.items():
        if isinstance(bundle, MergedBundle):
            found = _merged_problems(bundle, recipe)
        elif isinstance(bundle, FusedBundle):
            found = _fused_problems(bundle, recipe)
        else:
            found = _encoder_problems(bundle, recipe)
        yield from ((f"bundles.{name}.{place}", problem) for place, problem in found)


def _merged_problems(bundle: MergedBundle, recipe: Recipe) -> Iterator[Problem]:
    methods = known_plugins("onepath.merge_methods")
    if bundle.method not in methods:
        yield "method", f"{bundle.method!r} is not installed; known: {', '.join(methods)}"
    for part, given in (("weights", bundle.weights), ("blocks", bundle.blocks)):
        for modality in given:
            if modality not in recipe.modalities:
                yield f"{part}.{modality}", "is not one of the modalities"
    for place, source in models_of(bundle):
        if source not in recipe.models:
            yield place, _unknown_model(source, recipe)
    for modality in recipe.modalities:
        if recipe.code is None and modality not in bundle.blocks:
            yield f"blocks.{modality}", "is missing: without code, each modality needs a parent or a merge"


def _fused_problems(bundle: FusedBundle, recipe: Recipe) -> Iterator[Problem]:
    if recipe.code is None and bundle.source not in recipe.models:
        yield "source", _unknown_model(bundle.source, recipe)


def _encoder_problems(bundle: EncoderBundle, recipe: Recipe) -> Iterator[Problem]:
    if bundle.modality is not None and bundle.modality not in recipe.modalities:
        yield "modality", f"{bundle.modality!r} is not one of the modalities"
    if bundle.source in recipe.models:
        if encoded_modality(bundle, recipe) is None:
            yield "modality", f"is missing: say which one {bundle.source!r} encodes"
    elif recipe.code is None:
        yield "source", _unknown_model(bundle.source, recipe)
    elif bundle.source not in recipe.modalities:
        yield "source", f"{bundle.source!r} is not one of the modalities, parents and merges"
    elif bundle.modality not in (None, bundle.source):
        yield "modality", f"is another than the source, the trained encoder of {bundle.source!r}; leave it out"


def encoded_modality(bundle: EncoderBundle, recipe: Recipe) -> str | None:
    """Return the modality that a bundle's encoder takes, or None if the recipe does not say."""
    if bundle.modality is not None:
        return bundle.modality
    if bundle.source in recipe.modalities:
        return bundle.source
    return next(iter(recipe.modalities)) if len(recipe.modalities) == 1 else None


def _unknown_model(source: str, recipe: Recipe) -> str:
    return f"{source!r} is neither a parent nor a merge; known: {', '.join(recipe.models) or 'none'}"
