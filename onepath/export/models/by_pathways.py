"""A cross-modal merge of a recipe: pathways planned, attached, and their scales set."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
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
from onepath.export.recipe.merges import AuxiliaryRecipe, CrossModalMerge
from onepath.merging.reparameterization import Plan, attach, load_light, plan_reparameterization, scales
from onepath.merging.reparameterization.additions import link_counts

_Scales = Mapping[str, tuple[float, ...]]


def merge_by_pathways(
    name: str, merge: CrossModalMerge, made: Mapping[str, MadeModel], *, folder: Path, tolerance: float
) -> MadeModel:
    """Return a copy of the target with the auxiliaries attached, and what was attached.

    Args:
        name: the merge's name.
        merge: of the recipe.
        made: the models above it.
        folder: the recipe's own.
        tolerance: of the proof.

    Raises:
        UnsupportedModuleError: a pathway cannot be attached, or a scale belongs to no layer.
        RecipeError: the linter finds errors in the result.
        ParityError: the weights differ from those made again in float64.
    """
    sources = [made[merge.target], *(made[auxiliary.model] for auxiliary in merge.auxiliaries)]
    model = copy.deepcopy(sources[0].model)
    attached = _attach_all(model, merge, [source.model for source in sources[1:]], folder)
    findings = looked_over(name, model, reference={merge.target: sources[0].model})
    wide = _attached_again(attached, model, [copy.deepcopy(source.model).double() for source in sources])
    measured = measured_weights(
        name, made=plain_state(copy.deepcopy(model).double()), again=plain_state(wide), tolerance=tolerance
    )

    def again() -> nn.Module | None:
        origins = made_again(*sources)
        return None if origins is None else _attached_again(attached, model, [*map(copy.deepcopy, origins)]).eval()

    return MadeModel(
        model=model.eval(),
        digest=digest_from_model(model),
        parents=merged_parents(*sources),
        measurements=(*merged_measurements(*sources), measured),
        report={
            "method": merge.method,
            "target": merge.target,
            "auxiliaries": [
                {"model": auxiliary.model, "plan": json.loads(each.plan.to_json()), "scales": each.scales}
                for auxiliary, each in zip(merge.auxiliaries, attached, strict=True)
            ],
        },
        findings=findings,
        again=again,
    )


@dataclass(frozen=True)
class _Attached:
    """What was attached of one auxiliary: λ by the path of the weight, several where rows of it have their own."""

    plan: Plan
    scales: Mapping[str, list[float]]


def _attach_all(
    model: nn.Module, merge: CrossModalMerge, auxiliaries: Sequence[nn.Module], folder: Path
) -> list[_Attached]:
    if merge.checkpoint is not None:
        before = scales(model)
        names = [each.model for each in merge.auxiliaries]
        plans = load_light(folder / merge.checkpoint, model, auxiliaries, training=merge.training, names=names)
        return _by_plan(plans, before, scales(model))
    return [
        _attached(model, described, auxiliary, merge.training)
        for described, auxiliary in zip(merge.auxiliaries, auxiliaries, strict=True)
    ]


def _attached(
    model: nn.Module, described: AuxiliaryRecipe, auxiliary: nn.Module, training: Literal["trainable", "frozen"]
) -> _Attached:
    names, before = set(_scales_of(model)), scales(model)
    layers = list(described.layers) if isinstance(described.layers, tuple) else described.layers
    plan = plan_reparameterization(model, auxiliary, layers=layers, **described.pairing)
    attach(plan, model, auxiliary, training=training, name=described.model)
    if described.scales is not None:
        new = {name: scale for name, scale in _scales_of(model).items() if name not in names}
        _set_scales(new, described.scales, described.model)
    return _by_plan([plan], before, scales(model))[0]


def _by_plan(plans: Sequence[Plan], before: _Scales, after: _Scales) -> list[_Attached]:
    """Return the scales of each plan: those of one weight follow each other in the order of the plans."""
    begun = {path: len(before.get(path, ())) for path in after}
    found = []
    for plan in plans:
        counts = link_counts(plan)
        found.append(_Attached(plan, {p: list(after[p][begun[p] : begun[p] + n]) for p, n in counts.items()}))
        begun |= {path: begun[path] + count for path, count in counts.items()}
    return found


def _set_scales(found: Mapping[str, Tensor], wanted: float | Mapping[str, float], auxiliary: str) -> None:
    patterns = wanted if isinstance(wanted, Mapping) else {"*": wanted}
    layers = {name: _weight_path(name) for name in found}
    unmatched = [pattern for pattern in patterns if not any(_matches(layer, pattern) for layer in layers.values())]
    unset = [layer for layer in layers.values() if not any(_matches(layer, pattern) for pattern in patterns)]
    if unmatched or unset:
        reason = f"no layer matches {unmatched[0]!r}" if unmatched else f"no scale is given for {unset[0]}"
        known = ", ".join([*dict.fromkeys(layers.values())][:8])
        raise UnsupportedModuleError(f"the scales of {auxiliary}", reason, f"the layers are {known}")
    with torch.no_grad():
        for name, scale in found.items():
            scale.fill_(next(value for pattern, value in patterns.items() if _matches(layers[name], pattern)))


def _matches(layer: str, pattern: str) -> bool:
    return fnmatchcase(layer, pattern) or fnmatchcase(layer.removesuffix(".weight"), pattern)


def _scales_of(model: nn.Module) -> dict[str, Tensor]:
    """Return every scale by the name of its parameter, one that weights share once."""
    named = model.named_parameters()
    return {name: value for name, value in named if ".parametrizations." in f".{name}" and name.endswith(".scale")}


def _weight_path(name: str) -> str:
    """Return the path of the weight that a scale belongs to.

    >>> _weight_path("blocks.0.fc1.parametrizations.weight.1.scale")
    'blocks.0.fc1.weight'
    """
    module, _, link = f".{name}".partition(".parametrizations.")
    return f"{module}.{link.partition('.')[0]}".removeprefix(".")


def _attached_again(attached: Sequence[_Attached], model: nn.Module, sources: Sequence[nn.Module]) -> nn.Module:
    """Return the target with the auxiliaries attached, with the scales of the merge that was made; in place."""
    target, *auxiliaries = sources
    for each, auxiliary in zip(attached, auxiliaries, strict=True):
        attach(each.plan, target, auxiliary)
    with torch.no_grad():
        for mine, theirs in zip(_scales_of(target).values(), _scales_of(model).values(), strict=True):
            mine.copy_(theirs)
    return target
