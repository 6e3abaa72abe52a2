"""A bundle whose graph a pass changed: the exported graph's answers are stored, the last graph's are given now."""

import shutil

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from onepath.contract.bundle import open_bundle
from onepath.contract.comparisons import comparisons_from_bundle
from onepath.export.build import build
from onepath.export.progress import SilentProgress
from onepath.scoring.checks import first_broken
from onepath.scoring.rerun import rerun
from onepath.scoring.unmeasured import share_measured
from tests.contract.mutations import put
from tests.export.soup import write_soup

BY_HAND = """
class Norm(nn.LayerNorm):
    def forward(self, x):
        centred = x - x.mean(-1, keepdim=True)
        return centred / (centred.pow(2).mean(-1, keepdim=True) + self.eps).sqrt() * self.weight + self.bias
"""
GRAPH = "graphs/model.onnx"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A bundle whose norm is written out, so that a pass makes one operator of it."""
    folder = tmp_path_factory.mktemp("passes")
    parents = {"left": {"build": "models.py:classifier", "settings": {"width": 8}, "weights": "left.safetensors"}}
    one = {"left": {"model": "encoder", "source": "left"}}
    recipe = write_soup(folder / "recipe", parents=parents, merges={}, bundles=one)
    models = recipe.parent / "models.py"
    code = models.read_text().replace("nn.LayerNorm(", "Norm(")
    models.write_text(code.replace("class Classifier", f"{BY_HAND}\n\nclass Classifier"))
    (bundle,) = build(recipe, folder / "build", SilentProgress())
    return bundle.path


def test_the_pass_was_kept(path):
    assert [proof.step for proof in open_bundle(path).manifest.proofs] == ["collapse", "onnx", "fuse"]


def test_the_last_graphs_answers_alone_are_not_stored(path):
    kept = comparisons_from_bundle(open_bundle(path).manifest, path).compared
    assert {each.step for each in kept if each.found is None} == {"fuse"}
    assert {each.step for each in kept if each.found is not None} == {"collapse", "onnx"}


def test_every_comparison_of_every_step_is_made_again(path):
    bundle = open_bundle(path)
    checks = rerun(bundle)
    assert first_broken(checks) is None
    made, every = share_measured(bundle.manifest, checks)
    assert made == every == sum(len(proof.measurements) for proof in bundle.manifest.proofs)


def test_another_graph_is_off_what_the_pass_started_from(path, tmp_path):
    other = shutil.copytree(path, tmp_path / "left")
    model = onnx.load(other / GRAPH)
    tensor = next(each for each in model.graph.initializer if len(each.dims) == 2)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * np.float32(1.01), tensor.name))
    put(other, GRAPH, model.SerializeToString(deterministic=True))
    assert "fuse" in {check.subject for check in rerun(open_bundle(other)) if check.verdict == "broken"}
