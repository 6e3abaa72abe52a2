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
from onepath.contract.distances import distance_of_outputs
from onepath.contract.drawn_rows import DrawnRows
from onepath.contract.errors import ParityError, UnsupportedModuleError
from onepath.contract.proofs import ComputedIn, Measurement, Metric

Arrays = Mapping[str, NDArray[np.generic]]
"""Name to array, rows first."""


@dataclass(frozen=True)
class Batch:
    """Inputs of one comparison.

    Attributes:
        title: what they are, in words.
        values: modality to `(rows, …)`, as the processors make them.
        states: modality to uint8 `(rows, 1)`.
        drawn: how random values are drawn again, where they are some.
    """

    title: str
    values: Arrays
    states: Arrays
    drawn: DrawnRows | None = None

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(next(iter(self.states.values())))


@dataclass(frozen=True)
class Seen:
    """What one comparison compared.

    Attributes:
        batch: the inputs.
        expected: the reference's outputs.
        found: the outputs that were judged.
    """

    batch: Batch
    expected: Arrays
    found: Arrays


def compare(
    step: str,
    *,
    reference: Callable[[Batch], Arrays],
    candidate: Callable[[Batch], Arrays],
    batches: Iterable[Batch],
    tolerance: float,
    relative: bool = False,
    computed_in: ComputedIn = "float32",
    seen: list[Seen] | None = None,
) -> tuple[Measurement, ...]:
    """Return one measurement a batch of how far the candidate is from the reference.

    Args:
        step: the step's name, for the error.
        reference: gives the outputs to keep, by name.
        candidate: gives the outputs to judge, under the same names.
        batches: the inputs.
        tolerance: the largest difference allowed.
        relative: divide differences by the largest absolute value of the reference's output, where that is above 1.
        computed_in: what both sides answer in, or the less precise of the two.
        seen: is given what was compared, where it is to be kept.

    Raises:
        ParityError: a difference is over the tolerance, not finite, or the outputs' names or shapes differ, or there is
            nothing to compare, which would prove nothing.
        UnsupportedModuleError: an answer is in less than float64, where both sides are to be in it.
    """
    metric: Metric = "max_relative" if relative else "max_abs"
    measurements: list[Measurement] = []
    for batch in batches:
        expected, found = reference(batch), candidate(batch)
        if computed_in == "float64":
            _check_float64(step, [*expected.values(), *found.values()])
        error = distance_of_outputs(expected, found, metric)
        if not error <= tolerance:
            raise ParityError(step, error=error, tolerance=tolerance, where=batch.title + _if_not_finite(expected))
        measurements.append(
            Measurement(inputs=batch.title, error=error, tolerance=tolerance, metric=metric, computed_in=computed_in)
        )
        if seen is not None:
            seen.append(Seen(batch, expected, found))
    if not measurements:
        raise ParityError(step, error=float("inf"), tolerance=tolerance, where="no inputs at all")
    return tuple(measurements)


def _check_float64(step: str, answers: Iterable[NDArray[np.generic]]) -> None:
    """Raise where a model in float64 answers in less: what rounds both sides alike would hide what lies between."""
    for array in answers:
        if np.issubdtype(array.dtype, np.floating) and array.dtype != np.float64:
            reason = f"it answers in {array.dtype} though all its weights are in float64, which {step} is proved in"
            advice = "give the answer the type of the weights, instead of a cast to a fixed one"
            raise UnsupportedModuleError("the model", reason, advice)


def _if_not_finite(expected: Arrays) -> str:
    finite = all(np.isfinite(array).all() for array in expected.values() if np.issubdtype(array.dtype, np.number))
    return "" if finite else ", to which the model itself answers NaN or infinity"


def safetensors_from_model(model: nn.Module) -> bytes:
    """Return a model's state dict as safetensors bytes, with what the model is in the file's metadata.

    Equal models give equal bytes; models that compute differently from equal tensors do not. The format sorts tensors,
    so that the metadata has the state dict's own order too: see `onepath.export.weights`.
    """
    state = model.state_dict()
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in sorted(state.items())}
    # One entry: the library writes several in an order that changes from run to run.
    return save(tensors, metadata={"model": canonical_json(_description(model) | {"order": [*state]}).decode()})


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
