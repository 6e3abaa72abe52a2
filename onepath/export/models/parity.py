"""The proof of a merge of weights: made again in float64 from its sources, and compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from torch import Tensor

from onepath.contract.proofs import Measurement
from onepath.export.proofs import Arrays, Batch, compare


def measured_weights(
    name: str, *, made: Mapping[str, Tensor], again: Mapping[str, Tensor], tolerance: float
) -> Measurement:
    """Return how far a merge's weights are from those made again.

    Args:
        name: the merge's name.
        made: its state dict.
        again: made again, in float64; compared as rounded to the precision that the merge is stored in.
        tolerance: relative to the largest weight, where that is above 1.

    Raises:
        ParityError: a tensor is too far away, of another shape, missing, or not finite.
    """
    rounded = {key: tensor.to(made[key].dtype) if key in made else tensor for key, tensor in again.items()}
    (measured,) = compare(
        f"the merge {name}",
        reference=lambda _: _arrays(rounded),
        candidate=lambda _: _arrays({key: made[key] for key in [*again, *made] if key in made}),
        batches=[Batch(f"float64, the weights of {name} made again from its sources", {}, {})],
        tolerance=tolerance,
        relative=True,
        computed_in="float64",
    )
    return measured


def _arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    """Return what can be compared: a tensor without elements has nothing to compare but its shape."""
    return {
        f"{key} {tuple(tensor.shape)}": (
            tensor.detach().cpu().double().numpy() if tensor.numel() else np.zeros(1)  # an empty array proves nothing
        )
        for key, tensor in tensors.items()
    }
