"""The recipe of MM-Lego's own setting: scans that are told apart by no one twice, and bags without paper."""

import numpy as np
import pytest
import torch

from onepath.export.progress import SilentProgress
from onepath.export.recipe import recipe_from_file
from onepath.export.recipe.code import folder_on_path, module_from_file
from onepath.export.trained import Trained
from onepath.export.training_code import train_from_file
from onepath.export.training_values import values_from_payloads
from tests.endtoend.conftest import PROJECT

FOLDER = PROJECT / "export" / "lego"
RECIPE = FOLDER / "recipe.yaml"
SHORT = {"renderings": 1, "table_epochs": 8, "image_epochs": 1, "fuse_epochs": 1}


def module(name: str):
    with folder_on_path(FOLDER):
        return module_from_file(FOLDER / f"{name}.py")


@pytest.fixture(scope="module")
def trained() -> Trained:
    recipe = recipe_from_file(RECIPE).model_copy(update={"settings": SHORT})
    return train_from_file(FOLDER / "train.py", recipe, SilentProgress())


@pytest.fixture(scope="module")
def encoder() -> torch.nn.Module:
    torch.manual_seed(0)
    return module("patch_bags").PatchBags(32, hidden=12, feature_dim=6, dropout=0.1).eval()


def picture(*inked: tuple[int, int]) -> torch.Tensor:
    """A blank picture with these cells full of ink."""
    pixels = torch.zeros(1, 1, 32, 32, dtype=torch.uint8)
    for line, column in inked:
        pixels[:, :, 4 * line : 4 * line + 4, 4 * column : 4 * column + 4] = 255
    return pixels


def test_no_scan_is_in_two_parts() -> None:
    parts = module("projected_scans").split_scans([600, 160, 520], np.random.default_rng(0))
    assert [len(part.digits) for part in parts] == [600, 160, 520, 517]
    scans = np.concatenate([part.ink.reshape(-1, 64) for part in parts])
    assert len(np.unique(scans, axis=0)) == 1797


def test_a_table_is_standardised_as_the_recipe_says() -> None:
    scans = module("projected_scans")
    (everything,) = scans.split_scans([], np.random.default_rng(0))
    values = values_from_payloads(RECIPE, "table", scans.tables_of(everything, np.random.default_rng(1)))
    assert values.mean(0).abs().max() < 0.2
    assert (values.std(0) - 1).abs().max() < 0.3


def test_a_bag_has_the_patches_that_hold_ink_and_no_others(encoder) -> None:
    inked = encoder.inked(encoder.patches(picture((0, 0), (3, 5))))[0].reshape(7, 7)
    assert {tuple(place) for place in inked.nonzero().tolist()} == {(0, 0), (2, 4), (2, 5), (3, 4), (3, 5)}


def test_a_patch_is_the_square_of_the_picture_at_its_place(encoder) -> None:
    pixels = torch.arange(32 * 32).remainder(251).to(torch.uint8).reshape(1, 1, 32, 32)
    square = pixels[0, 0, 8:16, 20:28].float() / 255
    patch = encoder.patches(pixels)[0].reshape(7, 7, -1)[2, 5]  # cell by cell, not line by line
    torch.testing.assert_close(patch.sort().values, square.flatten().sort().values, rtol=0, atol=1e-6)


def test_a_blank_picture_has_finite_features_and_a_digit_in_another_place_others(encoder) -> None:
    assert encoder(picture()).isfinite().all()
    assert (encoder(picture((1, 1))) - encoder(picture((4, 4)))).abs().max() > 1e-4


def test_rows_have_both_modalities_and_short_training_learns(trained: Trained) -> None:
    assert all(set(row) == {"table", "image"} for row in trained.rows)
    assert len(trained.rows) == len(trained.targets) == 600
    assert trained.details["test_accuracy"]["table"] > 0.5


def test_fusing_leaves_the_blocks_as_they_were(trained: Trained) -> None:
    fused = trained.fused["stack"].blocks
    assert all(not torch.equal(fused[name].latent, block.latent) for name, block in trained.blocks.items())
