"""A recipe's settings and a model are held against each other before anything is trained."""

from pathlib import Path

import pytest
import torch
import yaml

from onepath.contract.errors import RecipeError
from onepath.export.recipe_fit import check_recipe_fits, settings_from_recipe
from onepath.merging.presets import (
    AUDIO_DATA_SETS,
    ClipConstants,
    PointConstants,
    Preset,
    audio_preset,
    image_preset,
    point_preset,
    video_preset,
)
from onepath.training.pathway import PathwaySettings

EXPORT = Path(__file__).parents[3] / "export"
DIGITS = [str(digit) for digit in range(10)]


def picture() -> Preset:
    with torch.device("meta"):
        return image_preset("micro", classes=10, side=32, patch=8, channels=1)


def recipe_of(folder: Path, **changes) -> Path:
    """Write the image pipeline's recipe with other entries of its modality."""
    raw = yaml.safe_load((EXPORT / "pathway_image" / "recipe.yaml").read_text(encoding="utf-8"))
    modality = raw["modalities"]["image"]
    modality["settings"].update(changes.pop("settings", {}))
    modality.update(changes.pop("modality", {}))
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**raw, **changes}), encoding="utf-8")
    (folder / "train.py").touch()
    return path


def problems(recipe: Path, preset: Preset, *, modality: str = "image", classes: int = 10) -> dict[str, str]:
    with pytest.raises(RecipeError) as caught:
        check_recipe_fits(recipe, modality, preset, classes=classes)
    assert str(recipe) in str(caught.value)
    return dict(caught.value.problems)


def test_a_recipe_that_gives_what_the_model_takes_is_accepted(tmp_path) -> None:
    check_recipe_fits(recipe_of(tmp_path), "image", picture(), classes=10)


def test_a_default_of_the_plug_in_need_not_be_written(tmp_path) -> None:
    with torch.device("meta"):
        preset = video_preset("micro", clip=ClipConstants(8, 4, 24), tubelet=(2, 8, 8), classes=10)
    brief = {"kind": "video", "settings": {"frames": 8, "height": 24, "width": 24}}
    check_recipe_fits(recipe_of(tmp_path, modality=brief), "image", preset, classes=10)


def test_how_an_image_is_fitted_is_the_recipes_choice(tmp_path) -> None:
    chosen = {"fit": "pad", "resample": "bilinear", "background": [0, 0, 0]}
    check_recipe_fits(recipe_of(tmp_path, settings=chosen), "image", picture(), classes=10)


def test_all_that_differs_is_named_with_its_path(tmp_path) -> None:
    recipe = recipe_of(tmp_path, settings={"height": 64, "channels": 3}, labels=DIGITS[:9])
    assert problems(recipe, picture()) == {
        "modalities.image.settings.height": "is 64, and the model takes 36",
        "modalities.image.settings.channels": "is 3, and the model takes 1",
        "labels": "there are 9, and the model gives 10 scores",
    }


def test_a_setting_within_another_is_named(tmp_path) -> None:
    with torch.device("meta"):
        preset = point_preset("micro", data=PointConstants(6, 64, 8))
    grouped = {"points": 64, "groups": {"count": 6, "neighbours": 9}}
    recipe = recipe_of(tmp_path, modality={"kind": "point_cloud", "settings": grouped})
    assert problems(recipe, preset) == {
        "modalities.image.settings.groups.neighbours": "is 9, and the model takes 8",
    }
    ungrouped = recipe_of(tmp_path, modality={"kind": "point_cloud", "settings": {"points": 64}})
    assert list(problems(ungrouped, preset)) == ["modalities.image.settings.groups"]


def test_another_kind_is_named_alone(tmp_path) -> None:
    with torch.device("meta"):
        preset = audio_preset("micro", data=AUDIO_DATA_SETS["speech-commands"])
    assert problems(recipe_of(tmp_path), preset) == {
        "modalities.image.kind": "is 'image', and the model takes 'audio'",
    }


def test_a_modality_that_the_recipe_has_not_is_named_beside_those_it_has(tmp_path) -> None:
    assert problems(recipe_of(tmp_path), picture(), modality="scan") == {
        "modalities": "there is no 'scan', which the training code asks for; there is image",
    }


def test_settings_of_the_training_are_checked_all_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        settings_from_recipe(PathwaySettings, {"epochs": 0, "batch_size": "many", "epoch": 3}, source="a recipe")
    problems = dict(caught.value.problems)
    unknown = problems.pop("settings.epoch")
    assert problems == {
        "settings.epochs": "should be greater than or equal to 1",
        "settings.batch_size": "should be a valid integer, unable to parse string as an integer",
    }
    assert unknown.startswith("is no setting of this training")
    assert "'epochs'" in unknown.partition(";")[0]
    assert unknown.endswith(", ".join(PathwaySettings.model_fields))


def test_settings_that_are_right_are_taken() -> None:
    assert settings_from_recipe(PathwaySettings, {"epochs": 2}, source="a recipe").epochs == 2


@pytest.mark.parametrize("name", ["pathway_image", "pathway_audio", "pathway_video", "pathway_points"])
def test_the_recipes_own_settings_are_those_of_the_training(name) -> None:
    raw = yaml.safe_load((EXPORT / name / "recipe.yaml").read_text(encoding="utf-8"))
    assert settings_from_recipe(PathwaySettings, raw["settings"], source=name).batch_size == 32
