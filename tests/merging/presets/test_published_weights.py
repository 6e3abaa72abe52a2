"""Published checkpoints: their names become a model's, their tables fit its grid, and nothing is guessed."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.presets import image_preset, point_preset
from onepath.merging.presets.published_weights import (
    KEY_RULES,
    KeyRules,
    fitted_weights,
    renamed_weights,
    reordered_head,
    weights_from_file,
)

ONE, TWO = torch.ones(1), torch.full((1,), 2.0)


@pytest.mark.parametrize(
    ("modality", "key", "name"),
    [
        ("image", "module.blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.weight"),
        ("image", "blocks.0.attn.qkv.weight", "blocks.0.attn.qkv.weight"),
        ("video", "_orig_mod.encoder.blocks.0.mlp.fc1.bias", "blocks.0.mlp.fc1.bias"),
        ("video", "backbone.fc_norm.weight", "fc_norm.weight"),
        ("points", "module.MAE_encoder.blocks.blocks.3.attn.proj.weight", "blocks.3.attn.proj.weight"),
        ("points", "base_model.blocks.blocks.11.norm1.bias", "blocks.11.norm1.bias"),
        ("points", "encoder.first_conv.0.bias", "tokenizer.first.0.bias"),
        ("points", "MAE_encoder.encoder.second_conv.1.running_var", "tokenizer.second.1.statistics.running_var"),
        ("points", "cls_head_finetune.5.weight", "head.5.statistics.weight"),
        ("points", "cls_head_finetune.8.bias", "head.8.bias"),
        ("points", "module.MAE_encoder.pos_embed.2.weight", "pos_embed.2.weight"),
    ],
)
def test_a_pipelines_names_become_the_models(modality, key, name) -> None:
    assert list(renamed_weights({key: ONE}, KEY_RULES[modality])) == [name]


@pytest.mark.parametrize("wrappers", [("model",), ("module",), ("state_dict",), ("base_model",), ("model", "module")])
def test_weights_are_found_in_what_wraps_them(wrappers) -> None:
    checkpoint = {"head.bias": ONE}
    for wrapper in reversed(wrappers):
        checkpoint = {"epoch": 7, wrapper: checkpoint}
    assert list(renamed_weights(checkpoint, KeyRules())) == ["head.bias"]


def test_the_first_wrapper_counts() -> None:
    checkpoint = {"module": {"a": ONE}, "model": {"b": TWO}}
    assert list(renamed_weights(checkpoint, KeyRules())) == ["b"]


def test_the_order_is_kept() -> None:
    keys = ["module.c", "a", "module.b"]
    assert list(renamed_weights(dict.fromkeys(keys, ONE), KeyRules())) == ["c", "a", "b"]


def test_two_weights_of_one_name_are_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="another weight is named 'a' too"):
        renamed_weights({"a": ONE, "module.a": TWO}, KeyRules())


def test_what_is_no_tensor_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="it is a int"):
        renamed_weights({"a": ONE, "epoch": 3}, KeyRules())


def test_a_safetensors_file_is_read(tmp_path) -> None:
    save_file({"a": ONE, "b": TWO}, tmp_path / "weights.safetensors")
    assert weights_from_file(tmp_path / "weights.safetensors") == {"a": ONE, "b": TWO}


def test_a_pickled_checkpoint_is_refused(tmp_path) -> None:
    torch.save({"a": ONE}, tmp_path / "weights.pth")
    with pytest.raises(UnsupportedModuleError, match="convert the checkpoint to safetensors"):
        weights_from_file(tmp_path / "weights.pth")
    with pytest.raises(UnsupportedModuleError, match="not a readable"):
        weights_from_file(tmp_path / "none.safetensors")


def test_weights_of_another_resolution_and_other_classes_are_fitted() -> None:
    trained = image_preset("micro", classes=7, side=32, patch=8).model.state_dict()
    model = image_preset("micro", classes=3, side=48, patch=8).model
    fitted = fitted_weights(trained, model, (4, 4))
    assert fitted["pos_embed"].shape == (1, 1 + 36, 64)
    assert torch.equal(fitted["pos_embed"][:, 0], trained["pos_embed"][:, 0])
    missing, unexpected = model.load_state_dict(fitted, strict=False)
    assert (missing, unexpected) == (["head.weight", "head.bias"], [])


def test_weights_that_fit_are_as_they_were() -> None:
    model = image_preset("micro", classes=7, side=32, patch=8).model
    fitted = fitted_weights(model.state_dict(), model, (4, 4))
    assert all(torch.equal(fitted[name], tensor) for name, tensor in model.state_dict().items())


def test_a_table_of_another_grid_than_named_is_refused() -> None:
    model = image_preset("micro", side=32, patch=8).model
    with pytest.raises(UnsupportedModuleError, match="position table"):
        fitted_weights(model.state_dict(), model, (5, 5))


def test_a_head_is_reordered_to_the_classes_that_are_wanted() -> None:
    weights = {"head.weight": torch.arange(12.0).reshape(6, 2), "head.bias": torch.arange(6.0), "norm.bias": TWO}
    reordered = reordered_head(weights, [4, 0])
    np.testing.assert_array_equal(reordered["head.weight"], [[8, 9], [0, 1]])
    np.testing.assert_array_equal(reordered["head.bias"], [4, 0])
    assert reordered["norm.bias"] is TWO


@pytest.mark.parametrize("classes", [[6], [-1]])
def test_a_class_that_the_head_has_not_is_refused(classes) -> None:
    with pytest.raises(UnsupportedModuleError, match="it has 6 classes"):
        reordered_head({"head.weight": torch.zeros(6, 2)}, classes)


def published_points(width: int, classes: int) -> nn.ModuleDict:
    """Return the parts of Point-MAE's classifier besides blocks and tokens, by their published names."""
    pointnet = {
        name: nn.Sequential(nn.Conv1d(first, hidden, 1), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Conv1d(hidden, last, 1))
        for name, first, hidden, last in (("first_conv", 3, 128, 256), ("second_conv", 512, 512, width))
    }
    layers = [[nn.Linear(size, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Dropout(0.5)] for size in (2 * width, 256)]
    return nn.ModuleDict(
        {
            "encoder": nn.ModuleDict(pointnet),
            "pos_embed": nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width)),
            "norm": nn.LayerNorm(width, eps=1e-5),
            "cls_head_finetune": nn.Sequential(*layers[0], *layers[1], nn.Linear(256, classes)),
        }
    )


