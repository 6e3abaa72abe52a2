"""Merging task heads by optimal transport: their features are paired first, then averaged.

A head is a norm's gain and shift, a column of weights for each feature, and a bias for each class. What may be paired
are features: the gain, the shift and the column of a feature move together. Classes never do; the published code pairs
them, and each of the four tensors by a pairing of its own.

Where the features of blocks that were trained apart mean the same in another order, paired heads are nearer to each
other. `LegoMerge` and `LegoFuse` add up latents feature by feature, in their own order, however: the merged head then
reads the features in the order of the first block that is present. That is right if that block's order is the one that
counts, and it is the reason why this method is never the default.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from onepath.contract.errors import MissingExtraError, UnsupportedModuleError
from onepath.merging.lego.head_table import HeadTable

SMALLEST_GAIN = 1e-12
"""A pairing that is cheaper than none by a smaller share of the cost is rounding: features then stay in place."""
_MOST_STEPS = 10_000_000


def transport(heads: HeadTable, weights: Tensor) -> HeadTable:
    """Return weighted means of heads, whose features are paired with those of the first head that has a weight.

    A head that is alone comes back as it is. The pairing itself has no gradient; given it, the result is linear in
    every head.

    Args:
        heads: `gain (heads, width)`, and so on.
        weights: `(results, heads)`, not negative, each row with sum 1 (or 0: the result is zeros).

    Raises:
        UnsupportedModuleError: the heads are not finite, or a graph is being exported: the pairing depends on values.
        MissingExtraError: POT is not installed.
    """
    _refuse_export()
    pivots = (weights > 0).to(torch.int64).argmax(1, keepdim=True)
    used = sorted(set(pivots.flatten().tolist())) or [0]
    parts = [_averaged(aligned_heads(heads, pivot), weights * (pivots == pivot)) for pivot in used]
    # Each result has one pivot; the others' weights are zeros there, so the sum has one term.
    return heads._replace(**{name: sum(getattr(part, name) for part in parts) for name in heads._fields})


def aligned_heads(heads: HeadTable, pivot: int) -> HeadTable:
    """Return heads with the features of each one after the pivot in the order of the pivot's.

    Args:
        heads: `gain (heads, width)`, and so on.
        pivot: index of the head whose order is kept; heads before it stay as they are.

    Raises:
        UnsupportedModuleError: the heads are not finite.
        MissingExtraError: POT is not installed.
    """
    features = torch.cat([heads.gain.unsqueeze(1), heads.shift.unsqueeze(1), heads.weight], dim=1).transpose(1, 2)
    rows = features.detach().double().cpu().numpy()
    kept = np.arange(rows.shape[1])
    partners = [kept if index <= pivot else paired(rows[pivot], row).argmax(1) for index, row in enumerate(rows)]
    order = torch.from_numpy(np.stack(partners)).to(heads.gain.device)
    return heads._replace(
        gain=heads.gain.gather(1, order),
        shift=heads.shift.gather(1, order),
        weight=heads.weight.gather(2, order.unsqueeze(1).expand_as(heads.weight)),
    )


def paired(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the optimal transport between rows, a permutation matrix: entry (i, j) is 1 where i is paired with j.

    The cost is the sum of Euclidean distances between partners. Rows stay in place unless moving them is cheaper.

    Args:
        first: `(rows, size)`.
        second: `(rows, size)`.

    Raises:
        UnsupportedModuleError: a row is not finite.
        MissingExtraError: POT is not installed.
    """
    cost = np.linalg.norm(first[:, None] - second[None], axis=-1)
    if not np.isfinite(cost).all():
        raise UnsupportedModuleError("head method 'transport'", "a head is not finite", "look at the blocks' training")
    plan = _plan(cost)
    return np.eye(len(cost)) if np.trace(cost) <= (plan * cost).sum() * (1 + SMALLEST_GAIN) else plan


def published_transport(heads: HeadTable, weights: Tensor, *, plans: HeadTable | None = None) -> HeadTable:
    """Return the mean of the first two heads as published, for comparisons only: each tensor by a plan of its own.

    Rows of the weight are classes, so that the published form mixes classes up; vectors are taken as columns.

    Args:
        heads: `gain (heads, width)`, and so on.
        weights: `(results, heads)`; the second head's share is the published α.
        plans: `gain (width, width)`, `shift`, `weight (classes, classes)` and `bias`: entry (i, j) is 1 where row i of
            the first head is paired with row j of the second; solved for without it. For vectors many are optimal.

    Raises:
        UnsupportedModuleError: the heads are not finite, or a graph is being exported.
        MissingExtraError: POT is not installed.
    """
    _refuse_export()
    last = min(1, weights.shape[1] - 1)
    share = weights[:, last] / weights[:, :2].sum(1).clamp(min=torch.finfo(weights.dtype).tiny)
    merged = {}
    for name, part in heads._asdict().items():
        first, second = (part[index].reshape(part.shape[1], -1) for index in (0, last))
        plan = _rows_paired(first, second) if plans is None else getattr(plans, name)
        moved = plan.to(second) @ second
        alpha = share.reshape(-1, 1, 1)
        merged[name] = ((1 - alpha) * first + alpha * moved).reshape(len(share), *part.shape[1:])
    return heads._replace(**merged)


def _averaged(heads: HeadTable, weights: Tensor) -> HeadTable:
    return heads._replace(**{name: torch.tensordot(weights, part, dims=1) for name, part in heads._asdict().items()})


def _rows_paired(first: Tensor, second: Tensor) -> Tensor:
    rows = (part.detach().double().cpu().numpy() for part in (first, second))
    return torch.from_numpy(paired(*rows))


def _plan(cost: NDArray[np.float64]) -> NDArray[np.float64]:
    try:
        import ot
    except ImportError as error:
        raise MissingExtraError("POT", "training", purpose="head method 'transport'") from error
    masses = np.ones(len(cost))
    plan: NDArray[np.float64] = np.round(ot.emd(masses, masses, cost, numItermax=_MOST_STEPS))
    return plan


def _refuse_export() -> None:
    if torch.compiler.is_exporting():
        raise UnsupportedModuleError(
            "head method 'transport' in a graph",
            "its pairing depends on the heads' values",
            "collapse the model first: its merged heads become constants",
        )
