"""Parents are built by functions beside the recipe, and their weights fit exactly or not at all."""

import json

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from onepath.contract.errors import RecipeError, UnsupportedModuleError
from onepath.export.models.checkpoints import load_weights
from onepath.export.models.parents import parents_from_recipe
from onepath.export.recipe import recipe_from_file
from onepath.export.recipe.code import folder_on_path
from tests.export.soup import parents, write_soup


def built(path):
    with folder_on_path(path.parent):
        return parents_from_recipe(recipe_from_file(path), path)


def recipe_of(folder, code=None, **named):
    """Write a recipe of some parents, all of them merged, and other code where given."""
    merges = {"mean": {"method": "linear", "models": dict.fromkeys(named, 1)}}
    path = write_soup(folder, parents=named, merges=merges, bundles={"soup": {"model": "encoder", "source": "mean"}})
    if code is not None:
        (folder / "models.py").write_text(code)
    return path


def parent(weights=None, build="models.py:classifier", width=8):
    return {"build": build, "settings": {"width": width}, "weights": weights}


@pytest.mark.parametrize("name", ["base", "left", "right"])
def test_a_file_and_a_folder_of_shards_are_loaded(tmp_path, name):
    model = built(write_soup(tmp_path))[name]
    assert not model.training
    for key, expected in parents()[name].items():
        assert np.array_equal(model.state_dict()[key].numpy(), expected)


def test_parents_without_weights_depend_on_the_seed_and_their_name_alone(tmp_path):
    path = recipe_of(tmp_path, one=parent(), two=parent())
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again = built(path), built(path)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first["one"].head.weight, again["one"].head.weight)
    assert not torch.equal(first["one"].head.weight, first["two"].head.weight)


BROKEN = """
from torch import nn

def broken(settings):
    return 1 / 0

def number(settings):
    return 3

def good(settings):
    return nn.Linear(1, 1)
"""


def test_every_parent_that_cannot_be_built_is_told(tmp_path):
    path = recipe_of(
        tmp_path,
        BROKEN,
        zero=parent(build="models.py:broken"),
        three=parent(build="models.py:number"),
        none=parent(build="models.py:missing"),
        misfit=parent("left.safetensors", build="models.py:good"),
    )
    with pytest.raises(RecipeError) as refused:
        built(path)
    found = dict(refused.value.problems)
    assert set(found) == {"parents.zero.build", "parents.three.build", "parents.none.build", "parents.misfit.weights"}
    assert "raised ZeroDivisionError: division by zero" in found["parents.zero.build"]
    assert "returned int" in found["parents.three.build"]
    assert "no such function" in found["parents.none.build"]
    assert "it lacks: weight, bias; the model has no: first.bias" in found["parents.misfit.weights"]


SIBLINGS = """
import sibling_of_models
from torch import nn

class Net(nn.Linear):
    pass

def net(settings):
    return sibling_of_models.made()
"""


def test_a_builder_imports_what_lies_beside_it_and_its_classes_are_one(tmp_path):
    path = recipe_of(tmp_path, SIBLINGS, one=parent(build="models.py:net"), two=parent(build="others.py:check"))
    (tmp_path / "sibling_of_models.py").write_text("import models\ndef made(): return models.Net(2, 2)\n")
    (tmp_path / "others.py").write_text("from models import Net\ndef check(settings): return Net(1, 1)\n")
    found = built(path)
    assert type(found["one"]) is type(found["two"])


def classifier():
    return nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))


def tensors():
    return {name: np.full(tensor.shape, 0.5, np.float32) for name, tensor in classifier().state_dict().items()}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"0.weight": None}, "it lacks: 0.weight"),
        ({"extra": np.zeros(1, np.float32)}, "the model has no: extra"),
        ({"0.weight": np.zeros((3, 3), np.float32)}, r"it has other shapes: 0.weight \(3, 3\) for \(3, 2\)"),
        ({"0.weight": np.zeros((3, 2), np.int64)}, "it has other types: 0.weight int64 for float32"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_the_model_stays(tmp_path, change, told):
    changed = {name: tensor for name, tensor in (tensors() | change).items() if tensor is not None}
    save_file(changed, tmp_path / "weights.safetensors")
    model = classifier()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(UnsupportedModuleError, match=told):
        load_weights(model, tmp_path / "weights.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_narrower_checkpoint_is_widened(tmp_path):
    save_file({name: tensor.astype(np.float16) for name, tensor in tensors().items()}, tmp_path / "w.safetensors")
    model = classifier()
    load_weights(model, tmp_path / "w.safetensors")
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
    assert torch.equal(model[0].weight, torch.full((3, 2), 0.5))


def test_a_tied_tensor_may_be_left_out_of_the_checkpoint(tmp_path):
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    save_file({"0.weight": np.eye(2, dtype=np.float32)}, tmp_path / "w.safetensors")
    load_weights(model, tmp_path / "w.safetensors")
    assert torch.equal(model[1].weight, torch.eye(2))
    apart = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    with pytest.raises(UnsupportedModuleError, match=r"it lacks: 1\.weight"):
        load_weights(apart, tmp_path / "w.safetensors")


@pytest.mark.parametrize("name", ["weights.bin", "weights.pt", "weights.ckpt"])
def test_a_pickled_checkpoint_is_never_opened(tmp_path, name):
    torch.save(classifier().state_dict(), tmp_path / name)
    with pytest.raises(UnsupportedModuleError, match="runs what it holds"):
        load_weights(classifier(), tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"junk", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_damaged_file_is_refused(tmp_path, content):
    (tmp_path / "w.safetensors").write_bytes(content)
    with pytest.raises(UnsupportedModuleError, match="not a readable safetensors file"):
        load_weights(classifier(), tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("index", "told"),
    [
        ("{", "is no index"),
        ("[]", "is no index"),
        ('{"weight_map": {}}', "names no tensors"),
        ('{"weight_map": {"0.weight": "../a.safetensors"}}', "no .safetensors file beside it"),
        ('{"weight_map": {"0.weight": "a.bin"}}', "no .safetensors file beside it"),
        ('{"weight_map": {"0.weight": "gone.safetensors"}}', r"names gone\.safetensors, and there is no such file"),
        ('{"weight_map": {"0.weight": "a.safetensors"}}', "does not hold the tensors that the index names"),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(tmp_path, index, told):
    save_file(tensors(), tmp_path / "a.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(UnsupportedModuleError, match=told):
        load_weights(classifier(), tmp_path)


def test_a_folder_says_which_file_is_meant_or_is_refused(tmp_path):
    save_file(tensors(), tmp_path / "a.safetensors")
    load_weights(classifier(), tmp_path)
    save_file(tensors(), tmp_path / "b.safetensors")
    with pytest.raises(UnsupportedModuleError, match=r"it has 2 \.safetensors files and 0 indices"):
        load_weights(classifier(), tmp_path)
    index = {"weight_map": dict.fromkeys(tensors(), "a.safetensors")}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    load_weights(classifier(), tmp_path)
