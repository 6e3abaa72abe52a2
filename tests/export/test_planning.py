"""What is known of a build before it."""

import json

import numpy as np
import pytest
import yaml

from onepath.contract.errors import RecipeError
from onepath.export.models import models_from_recipe
from onepath.export.planning import plan_from_file
from onepath.export.planning.merges import planned_merges
from onepath.export.recipe import recipe_from_file
from onepath.export.recipe.code import folder_on_path
from tests.export.soup import merged_by, parents, write_soup
from tests.export.test_build import RECIPE
from tests.export.test_pathways_in_recipes import TRAIN, UNTRAINED, recipe_of

NUMBERS = (4 * 8 + 8) + (8 * 8 + 8) + (8 * 3 + 3) + 2 * 8 + 1
"""Of one parent of the soup: three linear layers, a norm, and the count of steps."""

TAKES_MEAN = {"soup": {"model": "encoder", "source": "mean"}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("plan")


@pytest.fixture(scope="module")
def plan(folder):
    return plan_from_file(write_soup(folder))


def test_a_plan_writes_nothing(plan, folder):
    before = {path.name for path in write_soup(folder).parent.iterdir()}
    plan_from_file(folder / "recipe.yaml")
    assert {path.name for path in folder.iterdir()} - {"__pycache__"} == before - {"__pycache__"}


def test_modalities_have_the_tensor_of_a_row(plan):
    (flower,) = plan.modalities
    assert (flower.name, flower.kind, flower.dtype, flower.shape) == ("flower", "tabular", "float32", (4,))


def test_parents_are_counted_as_they_are_stored(plan):
    assert [(parent.name, parent.weights) for parent in plan.parents] == [
        ("base", "base.safetensors"),
        ("left", "left.safetensors"),
        ("right", "right"),
    ]
    assert {parent.parameters for parent in plan.parents} == {NUMBERS}
    assert {parent.size_bytes for parent in plan.parents} == {4 * (NUMBERS - 1) + 8}


def test_coefficients_are_those_that_apply_scope_by_scope(plan):
    mean, rounded, agreed, _ = plan.merges
    assert [(c.method, dict(c.coefficients), c.count) for c in mean.coefficients] == [
        ("keep:left", {}, 1),
        ("linear", {"left": 0.75, "right": 0.25}, 8),
    ]
    assert [(c.method, c.count) for c in rounded.coefficients] == [("keep:left", 3), ("slerp", 6)]
    assert [c.method for c in agreed.coefficients] == ["keep:base", "ties", "linear"]
    assert agreed.coefficients[1].coefficients == {"left": pytest.approx(1 / 3), "right": pytest.approx(2 / 3)}


def test_the_largest_change_is_that_of_the_weights(plan):
    before, after = parents()["left"], merged_by("mean")
    wide = {name: tensor.astype(np.float64) for name, tensor in before.items() if name != "steps"}
    changes = [np.linalg.norm(after[name] - tensor) / np.linalg.norm(tensor) for name, tensor in wide.items()]
    assert plan.merges[0].coefficients[1].largest_change == pytest.approx(max(changes), rel=1e-5)


def test_pathways_are_shown_by_their_pairs_and_scales(plan):
    extended = plan.merges[3]
    assert (extended.method, extended.sources) == ("cross_modal", ("mean", "base"))
    assert [(p.auxiliary, p.target_weight, p.shape, p.count, p.scales) for p in extended.pairs] == [
        ("base", "first.weight", (8, 4), 1, (0.25, 0.25)),
        ("base", "second.weight", (8, 8), 1, (-0.5, -0.5)),
    ]


def test_pairs_that_differ_in_their_block_alone_are_one_line(tmp_path):
    code = (
        "from torch import nn\n"
        "def classifier(settings): return nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)), nn.Linear(4, 3))\n"
    )
    parent = {"build": "models.py:classifier"}
    layers = ["0", "1", "2"]
    scales = {"0": 0.5, "*": -1.0}
    merges = {
        "mean": {
            "method": "cross_modal",
            "target": "left",
            "auxiliaries": [{"model": "base", "layers": layers, "scales": scales}],
        }
    }
    bundles = {"soup": {"model": "encoder", "source": "mean"}}
    path = write_soup(tmp_path, parents={"base": parent, "left": parent}, merges=merges, bundles=bundles)
    (tmp_path / "models.py").write_text(code)
    (pairs,) = plan_from_file(path).merges[0].pairs
    assert (pairs.target_weight, pairs.auxiliary_weight, pairs.count) == ("{i}.weight", "{i}.weight", 3)
    assert pairs.scales == (-1.0, 0.5)
    assert pairs.blocks == ((0, 0), (1, 1), (2, 2))


DEEP = """
from torch import nn

def classifier(settings):
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    return nn.TransformerEncoder(layer, settings["depth"], enable_nested_tensor=False)
"""


def test_blocks_are_shown_as_the_depth_policy_pairs_them(tmp_path):
    parents = {name: {"build": "models.py:classifier", "settings": {"depth": d}} for name, d in (("a", 4), ("b", 2))}
    auxiliary = {"model": "b", "depth": "stretch", "scales": 0.5, "roles": ["fc1"]}
    merges = {"mean": {"method": "cross_modal", "target": "a", "auxiliaries": [auxiliary]}}
    path = write_soup(tmp_path, parents=parents, merges=merges, bundles=TAKES_MEAN)
    recipe = recipe_from_file(path)
    (tmp_path / "models.py").write_text(DEEP)
    with folder_on_path(tmp_path):
        (merge,) = planned_merges(recipe, models_from_recipe(recipe, path))
    assert [(pairs.target_weight, pairs.blocks) for pairs in merge.pairs] == [
        ("layers.{i}.linear1.weight", ((0, 0), (1, 0), (2, 1), (3, 1)))
    ]


def test_bundles_have_their_steps_and_their_sizes_before_and_after_the_collapse(plan):
    assert {bundle.steps for bundle in plan.bundles} == {("merge", "collapse", "onnx")}
    sizes = {bundle.name: (bundle.parameters_before, bundle.parameters_after) for bundle in plan.bundles}
    assert sizes["soup-mean"] == (NUMBERS, NUMBERS)
    assert sizes["soup-extended"] == (NUMBERS + (32 + 1) + (64 + 1), NUMBERS)  # two auxiliaries, each with its scale


def test_memory_is_the_models_and_the_larger_of_a_merge_and_a_bundle(plan):
    memory = plan.memory
    assert memory.merge_bytes >= 8 * NUMBERS * 5  # the base and two models in float64, and the result twice
    assert memory.models_bytes >= 7 * 4 * NUMBERS
    assert memory.peak_bytes == memory.models_bytes + max(memory.merge_bytes, memory.bundle_bytes)


def test_of_training_code_what_is_known_is_told(tmp_path):
    plan = plan_from_file(RECIPE)
    assert (plan.code, plan.rows, plan.merges) == ("train.py", None, ())
    assert [(bundle.name, bundle.steps[0], bundle.parameters_before) for bundle in plan.bundles] == [
        ("toy", "merge", None),
        ("toy-sum", "merge", None),
        ("toy-stack", "collapse", None),
        ("toy-word", "collapse", None),
    ]
    assert plan.bundles[2].sources == ("trained stack",)


def test_weights_of_modalities_are_shown_for_each_pattern_with_sum_1():
    weights = plan_from_file(RECIPE).bundles[1].weights
    assert len(weights) == 7
    assert weights["word"] == {"word": 1.0}
    assert weights["picture+word+cells"] == {"picture": 0.25, "word": 0.5, "cells": 0.25}


def test_training_code_is_not_run(tmp_path):
    path = recipe_of(
        tmp_path, UNTRAINED, TRAIN.replace("assert all", "raise AssertionError('trained')\n    assert all")
    )
    plan = plan_from_file(path)
    assert plan.merges[1].pairs[0].scales == (0.0, 0.0)
    assert {bundle.steps for bundle in plan.bundles} == {("merge, unless trained further", "collapse", "onnx")}


def test_held_out_rows_are_checked(tmp_path):
    path = write_soup(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"flower": "no table", "target": 0}\n')
    with pytest.raises(RecipeError, match=r"rows\.0\.flower: cannot be used"):
        plan_from_file(path)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"labels": ["setosa", "versicolor", "virginica", "odd"]}, r"labels: there are 4, .* scores of shape \(3,\)"),
        ({"build": "models.py:wide"}, r"bundles\.soup\.source, run on one row: raised RuntimeError"),
    ],
)
def test_a_model_that_does_not_fit_the_recipe_is_told(tmp_path, changes, told):
    parent = {"build": changes.pop("build", "models.py:classifier"), "settings": {"width": 8}}
    bundles = {"soup": {"model": "encoder", "source": "left"}}
    path = write_soup(tmp_path, parents={"left": parent}, merges={}, bundles=bundles, **changes)
    with (tmp_path / "models.py").open("a") as code:
        code.write("\n\ndef wide(settings):\n    return nn.Sequential(nn.Flatten(), nn.Linear(5, 3))\n")
    with pytest.raises(RecipeError, match=told):
        plan_from_file(path)


def test_the_plan_is_json(plan):
    found = json.loads(json.dumps(plan.as_json(), allow_nan=False))
    assert list(found) == [
        "name",
        "task",
        "labels",
        "seed",
        "code",
        "rows",
        "modalities",
        "parents",
        "merges",
        "bundles",
        "memory",
    ]
    assert found["rows"] == 10
    assert found["bundles"][0]["steps"] == ["merge", "collapse", "onnx"]


def test_a_plan_fails_as_the_build_would(tmp_path):
    path = write_soup(tmp_path)
    recipe = yaml.safe_load(path.read_text())
    recipe["merges"]["agreed"]["options"] = {"density": 0}
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    with pytest.raises(RecipeError, match=r"merges\.agreed\.options\.density"):
        plan_from_file(path)
