"""A recipe that asks for an opt-in collapse rule, and its twin that does not: each built once for this file."""

import json

import numpy as np
import onnxruntime as ort
import pytest
from safetensors.numpy import load_file

from onepath.contract.errors import RecipeError
from onepath.contract.proofs import is_fold_on_probes
from onepath.export.build import build
from onepath.export.planning import plan_from_file
from onepath.export.progress import SilentProgress
from onepath.export.recipe import recipe_from_file
from tests.export.soup import flowers, parents, write_soup

CODE = """
import torch
from torch import nn


class Normed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Linear(4, width)
        self.norm = nn.LayerNorm(width)
        self.second = nn.Linear(width, width)
        self.head = nn.Linear(width, 3)
        self.register_buffer("steps", torch.tensor(0))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.second(self.norm(self.first(values.to(self.first.weight.dtype))))))


def classifier(settings):
    return Normed(settings["width"])
"""
KEY = {"also_collapse": ["norm_into_linear"]}


def write_normed(folder, **export):
    """Write a recipe of one parent, a linear layer of which reads its norm."""
    parent = {"build": "models.py:classifier", "settings": {"width": 8}, "weights": "base.safetensors"}
    bundle = {"normed": {"model": "encoder", "source": "base"}}
    export = {"max_batch_size": 4, **export}
    path = write_soup(folder, parents={"base": parent}, merges={}, bundles=bundle, export=export)
    (folder / "models.py").write_text(CODE)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("normed")


@pytest.fixture(scope="module")
def folded(folder):
    (bundle,) = build(write_normed(folder / "folded", **KEY), folder / "build-folded", SilentProgress())
    return bundle


@pytest.fixture(scope="module")
def plain(folder):
    (bundle,) = build(write_normed(folder / "plain"), folder / "build-plain", SilentProgress())
    return bundle


def base():
    return {name: tensor.astype(np.float64) for name, tensor in parents()["base"].items()}


def expected_scores(tensors):
    """Return what the parent answers, `(rows, 3)`."""
    x = flowers()[0].astype(np.float32).astype(np.float64) @ tensors["first.weight"].T + tensors["first.bias"]
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
    x = x * tensors["norm.weight"] + tensors["norm.bias"]
    x = np.tanh(x @ tensors["second.weight"].T + tensors["second.bias"])
    exponents = np.exp(x @ tensors["head.weight"].T + tensors["head.bias"])
    return exponents / exponents.sum(axis=1, keepdims=True)


def scores(bundle):
    session, rows = ort.InferenceSession(bundle.graph_path), flowers()[0].astype(np.float32)
    parts = [rows[start : start + 4] for start in range(0, len(rows), 4)]
    feeds = [{"flower": part, "flower_state": np.ones((len(part), 1), np.uint8)} for part in parts]
    return np.concatenate([session.run(["scores"], feed)[0] for feed in feeds])


def weights(bundle):
    tensors = load_file(bundle.path / bundle.manifest.weights)
    return {name.removeprefix("encoders.flower."): tensor for name, tensor in tensors.items()}


def report(bundle):
    return json.loads((bundle.path / "reports" / "collapse.json").read_text())


def test_the_fold_that_a_recipe_asks_for_is_in_the_report(folded):
    assert [(each["layer"].split(".")[-1], each["rule"]) for each in report(folded)["layers"]] == [
        ("norm", "norm_into_linear")
    ]


def test_a_recipe_that_does_not_ask_has_no_such_fold_and_no_word_of_it(plain):
    assert "norm_into_linear" not in json.dumps(report(plain))
    assert all((weights(plain)[name] == tensor).all() for name, tensor in parents()["base"].items())


def test_the_gain_and_bias_of_the_norm_are_in_the_layer_after_it(folded):
    tensors, found = base(), weights(folded)
    assert (found["norm.weight"] == 1).all()
    assert (found["norm.bias"] == 0).all()
    bias = tensors["second.bias"] + tensors["second.weight"] @ tensors["norm.bias"]
    assert np.abs(found["second.weight"] - tensors["second.weight"] * tensors["norm.weight"]).max() < 1e-6
    assert np.abs(found["second.bias"] - bias).max() < 1e-6


def collapse_proof(bundle):
    (proof,) = (proof for proof in bundle.manifest.proofs if proof.step == "collapse")
    return proof


def test_the_fold_is_proved_in_float64_and_on_the_golden_probes(folded):
    measured = collapse_proof(folded).measurements
    in_float64 = [each for each in measured if each.computed_in == "float64"]
    assert any(is_fold_on_probes(each.inputs) for each in in_float64)
    assert len(in_float64) > 3
    assert all(each.error <= each.tolerance <= 1e-9 for each in in_float64)
    assert all(each.error <= each.tolerance for each in measured)


def test_both_proofs_start_from_one_model_and_end_in_two(folded, plain):
    assert collapse_proof(folded).reads == collapse_proof(plain).reads
    assert collapse_proof(folded).writes != collapse_proof(plain).writes


def test_both_graphs_answer_as_the_parent_does(folded, plain):
    for bundle in (folded, plain):
        assert np.abs(scores(bundle) - expected_scores(base())).max() < 1e-5


@pytest.mark.parametrize("lost", ["norm.weight", "norm.bias"])
def test_a_fold_that_loses_the_gain_or_the_bias_would_be_noticed(folded, lost):
    wrong = base() | {lost: np.ones(8) if lost == "norm.weight" else np.zeros(8)}
    assert np.abs(scores(folded) - expected_scores(wrong)).max() > 1e-3


def test_a_plan_counts_the_same_model(folded, folder):
    (bundle,) = plan_from_file(folder / "folded" / "recipe.yaml").bundles
    assert bundle.parameters_after == report(folded)["parameters_after"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            "norm_into_liner",
            "'norm_into_liner' is no rule to ask for (did you mean 'norm_into_linear'?); known: norm_into_linear",
        ),
        ("batch_norm", "'batch_norm' is applied to every model; leave it out"),
    ],
)
def test_a_rule_that_cannot_be_asked_for_is_refused(tmp_path, name, problem):
    with pytest.raises(RecipeError) as refused:
        recipe_from_file(write_normed(tmp_path, also_collapse=["norm_into_linear", name]))
    assert refused.value.problems == (("export.also_collapse.1", problem),)