@torch.no_grad()
def test_a_point_checkpoint_gives_what_its_own_layers_give() -> None:
    torch.manual_seed(0)
    model = point_preset("micro", classes=5).model.double()
    theirs = published_points(64, 5).double().train()
    for _ in range(5):  # so that the statistics are none that a fresh model has
        theirs["encoder"]["first_conv"](torch.randn(8, 3, 9, dtype=torch.float64) + 1)
        theirs["encoder"]["second_conv"](torch.randn(8, 512, 9, dtype=torch.float64) + 1)
        theirs["cls_head_finetune"](torch.randn(8, 128, dtype=torch.float64) + 1)
    own = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("cls_")}
    blocks = {f"blocks.{name}": tensor for name, tensor in model.state_dict().items() if name.startswith("blocks.")}
    checkpoint = {f"module.{name}": tensor for name, tensor in (theirs.state_dict() | blocks | own).items()}
    model.load_state_dict(renamed_weights(checkpoint, KEY_RULES["points"]), strict=True)
    groups = torch.randn(2, 6, 9, 3, dtype=torch.float64)
    torch.testing.assert_close(model.eval()(groups), answered(theirs.eval(), model, groups), rtol=1e-10, atol=1e-10)
    model.load_state_dict({"tokenizer.first.1.statistics.bias": torch.ones(128)}, strict=False)
    assert (model(groups) - answered(theirs, model, groups)).abs().max() > 1e-4


def answered(theirs: nn.ModuleDict, model: nn.Module, groups: torch.Tensor) -> torch.Tensor:
    """Return the logits of the published layers around a model's blocks, points as channels before their places."""
    pointnet = theirs["encoder"]
    near = pointnet["first_conv"](groups[:, :, 1:].flatten(0, 1).transpose(1, 2))
    wide = torch.cat([near.max(dim=2, keepdim=True).values.expand_as(near), near], dim=1)
    tokens = pointnet["second_conv"](wide).max(dim=2).values.reshape(len(groups), 6, -1)
    x = torch.cat([model.cls_token.expand(len(groups), -1, -1), tokens], dim=1)
    places = torch.cat([model.cls_pos.expand(len(groups), -1, -1), theirs["pos_embed"](groups[:, :, 0])], dim=1)
    for block in model.blocks:
        x = block(x + places)
    x = theirs["norm"](x)
    return theirs["cls_head_finetune"](torch.cat([x[:, 0], x[:, 1:].max(dim=1).values], dim=1))
