"""What a plan pairs, and what it refuses before anything is changed."""

import copy
import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization import (
    Pair,
    Plan,
    attach,
    plan_from_json,
    plan_reparameterization,
    reparameterize,
)
from tests.merging.reparameterization.tiny_vit import TinyViT


def encoder(width: int = 8, depth: int = 2) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(width, 2, 4 * width, batch_first=True)
    return nn.TransformerEncoder(layer, depth, enable_nested_tensor=False).eval()


def targets(plan: Plan) -> list[str]:
    return [pair.target for pair in plan.pairs]


def test_by_default_linear_layers_of_repeated_blocks_are_paired_by_name() -> None:
    plan = plan_reparameterization(encoder(depth=1), encoder(depth=1))
    names = ["self_attn.in_proj_weight", "self_attn.out_proj.weight", "linear1.weight", "linear2.weight"]
    assert targets(plan) == [f"layers.0.{name}" for name in names]


def test_patterns_pair_models_of_different_families() -> None:
    plan = plan_reparameterization(
        TinyViT(width=8),
        encoder(),
        layers={
            "blocks.{i}.attn.qkv": "layers.{i}.self_attn.in_proj_weight",
            "blocks.{i}.mlp.fc1": "layers.{i}.linear1",
        },
    )
    assert [(pair.target, pair.auxiliary) for pair in plan.pairs] == [
        ("blocks.0.attn.qkv.weight", "layers.0.self_attn.in_proj_weight"),
        ("blocks.1.attn.qkv.weight", "layers.1.self_attn.in_proj_weight"),
        ("blocks.0.mlp.fc1.weight", "layers.0.linear1.weight"),
        ("blocks.1.mlp.fc1.weight", "layers.1.linear1.weight"),
    ]


def test_an_explicit_map_may_cross_the_blocks() -> None:
    plan = plan_reparameterization(TinyViT(), TinyViT(), layers={"blocks.0.mlp.fc1": "blocks.1.mlp.fc1"})
    assert plan.pairs == (Pair("blocks.0.mlp.fc1.weight", "blocks.1.mlp.fc1.weight", (256, 64)),)


def test_listed_names_may_hold_a_star() -> None:
    plan = plan_reparameterization(TinyViT(depth=1), TinyViT(depth=1), layers=["attn.proj", "mlp.*"])
    assert targets(plan) == [f"blocks.0.{name}.weight" for name in ("attn.proj", "mlp.fc1", "mlp.fc2")]


def test_a_plan_survives_json_and_prints_a_line_for_each_pair() -> None:
    plan = plan_reparameterization(TinyViT(), TinyViT())
    assert plan_from_json(plan.to_json()) == plan
    assert json.loads(plan.to_json())["pairs"][0]["shape"] == [192, 64]
    assert str(plan).splitlines()[0].split() == [
        "blocks.0.attn.qkv.weight",
        "+=",
        "λ",
        "·",
        "blocks.0.attn.qkv.weight",
        "(192,",
        "64)",
    ]


def test_text_that_is_no_plan_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match=r"not what Plan\.to_json writes"):
        plan_from_json('{"pairs": [{"target": "x"}]}')


def quantised(model: TinyViT) -> None:
    model.blocks[0].mlp.fc1.weight = nn.Parameter(torch.zeros(256, 64, dtype=torch.int8), requires_grad=False)


def not_finite(model: TinyViT) -> None:
    model.blocks[1].mlp.fc2.weight.data[0, 0] = float("nan")


def without_data(model: TinyViT) -> None:
    model.blocks[0].attn.proj.to("meta")


def tied(model: TinyViT) -> None:
    model.blocks[0].mlp.fc1.weight = model.blocks[1].mlp.fc1.weight


def used_twice(model: TinyViT) -> None:
    model.blocks[1].attn.proj = model.blocks[0].attn.proj


def overlapping_slices(model: TinyViT) -> None:
    first, second = model.blocks[0].mlp.fc1, model.blocks[1].mlp.fc1
    rows = first.weight.shape[0]
    whole = torch.randn(2 * rows - 1, first.weight.shape[1])
    first.weight, second.weight = nn.Parameter(whole[:rows]), nn.Parameter(whole[rows - 1 :])


def overlapping_storages(model: TinyViT) -> None:
    first, second = model.blocks[0].mlp.fc1, model.blocks[1].mlp.fc1
    rows, columns = first.weight.shape
    whole = np.ones((2 * rows - 1, columns), np.float32)
    first.weight = nn.Parameter(torch.from_numpy(whole[:rows]))
    second.weight = nn.Parameter(torch.from_numpy(whole[rows - 1 :]))


def tied_to_a_parametrised_one(model: TinyViT) -> None:
    model.blocks[1].mlp.fc1.weight = model.blocks[0].mlp.fc1.weight
    parametrizations.orthogonal(model.blocks[1].mlp.fc1, use_trivialization=False)


def weight_normed(model: TinyViT) -> None:
    parametrizations.weight_norm(model.blocks[0].mlp.fc1)


REFUSED_TARGETS = [
    (quantised, r"blocks\.0\.mlp\.fc1.*int8"),
    (not_finite, r"blocks\.1\.mlp\.fc2.*the target's weight holds NaN"),
    (without_data, r"blocks\.0\.attn\.proj.*no data"),
    (tied, r"blocks\.0\.mlp\.fc1.*shared with another layer"),
    (used_twice, r"blocks\.0\.attn\.proj.*shared with another layer"),
    (overlapping_slices, r"blocks\.0\.mlp\.fc1.*shared with another layer"),
    (overlapping_storages, r"blocks\.0\.mlp\.fc1.*shared with another layer"),
    (tied_to_a_parametrised_one, r"blocks\.0\.mlp\.fc1.*shared with another layer"),
    (weight_normed, r"blocks\.0\.mlp\.fc1.*already parametrised by something else"),
]


