"""What models must have in common before their tensors can be merged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from onepath.merging.weight_space.scope import Problems, Treatment

_MERGEABLE = frozenset({torch.float64, torch.float32, torch.float16, torch.bfloat16})
_COUNTING = frozenset({torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool})
_LISTED = 5

Tensors = Mapping[str, Tensor]


def is_mergeable(tensor: Tensor) -> bool:
    """Return whether a tensor's values can be merged: plain floating-point numbers."""
    return tensor.dtype in _MERGEABLE


def kind_problems(models: Mapping[str, object]) -> Problems:
    """Return where models are not tensors by name, or their tensors are of kinds that cannot be merged."""
    problems = []
    for model, tensors in models.items():
        if isinstance(tensors, Mapping):
            named = ((f"models.{model}.{name}", kind_problem(tensor)) for name, tensor in tensors.items())
            problems += [(place, problem) for place, problem in named if problem]
        else:
            problems.append((f"models.{model}", f"it is {_a(tensors)}, not tensors by name; give its state_dict()"))
    return problems


def hold_tensors(models: Mapping[str, object]) -> bool:
    """Return whether all models are tensors by name, of whatever kinds."""
    return all(isinstance(m, Mapping) and all(isinstance(t, Tensor) for t in m.values()) for m in models.values())


def kind_problem(tensor: object) -> str | None:
    """Return why something's numbers cannot be read and added, and what to do; None if they can."""
    if not isinstance(tensor, Tensor):
        return f"it is {_a(tensor)}, not a tensor; give the tensors themselves, by name"
    if tensor.is_meta:
        return "it has no values (meta device); load the model's weights first"
    if tensor.layout is not torch.strided:
        return f"its layout is {_short(tensor.layout)}; make it dense first"
    if tensor.is_quantized or tensor.dtype not in _MERGEABLE | _COUNTING:
        return f"its dtype is {_short(tensor.dtype)}, whose numbers cannot be added; dequantise or convert it"
    return None


def form_problems(models: Mapping[str, Tensors], reference: str) -> Problems:
    """Return where models do not have the names, shapes and kinds of numbers of the reference."""
    problems = []
    for model, tensors in models.items():
        if model != reference:
            problems += _differences(model, tensors, reference=reference, expected=models[reference])
    return problems


def value_problems(models: Mapping[str, Tensors], treatments: Mapping[str, Treatment], base: str | None) -> Problems:
    """Return where a tensor that goes into a merge has NaN or infinite values."""
    return [
        (
            f"models.{model}.{name}",
            "it has NaN or infinite values, which would spread; mend the model, or take the tensor from one model with "
            "a scope whose method is keep:<model>",
        )
        for name, treatment in treatments.items()
        if treatment.function is not None
        for model in treatment.sources(base)
        if not bool(models[model][name].isfinite().all())
    ]


def tying_problems(
    models: Mapping[str, Tensors], treatments: Mapping[str, Treatment], *, base: str | None, tied: Mapping[str, str]
) -> Problems:
    """Return where tensors that share their memory in the reference would become different.

    Args:
        models: all, of one form.
        treatments: of each tensor.
        base: name of the base.
        tied: for each tensor, the first name of its memory.
    """
    problems = []
    for name, first in tied.items():
        if treatments[name] != treatments[first]:
            problems.append((name, f"it is tied to {first}, but a scope treats the two differently; name both"))
        elif name != first:
            problems += [
                (f"models.{model}.{name}", f"it differs from {first}, to which it is tied; keep it, or untie the two")
                for model in treatments[name].sources(base)
                if not torch.equal(models[model][name], models[model][first])
            ]
    return problems


def _differences(model: str, tensors: Tensors, *, reference: str, expected: Tensors) -> Problems:
    problems = _names(f"models.{model}", "has no", [name for name in expected if name not in tensors], reference)
    problems += _names(f"models.{model}", "also has", [name for name in tensors if name not in expected], reference)
    for name, tensor in tensors.items():
        other = expected.get(name)
        if other is None:
            continue
        if tensor.shape != other.shape:
            text = f"its shape is {tuple(tensor.shape)} and that of {reference} {tuple(other.shape)}"
            problems.append((f"models.{model}.{name}", f"{text}; merge models of one form"))
        kinds = {tensor.dtype, other.dtype}
        if len(kinds) > 1 and kinds & _COUNTING and kinds <= _COUNTING | _MERGEABLE:
            text = f"its dtype is {_short(tensor.dtype)} and that of {reference} {_short(other.dtype)}"
            problems.append((f"models.{model}.{name}", f"{text}; convert one"))
    return problems


def _names(place: str, verb: str, names: Sequence[str], reference: str) -> Problems:
    if not names:
        return []
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return [(place, f"it {verb} {', '.join(names[:_LISTED])}{more}, unlike {reference}; merge models of one form")]


def _a(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def _short(kind: torch.dtype | torch.layout) -> str:
    return str(kind).removeprefix("torch.")
