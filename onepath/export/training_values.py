"""What a recipe's processors make of payloads: training sees what the server will see."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from onepath.export.recipe_fit import modality_from_recipe
from onepath.modalities import processor_from_settings


def values_from_payloads(recipe: Path, modality: str, payloads: Sequence[bytes]) -> Tensor:
    """Return payloads decoded as a recipe says, `(payloads, …)`, in its processor's precision.

    Args:
        recipe: the file of the recipe, beside the training code that calls this.
        modality: one of its modalities.
        payloads: at least one.

    Raises:
        RecipeError: the recipe cannot be read, or has no such modality.
        PayloadError: a payload cannot be used; nothing is left out in silence.
    """
    _, entry = modality_from_recipe(recipe, modality)
    assets = recipe.parent / "assets" / modality
    processor = processor_from_settings(modality, entry.kind, entry.settings, entry.limits, assets)
    return torch.from_numpy(np.stack([processor.decode(payload) for payload in payloads]))
