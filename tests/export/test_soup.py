"""A recipe of checkpoints merged by their weights, and no training: built once for all tests of this file."""

import json

import numpy as np
import onnxruntime as ort
import pytest
import torch
from safetensors.numpy import load_file, save_file

from onepath.contract.bundle import open_bundle
from onepath.contract.errors import ParityError, RecipeError
from onepath.contract.robustness import robustness_from_bundle
from onepath.export.build import build
from onepath.export.models import models_from_recipe
from onepath.export.models.parity import measured_weights
from onepath.export.progress import SilentProgress
from onepath.export.recipe import recipe_from_file
from onepath.export.recipe.code import folder_on_path, module_from_file
from onepath.export.weights import state_dict_from_bundle
from tests.export.soup import answers, flowers, merged_by, parents, write_soup


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("soup")


@pytest.fixture(scope="module")
def bundles(folder):
    path = write_soup(folder / "recipe")
    return {bundle.manifest.name: bundle for bundle in build(path, folder / "build", SilentProgress())}


def scores(bundle):
    values, _ = flowers()
    session = ort.InferenceSession(bundle.graph_path)
    found = []
    for start in range(0, len(values), 4):
        rows = values[start : start + 4].astype(np.float32)
        feeds = {"flower": rows, "flower_state": np.ones((len(rows), 1), np.uint8)}
        found.append(session.run(["scores"], feeds)[0])
    return np.concatenate(found)


def weights(bundle):
    tensors = load_file(bundle.path / bundle.manifest.weights)
    return {name.removeprefix("encoders.flower."): tensor for name, tensor in tensors.items()}


def parent(build, weights):
    return {"build": build, "settings": {"width": 8}, "weights": weights}


def test_every_bundle_is_whole(bundles, folder):
    assert [open_bundle(folder / "build" / name).id for name in bundles] == [each.id for each in bundles.values()]


@pytest.mark.parametrize("merge", ["mean", "round", "agreed"])
def test_the_graph_answers_as_the_model_that_numpy_merged(bundles, merge):
    expected = answers(merged_by(merge), flowers()[0])
    assert np.abs(scores(bundles[f"soup-{merge}"]) - expected).max() < 1e-5


@pytest.mark.parametrize("merge", ["mean", "round", "agreed"])
def test_another_merge_would_be_noticed(bundles, merge):
    others = {"mean", "round", "agreed"} - {merge}
    found = scores(bundles[f"soup-{merge}"])
    assert all(np.abs(found - answers(merged_by(other), flowers()[0])).max() > 1e-4 for other in others)


@pytest.mark.parametrize("merge", ["mean", "round", "agreed"])
def test_the_weights_are_rounded_once_from_float64(bundles, merge):
    expected, found = merged_by(merge), weights(bundles[f"soup-{merge}"])
    assert set(found) == set(expected)
    assert max(np.abs(found[name] - expected[name]).max() for name in expected) < 1e-7


ALONE = {"soup-mean": "left", "soup-round": "left", "soup-agreed": "right", "soup-extended": "left"}
"""Which parent weighs most in each merge, the first of equals; a pathway's target is the mean."""


@pytest.mark.parametrize("name", ALONE)
def test_a_bundle_of_a_merge_is_compared_with_the_parent_that_weighs_most_in_it(bundles, name):
    report, (values, targets) = robustness_from_bundle(bundles[name].path), flowers()
    found = answers(parents()[ALONE[name]], values).argmax(1)
    assert report.encoders["flower"].value == round((found == targets).mean(), 6)
    gain = (scores(bundles[name]).argmax(1) == targets).mean() - (found == targets).mean()
    assert report.full.gain_over_encoder["flower"].value == round(gain, 6)
    assert report.notes["encoders"] == f"flower: the parent {ALONE[name]}"
    assert report.encoders_left_out == {}


def test_another_parent_would_have_another_accuracy():
    values, targets = flowers()
    accuracies = {name: (answers(parents()[name], values).argmax(1) == targets).mean() for name in ("left", "right")}
    assert accuracies["left"] != accuracies["right"]


