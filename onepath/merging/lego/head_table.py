"""Task heads as tensors, one above the other."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class HeadTable(NamedTuple):
    """Heads of one shape.

    Attributes:
        gain: of the norm, `(heads, width)`.
        shift: of the norm, `(heads, width)`.
        weight: `(heads, classes, width)`.
        bias: `(heads, classes)`.
    """

    gain: Tensor
    shift: Tensor
    weight: Tensor
    bias: Tensor
