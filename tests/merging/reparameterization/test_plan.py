"""What a plan pairs, prints and writes."""

import json

import pytest
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization import Pair, Plan, plan_from_json, plan_reparameterization
from tests.merging.reparameterization.tiny_vit import TinyViT


def encoder(width: int = 8, depth: int = 2) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
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
    (pair,) = plan.pairs
    assert pair == Pair("blocks.0.mlp.fc1.weight", "blocks.1.mlp.fc1.weight", (256, 64), block=0, role="fc1")


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


def test_the_whole_of_a_pair_survives_json_and_is_printed() -> None:
    pair = Pair("a.weight", "b.weight", (2, 3), (0, 2), (4, 6), transposed=True, block=7, role="q", scale="a")
    plan = Plan((pair,))
    assert plan_from_json(plan.to_json()) == plan
    assert str(plan) == "a.weight[0:2] += λ[a] · b.weight[4:6]ᵀ (2, 3)"


def test_a_pair_written_out_goes_before_a_pattern() -> None:
    layers = {"blocks.{i}.mlp.fc1": "blocks.{i}.mlp.fc1", "blocks.1.mlp.fc1": "blocks.0.mlp.fc1"}
    plan = plan_reparameterization(TinyViT(), TinyViT(), layers=layers)
    assert sorted((pair.target, pair.auxiliary) for pair in plan.pairs) == [
        ("blocks.0.mlp.fc1.weight", "blocks.0.mlp.fc1.weight"),
        ("blocks.1.mlp.fc1.weight", "blocks.0.mlp.fc1.weight"),
    ]


def test_a_listed_layer_outside_of_the_blocks_is_paired_by_its_name() -> None:
    plan = plan_reparameterization(TinyViT(depth=1), TinyViT(depth=1), layers=["head", "mlp.fc2"])
    assert targets(plan) == ["blocks.0.mlp.fc2.weight", "head.weight"]


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"pairs": [{"target": "x"}]}', r"pairs\.0\.auxiliary"),
        ('{"pairs": [], "more": 1}', "more"),
        ('{"pairs": [{"target": "x", "auxiliary": "y", "shape": [1], "role": "nose"}]}', r"pairs\.0\.role"),
        ('{"pairs": ', "Invalid JSON"),
    ],
)
def test_text_that_is_no_plan_is_refused_with_the_place(text: str, where: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=rf"not what Plan\.to_json writes \(.*{where}"):
        plan_from_json(text)
