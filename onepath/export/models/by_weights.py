"""A weight-space merge of a recipe: the base's form, with weights made of those of several models."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor, nn

from onepath.export.models.made import (
    MadeModel,
    looked_over,
    made_again,
    merged_measurements,
    merged_parents,
    plain_state,
)
from onepath.export.models.parity import measured_weights
from onepath.export.proofs import digest_from_model
from onepath.export.recipe.merges import ScopeRecipe, WeightMerge, sources_of
from onepath.merging.reparameterization import collapse_in_place, scales
from onepath.merging.weight_space import MergedWeights, ScopeRule, merge_state_dicts

States = dict[str, dict[str, Tensor]]


def merge_by_weights(
    name: str, merge: WeightMerge, made: Mapping[str, MadeModel], *, seed: int, tolerance: float
) -> MadeModel:
    """Return a copy of the base, or else of the first model, with merged weights, made in float64 and rounded once.

    Args:
        name: the merge's name.
        merge: of the recipe.
        made: the models above it; those with pathways attached count as collapsed.
        seed: of methods that choose at random.
        tolerance: of the proof.

    Raises:
        RecipeError: the models do not fit together, the settings do not fit the method, or the linter finds errors in
            the result.
        ParityError: the weights differ from those made again.
    """
    names = [source for _, source in sources_of(merge)]
    sources = [made[source] for source in names]
    models = {source: made[source].model for source in names}
    merged = _merged(merge, models, seed)
    model = _loaded(sources[0].model, merged)
    findings = looked_over(name, model, reference=models)

    def again() -> nn.Module | None:
        origins = made_again(*sources)
        if origins is None:
            return None
        return _loaded(sources[0].model, _merged(merge, dict(zip(names, origins, strict=True)), seed))

    return MadeModel(
        model=model,
        digest=digest_from_model(model),
        parents=merged_parents(*sources),
        measurements=(
            *merged_measurements(*sources),
            measured_weights(
                name,
                made=model.state_dict(),
                again=_merged(merge, models, seed).tensors,
                tolerance=tolerance,
            ),
        ),
        report={"method": merge.method, "tensors": [asdict(entry) for entry in merged.report]},
        findings=findings,
        again=again,
    )


def _loaded(form: nn.Module, merged: MergedWeights) -> nn.Module:
    """Return a model of one path in the form of another, with merged weights, rounded to its precision once."""
    model = _plain_copy(form)
    model.load_state_dict(merged.tensors, strict=True)
    return model.eval()


def _merged(merge: WeightMerge, models: Mapping[str, nn.Module], seed: int) -> MergedWeights:
    return merge_state_dicts(
        merge.method,
        {name: _wide(plain_state(model)) for name, model in models.items()},
        base=merge.base,
        weights=merge.models,
        options=merge.options,
        scope=[_rule(scope) for scope in merge.scope],
        seed=seed,
    )


def _rule(scope: ScopeRecipe) -> ScopeRule:
    return ScopeRule(scope.pattern, weights=scope.weights, options=scope.options, method=scope.method)


def _plain_copy(model: nn.Module) -> nn.Module:
    copied = copy.deepcopy(model)
    if scales(copied):
        collapse_in_place(copied)
    return copied


def _wide(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict in float64, in which tensors that shared memory still do."""
    widened: dict[Any, Tensor] = {}  # by where a tensor lies
    return {name: widened.setdefault(_place(tensor), _widened(tensor)) for name, tensor in state.items()}


def _widened(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor


def _place(tensor: Tensor) -> tuple[int, torch.Size, tuple[int, ...], torch.dtype]:
    return tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype
