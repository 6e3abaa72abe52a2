"""Proof steps: two forms of one model, compared on the same inputs within a tolerance that was chosen beforehand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save
from torch import nn

from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.distances import largest
from onepath.contract.errors import ParityError
from onepath.contract.proofs import Measurement

Arrays = Mapping[str, NDArray[np.generic]]
"""Name to array, rows first."""


@dataclass(frozen=True)
class Batch:
    """Inputs of one comparison.

    Attributes:
        title: what they are, in words.
        values: modality to `(rows, …)`, as the processors make them.
        states: modality to uint8 `(rows, 1)`.
    """

    title: str
    values: Arrays
    states: Arrays

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(next(iter(self.states.values())))


def compare(
    step: str,
    *,
    reference: Callable[[Batch], Arrays],
    candidate: Callable[[Batch], Arrays],
    batches: Iterable[Batch],
    tolerance: float,
    relative: bool = False,
) -> tuple[Measurement, ...]:
    """Return one measurement a batch of how far the candidate is from the reference.

    Args:
        step: the step's name, for the error.
        reference: gives the outputs to keep, by name.
        candidate: gives the outputs to judge, under the same names.
        batches: the inputs.
        tolerance: the largest difference allowed.
        relative: divide differences by the largest absolute value of the reference's output, where that is above 1.

    Raises:
        ParityError: a difference is over the tolerance, not finite, or the outputs' names or shapes differ, or there is
            nothing to compare, which would prove nothing.
    """
    measurements: list[Measurement] = []
    for batch in batches:
        expected = reference(batch)
        error = _largest_difference(expected, candidate(batch), relative=relative)
        if not error <= tolerance:
            raise ParityError(step, error=error, tolerance=tolerance, where=batch.title + _if_not_finite(expected))
        measurements.append(
            Measurement(
                inputs=batch.title,
                error=error,
                tolerance=tolerance,
                metric="max_relative" if relative else "max_abs",
            )
        )
    if not measurements:
        raise ParityError(step, error=float("inf"), tolerance=tolerance, where="no inputs at all")
    return tuple(measurements)


def _if_not_finite(expected: Arrays) -> str:
    finite = all(np.isfinite(array).all() for array in expected.values() if np.issubdtype(array.dtype, np.number))
    return "" if finite else ", to which the model itself answers NaN or infinity"


def _largest_difference(expected: Arrays, found: Arrays, *, relative: bool) -> float:
    if not expected or list(expected) != list(found):
        return float("inf")
    worst = 0.0
    for name, reference in expected.items():
        if reference.shape != found[name].shape or reference.size == 0:
            return float("inf")
        wide = reference.astype(np.float64)
        scale = largest(reference) if relative else 1.0
        difference = np.abs(wide - found[name].astype(np.float64)) / scale
        worst = max(worst, float("inf") if np.isnan(difference).any() else float(difference.max()))
    return worst


def safetensors_from_model(model: nn.Module) -> bytes:
    """Return a model's state dict as safetensors bytes, with what the model is in the file's metadata.

    Equal models give equal bytes; models that compute differently from equal tensors do not.
    """
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(model.state_dict().items())}
    return save(state, metadata={"model": canonical_json(_description(model)).decode()})


def digest_from_model(*models: nn.Module) -> str:
    """Return the SHA-256 of models: their weights, and what they compute from them."""
    parts = [sha256_from_bytes(safetensors_from_model(model)) for model in models]
    return parts[0] if len(parts) == 1 else sha256_from_bytes("".join(parts).encode())


def _description(model: nn.Module) -> dict[str, Any]:  # JSON
    """Return what a model says of itself, and the classes and plain settings of its modules."""
    describe = getattr(model, "description", None)
    own = describe() if callable(describe) else {}
    modules = {name: f"{type(module).__name__}({module.extra_repr()})" for name, module in model.named_modules()}
    return {"description": own, "modules": modules}
