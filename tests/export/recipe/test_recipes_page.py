"""The examples of docs/recipes.md can be read, and those that name parents can be planned as they stand."""

import json
import re
from pathlib import Path

import pytest
import yaml
from safetensors.torch import save_file

from onepath.contract.errors import RecipeError
from onepath.export.planning import plan_from_file
from onepath.export.recipe import recipe_from_file
from onepath.export.recipe.code import folder_on_path, module_from_file
from onepath.export.recipe.document import ExportRecipe
from onepath.export.recipe.merges import CrossModalMerge
from tests.export.recipe.test_recipe_schema import SCHEMA, fits

PAGE = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text(encoding="utf-8")


def examples(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


RECIPES = {yaml.safe_load(text)["name"]: text for text in examples("yaml") if yaml.safe_load(text)}
(ROW,) = (json.loads(text) for text in examples("json"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files that the page speaks of."""
    folder = tmp_path_factory.mktemp("page")
    for code in examples("python"):
        (folder / code.partition("\n")[0].removeprefix("# ")).write_text(code)
    rows = [ROW | {"flower": {"sepal": i, "petal": i % 3}, "target": i % 3} for i in range(6)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [ROW, *rows]))
    with folder_on_path(folder):
        for name in ("base", "north", "south"):
            model = module_from_file(folder / "models.py").classifier({"inputs": 2, "width": 8})
            save_file(model.state_dict(), folder / f"{name}.safetensors")
    return folder


def written(folder, text):
    (folder / "recipe.yaml").write_text(text)
    return folder / "recipe.yaml"


def test_there_is_an_example_of_every_way():
    assert list(RECIPES) == ["flowers", "pathways", "blocks", "trained", "tuned"]


@pytest.mark.parametrize("name", RECIPES)
def test_an_example_can_be_read_and_fits_the_schema(folder, name):
    assert recipe_from_file(written(folder, RECIPES[name])).name == name
    assert fits(yaml.safe_load(RECIPES[name]), SCHEMA)


@pytest.mark.parametrize("name", ["flowers", "pathways", "blocks", "tuned"])
def test_an_example_can_be_planned(folder, name):
    plan = plan_from_file(written(folder, RECIPES[name]))
    assert [bundle.parameters_after is not None for bundle in plan.bundles] == [True] * len(plan.bundles)


def test_a_mistake_in_an_example_would_be_noticed(folder):
    with pytest.raises(RecipeError, match="did you mean 'north'"):
        recipe_from_file(written(folder, RECIPES["flowers"].replace("soup: 1, south", "nord: 1, south")))


def test_every_kind_of_bundle_and_of_merge_is_in_an_example():
    recipes = [yaml.safe_load(text) for text in RECIPES.values()]
    models = {bundle["model"] for recipe in recipes for bundle in recipe["bundles"].values()}
    methods = {merge["method"] for recipe in recipes for merge in recipe.get("merges", {}).values()}
    assert models == {"encoder", "merged", "fused"}
    assert methods == {"linear", "slerp", "task_arithmetic", "ties", "dare_ties", "cross_modal"}


def test_the_scales_of_the_example_that_is_trained_further_are_left_to_training(folder):
    recipe = recipe_from_file(written(folder, RECIPES["tuned"]))
    (merge,) = recipe.merges.values()
    assert isinstance(merge, CrossModalMerge)
    assert merge.auxiliaries[0].scales is None


def test_the_table_of_export_settings_has_every_field_with_its_default():
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", PAGE[PAGE.index("| `export:` |") :], re.MULTILINE)
    none = "the highest that every target reads"
    defaults = {name: field.get_default() for name, field in ExportRecipe.model_fields.items()}
    expected = {name: none if value is None else value for name, value in defaults.items()}
    found = {name: text if text == none else yaml.safe_load(text.strip("`")) for name, text in rows}
    assert {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()} == expected
