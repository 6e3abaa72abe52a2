from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from decoded_digits import processors_from_recipe, values_from_payloads
from torch import nn

from onepath.contract.errors import RecipeError
from onepath.export.progress import SilentProgress
from onepath.export.recipe import Recipe, recipe_from_file
from onepath.export.trained import Trained
from onepath.export.training_code import train_from_file

RECIPE = Path(__file__).parents[2] / "export" / "digits" / "recipe.yaml"
SHORT = {
    "renderings": 1,
    "image_epochs": 1,
    "pathway_epochs": 1,
    "audio_epochs": 1,
    "text_epochs": 1,
    "block_epochs": 1,
    "fuse_steps": 2,
}


def short_recipe(**settings: object) -> Recipe:
    recipe = recipe_from_file(RECIPE)
    return recipe.model_copy(update={"settings": SHORT | settings})


def trained_shortly() -> Trained:
    return train_from_file(RECIPE.parent / "train.py", short_recipe(), SilentProgress())


@pytest.fixture(scope="module")
def trained() -> Trained:
    return trained_shortly()


@pytest.fixture(scope="module")
def values(trained: Trained) -> dict[str, torch.Tensor]:
    processors = processors_from_recipe()
    return {name: values_from_payloads(p, [row[name] for row in trained.rows[:6]]) for name, p in processors.items()}


def weights_of(model: nn.Module) -> list[torch.Tensor]:
    return list(model.state_dict().values())


def test_the_test_rows_are_handed_over_with_every_modality_and_their_digits(trained: Trained) -> None:
    assert all(set(row) == {"image", "audio", "text"} for row in trained.rows)
    assert len(trained.rows) == len(trained.targets) == 599


def test_the_scales_of_the_pathway_are_trained(trained: Trained) -> None:
    scales = trained.details["pathway_scales"].values()
    assert len(scales) == 12
    assert all(scale != 0 and np.isfinite(scale) for scale in scales)


def test_a_block_reads_the_features_of_its_encoder(trained: Trained, values: dict[str, torch.Tensor]) -> None:
    for name, block in trained.blocks.items():
        encoder = trained.encoders[name]
        assert torch.equal(block.encoder(values[name]), encoder.trunk(encoder.preparation(values[name])))


def test_blocks_start_from_one_latent_and_drift_apart(trained: Trained) -> None:
    image, audio = trained.blocks["image"].latent, trained.blocks["audio"].latent
    assert 0 < (image - audio).abs().max() < 0.5 * image.abs().max()


def test_fusing_leaves_the_encoders_as_they_were(trained: Trained, values: dict[str, torch.Tensor]) -> None:
    for fused in trained.fused.values():
        for name, block in fused.blocks.items():
            assert torch.equal(block.encoder(values[name]), trained.blocks[name].encoder(values[name]))


def test_fusing_trains_copies_of_the_blocks(trained: Trained) -> None:
    for fused in trained.fused.values():
        for name, block in fused.blocks.items():
            assert not torch.equal(block.latent, trained.blocks[name].latent)


def test_equal_seeds_give_equal_weights(trained: Trained) -> None:
    again = trained_shortly()
    for part in ("encoders", "blocks", "fused"):
        for name, model in getattr(trained, part).items():
            pairs = zip(weights_of(model), weights_of(getattr(again, part)[name]), strict=True)
            assert all(torch.equal(mine, theirs) for mine, theirs in pairs)


def test_training_leaves_the_number_of_threads_as_it_was() -> None:
    torch.set_num_threads(2)
    with pytest.raises(RecipeError, match="fuse_steps"):
        train_from_file(RECIPE.parent / "train.py", short_recipe(fuse_steps=0), SilentProgress())
    assert torch.get_num_threads() == 2


def test_a_setting_that_does_not_exist_is_refused() -> None:
    with pytest.raises(RecipeError, match="epoch_count"):
        train_from_file(RECIPE.parent / "train.py", short_recipe(epoch_count=3), SilentProgress())
