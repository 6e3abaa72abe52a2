"""What a weight-space merge method is: a function whose signature says what it needs and which options it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Annotated, Any, get_type_hints

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, create_model
from torch import Tensor

WeightMergeMethod = Callable[..., Tensor]
"""A plug-in of the group `onepath.weight_merges`: it makes one tensor out of the same tensor of each model.

It is called as `method(tensors, weights, **asked)` and returns a tensor of the same shape and dtype. It may not change
its inputs.

    tensors: `Sequence[Tensor]`, one a model, all of one shape and one dtype (float32 or float64), on one device.
    weights: `Coefficients` or `Shares`, one a model.
    base: a keyword; only a method with a parameter of this name gets, and needs, the tensor of the base model.
    generators: a keyword; a method with a parameter of this name gets a `torch.Generator` on the CPU for each model,
        whose state depends on the seed, the model's name and the tensor's name alone.

Every other parameter is keyword-only and an option; its annotation is what pydantic checks the option by. An option
called `normalise` says whether the weights are divided by their sum.
"""

_RESERVED = frozenset({"tensors", "weights", "base", "generators"})


def _shares(weights: Sequence[float]) -> Sequence[float]:
    if any(weight < 0 for weight in weights):
        raise ValueError("no weight may be negative, as only their ratios count")
    return normalised(weights)


def normalised(weights: Sequence[float]) -> list[float]:
    """Return the weights divided by their sum.

    >>> normalised([1, 3])
    [0.25, 0.75]

    Raises:
        ValueError: the sum is 0, or as good as 0 beside the weights.
    """
    total = math.fsum(weights)
    if abs(total) <= 1e-9 * max((abs(weight) for weight in weights), default=0.0):
        raise ValueError("the weights add up to 0, so that they cannot be normalised")
    return [weight / total for weight in weights]


_Finite = Annotated[float, Field(allow_inf_nan=False)]
Coefficients = Annotated[Sequence[_Finite], Field(min_length=1)]
"""Factors: one finite number a model."""
Shares = Annotated[Coefficients, AfterValidator(_shares)]
"""Parts of a whole: only the ratios count; not negative, and given to the method with sum 1."""
Density = Annotated[float, Field(gt=0, le=1)]
"""The part of the differences that is kept."""
Scale = Annotated[float, Field(allow_inf_nan=False)]
"""What the merged difference is multiplied by."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def needs(method: WeightMergeMethod, name: str) -> bool:
    """Return whether a method has a parameter of this name."""
    return name in signature(method).parameters


def checked_settings(
    method: WeightMergeMethod, weights: Sequence[float], options: Mapping[str, Any]
) -> tuple[list[float], dict[str, Any]]:
    """Return the weights as they will apply, and all options with their defaults.

    Args:
        method: whose signature says what is allowed.
        weights: one a model.
        options: by name.

    Raises:
        pydantic.ValidationError: weights or options are not what the method takes.
        ValueError: the weights cannot be normalised.
    """
    settings = _settings_model(method)(**{**options, "weights": list(weights)})
    values = {name: getattr(settings, name) for name in type(settings).model_fields}
    applied = list(values.pop("weights"))
    return (normalised(applied) if values.get("normalise") else applied), values


def _settings_model(method: WeightMergeMethod) -> type[_Settings]:
    hints = get_type_hints(method, include_extras=True)
    fields: dict[str, Any] = {"weights": (hints["weights"], ...)}  # the annotation and the default of each
    for name, parameter in signature(method).parameters.items():
        if name not in _RESERVED:
            fields[name] = (hints[name], ... if parameter.default is Parameter.empty else parameter.default)
    made: type[_Settings] = create_model("Options", __base__=_Settings, **fields)
    return made
