"""Biases are left alone, unless they are asked for; then they follow the λ of their weights."""

import numpy as np
import pytest
import torch
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization import (
    collapse_in_place,
    collapsed_state_dict,
    plan_reparameterization,
    reparameterize,
    scales,
)
from tests.merging.golden import largest_difference, m2pt
from tests.merging.reparameterization.small_models import inputs, model, output, set_every_scale

COVERS_M2PT = ("linear/y_with_aux_bias_too",)
pytestmark = pytest.mark.usefixtures("vision_ops")


def golden_layers() -> tuple[nn.Linear, nn.Linear]:
    layers = nn.Linear(24, 16), nn.Linear(24, 16)
    for layer, prefix in zip(layers, ("", "aux_"), strict=True):
        layer.weight.data = torch.from_numpy(m2pt()[f"linear/{prefix}W"]).clone()
        layer.bias.data = torch.from_numpy(m2pt()[f"linear/{prefix}b"]).clone()
    return layers


@pytest.mark.parametrize("biases", [False, True])
@pytest.mark.parametrize("collapses", [False, True])
def test_a_bias_is_added_only_if_it_is_asked_for(biases: bool, collapses: bool) -> None:
    layer, auxiliary = golden_layers()
    reparameterize(layer, auxiliary, biases=biases)
    set_every_scale(layer, m2pt()["linear/lambda"].item())
    if collapses:
        collapse_in_place(layer)
    result = layer(torch.from_numpy(m2pt()["linear/x"]))
    expected, other = ("y_with_aux_bias_too", "y_official")[:: 1 if biases else -1]
    assert largest_difference(result, m2pt()[f"linear/{expected}"]) <= 1e-6
    assert largest_difference(result, m2pt()[f"linear/{other}"]) > 1e-2


def test_weight_and_bias_share_one_scale() -> None:
    layer, auxiliary = golden_layers()
    reparameterize(layer, auxiliary, biases=True)
    links = layer.parametrizations
    assert links.weight[0].scale is links.bias[0].scale
    layer(torch.ones(2, 24)).sum().backward()
    expected = 2 * (auxiliary.weight.sum() + auxiliary.bias.sum())
    torch.testing.assert_close(links.weight[0].scale.grad, expected.detach().reshape(1))
    assert set(scales(layer)) == {"weight", "bias"}


def test_a_collapsed_layer_has_its_parameters_in_the_plain_order() -> None:
    layer, auxiliary = golden_layers()
    reparameterize(layer, auxiliary, biases=True)
    assert list(collapsed_state_dict(layer)[0]) == ["weight", "bias"]
    assert [entry.weight for entry in collapse_in_place(layer)] == ["weight", "bias"]
    assert type(layer) is nn.Linear


def test_biases_of_separate_projections_go_to_the_rows_of_a_fused_bias() -> None:
    target, auxiliary = model("timm_vit"), model("vit", seed=1)
    plain = target.blocks[1].attn.qkv.bias.detach().clone()
    reparameterize(target, auxiliary, biases=True)
    set_every_scale(target, 0.5)
    attention = auxiliary.layers[1].attention
    added = torch.cat([attention.q_proj.bias, attention.k_proj.bias, attention.v_proj.bias])
    assert torch.equal(target.blocks[1].attn.qkv.bias, plain + 0.5 * added)


@pytest.mark.parametrize(("mine", "theirs"), [("torch", "timm_vit"), ("gpt2", "bert"), ("bert", "gpt2")])
def test_with_biases_a_model_collapses_to_its_plain_class(mine: str, theirs: str) -> None:
    target, plain = model(mine).double(), model(mine, seed=2).double()
    given = inputs(mine, torch.float64)
    before = output(target, given)
    reparameterize(target, model(theirs, seed=1), biases=True)
    assert torch.equal(output(target, given), before)
    set_every_scale(target, 0.5)
    plain.load_state_dict(collapsed_state_dict(target)[0], strict=True)
    attached = output(target, given)
    assert (output(plain, given) - attached).abs().max() <= 1e-10 * attached.abs().max()
    assert (attached - before).abs().max() > 1e-3


@pytest.mark.parametrize(("mine", "theirs", "role"), [(False, True, "target"), (True, False, "auxiliary")])
def test_a_bias_that_only_one_layer_has_is_refused(mine: bool, theirs: bool, role: str) -> None:
    pair = nn.Linear(3, 3, bias=mine), nn.Linear(3, 3, bias=theirs)
    with pytest.raises(UnsupportedModuleError, match=f"the {role}'s layer has no bias and the other"):
        plan_reparameterization(*pair, biases=True)
    assert len(plan_reparameterization(*pair).pairs) == 1


def test_layers_of_which_neither_has_a_bias_have_none_to_add() -> None:
    plan = plan_reparameterization(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False), biases=True)
    assert [pair.target for pair in plan.pairs] == ["weight"]


def test_a_bias_comes_out_as_b_plus_the_scaled_auxiliary() -> None:
    layer, auxiliary = golden_layers()
    reparameterize(layer, auxiliary, biases=True)
    set_every_scale(layer, m2pt()["linear/lambda"].item())
    scale = m2pt()["linear/lambda"].astype(np.float32)
    collapse_in_place(layer)
    assert np.array_equal(layer.bias.detach().numpy(), m2pt()["linear/b"] + scale * m2pt()["linear/aux_b"])
