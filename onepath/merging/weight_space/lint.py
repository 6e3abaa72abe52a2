"""Looking over merged weights for what tends to be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from onepath.merging.weight_space.checks import kind_problem
from onepath.merging.weight_space.lint_rules import ERRORS, WARNINGS, Rule
from onepath.merging.weight_space.tying import duplicates


@dataclass(frozen=True)
class Finding:
    """Something that is, or may be, wrong with a tensor.

    Attributes:
        level: `error` where no model can work with it; `warning` where it may be meant.
        tensor: its name.
        message: what was found, with figures, and what to do.
    """

    level: Literal["error", "warning"]
    tensor: str
    message: str


def lint_state_dict(
    tensors: Mapping[str, Tensor], reference: Mapping[str, Mapping[str, Tensor]] | None = None
) -> list[Finding]:
    """Return what is wrong with the tensors of a model; nothing where all looks healthy.

    Errors are NaN, infinite values that no parent has in that place, and negative running variances. Warnings are
    tensors of zeros only, norms outside 0.5 to 2 times those of the parents, matrices whose norm shrank as that of
    averaged strangers does or became 1, gains of norms far from the parents', tensors that were tied and differ, dtypes
    narrower than a parent's, integers that the parents do not agree on, and what cannot be looked over: tensors without
    values, sparse, complex, or of packed numbers.

    Args:
        tensors: by name.
        reference: the models that they were made of, by name; a tensor is compared with those of the same name and
            shape. Without it, only what needs no comparison is looked for.
    """
    models = {model: _readable(parent) for model, parent in (reference or {}).items()}
    readable = _readable(tensors)
    found = [finding for name in tensors for finding in _of_one(name, tensors[name], models)]
    return [*found, *_untied(readable, models)]


def _readable(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in tensors.items() if kind_problem(tensor) is None}


def _of_one(name: str, tensor: Tensor, models: Mapping[str, Mapping[str, Tensor]]) -> list[Finding]:
    problem = kind_problem(tensor)
    if problem is not None:
        return [Finding("warning", name, f"it was not looked over: {problem}")]
    tensor = tensor.detach()
    parents = {
        model: parent.to(tensor.device)
        for model, tensors in models.items()
        if (parent := tensors.get(name)) is not None and _alike(parent, tensor)
    }
    if not tensor.numel():
        return []
    errors = [Finding("error", name, text) for text in _messages(ERRORS, name, tensor, parents)]
    return errors or [Finding("warning", name, text) for text in _messages(WARNINGS, name, tensor, parents)]


def _alike(parent: Tensor, tensor: Tensor) -> bool:
    return parent.shape == tensor.shape and parent.is_floating_point() == tensor.is_floating_point()


def _messages(rules: tuple[Rule, ...], name: str, tensor: Tensor, parents: Mapping[str, Tensor]) -> Iterator[str]:
    for rule in rules:
        message = rule(name, tensor, parents)
        if message is not None:
            yield message


def _untied(tensors: Mapping[str, Tensor], models: Mapping[str, Mapping[str, Tensor]]) -> list[Finding]:
    pairs = [duplicates({name: model[name] for name in tensors if name in model}) for model in models.values()]
    common = [pair for pair in next(iter(pairs), []) if all(pair in other for other in pairs)]
    return [
        Finding(
            "warning",
            second,
            f"every parent has the same values here as in {first}, and the merge has not; a model in which they are "
            "tied keeps what it loads last. Give both one treatment",
        )
        for first, second in common
        if not torch.equal(tensors[first], tensors[second])
    ]
