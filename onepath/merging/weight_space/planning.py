"""What will happen to each tensor of a merge, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from onepath.contract.errors import RecipeError
from onepath.merging.weight_space.checks import (
    form_problems,
    hold_tensors,
    is_mergeable,
    kind_problems,
    tying_problems,
    value_problems,
)
from onepath.merging.weight_space.scope import (
    Problems,
    ScopeRule,
    Treatment,
    assigned,
    keep,
    treatments_of,
    unknown_model,
)
from onepath.merging.weight_space.tying import leaders

Models = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class MergePlan:
    """What will happen.

    Attributes:
        reference: the model whose names, order, shapes, dtypes and tied tensors the result has.
        base: the model that differences are taken from, or None.
        treatments: of each tensor.
        tied: for each tensor, the first name of its memory.
    """

    reference: str
    base: str | None
    treatments: Mapping[str, Treatment]
    tied: Mapping[str, str]


def plan_merge(models: Models, default: ScopeRule, scope: Sequence[ScopeRule], *, base: str | None) -> MergePlan:
    """Return what will happen to each tensor.

    Args:
        models: by name, tensors by name.
        default: the merge's method, weights and options.
        scope: exceptions.
        base: name of the model that differences are taken from.

    Raises:
        RecipeError: the models do not fit together or the settings are wrong; it lists every problem.
    """
    if not models:
        raise _refused([("models", "there are none; give at least one")])
    unreadable = kind_problems(models)
    if not hold_tensors(models):
        raise _refused(unreadable)
    reference = base if base is not None and base in models else next(iter(models))
    numbers = assigned(models[reference], scope)
    known, problems = treatments_of(default, scope, list(models))
    problems += _unused(models, known, base) if not problems else []
    problems += _base_problems(models, known, base) + _unreached(scope, set(numbers.values()))
    problems += unreadable + form_problems(models, reference)
    if problems:
        raise _refused(problems)
    treatments = {name: _suited(known[i], models[reference][name], reference) for name, i in numbers.items()}
    tied = leaders(models[reference])
    problems = value_problems(models, treatments, base) + tying_problems(models, treatments, base=base, tied=tied)
    if problems:
        raise _refused(problems)
    return MergePlan(reference, base, treatments, tied)


def _suited(treatment: Treatment, tensor: Tensor, reference: str) -> Treatment:
    """Return the treatment of a tensor: integers and booleans are taken from one model, as they cannot be averaged."""
    return treatment if is_mergeable(tensor) or treatment.kept is not None else keep(reference)


def _unreached(scope: Sequence[ScopeRule], reached: set[int]) -> Problems:
    return [
        (f"scope.{i}.pattern", f"no tensor is left for {rule.pattern!r}: it matches none, or rules above have them all")
        for i, rule in enumerate(scope)
        if i + 1 not in reached
    ]


def _base_problems(models: Models, treatments: Sequence[Treatment], base: str | None) -> Problems:
    if base is not None:
        return [] if base in models else [("base", unknown_model(base, list(models)))]
    methods = sorted({treatment.method for treatment in treatments if treatment.uses_base})
    text = "merges differences: name the model that the others were fine-tuned from"
    return [("base", f"{method} {text}") for method in methods]


def _unused(models: Models, treatments: Sequence[Treatment], base: str | None) -> Problems:
    used = {name for treatment in treatments for name in treatment.sources(base)} | {base}
    return [(f"models.{name}", "it has no weight; give it one, or leave it out") for name in models if name not in used]


def _refused(problems: Problems) -> RecipeError:
    return RecipeError("the merge of weights", problems)
