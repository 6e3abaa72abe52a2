"""The corpus as tensors, decoded by the processors that serve: training sees exactly what the server sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from paired_rows import Payloads, Rows
from torch import Tensor

from onepath.contract.errors import RecipeError
from onepath.contract.modality import Processor
from onepath.contract.presence import PRESENT
from onepath.export.recipe import recipe_from_file
from onepath.modalities import decode_rows, processor_from_settings

RECIPE = Path(__file__).with_name("recipe.yaml")


@dataclass(frozen=True)
class Examples:
    """What one training loop sees.

    Attributes:
        values: `(examples, …)`, as a processor or a part of an encoder made them.
        digits: int64 `(examples,)`.
    """

    values: Tensor
    digits: Tensor


def processors_from_recipe() -> dict[str, Processor]:
    """Return the processor of each modality of the recipe beside this file."""
    return {
        name: processor_from_settings(name, entry.kind, entry.settings, entry.limits, RECIPE.parent / "assets" / name)
        for name, entry in recipe_from_file(RECIPE).modalities.items()
    }


def values_from_payloads(processor: Processor, payloads: Sequence[bytes]) -> Tensor:
    """Return payloads decoded, `(payloads, …)`.

    Raises:
        RecipeError: the recipe's settings refuse a payload of the corpus.
    """
    decoded = decode_rows(processor, payloads, absent="required", on_bad_payload="fail")
    refused = np.flatnonzero(decoded.states != PRESENT)
    if len(refused):
        raise RecipeError(str(RECIPE), [("modalities", f"the corpus does not decode: {decoded.statuses[refused[0]]}")])
    return torch.from_numpy(decoded.values)


def examples_from_payloads(processor: Processor, payloads: Payloads) -> Examples:
    """Return one modality's payloads decoded."""
    return Examples(values_from_payloads(processor, payloads.encoded), torch.from_numpy(payloads.digits))


def values_from_rows(processors: Mapping[str, Processor], rows: Rows) -> dict[str, Tensor]:
    """Return modality to the decoded values of rows."""
    return {
        name: values_from_payloads(processor, [row[name] for row in rows.payloads])
        for name, processor in processors.items()
    }
