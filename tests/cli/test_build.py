import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from onepath.contract.bundle import open_bundle

TOY = Path(__file__).parents[1] / "export" / "toy_recipe"


@pytest.fixture
def recipe(workspace):
    """A recipe with one small bundle, and a folder to break it in."""
    shutil.copytree(TOY, workspace / "recipe")
    path = workspace / "recipe" / "recipe.yaml"
    content = yaml.safe_load(path.read_text())
    content["bundles"] = {"toy-word": content["bundles"]["toy-word"]}
    path.write_text(yaml.safe_dump(content))
    return path


def test_build_writes_the_bundles_and_says_what_to_do_next(onepath_process, recipe, workspace):
    done = onepath_process("build", recipe, "--output", "bundles")
    assert done.returncode == 0, done.stderr
    bundle = open_bundle(workspace / "bundles" / "toy-word")
    assert bundle.short_id in done.stdout
    assert "toy-word: proof chain" in done.stdout
    assert "bundle toy-word …\nbundle toy-word: done in" in done.stderr
    assert done.stdout.endswith("next: onepath deploy bundles/toy-word --repository bundles/model_repository\n")


@pytest.fixture
def rounded(onepath, recipe, workspace):
    """The bundle of `--precision int8`, and what was printed."""
    done = onepath("build", recipe, "--output", "bundles", "--precision", "int8")
    assert done.exit_code == 0, done.stderr
    return open_bundle(workspace / "bundles" / "toy-word"), done.stdout


def test_a_precision_that_is_asked_for_lies_beside_the_float32_graph_and_is_reported(rounded):
    bundle, printed = rounded
    assert {graph.file: graph.precision for graph in bundle.manifest.graphs} == {
        "graphs/model.onnx": "fp32",
        "graphs/model.int8.onnx": "int8",
    }
    (graph,) = json.loads((bundle.path / "reports" / "precision.json").read_bytes())["graphs"]
    assert (graph["precision"], graph["outcome"] in ("kept", "chosen")) == ("int8", True)
    assert re.search(r"fp32 \(also int8\)|int8 \(also fp32\)", printed)


def test_a_precision_that_is_none_is_wrong_usage(onepath, recipe):
    assert onepath("build", recipe, "--precision", "int7").exit_code == 2


def test_every_problem_of_a_recipe_is_named_at_once(onepath, recipe):
    recipe.write_text(recipe.read_text().replace("classification", "clairvoyance").replace("seed: 3", "seed: many"))
    found = onepath("build", recipe)
    assert found.exit_code == 1
    assert "task:" in found.stderr
    assert "seed:" in found.stderr


def test_a_recipe_that_is_not_there_is_named(onepath, workspace):
    found = onepath("build", "none.yaml")
    assert found.exit_code == 1
    assert "none.yaml" in found.stderr
