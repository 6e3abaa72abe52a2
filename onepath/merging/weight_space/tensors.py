"""Merging one tensor: gathering it from the models, calling the method, casting the result once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, Tensor

from onepath.contract.digests import sha256_from_bytes
from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.weight_space.method import needs
from onepath.merging.weight_space.scope import Treatment

_NARROW = frozenset({torch.float16, torch.bfloat16})


def merged_tensor(
    name: str, treatment: Treatment, sources: Mapping[str, Tensor], *, reference: str, base: str | None, seed: int
) -> Tensor:
    """Return one merged tensor in new memory, with the shape, dtype and device of the reference's.

    Args:
        name: the tensor's, for what is drawn and for messages.
        treatment: how it is merged.
        sources: the tensor of each model.
        reference: name of the model that the result is like.
        base: name of the base model, or None.
        seed: of methods that draw.

    Raises:
        UnsupportedModuleError: the values do not fit the dtype, or a plug-in returned a wrong shape.
    """
    like = sources[reference]
    if treatment.function is None:
        kept = sources[treatment.kept or reference].detach()
        return _cast(name, kept, like, infinite=~kept.isfinite())
    wide = _widened({model: sources[model] for model in treatment.sources(base)}, like.device)
    operands = [wide[model] for model in treatment.coefficients]
    asked: dict[str, Any] = dict(treatment.options)  # the method's own
    if treatment.uses_base and base is not None:
        asked["base"] = wide[base]
    if needs(treatment.function, "generators"):
        asked["generators"] = [drawing(seed, name, model) for model in treatment.coefficients]
    merged = treatment.function(operands, list(treatment.coefficients.values()), **asked)
    if merged.shape != like.shape:
        raise UnsupportedModuleError(
            f"merge method {treatment.method}",
            f"it made a tensor of shape {tuple(merged.shape)} for {name}, which has {tuple(like.shape)}",
            "mend the plug-in",
        )
    return _cast(name, merged, like, infinite=torch.zeros((), dtype=torch.bool, device=like.device))


def relative_change(merged: Tensor, before: Tensor) -> float | None:
    """Return the norm of what changed as part of the norm before; None where that is no finite number."""
    wide = before.detach().to(torch.float64)
    change = float((merged.to(wide) - wide).norm())
    norm = float(wide.norm())
    if not change:
        return 0.0
    return change / norm if norm and math.isfinite(change) and math.isfinite(norm) else None


def drawing(seed: int, name: str, model: str) -> Generator:
    """Return a generator on the CPU whose state depends on the seed and two names alone."""
    digest = sha256_from_bytes("\0".join((str(seed), name, model)).encode())
    return torch.Generator().manual_seed(int(digest[:15], 16))


def _widened(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    # Wider than stored: equal models merge to themselves to the last bit, and decisions (which change is larger,
    # which sign prevails) do not hang on rounding.
    narrow = all(tensor.dtype in _NARROW for tensor in tensors.values())
    dtype = torch.float32 if narrow else torch.float64
    return {model: tensor.detach().to(device, dtype) for model, tensor in tensors.items()}


def _cast(name: str, merged: Tensor, like: Tensor, *, infinite: Tensor) -> Tensor:
    """Return a tensor in the reference's dtype, in new memory; `infinite` says where it may have no finite value."""
    cast = merged.to(like.device, like.dtype, copy=True).contiguous()
    if not bool((cast.isfinite() | infinite.to(like.device)).all()):
        dtype = str(like.dtype).removeprefix("torch.")
        raise UnsupportedModuleError(
            name,
            f"its merge reaches {float(merged.abs().max()):.3g}, which {dtype} cannot hold",
            "use smaller weights, or convert the base (or first) model to bfloat16 or float32",
        )
    return cast
