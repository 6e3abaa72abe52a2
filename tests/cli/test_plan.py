import json

import pytest

from tests.export.soup import write_soup


@pytest.fixture
def recipe(tmp_path):
    return write_soup(tmp_path / "soup")


def test_a_plan_says_what_will_happen(onepath, recipe):
    found = onepath("plan", recipe)
    assert found.exit_code == 0
    lines = [" ".join(line.split()) for line in found.stdout.splitlines()]
    for line in (
        "soup: classification, 3 labels, seed 5; 10 held-out rows",
        "flower tabular float32 (4) allowed",
        "left models.py:classifier left.safetensors 156 628 B",
        "Merge mean: linear of left, right",
        "linear left 0.75 right 0.25 8 first.weight 0.528",
        "Merge extended: cross_modal of mean, base",
        "second.weight base: second.weight (8, 8) 1 -0.5",
        "soup-extended encoder extended merge → collapse → onnx 254 → 156",
    ):
        assert line in lines
    assert lines[-2].startswith("weights in memory at once: about ")
    assert lines[-1] == "nothing was trained or written"


def test_a_plan_as_json_can_be_read(onepath, recipe):
    found = json.loads(onepath("plan", recipe, "--json").stdout)
    assert found["merges"][0]["coefficients"][1]["coefficients"] == {"left": 0.75, "right": 0.25}
    assert found["bundles"][3]["parameters_after"] == 156


def test_the_schema_is_printed_alone(onepath):
    schema = json.loads(onepath("plan", "--schema").stdout)
    assert schema["properties"]["merges"]["description"].startswith("name and how each is made")


def test_a_recipe_or_the_schema_is_asked_for(onepath, recipe):
    assert onepath("plan").exit_code == 2
    assert onepath("plan", recipe, "--schema").exit_code == 2


def test_every_problem_is_named_and_the_exit_code_is_1(onepath, recipe):
    recipe.write_text(
        recipe.read_text().replace("method: slerp", "method: circle").replace("target: mean", "target: men")
    )
    found = onepath("plan", recipe)
    assert found.exit_code == 1
    assert "merges.round.method: 'circle' is not installed" in found.stderr
    assert "merges.extended.target: 'men' is neither a parent nor a merge" in found.stderr


def test_warnings_alike_but_for_their_tensor_and_figures_are_one_line(onepath, recipe):
    recipe.write_text(recipe.read_text().replace("left: 3\n      right: 1", "left: 300\n      right: -299"))
    lines = onepath("plan", recipe).stdout.splitlines()
    (shown,) = (line for line in lines if line.startswith("  warning: first.weight: its norm is "))
    told = json.loads(onepath("plan", recipe, "--json").stdout)["merges"][0]["warnings"]
    alike = [warning for warning in told if ": its norm is " in warning]
    assert len(alike) == 8  # of three linear layers and a norm
    assert shown.endswith("(and 7 more like it; --json has all of them)")
