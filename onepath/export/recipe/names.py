"""The names in a recipe: each must be known, come before it is used, and be used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from onepath.contract.manifest import reserved_names
from onepath.contract.nearest import did_you_mean
from onepath.contract.plugins import known_plugins
from onepath.export.recipe.bundles import EncoderBundle, FusedBundle, MergedBundle, models_of
from onepath.export.recipe.merges import CROSS_MODAL, CrossModalMerge, WeightMerge, sources_of
from onepath.export.recipe.parts import RecipeParts
from onepath.merging.weight_space.scope import KEEP

Problem = tuple[str, str]
"""Path in the recipe and what is wrong there."""


def name_problems(recipe: RecipeParts) -> list[Problem]:
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
        problems += problems_without_training(recipe)
    return problems


def problems_without_training(recipe: RecipeParts) -> list[Problem]:
    """Return a problem for each parent and merge that is made for nothing where no training code takes it."""
    return [*_untrained_problems(recipe), *_unused_problems(recipe)]


def _untrained_problems(recipe: RecipeParts) -> Iterator[Problem]:
    for name, merge in recipe.merges.items():
        if isinstance(merge, CrossModalMerge) and merge.checkpoint is None:
            for index, auxiliary in enumerate(merge.auxiliaries):
                if auxiliary.scales is None:
                    place = f"merges.{name}.auxiliaries.{index}.scales"
                    yield place, "are not given, and no code trains them: this model would do nothing; give them"


def _unused_problems(recipe: RecipeParts) -> list[Problem]:
    used = {name for merge in recipe.merges.values() for _, name in sources_of(merge)}
    used |= {name for merge in recipe.merges.values() if isinstance(merge, WeightMerge) for name in _kept(merge)}
    used |= {name for bundle in recipe.bundles.values() for _, name in models_of(bundle)}
    parts = {**dict.fromkeys(recipe.parents, "parents"), **dict.fromkeys(recipe.merges, "merges")}
    return [
        (f"{part}.{name}", "is used by no merge and no bundle; use it, or leave it out")
        for name, part in parts.items()
        if name not in used
    ]


def _modality_problems(recipe: RecipeParts) -> Iterator[Problem]:
    kinds = known_plugins("onepath.modalities")
    for name, modality in recipe.modalities.items():
        if modality.kind not in kinds:
            yield f"modalities.{name}.kind", _not_installed(modality.kind, kinds)
    for name in sorted(reserved_names(recipe.modalities) & set(recipe.modalities)):
        yield f"modalities.{name}", "the name is taken by a tensor or model of every pipeline"


def _merge_problems(recipe: RecipeParts) -> Iterator[Problem]:
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
        form = _weight_problems(merge) if isinstance(merge, WeightMerge) else _pathway_problems(merge)
        yield from ((f"merges.{name}.{place}", problem) for place, problem in form)
        above.append(name)


def _why_not_above(recipe: RecipeParts, name: str, source: str) -> str:
    if source not in recipe.merges:
        return _unknown_model(source, recipe)
    way = _way(recipe, source, name)
    if way:
        return f"is a cycle: {' -> '.join([name, *way])}"
    return f"{source!r} comes later, and merges are made in their order; move it up"


def _way(recipe: RecipeParts, start: str, goal: str, seen: tuple[str, ...] = ()) -> list[str]:
    """Return the names from one merge to another that it is made of, or nothing."""
    if start == goal:
        return [goal]
    for _, source in sources_of(recipe.merges[start]) if start in recipe.merges else ():
        rest = _way(recipe, source, goal, (*seen, start)) if source not in (*seen, start) else []
        if rest:
            return [start, *rest]
    return []


def _pathway_problems(merge: CrossModalMerge) -> Iterator[Problem]:
    for index, auxiliary in enumerate(merge.auxiliaries):
        if merge.checkpoint is not None and auxiliary.model_fields_set != {"model"}:
            yield f"auxiliaries.{index}", "says more than its model, and the light checkpoint says it all"


def _weight_problems(merge: WeightMerge) -> Iterator[Problem]:
    methods = known_plugins("onepath.weight_merges")
    members = {*merge.models} | ({merge.base} if merge.base is not None else set())
    if merge.method not in methods:
        yield "method", _not_installed(merge.method, [CROSS_MODAL, *methods])
    for index, scope in enumerate(merge.scope):
        if scope.method is not None and not scope.method.startswith(KEEP) and scope.method not in methods:
            yield f"scope.{index}.method", _not_installed(scope.method, [f"{KEEP}…", *methods])
        for place, name in _scope_models(scope.method, scope.weights):
            if name not in members:
                yield f"scope.{index}.{place}", _not_one_of("the merge's models", name, sorted(members))


def _scope_models(method: str | None, weights: Mapping[str, float] | None) -> Iterator[tuple[str, str]]:
    if method is not None and method.startswith(KEEP):
        yield "method", method.removeprefix(KEEP)
    yield from ((f"weights.{name}", name) for name in weights or {})


def _kept(merge: WeightMerge) -> Iterator[str]:
    for scope in merge.scope:
        yield from (name for _, name in _scope_models(scope.method, scope.weights))


def _bundle_problems(recipe: RecipeParts) -> Iterator[Problem]:
    for name, bundle in recipe.bundles.items():
        if isinstance(bundle, MergedBundle):
            found = _merged_problems(bundle, recipe)
        elif isinstance(bundle, FusedBundle):
            found = _fused_problems(bundle, recipe)
        else:
            found = _encoder_problems(bundle, recipe)
        yield from ((f"bundles.{name}.{place}", problem) for place, problem in found)


def _merged_problems(bundle: MergedBundle, recipe: RecipeParts) -> Iterator[Problem]:
    methods = known_plugins("onepath.merge_methods")
    if bundle.method not in methods:
        yield "method", _not_installed(bundle.method, methods)
    for part, given in (("weights", bundle.weights), ("blocks", bundle.blocks)):
        for modality in given:
            if modality not in recipe.modalities:
                yield f"{part}.{modality}", _not_one_of("the modalities", modality, recipe.modalities)
    for place, source in models_of(bundle):
        if source not in recipe.models:
            yield place, _unknown_model(source, recipe)
    for modality in recipe.modalities:
        if recipe.code is None and modality not in bundle.blocks:
            yield f"blocks.{modality}", "is missing: without code, each modality needs a parent or a merge"


def _fused_problems(bundle: FusedBundle, recipe: RecipeParts) -> Iterator[Problem]:
    if recipe.code is None and bundle.source not in recipe.models:
        yield "source", _unknown_model(bundle.source, recipe)


def _encoder_problems(bundle: EncoderBundle, recipe: RecipeParts) -> Iterator[Problem]:
    if bundle.modality is not None and bundle.modality not in recipe.modalities:
        yield "modality", _not_one_of("the modalities", bundle.modality, recipe.modalities)
    if bundle.source in recipe.models:
        if encoded_modality(bundle, recipe) is None:
            yield "modality", f"is missing: say which one {bundle.source!r} encodes"
    elif recipe.code is None:
        yield "source", _unknown_model(bundle.source, recipe)
    elif bundle.source not in recipe.modalities:
        known = (*recipe.modalities, *recipe.models)
        yield "source", _not_one_of("the modalities, parents and merges", bundle.source, known)
    elif bundle.modality not in (None, bundle.source):
        yield "modality", f"is another than the source, the trained encoder of {bundle.source!r}; leave it out"


def encoded_modality(bundle: EncoderBundle, recipe: RecipeParts) -> str | None:
    """Return the modality that a bundle's encoder takes, or None if the recipe does not say."""
    if bundle.modality is not None:
        return bundle.modality
    if bundle.source in recipe.modalities:
        return bundle.source
    return next(iter(recipe.modalities)) if len(recipe.modalities) == 1 else None


def _unknown_model(source: str, recipe: RecipeParts) -> str:
    meant, known = did_you_mean(source, recipe.models), ", ".join(recipe.models) or "none"
    return f"{source!r} is neither a parent nor a merge{meant}; known: {known}"


def _not_installed(name: str, known: Sequence[str]) -> str:
    return f"{name!r} is not installed{did_you_mean(name, known)}; known: {', '.join(known)}"


def _not_one_of(what: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    return f"{name!r} is not one of {what}{did_you_mean(name, known)}; known: {', '.join(known)}"
