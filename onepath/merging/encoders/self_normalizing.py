"""The self-normalising network: the encoder of tables, such as one of gene expressions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, cast

from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.encoders.shapes import check_dropout, check_sizes, check_values

WIDTHS: Mapping[str, tuple[int, ...]] = {"small": (256, 256, 256, 256), "big": (1024, 1024, 1024, 512)}
"""The published sizes: width of each layer's output."""


class SelfNormalizingNetwork(nn.Module):
    """Layers of a linear map, an ELU and alpha dropout, `values -> features (rows, feature_dim)`.

    After SNN (arXiv 1706.02515) as MM-Lego uses it (arXiv 2405.19950). Weights start with a standard deviation of
    1 / √inputs and biases at 0, so that a standardised row stays at about its scale through all layers. The dropout is
    the same in every layer; the published code has 0.25 in the first, whatever is asked for.

    Args:
        inputs: columns of a row.
        widths: the output's width of each layer, or the name of a published size.
        dropout: chance of a value to be dropped in training; mean and variance stay as they are.
        classes: of a linear classifier after the last layer; features are returned without it.

    Attributes:
        feature_dim: width of the features.

    Raises:
        UnsupportedModuleError: a size is unknown or below 1, or the dropout is no chance.

    >>> import torch
    >>> SelfNormalizingNetwork(20, widths=(16, 12))(torch.zeros(3, 20)).shape
    torch.Size([3, 12])
    """

    def __init__(
        self,
        inputs: int,
        *,
        widths: Literal["small", "big"] | Sequence[int] = "small",
        dropout: float = 0.25,
        classes: int | None = None,
    ) -> None:
        super().__init__()
        sizes = [inputs, *_known(widths)]
        check_sizes("the self-normalising network", inputs=inputs, width=min(sizes[1:]), classes=classes)
        check_dropout("the self-normalising network", dropout)
        self.feature_dim = sizes[-1]
        self.layers = nn.Sequential(*(_layer(*pair, dropout) for pair in pairwise(sizes)))
        self.classifier = None if classes is None else _linear(self.feature_dim, classes)

    def forward(self, values: Tensor) -> Tensor:
        """Return features `(rows, feature_dim)` or `(rows, tokens, feature_dim)`; with a classifier, `(rows, classes)`.

        A classifier's logits are averaged over the tokens.

        Args:
            values: `(rows, inputs)` or `(rows, tokens, inputs)`, of any dtype.

        Raises:
            UnsupportedModuleError: they have another shape.
        """
        first = cast(nn.Linear, cast(nn.Sequential, self.layers[0])[0])
        width = first.in_features
        check_values(values, axes=(2, 3), inputs=width, form=f"(rows, {width}) or (rows, tokens, {width})")
        features: Tensor = self.layers(values.to(first.weight.dtype))
        if self.classifier is None:
            return features
        logits: Tensor = self.classifier(features)
        return logits.mean(1) if logits.ndim == 3 else logits


def _known(widths: str | Sequence[int]) -> Sequence[int]:
    if isinstance(widths, str) and widths not in WIDTHS:
        raise UnsupportedModuleError(f"size {widths!r}", "it is not known", f"use {', '.join(WIDTHS)}, or give widths")
    known = WIDTHS[widths] if isinstance(widths, str) else tuple(widths)
    if not known:
        raise UnsupportedModuleError("a network of no layer", "there is nothing in it", "give at least one width")
    return known


def _layer(inputs: int, outputs: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(_linear(inputs, outputs), nn.ELU(), nn.AlphaDropout(dropout))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=1 / math.sqrt(inputs))
    nn.init.zeros_(linear.bias)
    return linear
