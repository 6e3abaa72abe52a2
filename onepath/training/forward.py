"""One way to run single-modality and multimodal models on rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

from onepath.merging.multimodal import MultimodalModel
from onepath.training.data import Batch, Dataset, row_batches, row_count
from onepath.training.errors import TrainingError


def is_multimodal(model: nn.Module) -> bool:
    """Return whether a model is a `MultimodalModel`: one that fuses what encoders of several modalities give."""
    return all(hasattr(model, name) for name in ("modalities", "encoders", "absent", "fuse"))


def check_rows(model: nn.Module, data: Dataset) -> None:
    """Check that a model can be run on rows.

    Raises:
        TrainingError: there are no rows, a single-modality model gets several modalities or rows that lack its own,
            or a multimodal one gets rows without a column for one of its modalities.
    """
    if not row_count(data):
        raise TrainingError("the data", "they have no rows", "give at least one")
    if is_multimodal(model):
        _check_columns(cast(MultimodalModel, model).modalities, data.modalities)
    elif len(data.modalities) != 1 or not bool(data.present.all()):
        raise TrainingError(
            f"a {type(model).__name__} on {', '.join(data.modalities)}",
            "a model of one modality needs rows of one modality that all have it",
            "take them with onepath.training.only_modality",
        )


def logits(model: nn.Module, batch: Batch) -> Tensor:
    """Return the task's own output, `(rows, width)`.

    Args:
        model: of one modality, `values -> (rows, width)`, or a `MultimodalModel`.
        batch: rows that `check_rows` accepts.

    Raises:
        TrainingError: the model gives something else.
    """
    output = _output(model, batch)
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(batch.present):
        form = tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise TrainingError(
            f"a {type(model).__name__}", f"it gives {form} for {len(batch.present)} rows", "make it give (rows, width)"
        )
    return output


def _output(model: nn.Module, batch: Batch) -> object:
    if not is_multimodal(model):
        return model(next(iter(batch.values.values())))
    merged = cast(MultimodalModel, model)
    names = list(batch.values)
    present = batch.present[:, [names.index(modality) for modality in merged.modalities]]
    outputs = merged.fuse(encoded_rows(merged, batch.values, present), present)
    return next(iter(outputs.values()))


def encoded_rows(model: MultimodalModel, values: Mapping[str, Tensor], present: Tensor) -> dict[str, Tensor]:
    """Return the features of each modality, `(rows, …)`, with every encoder run on the rows that have its modality.

    The result equals encoding every row, at the cost of the present ones. What an absent row holds, NaN included,
    reaches neither the loss nor a gradient, nor the statistics of a batch normalisation.

    Args:
        model: the merged model.
        values: modality to `(rows, …)`; anything where a row is absent.
        present: bool `(rows, modalities)`.
    """
    features = {}
    for column, modality in enumerate(model.modalities):
        here = present[:, column].nonzero().squeeze(1)
        absent = model.absent(modality)
        table = absent.expand(len(present), *absent.shape)
        if len(here):
            encoded = model.encoders[modality](values[modality][here])
            table = table.to(encoded.dtype).index_copy(0, here, encoded)
        features[modality] = table
    return features


@torch.no_grad()
def predictions(model: nn.Module, data: Dataset, *, batch_size: int = 256) -> Tensor:
    """Return the model's outputs for all rows, in their order, `(rows, width)` on the CPU; the model is in eval mode.

    Args:
        model: as `logits` takes it; afterwards all its parts are in the mode in which they were.
        data: the rows.
        batch_size: the most rows of one run.

    Raises:
        TrainingError: the model and the rows do not fit; see `check_rows` and `logits`.
    """
    check_rows(model, data)
    batches, device = row_batches(row_count(data), batch_size), device_of(model)
    with _in_eval_mode(model):
        return torch.cat([logits(model, data.batch(part).to(device)).cpu() for part in batches])


@contextmanager
def _in_eval_mode(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        model.train(modes[model])
        for module, training in modes.items():
            module.training = training  # a part may be in another mode than the whole, such as a frozen backbone


def device_of(model: nn.Module) -> torch.device:
    """Return the device of a model's first parameter, or the CPU."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


def _check_columns(needed: tuple[str, ...], known: tuple[str, ...]) -> None:
    missing = [name for name in needed if name not in known]
    if missing:
        raise TrainingError(
            "the data", f"the model's {', '.join(missing)} have no column", "give one, absent in every row if need be"
        )
