"""The rules by which a merged tensor is held against its parents: each returns what is wrong, or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Parents = Mapping[str, Tensor]
Rule = Callable[[str, Tensor, Parents], "str | None"]

SMALLEST_RATIO, LARGEST_RATIO = 0.5, 2.0
"""Norms outside this range of the parents' have drifted."""
SHRUNK = 0.9
"""Matrices below this part of their smallest parent's norm: the mean of two equally long ones 52 degrees apart."""
UNIT = 1e-3
"""How near to 1 the norm of a renormalised tensor is."""
GAIN_DISTANCE = 0.5
"""How far outside its parents' range a gain may lie, as part of its size."""


def not_finite(name: str, tensor: Tensor, parents: Parents) -> str | None:
    """NaN; or infinite values, unless a parent has the same ones, as masks do."""
    if not tensor.is_floating_point():
        return None
    nan, infinite = tensor.isnan(), tensor.isinf()
    own = any(bool((parent == tensor)[infinite].all()) for parent in parents.values())
    wrong = int(nan.sum()) + (0 if own else int(infinite.sum()))
    if not wrong:
        return None
    return f"{wrong} of {tensor.numel()} values are NaN or infinite; look at the parents, and merge in a wider dtype"


def negative_variance(name: str, tensor: Tensor, parents: Parents) -> str | None:
    """A variance below 0, as extrapolation may make it."""
    if not name.endswith("running_var") or not bool((tensor < 0).any()):
        return None
    return f"a variance is {float(tensor.min()):.3g}; take the statistics from one model, or measure them anew"


def all_zeros(name: str, tensor: Tensor, parents: Parents) -> str | None:
    """Zeros only, where the parents have other values; without parents, in a matrix."""
    expected = any(not bool(parent.any()) for parent in parents.values()) or (not parents and tensor.ndim < 2)
    if expected or not tensor.is_floating_point() or bool(tensor.any()):
        return None
    return "all values are 0; look at the weights and the density of the merge"


def wrong_norm(name: str, tensor: Tensor, parents: Parents) -> str | None:
    """A norm that was lost on the way: it is 1, has drifted, or shrank."""
    found = (rule(tensor, parents) for rule in (_unit_norm, _drifted, _shrunk))
    return next((message for message in found if message is not None), None)


def far_gain(name: str, tensor: Tensor, parents: Parents) -> str | None:
    """A gain of a norm (a vector called weight) far outside the range of its parents'."""
    if tensor.ndim != 1 or not name.endswith("weight") or not parents or not tensor.is_floating_point():
        return None
    gains = torch.stack([parent.to(torch.float64) for parent in parents.values()])
    low, high, merged = gains.amin(0), gains.amax(0), tensor.to(torch.float64)
    outside = torch.maximum(low - merged, merged - high)
    size = gains.abs().amax(0).clamp(min=float(gains.abs().mean()))
    worst = int((outside / size.clamp(min=torch.finfo(size.dtype).tiny)).argmax())
    if float(outside[worst]) <= GAIN_DISTANCE * float(size[worst]):
        return None
    return (
        f"gain {worst} is {float(merged[worst]):.3g} and the parents' {float(low[worst]):.3g} to "
        f"{float(high[worst]):.3g}; take the norms from one model, or use smaller weights"
    )


def narrower(name: str, tensor: Tensor, parents: Parents) -> str | None:
    """A dtype that cannot hold all values of a parent's."""
    if not tensor.is_floating_point():
        return None
    wider = {
        model: parent.dtype
        for model, parent in parents.items()
        if torch.promote_types(parent.dtype, tensor.dtype) != tensor.dtype
    }
    if not wider:
        return None
    listed = ", ".join(f"{_short(dtype)} in {model}" for model, dtype in wider.items())
    return f"its dtype is {_short(tensor.dtype)} and was {listed}; the result has the dtypes of the base or first model"


def differing_integers(name: str, tensor: Tensor, parents: Parents) -> str | None:
    """Integers that cannot be merged and that the parents do not agree on; single counters do not matter."""
    if tensor.is_floating_point() or tensor.numel() < 2:
        return None
    if all(bool((parent == tensor).all()) for parent in parents.values()):
        return None
    return "its integers differ between the parents and one parent's were taken; dequantise packed weights first"


ERRORS: tuple[Rule, ...] = (not_finite, negative_variance)
WARNINGS: tuple[Rule, ...] = (all_zeros, wrong_norm, far_gain, narrower, differing_integers)


def _drifted(tensor: Tensor, parents: Parents) -> str | None:
    """A norm below half of the smallest parent's, or above twice the largest's."""
    low, norm, high = _norms(tensor, parents)
    if not norm or SMALLEST_RATIO * low <= norm <= LARGEST_RATIO * high:
        return None
    return (
        f"its norm is {norm:.3g} and the parents' {low:.3g} to {high:.3g}; let the weights add up to 1, or merge "
        "models that were fine-tuned from one base"
    )


def _shrunk(tensor: Tensor, parents: Parents) -> str | None:
    """A matrix that is shorter than each of its parents, as the mean of unaligned ones is."""
    low, norm, _ = _norms(tensor, parents)
    if tensor.ndim < 2 or len(parents) < 2 or not SMALLEST_RATIO * low <= norm < SHRUNK * low:
        return None
    return (
        f"its norm is {norm / low:.2f} of its smallest parent's; the mean of {len(parents)} unrelated ones has "
        f"{len(parents) ** -0.5:.2f}. Merge models that were fine-tuned from one base, align them first, or use slerp"
    )


def _unit_norm(tensor: Tensor, parents: Parents) -> str | None:
    """A matrix that was normalised on the way: its norm is 1, and no parent's is near."""
    low, norm, high = _norms(tensor, parents)
    if tensor.ndim < 2 or not parents or abs(norm - 1) > UNIT or SHRUNK * low <= 1 <= high / SHRUNK:
        return None
    return f"its norm is 1 and the parents' {low:.3g} to {high:.3g}: the merge normalised it; restore the norm"


def _norms(tensor: Tensor, parents: Parents) -> tuple[float, float, float]:
    """Return the smallest parent's norm, the tensor's, and the largest parent's; of integers, and alone, its own."""
    norm = _norm(tensor)
    if not tensor.is_floating_point() or not parents:
        return norm, norm, norm
    norms = [_norm(parent) for parent in parents.values()]
    return min(norms), norm, max(norms)


def _norm(tensor: Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.to(torch.float64)))


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