@pytest.mark.parametrize("name", ["soup-agreed", "soup-extended"])
def test_the_weights_load_strictly_into_the_parents_own_class(bundles, folder, name):
    state = state_dict_from_bundle(bundles[name].path, "flower")
    with folder_on_path(folder / "recipe"):
        plain = module_from_file(folder / "recipe" / "models.py").classifier({"width": 8})
    form = [(key, tensor.shape, tensor.dtype) for key, tensor in plain.state_dict().items()]
    assert [(key, tensor.shape, tensor.dtype) for key, tensor in state.items()] == form
    plain.load_state_dict(state, strict=True)
    values = flowers()[0]
    with torch.inference_mode():
        found = plain.eval()(torch.from_numpy(values).float()).softmax(1).numpy()
    assert np.abs(found - scores(bundles[name])).max() < 1e-5


def test_integers_are_taken_from_the_base_and_never_averaged(bundles):
    assert weights(bundles["soup-agreed"])["steps"] == 100


def test_dare_keeps_or_drops_each_change_and_rescales_what_it_keeps(tmp_path):
    thinned = {"method": "dare_linear", "base": "base", "models": {"left": 0.5}, "options": {"density": 0.5}}
    kept = {name: parent("models.py:classifier", f"{name}.safetensors") for name in ("base", "left")}
    bundle = {"soup": {"model": "encoder", "source": "thinned"}}
    path = write_soup(tmp_path, parents=kept, merges={"thinned": thinned}, bundles=bundle)
    with folder_on_path(tmp_path):
        found = models_from_recipe(recipe_from_file(path), path)["thinned"].model.second.weight.detach().numpy()
    base, left = (parents()[name]["second.weight"].astype(np.float64) for name in ("base", "left"))
    taken = found - base
    kept = np.abs(taken) > 1e-9
    assert 0.2 < kept.mean() < 0.8
    assert np.abs(taken - np.where(kept, left - base, 0)).max() < 1e-6  # weight 0.5 over density 0.5


def test_a_pathway_with_fixed_scales_ends_in_plain_weights(bundles):
    found, mean, base = weights(bundles["soup-extended"]), merged_by("mean"), parents()["base"]
    assert set(found) == set(mean)
    for layer, scale in (("first", 0.25), ("second", -0.5), ("head", 0.0)):
        expected = mean[f"{layer}.weight"] + scale * base[f"{layer}.weight"]
        assert np.abs(found[f"{layer}.weight"] - expected).max() < 1e-6


def test_the_chain_leads_from_the_parents_over_the_merge_to_the_graph(bundles):
    proofs = bundles["soup-extended"].manifest.proofs
    assert [proof.step for proof in proofs] == ["merge", "collapse", "onnx"]
    assert proofs[0].subject == "left+right+base"
    inputs = [measured.inputs for measured in proofs[0].measurements]
    weights = [f"float64, the weights of {name} made again from its sources" for name in ("mean", "extended")]
    assert inputs == [*weights, "golden probes, merge.reference to merge"]


def test_parents_are_recorded_with_their_digests(bundles):
    details = bundles["soup-agreed"].manifest.details
    assert list(details["parents"]) == ["base", "left", "right"]
    (merge,) = (proof for proof in bundles["soup-agreed"].manifest.proofs if proof.step == "merge")
    digests = {name.removeprefix("parent "): digest for name, digest in merge.notes.items()}
    assert digests == {name: parent["sha256"] for name, parent in details["parents"].items()}
    assert len(set(digests.values())) == 3
    assert list(details["merges"]) == ["agreed"]


def test_the_accuracy_on_the_file_of_rows_is_recorded(bundles):
    values, classes = flowers()
    expected = float((answers(merged_by("mean"), values).argmax(axis=1) == classes).mean())
    assert bundles["soup-mean"].manifest.details["test_accuracy"] == expected
    assert bundles["soup-mean"].manifest.details["test_rows"] == len(classes)