@pytest.mark.parametrize(("spoil", "message"), REFUSED_TARGETS, ids=lambda case: getattr(case, "__name__", ""))
def test_a_target_that_cannot_be_treated_is_refused_and_left_alone(
    spoil: Callable[[TinyViT], None], message: str
) -> None:
    target = TinyViT()
    spoil(target)
    keys = list(target.state_dict())
    with pytest.raises(UnsupportedModuleError, match=message):
        reparameterize(target, TinyViT())
    assert list(target.state_dict()) == keys


@pytest.mark.parametrize("spoil", [quantised, not_finite, without_data])
def test_an_auxiliary_that_cannot_be_treated_is_refused(spoil: Callable[[TinyViT], None]) -> None:
    auxiliary = TinyViT()
    spoil(auxiliary)
    with pytest.raises(UnsupportedModuleError, match="the auxiliary's weight"):
        reparameterize(TinyViT(), auxiliary)


def test_different_widths_are_refused_with_both_layers_and_shapes() -> None:
    target = TinyViT(width=64)
    with pytest.raises(UnsupportedModuleError) as caught:
        reparameterize(target, TinyViT(width=32))
    assert str(caught.value) == (
        "cannot use blocks.0.attn.qkv: the target's weight is (192, 64) and the auxiliary's blocks.0.attn.qkv is "
        "(96, 32); choose an auxiliary with the same width, or leave the layer out with layers=[…]"
    )
    assert not any("parametrizations" in key for key in target.state_dict())


@pytest.mark.parametrize("layers", [None, ["mlp.*"], {"blocks.{i}.mlp.fc1": "blocks.{i}.mlp.fc1"}])
@pytest.mark.parametrize(("mine", "theirs"), [(4, 2), (2, 4)])
def test_different_depths_are_refused_with_both_numbers(mine: int, theirs: int, layers: object) -> None:
    message = f"the target has {mine} such blocks and the auxiliary {theirs}"
    with pytest.raises(UnsupportedModuleError, match=message):
        reparameterize(TinyViT(depth=mine), TinyViT(depth=theirs), layers=layers)


def test_a_model_is_refused_as_its_own_auxiliary() -> None:
    model = TinyViT()
    with pytest.raises(UnsupportedModuleError, match="the same object"):
        reparameterize(model, model)


def test_an_auxiliary_that_shares_memory_with_the_target_is_refused() -> None:
    target, auxiliary = TinyViT(), TinyViT()
    auxiliary.blocks[0].mlp.fc1.weight = target.blocks[0].mlp.fc1.weight
    with pytest.raises(UnsupportedModuleError, match="share this weight's memory"):
        reparameterize(target, auxiliary)


def test_an_auxiliary_that_is_a_slice_over_the_targets_memory_is_refused() -> None:
    whole = torch.randn(5, 4)
    target, auxiliary = nn.Linear(4, 3), nn.Linear(4, 3)
    target.weight, auxiliary.weight = nn.Parameter(whole[:3]), nn.Parameter(whole[2:])
    with pytest.raises(UnsupportedModuleError, match="share this weight's memory"):
        reparameterize(target, auxiliary, layers={"weight": "weight"})


def test_slices_that_lie_side_by_side_in_one_storage_are_accepted() -> None:
    whole = torch.randn(6, 4)
    target, auxiliary = nn.Linear(4, 3), nn.Linear(4, 3)
    target.weight, auxiliary.weight = nn.Parameter(whole[:3]), nn.Parameter(whole[3:])
    assert len(reparameterize(target, auxiliary, layers={"weight": "weight"}).pairs) == 1


@pytest.mark.parametrize("layers", [["attention.*"], {"blocks.{i}.nothing": "blocks.{i}.mlp.fc1"}, {"nothing": "head"}])
def test_a_name_that_matches_nothing_is_refused(layers: object) -> None:
    with pytest.raises(UnsupportedModuleError, match=r"nothing|attention"):
        reparameterize(TinyViT(), TinyViT(), layers=layers)


def test_models_without_a_common_name_are_refused_with_an_example() -> None:
    with pytest.raises(UnsupportedModuleError, match=r"no linear layer has the same name in both.*layers="):
        reparameterize(TinyViT(), encoder())


def test_a_block_index_on_one_side_only_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="only one of the two has"):
        reparameterize(TinyViT(), TinyViT(), layers={"blocks.{i}.mlp.fc1": "blocks.0.mlp.fc1"})


def test_a_plan_for_another_model_is_refused() -> None:
    plan = plan_reparameterization(TinyViT(), TinyViT())
    with pytest.raises(UnsupportedModuleError, match="the plan says"):
        attach(plan, TinyViT(width=32), TinyViT(width=32))
    with pytest.raises(UnsupportedModuleError, match="no parameter of this path"):
        attach(plan, encoder(), TinyViT())


def test_one_weight_twice_in_a_plan_is_refused() -> None:
    plan = plan_reparameterization(TinyViT(), TinyViT(), layers=["blocks.0.mlp.fc1"])
    with pytest.raises(UnsupportedModuleError, match="the target of 2 pairs"):
        attach(Plan(plan.pairs * 2), TinyViT(), TinyViT())


def test_an_empty_plan_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="no pairs"):
        attach(Plan(()), TinyViT(), copy.deepcopy(TinyViT()))
