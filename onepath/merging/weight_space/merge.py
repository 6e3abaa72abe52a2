"""Merging the tensors of models of one form, without training."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from onepath.merging.weight_space.planning import MergePlan, Models, plan_merge
from onepath.merging.weight_space.scope import ScopeRule
from onepath.merging.weight_space.tensors import merged_tensor, relative_change

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TensorReport:
    """How one tensor came about.

    Attributes:
        name: the tensor's.
        method: `linear`, …, or `keep:<model>`.
        weights: by model, as given.
        coefficients: by model, as applied: with sum 1 where only the ratios count.
        relative_change: norm of the difference from the base (or first) model's tensor, as part of that tensor's norm;
            None where that is no finite number.
        tied_to: the tensor whose memory it shares, or None.
    """

    name: str
    method: str
    weights: Mapping[str, float]
    coefficients: Mapping[str, float]
    relative_change: float | None
    tied_to: str | None = None


@dataclass(frozen=True)
class MergedWeights:
    """A merge.

    Attributes:
        tensors: with the names, order, shapes, dtypes and tied tensors of the base (or first) model, in new memory.
        report: of each tensor, in the same order.
    """

    tensors: dict[str, Tensor]
    report: tuple[TensorReport, ...]


def merge_state_dicts(
    method: str,
    models: Models,
    *,
    weights: Mapping[str, float],
    base: str | None = None,
    options: Mapping[str, Any] | None = None,  # the method's own
    scope: Sequence[ScopeRule] = (),
    seed: int = 0,
) -> MergedWeights:
    """Return the merge of models whose tensors have the same names and shapes; the models stay as they are.

    Tensors are merged one at a time, float32 and float64 in float64 and narrower ones in float32, and cast once to the
    dtype of the base (or first) model, on whose device the result lies. Its integers and booleans are taken as they
    are. Rows of a vocabulary are not aligned: models with different vocabularies have different shapes.

    Args:
        method: a plug-in of the group `onepath.weight_merges`, or `keep:<model>`.
        models: by name, tensors by name.
        weights: by name, one for each model that is merged.
        base: name of the model that the others were fine-tuned from; methods that merge differences need it.
        options: the method's own, such as `density`.
        scope: exceptions for some tensors; the first match counts.
        seed: of methods that draw. What is drawn depends on it and on the names of tensor and model alone.

    Raises:
        RecipeError: the models do not fit together or the settings are wrong; it lists every problem.
        UnsupportedModuleError: a merged tensor does not fit the dtype, or a plug-in returned a wrong shape.
    """
    plan = plan_merge(models, ScopeRule("*", weights, options or {}, method), scope, base=base)
    with torch.no_grad():
        tensors = _merged(models, plan, seed)
        report = tuple(_report(name, tensor, models[plan.reference], plan) for name, tensor in tensors.items())
    _logger.info("merged %d tensors of %d models by %s", len(tensors), len(models), method)
    return MergedWeights(tensors, report)


def _merged(models: Models, plan: MergePlan, seed: int) -> dict[str, Tensor]:
    merged: dict[str, Tensor] = {}
    for name, treatment in plan.treatments.items():
        first = plan.tied[name]
        if first != name:
            merged[name] = merged[first]
            continue
        sources = {model: tensors[name] for model, tensors in models.items()}
        merged[name] = merged_tensor(name, treatment, sources, reference=plan.reference, base=plan.base, seed=seed)
    return merged


def _report(name: str, merged: Tensor, before: Mapping[str, Tensor], plan: MergePlan) -> TensorReport:
    treatment, first = plan.treatments[name], plan.tied[name]
    return TensorReport(
        name,
        treatment.method,
        treatment.weights,
        treatment.coefficients,
        relative_change(merged, before[name]),
        None if first == name else first,
    )
