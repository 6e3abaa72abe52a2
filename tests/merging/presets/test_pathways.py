"""A pathway from any modality's transformer to any other's: every scale acts, and collapse ends it exactly."""

import copy

import pytest
import torch
from torch import nn

from onepath.export.collapse import collapse
from onepath.merging.presets import PATHWAY_LAYERS
from onepath.merging.reparameterization import reparameterize
from tests.merging.presets.small_presets import MAKERS, small_model, values_of

MODALITIES = sorted(MAKERS)


def with_pathway(target: str, auxiliary: str) -> nn.Module:
    model, other = small_model(target).double(), small_model(auxiliary).double()
    for parameter in other.parameters():
        parameter.data.mul_(-0.7)  # the two start from one seed
    reparameterize(model, other, layers=PATHWAY_LAYERS)
    return model


def scales_of(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if name.endswith(".scale")}


@pytest.mark.parametrize("target", MODALITIES)
@pytest.mark.parametrize("auxiliary", MODALITIES)
def test_any_two_modalities_are_joined_at_four_layers_of_each_block(target, auxiliary) -> None:
    if target == auxiliary:
        auxiliary = "image" if target != "image" else "audio"
    assert len(scales_of(with_pathway(target, auxiliary))) == 4 * 4


@pytest.mark.parametrize("target", MODALITIES)
def test_every_scale_acts_in_every_modality(target) -> None:
    model, values = with_pathway(target, "image" if target != "image" else "audio"), values_of(target, 2)
    torch.autograd.backward(model(values).square().sum())
    assert all(scale.grad.abs().item() > 1e-12 for scale in scales_of(model).values())


@torch.no_grad()
def test_the_scale_on_qkv_acts_where_the_layer_is_never_called() -> None:
    model, values = with_pathway("video", "image"), values_of("video", 2)
    plain = model(values)
    model.blocks[1].attn.qkv.parametrizations.weight[0].scale.fill_(5.0)
    assert (model(values) - plain).abs().max() > 1e-3


@pytest.mark.parametrize("target", MODALITIES)
@torch.no_grad()
def test_the_collapsed_model_is_the_plain_class_and_answers_alike(target) -> None:
    model, values = with_pathway(target, "points" if target != "points" else "image"), values_of(target, 3)
    plain = small_model(target).double()
    for index, scale in enumerate(scales_of(model).values()):
        scale.fill_(0.1 + 0.05 * index)
    collapsed, _ = collapse(model, rules=["cross_modal"])
    expected = model(values)
    torch.testing.assert_close(collapsed(values), expected, rtol=1e-10, atol=1e-12)
    assert (plain(values) - expected).abs().max() > 1e-4
    plain.load_state_dict(copy.deepcopy(collapsed.state_dict()), strict=True)
    assert list(plain.state_dict()) == list(collapsed.state_dict())
    torch.testing.assert_close(plain(values), expected, rtol=1e-10, atol=1e-12)
