"""Attention-based multiple-instance learning: the encoder of bags, such as the patches of a whole slide."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.encoders.shapes import check_dropout, check_sizes, check_values

Padding = Literal["zeros"]
Compat = Literal["published"]


class AttentionMIL(nn.Module):
    """A bag's instances, pooled by gated attention: `bags (rows, instances, inputs) -> features (rows, feature_dim)`.

    The attention is normalised over the instances of each bag, so that a row's features depend on that row alone, on
    no order of its instances, and on no padding. A bag of nothing but padding is pooled to zeros. After Ilse et al.
    (arXiv 1802.04712) as MM-Lego uses it (arXiv 2405.19950).

    Args:
        inputs: width of an instance.
        hidden: width of an embedded instance.
        attention: width of the attention's two branches.
        feature_dim: width of the features.
        dropout: chance of a value to be dropped in training, after every layer.
        classes: of a linear classifier; features are returned without it.
        padding: `zeros` takes instances that are all zeros as padding, so that bags of different size can pass through
            a model, and a server, as one tensor. Give instances that may be all zeros a column of ones. Without it
            every instance counts.
        compat: `published` normalises the attention over the rows of a batch instead, for comparisons only: features
            then depend on who shares the batch. No instance may be left out.

    Attributes:
        feature_dim: width of the features.

    Raises:
        UnsupportedModuleError: a size is below 1, the dropout is no chance, or a form is unknown.

    >>> AttentionMIL(10, feature_dim=12)(torch.zeros(3, 7, 10)).shape
    torch.Size([3, 12])
    """

    def __init__(
        self,
        inputs: int,
        *,
        hidden: int = 512,
        attention: int = 256,
        feature_dim: int = 256,
        dropout: float = 0.25,
        classes: int | None = None,
        padding: Padding | None = None,
        compat: Compat | None = None,
    ) -> None:
        super().__init__()
        widths = {"hidden": hidden, "attention": attention, "feature_dim": feature_dim}
        check_sizes("attention-MIL", inputs=inputs, classes=classes, **widths)
        check_dropout("attention-MIL", dropout)
        _check_form(padding, compat)
        self.feature_dim, self.padding, self.compat = feature_dim, padding, compat
        self.embed = nn.Linear(inputs, hidden)
        self.content = nn.Linear(hidden, attention)
        self.gate = nn.Linear(hidden, attention)
        self.score = nn.Linear(attention, 1)
        self.project = nn.Linear(hidden, feature_dim)
        self.dropout = nn.Dropout(dropout)
        self.classifier = None if classes is None else nn.Linear(feature_dim, classes)

    def forward(self, bags: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return features `(rows, feature_dim)`; with a classifier, logits `(rows, classes)`.

        Args:
            bags: `(rows, instances, inputs)`, of any dtype.
            mask: bool `(rows, instances)`, true where there is an instance; everywhere without it.

        Raises:
            UnsupportedModuleError: they have another shape, or a mask is given to the published form.
        """
        embedded, shares = self._attended(bags, mask)
        pooled = (shares.unsqueeze(1) @ embedded).squeeze(1)
        features: Tensor = self.dropout(torch.relu(self.project(pooled)))
        return features if self.classifier is None else self.classifier(features)

    def attention(self, bags: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return each instance's share of its bag, `(rows, instances)`: 0 for padding, else adding up to 1."""
        return self._attended(bags, mask)[1]

    def scores(self, embedded: Tensor) -> Tensor:
        """Return the attention's scores before any softmax, `(rows, instances)`.

        Args:
            embedded: instances as the first layer gives them, `(rows, instances, hidden)`.
        """
        content = self.dropout(torch.tanh_(self.content(embedded)))
        gate = self.dropout(torch.sigmoid_(self.gate(embedded)))
        return self.score(content * gate).squeeze(-1)  # type: ignore[no-any-return]

    def _attended(self, bags: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the embedded instances and each one's share of its bag."""
        width = self.embed.in_features
        check_values(bags, axes=(3,), inputs=width, form=f"(rows, instances, {width})")
        present = self._present(bags, mask)
        instances = bags.to(self.embed.weight.dtype)
        if mask is not None:  # what stands in padding, NaN included, must reach nothing
            instances = instances.masked_fill(~mask.unsqueeze(-1), 0)
        embedded = self.dropout(torch.relu_(self.embed(instances)))  # in place: large, and nobody else's
        return embedded, self._shares(self.scores(embedded), present)

    def _shares(self, scores: Tensor, present: Tensor | None) -> Tensor:
        if self.compat == "published":
            return functional.softmax(scores, dim=0)
        return functional.softmax(scores, dim=1) if present is None else masked_softmax(scores, present)

    def _present(self, bags: Tensor, mask: Tensor | None) -> Tensor | None:
        if mask is not None and self.compat == "published":
            raise UnsupportedModuleError("a mask", "the published form has no rule for it", "leave compat out")
        if mask is not None and (mask.dtype != torch.bool or mask.shape != bags.shape[:2]):
            raise UnsupportedModuleError(
                f"a mask {mask.dtype} {tuple(mask.shape)}", "it is not one of the bags", "give bool (rows, instances)"
            )
        if self.padding is None:
            return mask
        filled = (bags != 0).any(2)  # the ONNX exporter takes any(-1) for another axis
        return filled if mask is None else filled & mask


def masked_softmax(scores: Tensor, present: Tensor) -> Tensor:
    """Return the softmax over the present entries of each row, 0 elsewhere; zeros for a row that has none.

    Args:
        scores: `(rows, entries)`.
        present: bool `(rows, entries)`.
    """
    lowest = torch.finfo(scores.dtype).min
    filled = scores.masked_fill(~present, lowest)
    # The column of the lowest number lets the largest of no entries be found too.
    largest = torch.cat([filled, filled.new_full((filled.shape[0], 1), lowest)], dim=1).amax(1, keepdim=True)
    powers = torch.exp(filled - largest) * present.to(scores.dtype)
    # The largest entry's power is 1: only a row without entries is affected.
    return powers / powers.sum(1, keepdim=True).clamp(min=0.5)


def padded_bags(bags: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Return bags of different size as one tensor and its mask, `(rows, instances, inputs)` and `(rows, instances)`.

    Args:
        bags: each `(instances, inputs)`, none of them need have any instance.

    Raises:
        UnsupportedModuleError: there is no bag, or one has another shape.

    >>> bags, mask = padded_bags([torch.ones(1, 3), torch.ones(2, 3)])
    >>> bags.shape, mask.tolist()
    (torch.Size([2, 2, 3]), [[True, False], [True, True]])
    """
    if not bags:
        raise UnsupportedModuleError("no bags", "their width is not known", "give at least one, if empty")
    if any(bag.ndim != 2 or bag.shape[1] != bags[0].shape[-1] for bag in bags):
        shapes = ", ".join(str(tuple(bag.shape)) for bag in bags)
        raise UnsupportedModuleError(
            f"bags of shapes {shapes}", "they are not of one width", "give each (instances, inputs)"
        )
    sizes = [len(bag) for bag in bags]
    device = bags[0].device
    mask = torch.arange(max(sizes), device=device) < torch.tensor(sizes, device=device).unsqueeze(1)
    return nn.utils.rnn.pad_sequence(list(bags), batch_first=True), mask


def _check_form(padding: str | None, compat: str | None) -> None:
    if padding not in (None, "zeros"):
        raise UnsupportedModuleError(f"padding {padding!r}", "it is not known", "leave it out, or use zeros")
    if compat not in (None, "published"):
        raise UnsupportedModuleError(f"compat {compat!r}", "it is not known", "leave it out, or use published")
    if compat and padding:
        raise UnsupportedModuleError("padding", "the published form has no rule for it", "leave compat out")
