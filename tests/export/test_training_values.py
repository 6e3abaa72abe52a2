"""Training sees what the server will see, and no payload is left out in silence."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from onepath.contract.errors import PayloadError, RecipeError
from onepath.export.training_values import values_from_payloads

RECIPE = Path(__file__).parent / "toy_recipe" / "recipe.yaml"


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((6, 6), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_payloads_are_decoded_by_the_recipes_settings() -> None:
    values = values_from_payloads(RECIPE, "picture", [png(7), png(200)])
    assert (values.shape, values.dtype) == ((2, 1, 6, 6), torch.uint8)
    assert values.flatten(1).tolist() == [[7] * 36, [200] * 36]


def test_a_payload_that_cannot_be_used_is_an_error() -> None:
    with pytest.raises(PayloadError):
        values_from_payloads(RECIPE, "picture", [png(7), b"no picture"])


def test_a_modality_that_the_recipe_has_not_is_an_error_that_names_those_it_has() -> None:
    with pytest.raises(RecipeError, match=r"modalities: there is no 'photo', .*; there is picture"):
        values_from_payloads(RECIPE, "photo", [png(7)])
