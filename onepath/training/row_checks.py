"""What rows in memory must be: tensors of one length, and a target of one of three kinds."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from onepath.training.errors import TrainingError
from onepath.training.survival import SurvivalTarget


def check_values(values: Mapping[str, Tensor], rows: int) -> None:
    """Check that there is a modality, and that each is a tensor of so many rows.

    Raises:
        TrainingError: it is not so.
    """
    if not values:
        raise TrainingError("the rows", "they have no modality", "give at least one")
    for name, tensor in values.items():
        _check_tensor(tensor, f"the values of {name}")
    wrong = {name: _rows(tensor) for name, tensor in values.items() if _rows(tensor) != rows}
    if wrong:
        raise TrainingError("the rows", f"the target has {rows} and the values have {wrong}", "give one of each a row")


def check_target(target: Tensor | SurvivalTarget) -> None:
    """Check that a target is of classes, labels or survival.

    Raises:
        TrainingError: it is not so.
    """
    if isinstance(target, SurvivalTarget):
        _check_survival(target)
        return
    _check_tensor(target, "the target")
    if (target.dtype, target.ndim) != (torch.int64, 1) and target.ndim != 2:
        raise TrainingError(
            "the target", f"it is {_form(target)}", "give int64 (rows,), float (rows, labels) or a SurvivalTarget"
        )
    if target.ndim == 1 and bool((target < 0).any()):
        raise TrainingError("the target", "a class is negative", "number the classes from 0")


def check_present(present: Tensor, rows: int, modalities: int) -> None:
    """Check that a presence is bool `(rows, modalities)`.

    Raises:
        TrainingError: it is not so.
    """
    _check_tensor(present, "the presence")
    if present.dtype != torch.bool or present.shape != (rows, modalities):
        raise TrainingError("the presence", f"it is {_form(present)}", f"give bool ({rows}, {modalities})")


def check_positions(positions: Tensor, rows: int) -> None:
    """Check that positions are int64 `(…,)`, each of one of so many rows.

    Raises:
        TrainingError: it is not so.
    """
    advice = f"give int64 positions (rows,) of 0 to {rows - 1}; of a mask they are mask.nonzero().squeeze(1)"
    if not isinstance(positions, Tensor) or (positions.dtype, positions.ndim) != (torch.int64, 1):
        form = _form(positions) if isinstance(positions, Tensor) else f"a {type(positions).__name__}"
        raise TrainingError("the positions", f"they are {form}", advice)
    if bool(((positions < 0) | (positions >= rows)).any()):
        found = f"{int(positions.min())} to {int(positions.max())}"
        raise TrainingError("the positions", f"they are {found} of {rows} rows", advice)


def _check_survival(target: SurvivalTarget) -> None:
    for name, tensor in (("bins", target.bins), ("times", target.times), ("events", target.events)):
        _check_tensor(tensor, f"the target's {name}")
        if tensor.shape != (len(target),):
            raise TrainingError(
                f"the target's {name}", f"they are {_form(tensor)}", f"give ({len(target)},) as the bins"
            )
    if target.bins.dtype != torch.int64 or target.events.dtype != torch.bool:
        raise TrainingError(
            "the target",
            f"its bins are {target.bins.dtype} and its events {target.events.dtype}",
            "give int64 and bool",
        )
    if bool((target.bins < 0).any()) or not bool(target.times.isfinite().all()):
        raise TrainingError("the target", "a bin is negative or a time not finite", "make it with survival_target")


def _check_tensor(value: object, subject: str) -> None:
    if not isinstance(value, Tensor):
        raise TrainingError(subject, f"it is a {type(value).__name__}", "give a tensor, such as torch.from_numpy makes")


def _rows(tensor: Tensor) -> int:
    return len(tensor) if tensor.ndim else 0


def _form(tensor: Tensor) -> str:
    return f"{tensor.dtype} {tuple(tensor.shape)}"
