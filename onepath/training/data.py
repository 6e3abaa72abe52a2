"""Rows to train on, of which any may lack a modality: views, splits and batches."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from onepath.training.errors import TrainingError
from onepath.training.row_checks import check_positions, check_present, check_target, check_values
from onepath.training.survival import SurvivalTarget

Target = Tensor | SurvivalTarget
"""Classes int64 `(rows,)`, labels float `(rows, labels)`, or what is known of survival."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some rows.

    Attributes:
        values: modality to `(rows, …)`, in the order of the presence columns; anything where a row is absent.
        present: bool `(rows, modalities)`.
        target: what the rows should give.
    """

    values: Mapping[str, Tensor]
    present: Tensor
    target: Target

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        values = {name: tensor.to(device) for name, tensor in self.values.items()}
        return Batch(values, self.present.to(device), self.target.to(device))


class Dataset(Protocol):
    """Rows by position; they may be read from anywhere when a batch is asked for."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return the modalities in the order of the presence columns."""

    @property
    def present(self) -> Tensor:
        """Return the presence of all rows, bool `(rows, modalities)`."""

    @property
    def target(self) -> Target:
        """Return the target of all rows."""

    def batch(self, positions: Tensor) -> Batch:
        """Return the rows at these positions, int64 `(batch,)`."""


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows in memory; made and checked by `rows_from_tensors`.

    Attributes:
        values: modality to `(rows, …)`.
        present: bool `(rows, modalities)`.
        target: of all rows.
    """

    values: Mapping[str, Tensor]
    present: Tensor
    target: Target

    @property
    def modalities(self) -> tuple[str, ...]:
        """Return the modalities in the order of the presence columns."""
        return tuple(self.values)

    def batch(self, positions: Tensor) -> Batch:
        """Return the rows at these positions."""
        values = {name: tensor[positions] for name, tensor in self.values.items()}
        return Batch(values, self.present[positions], self.target[positions])


def rows_from_tensors(values: Mapping[str, Tensor], target: Target, present: Tensor | None = None) -> Rows:
    """Return rows in memory.

    Args:
        values: modality to `(rows, …)`; anything where a row is absent.
        target: classes int64 `(rows,)`, labels float `(rows, labels)`, or a `SurvivalTarget`.
        present: bool `(rows, modalities)`; all present without it.

    Raises:
        TrainingError: there is no modality, the numbers of rows differ, or a type or value is wrong.
    """
    check_target(target)
    rows = len(target)
    check_values(values, rows)
    mask = torch.ones(rows, len(values), dtype=torch.bool) if present is None else present
    check_present(mask, rows, len(values))
    return Rows(dict(values), mask, target)


@dataclass(frozen=True, eq=False)
class View:
    """Some rows and modalities of a dataset, of which some modalities may be hidden.

    Attributes:
        source: what is looked at.
        positions: int64 `(rows,)`, of the source.
        modalities: in the order of this view's presence columns.
        hidden: those that count as absent in every row.
    """

    source: Dataset
    positions: Tensor
    modalities: tuple[str, ...]
    hidden: frozenset[str] = frozenset()

    @property
    def present(self) -> Tensor:
        """Return the presence of the view's rows, bool `(rows, modalities)`."""
        return self._columns(self.source.present[self.positions])

    @property
    def target(self) -> Target:
        """Return the target of the view's rows."""
        return self.source.target[self.positions]

    def batch(self, positions: Tensor) -> Batch:
        """Return the rows at these positions of the view."""
        batch = self.source.batch(self.positions[positions])
        values = {name: batch.values[name] for name in self.modalities}
        return Batch(values, self._columns(batch.present), batch.target)

    def _columns(self, present: Tensor) -> Tensor:
        columns = [self.source.modalities.index(name) for name in self.modalities]
        shown = torch.tensor([name not in self.hidden for name in self.modalities])
        return present[:, columns] & shown.to(present.device)


def row_count(data: Dataset) -> int:
    """Return the number of rows."""
    return len(data.target)


def rows_at(data: Dataset, positions: Tensor) -> View:
    """Return a view of the rows at these positions, int64 `(rows,)`.

    Raises:
        TrainingError: the positions are of another type, or no rows.
    """
    check_positions(positions, row_count(data))
    return View(data, positions, data.modalities)


def only_modality(data: Dataset, modality: str) -> View:
    """Return the rows that have a modality, with no other modality.

    Raises:
        TrainingError: the data have no such modality.
    """
    _check_known([modality], data.modalities)
    here = data.present[:, data.modalities.index(modality)]
    return View(data, here.nonzero().squeeze(1), (modality,))


def showing(data: Dataset, pattern: Collection[str]) -> View:
    """Return all rows with only these modalities shown: the others count as absent.

    Raises:
        TrainingError: the data have no such modality.
    """
    _check_known(pattern, data.modalities)
    return View(data, torch.arange(row_count(data)), data.modalities, frozenset(data.modalities) - set(pattern))


def with_modalities(data: Dataset, modalities: Sequence[str]) -> Dataset:
    """Return all rows with only these modalities, in this order.

    Raises:
        TrainingError: the data have no such modality.
    """
    if data.modalities == tuple(modalities):
        return data
    _check_known(modalities, data.modalities)
    return View(data, torch.arange(row_count(data)), tuple(modalities))


def row_batches(rows: int, batch_size: int, generator: torch.Generator | None = None) -> tuple[Tensor, ...]:
    """Return positions in batches, every row once, in a random order if there is a generator.

    The batches differ in size by at most one row, so that the last is not much smaller than the others.

    Raises:
        TrainingError: the batches would hold no row.

    >>> row_batches(5, 2)
    (tensor([0, 1]), tensor([2, 3]), tensor([4]))
    """
    if batch_size < 1:
        raise TrainingError(f"batch_size {batch_size}", "a batch would hold no row", "give at least 1")
    order = torch.arange(rows) if generator is None else torch.randperm(rows, generator=generator)
    return torch.tensor_split(order, max(1, -(-rows // batch_size)))


def _check_known(names: Collection[str], known: Sequence[str]) -> None:
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise TrainingError(
            f"modality {', '.join(unknown)}", "the data do not have it", f"use one of {', '.join(known)}"
        )
