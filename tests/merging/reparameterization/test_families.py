"""Layers of known families are found by name, and paired by what they do, whatever they are called."""

import pytest
import torch
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization import collapsed_state_dict, plan_reparameterization, reparameterize
from tests.merging.reparameterization.small_models import (
    MODELS,
    inputs,
    model,
    output,
    set_every_scale,
    timm_vit,
    torch_encoder,
)

pytestmark = pytest.mark.usefixtures("vision_ops")

LAYERS = {
    "timm_vit": ("blocks.0.", ["attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2"]),
    "torch": ("layers.0.", ["self_attn.in_proj_weight", "self_attn.out_proj", "linear1", "linear2"]),
    "gpt2": ("h.0.", ["attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"]),
    "videomae": (
        "encoder.layer.0.",
        [f"attention.attention.{name}" for name in ("query", "key", "value")]
        + ["attention.output.dense", "intermediate.dense", "output.dense"],
    ),
    "distilbert": (
        "transformer.layer.0.",
        ["attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "ffn.lin1", "ffn.lin2"],
    ),
    "wav2vec2": (
        "encoder.layers.0.",
        [f"attention.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")]
        + ["feed_forward.intermediate_dense", "feed_forward.output_dense"],
    ),
    "clip": (
        "text_model.encoder.layers.0.",
        [f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "out_proj")] + ["mlp.fc1", "mlp.fc2"],
    ),
}
_VIT = [f"attention.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")] + ["mlp.fc1", "mlp.fc2"]
_BERT = [f"attention.self.{name}" for name in ("query", "key", "value")] + LAYERS["videomae"][1][3:]
LAYERS |= dict.fromkeys(("vit", "deit", "mae", "ast"), ("layers.0.", _VIT))
LAYERS |= {"dinov2": ("encoder.layer.0.", _VIT)}
LAYERS |= dict.fromkeys(("bert", "roberta"), ("encoder.layer.0.", _BERT))


def chosen(name: str) -> dict[str, str]:
    return {"target_blocks": "text_model.encoder.layers"} if name == "clip" else {}


def counterpart(name: str) -> nn.Module:
    """A model of another family, fused where the target is split, and split where it is fused."""
    return model("timm_vit" if len(LAYERS[name][1]) == 6 else "vit", seed=1)


@pytest.mark.parametrize("name", MODELS)
def test_the_layers_of_a_family_are_found_in_their_order(name: str) -> None:
    plan = plan_reparameterization(model(name), model(name, seed=1), **chosen(name))
    prefix, layers = LAYERS[name]
    found = [pair.target for pair in plan.pairs if pair.target.startswith(prefix)]
    assert found == [prefix + layer + ("" if layer.endswith("_weight") else ".weight") for layer in layers]


@pytest.mark.parametrize("name", MODELS)
def test_a_family_takes_any_other_for_its_auxiliary_and_collapses_to_its_plain_class(name: str) -> None:
    target, plain = model(name).double(), model(name, seed=2).double()
    given = inputs(name, torch.float64)
    before = output(target, given)
    reparameterize(target, counterpart(name), **chosen(name))
    assert torch.equal(output(target, given), before)

    set_every_scale(target, 0.5)
    attached = output(target, given)
    assert (attached - before).abs().max() > 1e-3

    state, folded = collapsed_state_dict(target)
    plain.load_state_dict(state, strict=True)
    assert list(state) == list(plain.state_dict())
    assert len(folded) == 2 * len(LAYERS[name][1])
    assert (output(plain, given) - attached).abs().max() <= 1e-10 * attached.abs().max()


@pytest.mark.parametrize("name", ["timm_vit", "bert", "gpt2"])
def test_in_float32_the_collapsed_model_gives_the_attached_bits(name: str) -> None:
    target, plain, given = model(name), model(name, seed=2), inputs(name)
    reparameterize(target, counterpart(name), scale_per="projection")
    set_every_scale(target, 0.37)
    plain.load_state_dict(collapsed_state_dict(target)[0], strict=True)
    assert torch.equal(output(plain, given), output(target, given))


def test_roles_choose_layers_of_both_families() -> None:
    plan = plan_reparameterization(model("bert"), model("timm_vit"), roles=["v", "fc1"])
    assert [(pair.target, pair.right) for pair in plan.pairs if pair.block == 1] == [
        ("encoder.layer.1.attention.self.value.weight", "blocks.1.attn.qkv.weight[64:96]"),
        ("encoder.layer.1.intermediate.dense.weight", "blocks.1.mlp.fc1.weight"),
    ]


def test_the_role_qkv_stands_for_the_three() -> None:
    plan = plan_reparameterization(model("bert"), model("timm_vit"), roles=["qkv"])
    assert [pair.role for pair in plan.pairs] == ["q", "k", "v"] * 2


def test_listed_layers_of_the_target_find_their_counterparts_by_what_they_do() -> None:
    plan = plan_reparameterization(model("bert"), model("timm_vit"), layers=["attention.self.key", "output.dense"])
    assert [(pair.role, pair.right) for pair in plan.pairs if pair.block == 0] == [
        ("k", "blocks.0.attn.qkv.weight[32:64]"),
        ("fc2", "blocks.0.mlp.fc2.weight"),
    ]