def test_the_coefficients_of_every_tensor_are_reported(bundles):
    report = json.loads((bundles["soup-agreed"].path / "reports" / "merges.json").read_text())
    tensors = {tensor["name"]: tensor for tensor in report["agreed"]["tensors"]}
    assert tensors["head.weight"]["method"] == "linear"
    assert tensors["head.weight"]["coefficients"] == {"left": 0.5, "right": 0.5}
    assert tensors["first.weight"]["method"] == "ties"
    assert tensors["first.weight"]["coefficients"] == {"left": pytest.approx(1 / 3), "right": pytest.approx(2 / 3)}
    before, after = parents()["base"]["first.weight"], merged_by("agreed")["first.weight"]
    change = np.linalg.norm(after.astype(np.float64) - before) / np.linalg.norm(before.astype(np.float64))
    assert tensors["first.weight"]["relative_change"] == pytest.approx(change, rel=1e-5)


def test_a_bundle_reports_what_went_into_it_and_nothing_else(bundles):
    reports = bundles["soup-extended"].path / "reports"
    assert set(json.loads((reports / "merges.json").read_text())) == {"mean", "extended"}
    assert set(json.loads((reports / "lint.json").read_text())) == {"base", "left", "right", "mean", "extended"}


def test_what_the_linter_found_is_reported(tmp_path):
    merges = {"mean": {"method": "task_arithmetic", "base": "base", "models": {"left": 30.0}}}
    kept = {name: parent("models.py:classifier", f"{name}.safetensors") for name in ("base", "left")}
    changes = {"parents": kept, "merges": merges, "bundles": {"soup-mean": {"model": "encoder", "source": "mean"}}}
    tolerances = {"onnx": 1e-3, "onnx_random": 1e-2, "cast": 1e-2}
    (bundle,) = build(write_soup(tmp_path, **changes, tolerances=tolerances), tmp_path / "out", SilentProgress())
    found = json.loads((bundle.path / "reports" / "lint.json").read_text())
    assert found["base"] == []
    assert {finding["level"] for finding in found["mean"]} == {"warning"}
    assert any(finding["tensor"] == "second.weight" and "norm" in finding["message"] for finding in found["mean"])


def test_an_error_of_the_linter_stops_the_build_and_nothing_is_written(tmp_path):
    path = write_soup(tmp_path)
    broken = {
        name: np.where(tensor == tensor.flat[0], np.nan, tensor).astype(tensor.dtype)
        if name in ("first.bias", "head.weight")
        else tensor
        for name, tensor in parents()["left"].items()
    }
    save_file(broken, tmp_path / "left.safetensors")
    with pytest.raises(RecipeError) as refused:
        build(path, tmp_path / "out", SilentProgress())
    assert {where for where, _ in refused.value.problems} == {"parents.left.first.bias", "parents.left.head.weight"}
    assert not [*(tmp_path / "out").glob("*")]


def test_a_merge_that_overflows_is_told_by_the_linter_tensor_by_tensor(tmp_path):
    merges = {"mean": {"method": "task_arithmetic", "base": "base", "models": {"left": 1e300}}}
    kept = {name: parent("models.py:classifier", f"{name}.safetensors") for name in ("base", "left")}
    bundle = {"soup": {"model": "encoder", "source": "mean"}}
    path = write_soup(tmp_path, parents=kept, merges=merges, bundles=bundle)
    with pytest.raises(RecipeError) as refused:
        build(path, tmp_path / "out", SilentProgress())
    assert {where for where, _ in refused.value.problems} == {
        f"merges.mean.{name}" for name in parents()["left"] if name != "steps"
    }
    assert "are NaN or infinite" in str(refused.value)


def test_weights_that_are_not_those_of_the_merge_fail_its_proof():
    made = {name: torch.from_numpy(tensor) for name, tensor in merged_by("mean").items()}
    again = {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in made.items()}
    measured = measured_weights("mean", made=made, again=again, tolerance=1e-10)
    assert measured.error == 0
    moved = again | {"head.bias": again["head.bias"] + 1e-6}
    less = {name: tensor for name, tensor in again.items() if name != "head.bias"}
    for wrong in (moved, less):
        with pytest.raises(ParityError, match="the merge mean"):
            measured_weights("mean", made=made, again=wrong, tolerance=1e-10)
