"""Cross-modal merges of a recipe: attached as it says, trained further where there is code for it."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from safetensors.numpy import load_file

from onepath.contract.errors import RecipeError
from onepath.export.build import build
from onepath.export.models import models_from_recipe
from onepath.export.planning import plan_from_file
from onepath.export.progress import SilentProgress
from onepath.export.recipe import recipe_from_file
from onepath.export.recipe.code import folder_on_path
from onepath.merging.reparameterization import collapsed_state_dict, reparameterize, save_light, scales
from tests.export.soup import answers, flowers, merged_by, parents, write_soup

TRAIN = """
import json
import torch
from models import Classifier
from onepath.export.trained import Trained

def train(settings, *, seed, progress, parents):
    assert all(isinstance(model, Classifier) and not model.training for model in parents.values())
    for name, parameter in parents["extended"].named_parameters():
        if name.endswith(".scale"):
            parameter.data.fill_(settings["scale"])
    with open(__file__.replace("train.py", "rows.jsonl")) as file:
        rows = [json.loads(line) for line in file]
    return Trained({}, rows=[{"flower": json.dumps(row["flower"]).encode()} for row in rows])
"""
WITHOUT = (
    TRAIN.replace(", parents)", ")")
    .replace('parents["extended"].named_parameters()', "()")
    .replace("parents.values()", "()")
)
UNTRAINED = {
    "method": "cross_modal",
    "target": "left",
    "auxiliaries": [{"model": "base", "layers": ["first", "second"]}],
}


def recipe_of(folder, extended, code=None, **changes):
    """Write a recipe of one pathway, and of a mean that has nothing to do with it."""
    merges = {"mean": {"method": "linear", "models": {"left": 3, "right": 1}}, "extended": extended}
    bundles = {name: {"model": "encoder", "source": name} for name in merges}
    given = {"code": "train.py", "rows": None, "settings": {"scale": 0.5}} if code else {}
    folder.mkdir(exist_ok=True)
    (folder / "train.py").write_text(code or "")
    return write_soup(folder, merges=merges, bundles=bundles, **given, **changes)


def made(path):
    with folder_on_path(path.parent):
        return models_from_recipe(recipe_from_file(path), path)


def described(**auxiliary):
    return UNTRAINED | {"auxiliaries": [UNTRAINED["auxiliaries"][0] | auxiliary]}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pathway")
    path = recipe_of(folder / "recipe", UNTRAINED, TRAIN)
    return {bundle.manifest.name: bundle for bundle in build(path, folder / "build", SilentProgress())}


def test_a_merge_that_training_changed_in_place_is_built_as_trained(bundles):
    bundle, left, base = bundles["extended"], parents()["left"], parents()["base"]
    expected = left | {
        f"{layer}.weight": left[f"{layer}.weight"] + 0.5 * base[f"{layer}.weight"] for layer in ("first", "second")
    }
    found = load_file(bundle.path / bundle.manifest.weights)
    assert all(np.abs(found[f"encoders.flower.{name}"] - tensor).max() < 1e-6 for name, tensor in expected.items())
    values = flowers()[0][:4]
    session = ort.InferenceSession(bundle.graph_path)
    feeds = {"flower": values.astype(np.float32), "flower_state": np.ones((4, 1), np.uint8)}
    assert np.abs(session.run(["scores"], feeds)[0] - answers(expected, values)).max() < 1e-5


def test_a_merge_that_training_changed_is_not_proved_as_a_merge(bundles):
    assert [proof.step for proof in bundles["extended"].manifest.proofs] == ["collapse", "onnx"]
    assert bundles["extended"].manifest.details["trained_further"] == ["extended"]


def test_a_merge_that_training_left_alone_keeps_its_proof(bundles):
    bundle = bundles["mean"]
    assert [proof.step for proof in bundle.manifest.proofs] == ["merge", "collapse", "onnx"]
    assert "trained_further" not in bundle.manifest.details
    found = load_file(bundle.path / bundle.manifest.weights)["encoders.flower.head.weight"]
    assert np.abs(found - merged_by("mean")["head.weight"]).max() < 1e-7


def test_models_that_nobody_takes_are_told_where_training_takes_no_parents(tmp_path):
    path = recipe_of(tmp_path, UNTRAINED, WITHOUT)
    recipe = path.read_text().replace("  extended:\n    model: encoder\n    source: extended\n", "")
    path.write_text(recipe)
    with pytest.raises(RecipeError, match=r"merges\.extended: is used by no merge .* a parameter `parents`"):
        build(path, tmp_path / "out", SilentProgress())


def test_scales_that_the_training_code_cannot_train_are_told_by_plan_and_build(tmp_path):
    path = recipe_of(tmp_path, UNTRAINED, WITHOUT)
    for run in (plan_from_file, lambda path: build(path, tmp_path / "out", SilentProgress())):
        with pytest.raises(RecipeError, match=r"merges\.extended\.auxiliaries\.0\.scales: are not given, and no code"):
            run(path)


def test_one_scale_is_that_of_every_layer(tmp_path):
    model = made(recipe_of(tmp_path, described(scales=0.25)))["extended"].model
    assert scales(model) == {"first.weight": (0.25,), "second.weight": (0.25,)}


def test_scales_go_by_the_first_pattern_that_matches(tmp_path):
    model = made(recipe_of(tmp_path, described(scales={"sec*": -0.5, "*": 2})))["extended"].model
    assert scales(model) == {"first.weight": (2.0,), "second.weight": (-0.5,)}


@pytest.mark.parametrize(
    ("given", "told"),
    [({"third": 1, "*": 2}, "no layer matches 'third'"), ({"first": 1}, "no scale is given for second")],
)
def test_scales_that_fit_no_layer_or_leave_one_out_are_told(tmp_path, given, told):
    with pytest.raises(RecipeError, match=rf"merges\.extended: .*{told}"):
        made(recipe_of(tmp_path, described(scales=given)))


def test_a_second_auxiliary_has_scales_of_its_own(tmp_path):
    second = {"model": "right", "layers": ["second", "head"], "scales": 0.75}
    extended = UNTRAINED | {"auxiliaries": [UNTRAINED["auxiliaries"][0] | {"scales": 0.25}, second]}
    model = made(recipe_of(tmp_path, extended))["extended"]
    assert scales(model.model) == {"first.weight": (0.25,), "second.weight": (0.25, 0.75), "head.weight": (0.75,)}
    assert [each["scales"] for each in model.report["auxiliaries"]] == [
        {"first.weight": [0.25], "second.weight": [0.25]},
        {"second.weight": [0.75], "head.weight": [0.75]},
    ]
    assert list(model.parents) == ["left", "base", "right"]


def test_options_of_the_pairing_are_passed_on(tmp_path):
    folded = collapsed_state_dict(made(recipe_of(tmp_path, described(scales=0.5, biases=True)))["extended"].model)[0]
    expected = parents()["left"]["first.bias"] + 0.5 * parents()["base"]["first.bias"]
    assert np.abs(folded["first.bias"].numpy() - expected).max() < 1e-6


def test_a_light_checkpoint_gives_layers_and_scales(tmp_path):
    models = made(recipe_of(tmp_path, described(scales=0.1)))
    model = models["left"].model
    plan = reparameterize(model, models["base"].model, layers=["head"])
    with torch.no_grad():
        next(value for name, value in model.named_parameters() if name.endswith(".scale")).fill_(0.125)
    save_light(model, tmp_path / "light.safetensors", plans=[plan], auxiliaries=[models["base"].model])
    light = {
        "method": "cross_modal",
        "target": "left",
        "auxiliaries": [{"model": "base"}],
        "checkpoint": "light.safetensors",
    }
    again = made(recipe_of(tmp_path, light))["extended"]
    assert scales(again.model) == {"head.weight": (0.125,)}
    assert again.report["auxiliaries"][0]["scales"] == {"head.weight": [0.125]}


def test_a_light_checkpoint_of_two_auxiliaries_reports_each_ones_own_scales(tmp_path):
    models = made(recipe_of(tmp_path, described(scales=0.1)))
    model, auxiliaries = models["left"].model, [models[name].model for name in ("base", "right")]
    plans = [reparameterize(model, auxiliary, layers=["head"]) for auxiliary in auxiliaries]
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith(".scale"):
                value.fill_(0.5 if ".0." in name else 0.25)
    save_light(model, tmp_path / "light.safetensors", plans=plans, auxiliaries=auxiliaries)
    light = {
        "method": "cross_modal",
        "target": "left",
        "auxiliaries": [{"model": "base"}, {"model": "right"}],
        "checkpoint": "light.safetensors",
    }
    again = made(recipe_of(tmp_path, light))["extended"]
    assert scales(again.model) == {"head.weight": (0.5, 0.25)}
    assert [entry["scales"] for entry in again.report["auxiliaries"]] == [
        {"head.weight": [0.5]},
        {"head.weight": [0.25]},
    ]


def test_a_merge_of_merges_takes_the_collapsed_weights(tmp_path):
    merges = {
        "extended": described(scales=0.5),
        "mean": {"method": "linear", "models": {"extended": 1, "right": 1}},
    }
    bundles = {"soup": {"model": "encoder", "source": "mean"}}
    mean = made(write_soup(tmp_path, merges=merges, bundles=bundles))["mean"]
    left, base, right = (parents()[name]["first.weight"].astype(np.float64) for name in ("left", "base", "right"))
    found = mean.model.state_dict()
    assert list(found) == list(made(tmp_path / "recipe.yaml")["left"].model.state_dict())
    assert np.abs(found["first.weight"].numpy() - (left + 0.5 * base + right) / 2).max() < 1e-6
    assert len(mean.measurements) == 2


def test_what_is_wrong_with_several_merges_is_told_at_once(tmp_path):
    merges = {
        "first": described(layers=["third"], scales=1),
        "second": {"method": "ties", "models": {"left": 1, "right": 1}, "options": {"density": 2}},
        "third": {"method": "linear", "models": {"first": 1, "right": 1}},
    }
    bundles = {name: {"model": "encoder", "source": name} for name in merges}
    path = write_soup(tmp_path, merges=merges, bundles=bundles)
    with pytest.raises(RecipeError) as refused:
        made(path)
    found = [where for where, _ in refused.value.problems]
    assert found == ["merges.first", "merges.second.options.density"]
