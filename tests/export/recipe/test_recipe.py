from pathlib import Path

import pytest
import yaml

from onepath.contract.errors import RecipeError
from onepath.export.progress import SilentProgress
from onepath.export.recipe import recipe_from_file
from onepath.export.training_code import train_from_file

GOOD = {
    "name": "toy",
    "task": "classification",
    "labels": ["no", "yes"],
    "code": "train.py",
    "modalities": {
        "image": {"kind": "image", "settings": {"height": 4, "width": 4, "channels": 1}},
        "text": {"kind": "text", "settings": {"tokenizer": "characters", "length": 4}},
    },
    "bundles": {"toy": {"model": "merged"}, "toy-image": {"model": "encoder", "source": "image"}},
}


def write(folder: Path, *, code: str = "def train(settings, *, seed, progress): ...", **changes) -> Path:
    (folder / "train.py").write_text(code)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(GOOD | changes, sort_keys=False))
    return path


def problems(path: Path) -> dict[str, str]:
    with pytest.raises(RecipeError) as refused:
        recipe_from_file(path)
    return dict(refused.value.problems)


def test_a_recipe_is_read_in_the_order_it_is_written(tmp_path):
    recipe = recipe_from_file(write(tmp_path))
    assert list(recipe.modalities) == ["image", "text"]
    assert list(recipe.bundles) == ["toy", "toy-image"]


def test_all_problems_are_told_at_once_each_with_its_path(tmp_path):
    path = write(tmp_path, colour="red", task="guessing", export={"max_batch_size": 0})
    assert set(problems(path)) == {"colour", "task", "export.max_batch_size"}


def test_unknown_plugins_and_modalities_are_told_together_with_the_known_ones(tmp_path):
    path = write(
        tmp_path,
        modalities={"image": {"kind": "smell"}},
        bundles={"toy": {"model": "merged", "method": "median"}, "a": {"model": "encoder", "source": "text"}},
    )
    found = problems(path)
    assert set(found) == {"modalities.image.kind", "bundles.toy.method", "bundles.a.source"}
    assert "audio, image" in found["modalities.image.kind"]


@pytest.mark.parametrize("text", ["", "[]", "just words", "a: [", "\t- a"])
def test_a_file_that_is_no_recipe_is_refused(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    assert "" in problems(path)


def test_a_recipe_that_is_not_there_says_so(tmp_path):
    assert "cannot be read" in problems(tmp_path / "recipe.yaml")[""]


def test_code_that_is_not_there_is_named(tmp_path):
    path = write(tmp_path)
    path.write_text(yaml.safe_dump(GOOD | {"code": "missing.py"}))
    assert "missing.py" in problems(path)["code"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "has no function `train"),
        ("def train(settings, *, seed, progress): return 3", "returned int"),
        ("def train(settings, *, seed, progress): return 1 / 0", "raised ZeroDivisionError: division by zero"),
        ("import nothing_of_that_name", "raised ModuleNotFoundError.*nothing_of_that_name"),
        ("def train(:", "raised SyntaxError"),
        ("def train(settings, seed): ...", r"cannot be called as `train\(settings, \*, seed, progress\)`"),
        ("def train(settings, *, seed, progress, rows): ...", "missing a required (keyword-only )?argument: 'rows'"),
    ],
)
def test_training_code_that_does_not_fit_is_refused(tmp_path, code, message):
    recipe = recipe_from_file(write(tmp_path, code=code))
    with pytest.raises(RecipeError, match=message):
        train_from_file(tmp_path / "train.py", recipe, SilentProgress())


def test_every_part_that_the_bundles_need_and_training_did_not_return_is_told(tmp_path):
    code = "from onepath.export.trained import Trained\ndef train(settings, *, seed, progress): return Trained({})"
    recipe = recipe_from_file(write(tmp_path, code=code))
    with pytest.raises(RecipeError) as refused:
        train_from_file(tmp_path / "train.py", recipe, SilentProgress())
    told = str(refused.value)
    assert all(part in told for part in ("blocks['image']", "blocks['text']", "encoders['image']"))


def test_training_code_can_import_a_module_beside_it(tmp_path):
    (tmp_path / "sibling_of_the_code.py").write_text("ANSWER = 42")
    code = (
        "from sibling_of_the_code import ANSWER\n"
        "def train(settings, *, seed, progress): raise ValueError(f'{ANSWER} {seed} {settings}')"
    )
    recipe = recipe_from_file(write(tmp_path, code=code, seed=5, settings={"epochs": 1}))
    with pytest.raises(RecipeError, match=r"42 5 \{'epochs': 1\}"):
        train_from_file(tmp_path / "train.py", recipe, SilentProgress())
