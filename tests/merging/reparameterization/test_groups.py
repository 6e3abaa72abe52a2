"""What is trained, and how fast."""

import pytest
import torch
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization import parameter_groups, reparameterize, set_training_mode
from tests.merging.reparameterization.tiny_vit import TinyViT


def attached(depth: int = 3, training: str = "trainable") -> TinyViT:
    target = TinyViT(width=8, depth=depth)
    reparameterize(target, TinyViT(width=8, depth=depth), training=training)
    return target


def by_name(model: nn.Module, groups: list[dict]) -> dict[str, tuple[float, float]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}


def test_scales_are_never_decayed_and_have_a_rate_of_their_own() -> None:
    groups = parameter_groups(attached(1), learning_rate=0.1, weight_decay=0.05, scale_learning_rate=0.5)
    assert [(group["lr"], group["weight_decay"]) for group in groups] == [(0.1, 0.05), (0.1, 0.0), (0.5, 0.0)]
    assert [p.shape for p in groups[2]["params"]] == [(1,)] * 4
    assert all(p.ndim <= 1 for p in groups[1]["params"])


@pytest.mark.parametrize("block_decay", [0.0, -0.5, 1.5, float("nan")])
def test_a_block_decay_that_is_none_is_refused(block_decay: float) -> None:
    with pytest.raises(UnsupportedModuleError, match=r"block_decay=.* above 0 and at most 1"):
        parameter_groups(attached(1), learning_rate=0.1, weight_decay=0.05, block_decay=block_decay)


def test_a_head_that_no_path_begins_with_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match=r"head 'haed\.': no parameter's path begins so"):
        parameter_groups(attached(1), learning_rate=0.1, weight_decay=0.05, head=["haed."])


def test_integers_are_never_trained() -> None:
    model = attached(1)
    model.steps = nn.Parameter(torch.zeros(2, dtype=torch.int8), requires_grad=False)
    set_training_mode(model, "full")
    assert not model.steps.requires_grad
    assert model.head.weight.requires_grad


def test_every_trainable_parameter_is_in_exactly_one_group() -> None:
    model = attached()
    model.head.requires_grad_(False)
    groups = parameter_groups(model, learning_rate=0.1, weight_decay=0.05, block_decay=0.5)
    found = [id(p) for group in groups for p in group["params"]]
    assert sorted(found) == sorted(id(p) for p in model.parameters() if p.requires_grad)


def test_block_decay_is_the_published_power_of_the_distance_to_the_head() -> None:
    model = attached(3)
    found = by_name(model, parameter_groups(model, learning_rate=1.0, weight_decay=0.05, block_decay=0.5))
    assert found["pos_embed"][0] == 0.5**4
    assert found["patch_embed.proj.weight"] == (0.5**4, 0.05)
    assert [found[f"blocks.{i}.norm1.weight"] for i in range(3)] == [(0.5**3, 0), (0.5**2, 0), (0.5, 0)]
    assert found["norm.weight"] == (1.0, 0.0)
    assert found["head.weight"] == (1.0, 0.05)


def test_a_scale_and_an_auxiliary_take_the_rate_of_their_block() -> None:
    model = attached(3)
    found = by_name(
        model,
        parameter_groups(model, learning_rate=1.0, weight_decay=0.05, scale_learning_rate=10.0, block_decay=0.5),
    )
    assert found["blocks.1.mlp.fc1.parametrizations.weight.0.auxiliary"] == (0.25, 0.05)
    assert found["blocks.1.mlp.fc1.parametrizations.weight.0.scale"] == (2.5, 0.0)


def test_what_a_module_names_as_not_to_be_decayed_is_spared() -> None:
    class Named(TinyViT):
        def no_weight_decay(self) -> set[str]:
            return {"pos_embed", "cls_token", "dist_token"}

    model = nn.ModuleDict({"tower": Named(width=8, depth=1)})
    found = by_name(model, parameter_groups(model, learning_rate=1.0, weight_decay=0.05))
    assert found["tower.pos_embed"] == found["tower.cls_token"] == (1.0, 0.0)
    assert found["tower.head.weight"] == (1.0, 0.05)


def test_numbers_in_a_head_are_not_block_indices() -> None:
    model = nn.ModuleDict(
        {
            "blocks": nn.ModuleList(nn.Linear(2, 2) for _ in range(4)),
            "head": nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)),
        }
    )
    found = by_name(model, parameter_groups(model, learning_rate=1.0, weight_decay=0.0, block_decay=0.5))
    assert found["head.0.weight"][0] == found["head.2.weight"][0] == 1.0
    assert found["blocks.0.weight"][0] == 0.5**4


def test_a_head_declared_before_the_blocks_can_be_named() -> None:
    model = nn.ModuleDict(
        {"head": nn.Linear(2, 2), "stem": nn.Linear(2, 2), "blocks": nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])}
    )
    groups = parameter_groups(model, learning_rate=1.0, weight_decay=0.0, block_decay=0.5, head=("head.",))
    found = by_name(model, groups)
    assert (found["head.weight"][0], found["stem.weight"][0]) == (1.0, 0.5**3)


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def test_the_three_modes_train_everything_all_but_auxiliaries_or_scales_with_a_head() -> None:
    model = attached(1)
    everything = {name for name, _ in model.named_parameters()}
    auxiliaries = {name for name in everything if name.endswith(".auxiliary")}
    set_training_mode(model, "scales", besides=("head.",))
    scales = {name for name in everything if name.endswith(".scale")}
    assert len(scales) == len(auxiliaries) == 4
    assert trained(model) == scales | {"head.weight", "head.bias"}
    set_training_mode(model, "auxiliary_frozen")
    assert trained(model) == everything - auxiliaries
    set_training_mode(model, "full")
    assert trained(model) == everything


def test_in_the_scales_mode_a_step_moves_scales_and_head_alone() -> None:
    torch.manual_seed(0)
    model = attached(1)
    set_training_mode(model, "scales", besides=("head.",))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimiser = torch.optim.AdamW(parameter_groups(model, learning_rate=0.1, weight_decay=0.05))
    images = torch.randn(2, 3, 32, 32)
    model(images).square().sum().backward()
    optimiser.step()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
    assert moved == trained(model)


@pytest.mark.parametrize(
    ("model", "mode", "besides", "message"),
    [
        (attached(1), "half", (), "it is not known"),
        (TinyViT(width=8, depth=1), "scales", (), "no auxiliary weights are attached"),
        (attached(1, "frozen"), "full", (), "attached as frozen"),
        (attached(1), "scales", ("haed.",), "path begins so"),
    ],
)
def test_a_mode_that_cannot_be_is_refused_and_changes_nothing(model, mode, besides, message) -> None:
    before = trained(model)
    with pytest.raises(UnsupportedModuleError, match=message):
        set_training_mode(model, mode, besides=besides)
    assert trained(model) == before