def test_two_towers_are_paired_each_with_its_own() -> None:
    plan = plan_reparameterization(model("clip"), model("clip", seed=1))
    assert len(plan.pairs) == 24
    assert all(pair.target == pair.auxiliary for pair in plan.pairs)


def test_one_of_two_towers_must_be_named() -> None:
    with pytest.raises(UnsupportedModuleError, match=r"'text_model.encoder.layers', 'vision_model.*not clear"):
        plan_reparameterization(model("clip"), model("bert"))
    plan = plan_reparameterization(model("clip"), model("bert"), target_blocks="vision_model.encoder.layers")
    assert {pair.target.split(".")[0] for pair in plan.pairs} == {"vision_model"}
    with pytest.raises(UnsupportedModuleError, match=r"no blocks of a known family there; choose among 'text_model"):
        plan_reparameterization(model("clip"), model("bert"), target_blocks="vision")


class WithDecoder(nn.Module):
    """A masked autoencoder has a second list of the same blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = timm_vit().blocks
        self.decoder_blocks = timm_vit().blocks


def test_of_two_lists_the_one_of_the_auxiliarys_name_is_meant() -> None:
    plan = plan_reparameterization(WithDecoder(), timm_vit())
    assert {pair.target.split(".")[0] for pair in plan.pairs} == {"blocks"}


OLD_BLOCK = [
    *(f"attention.attention.{name}" for name in ("query", "key", "value")),
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
]


def nested(sizes: dict[str, tuple[int, int]]) -> nn.Module:
    """A tree of modules with linear layers at these paths."""
    tree = nn.Module()
    for name, size in sizes.items():
        *parents, last = name.split(".")
        place = tree
        for parent in parents:
            if parent not in place._modules:
                place.add_module(parent, nn.Module())
            place = place._modules[parent]
        place.add_module(last, nn.Linear(*size))
    return tree


def test_the_names_of_transformers_4_are_known_too() -> None:
    sizes = dict.fromkeys(OLD_BLOCK, (32, 32)) | {"intermediate.dense": (32, 128), "output.dense": (128, 32)}
    old = nested({f"encoder.layer.{index}.{name}": sizes[name] for index in range(2) for name in OLD_BLOCK})
    plan = plan_reparameterization(old, model("vit"))
    assert [(pair.target, pair.auxiliary) for pair in plan.pairs if pair.block == 1] == [
        (f"encoder.layer.1.{mine}.weight", f"layers.1.{theirs}.weight")
        for mine, theirs in zip(OLD_BLOCK, _VIT, strict=True)
    ]


def test_plain_modules_are_paired_by_position_if_all_shapes_agree_in_order() -> None:
    mine = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4))
    theirs = nn.ModuleDict({"first": nn.Linear(4, 4), "second": nn.Linear(4, 4)})
    plan = plan_reparameterization(mine, theirs)
    assert [(pair.target, pair.auxiliary) for pair in plan.pairs] == [
        ("0.weight", "first.weight"),
        ("2.weight", "second.weight"),
    ]


def test_the_numbers_in_a_sequential_do_not_matter_if_all_shapes_agree_in_order() -> None:
    mine = nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 4))
    theirs = nn.Sequential(nn.Linear(4, 4), nn.Dropout(), nn.ReLU(), nn.Linear(4, 4))
    plan = plan_reparameterization(mine, theirs)
    assert [(pair.target, pair.auxiliary) for pair in plan.pairs] == [
        ("0.weight", "0.weight"),
        ("2.weight", "3.weight"),
    ]


def test_plain_modules_are_paired_by_name_before_position() -> None:
    mine = nn.ModuleDict({"a": nn.Linear(4, 4), "b": nn.Linear(4, 4)})
    theirs = nn.ModuleDict({"b": nn.Linear(4, 4), "a": nn.Linear(4, 4)})
    plan = plan_reparameterization(mine, theirs)
    assert all(pair.target == pair.auxiliary for pair in plan.pairs)


def test_plain_modules_are_paired_by_shapes_that_only_one_has() -> None:
    mine = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 2))
    theirs = nn.ModuleDict({"other": nn.Linear(9, 9), "out": nn.Linear(6, 2), "into": nn.Linear(4, 6)})
    plan = plan_reparameterization(mine, theirs)
    assert [(pair.target, pair.auxiliary) for pair in plan.pairs] == [
        ("0.weight", "into.weight"),
        ("2.weight", "out.weight"),
    ]


@pytest.mark.parametrize(("heads", "warns"), [(4, False), (8, True)])
def test_different_numbers_of_heads_are_warned_of_and_refused_if_strict(heads: int, warns: bool) -> None:
    target, auxiliary = torch_encoder(), timm_vit(num_heads=heads)
    if not warns:
        plan_reparameterization(target, auxiliary, strict=True)
        return
    with pytest.warns(UserWarning, match=r"layers\.0\.self_attn\.in_proj_weight: the target has 4 heads .* 8"):
        plan_reparameterization(target, auxiliary)
    with pytest.raises(UnsupportedModuleError, match="4 heads there and the auxiliary 8"):
        plan_reparameterization(target, auxiliary, strict=True)


def test_heads_do_not_matter_to_the_feed_forward() -> None:
    assert plan_reparameterization(torch_encoder(), timm_vit(num_heads=8), roles=["fc1", "fc2"], strict=True).pairs
