"""What is wrong with a recipe is told in its own words, all at once, with the nearest name that is known."""

import pytest
import yaml

from onepath.contract.errors import RecipeError
from onepath.export.recipe import recipe_from_file
from tests.export.soup import FOLDER, write_soup

SOUP = yaml.safe_load((FOLDER / "recipe.yaml").read_text())


def problems(path):
    with pytest.raises(RecipeError) as refused:
        recipe_from_file(path)
    return dict(refused.value.problems)


def changed(section, name, **changes):
    return {section: SOUP[section] | {name: SOUP[section][name] | changes}}


def auxiliary(**changes):
    (given,) = SOUP["merges"]["extended"]["auxiliaries"]
    return changed("merges", "extended", auxiliaries=[given | changes])


@pytest.mark.parametrize(
    ("changes", "path", "meant", "known"),
    [
        ({"bundels": {}}, "bundels", "bundles", "name, description"),
        (changed("modalities", "flower", limts={}), "modalities.flower.limts", "limits", "kind, settings"),
        (changed("parents", "left", biuld="x"), "parents.left.biuld", "build", "build, settings, weights"),
        (changed("merges", "agreed", scopes=[]), "merges.agreed.scopes", "scope", "method, models, base"),
        (changed("merges", "extended", model={}), "merges.extended.model", None, "method, target, auxiliaries"),
        (auxiliary(dept="same"), "merges.extended.auxiliaries.0.dept", "depth", "model, layers"),
        (changed("bundles", "soup-mean", sorce="x"), "bundles.soup-mean.sorce", "source", "model, source, modality"),
        ({"export": {"opsets": 20}}, "export.opsets", "opset", "max_batch_size, targets, opset"),
    ],
)
def test_an_unknown_field_is_told_with_the_nearest_and_the_known_of_its_section(tmp_path, changes, path, meant, known):
    found = problems(write_soup(tmp_path, **changes))
    assert list(found) == [path]
    assert found[path].startswith(f"is no field here{f' (did you mean {meant!r}?)' if meant else ''}; known: {known}")


@pytest.mark.parametrize(
    ("changes", "path", "told"),
    [
        (changed("bundles", "soup-mean", model="encodr"), "bundles.soup-mean.model", "(did you mean 'encoder'?)"),
        ({"task": "clasification"}, "task", "(did you mean 'classification'?)"),
        (auxiliary(depth="strech"), "merges.extended.auxiliaries.0.depth", "(did you mean 'stretch'?)"),
        (changed("merges", "round", method="slrp"), "merges.round.method", "(did you mean 'slerp'?)"),
        (changed("merges", "extended", target="men"), "merges.extended.target", "(did you mean 'mean'?)"),
        (changed("bundles", "soup-mean", source="meen"), "bundles.soup-mean.source", "(did you mean 'mean'?)"),
        (changed("modalities", "flower", kind="tabulr"), "modalities.flower.kind", "(did you mean 'tabular'?)"),
        (changed("parents", "left", build="modls.py:classifier"), "parents.left.build", "(did you mean 'models.py'?)"),
    ],
)
def test_an_unknown_word_is_told_with_the_nearest(tmp_path, changes, path, told):
    assert told in problems(write_soup(tmp_path, **changes))[path]


def test_a_field_that_is_missing_is_told_by_its_own_path(tmp_path):
    recipe = {name: value for name, value in SOUP.items() if name != "task"}
    recipe["bundles"] = {"soup": {"source": "mean"}}
    path = write_soup(tmp_path)
    path.write_text(yaml.safe_dump(recipe))
    assert problems(path) == {"task": "is missing", "bundles.soup.model": "is missing"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (auxiliary(layers=7), {"layers": "should be a list or a mapping"}),
        (auxiliary(scales={"a": "b"}), {"scales.a": "should be a valid number, unable to parse string as a number"}),
    ],
)
def test_alternatives_are_one_problem_and_what_lies_around_a_problem_is_none(tmp_path, changes, expected):
    found = problems(write_soup(tmp_path, **changes))
    assert found == {f"merges.extended.auxiliaries.0.{place}": text for place, text in expected.items()}


def test_names_files_and_settings_are_told_together(tmp_path):
    changes = changed("modalities", "flower", settings={"colums": []}) | changed("parents", "left", weights="gone")
    path = write_soup(tmp_path, **changes, **changed("merges", "round", method="circle"))
    assert set(problems(path)) == {
        "modalities.flower.settings.columns",
        "modalities.flower.settings.colums",
        "parents.left.weights",
        "merges.round.method",
    }


def test_a_name_that_stands_twice_is_refused(tmp_path):
    path = write_soup(tmp_path)
    path.write_text(path.read_text() + "bundles: {soup: {model: encoder, source: mean}}\n")
    assert "'bundles' stands twice" in problems(path)[""]


def test_a_number_with_an_exponent_is_a_number_to_the_code_too(tmp_path):
    path = write_soup(tmp_path)
    path.write_text(path.read_text() + "settings: {rate: 1e-3}\n")
    assert recipe_from_file(path).settings == {"rate": 0.001}
