"""The layer-level form, for two linear layers at hand."""

import numpy as np
import pytest
import torch
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse import collapse
from onepath.merging.reparameterization import CrossModalReparameterization, scales
from tests.merging.golden import largest_difference, m2pt

COVERS_M2PT = ("linear/y_kg_forward", "linear/y_correct_merged_weights_only")


def linear(prefix: str) -> nn.Linear:
    layer = nn.Linear(24, 16)
    layer.weight.data = torch.from_numpy(m2pt()[f"linear/{prefix}W"]).clone()
    layer.bias.data = torch.from_numpy(m2pt()[f"linear/{prefix}b"]).clone()
    return layer


def golden_layer() -> CrossModalReparameterization:
    layer = CrossModalReparameterization(linear(""), linear("aux_"))
    layer.scale.data.fill_(m2pt()["linear/lambda"].item())
    return layer


VALUES = torch.from_numpy(m2pt()["linear/x"])
FAULTY = ("linear/y_kg_module_after_merge_DOUBLE_COUNT", "linear/y_kg_original_linear_after_merge_BIAS_SHIFTED")


def test_before_and_after_the_merge_the_output_is_the_published_forward() -> None:
    layer = golden_layer()
    for _ in range(2):
        assert largest_difference(layer(VALUES), m2pt()["linear/y_kg_forward"]) <= 1e-6
        if not layer.merged:
            layer.merge()
    assert largest_difference(layer(VALUES), m2pt()["linear/y_correct_merged_weights_only"]) <= 1e-6


def test_a_layer_that_is_wrapped_twice_has_the_scale_of_each_auxiliary_in_its_own_wrapper() -> None:
    layer = linear("")
    first = CrossModalReparameterization(layer, linear("aux_"), biases=True)
    second = CrossModalReparameterization(layer, linear("aux_"))
    first.scale.data.fill_(0.25)
    second.scale.data.fill_(0.5)
    assert scales(layer) == {"weight": (0.25, 0.5), "bias": (0.25,)}
    second.merge()
    assert first.merged


@pytest.mark.parametrize("name", FAULTY)
def test_the_published_faults_of_merging_do_not_appear(name: str) -> None:
    layer = golden_layer()
    plain = layer.merge()
    assert largest_difference(layer(VALUES), m2pt()[name]) > 1e-2
    assert largest_difference(plain(VALUES), m2pt()[name]) > 1e-2


def test_the_merge_leaves_an_ordinary_layer_with_the_right_weight_and_the_bias_untouched() -> None:
    original = linear("")
    layer = CrossModalReparameterization(original, linear("aux_"))
    layer.scale.data.fill_(m2pt()["linear/lambda"].item())
    assert layer.merge() is original
    assert type(original) is nn.Linear
    assert list(original.state_dict()) == ["weight", "bias"]
    assert np.array_equal(original.weight.detach().numpy(), m2pt()["linear/W_merged"])
    assert np.array_equal(original.bias.detach().numpy(), m2pt()["linear/b"])


def test_a_second_merge_is_refused_and_changes_nothing() -> None:
    layer = golden_layer()
    before = layer.merge_parameters().weight.clone()
    with pytest.raises(UnsupportedModuleError, match="merged already"):
        layer.merge()
    assert torch.equal(layer.linear.weight, before)


def test_a_layer_without_bias_stays_without() -> None:
    layer = CrossModalReparameterization(nn.Linear(4, 3, bias=False), nn.Linear(4, 3))
    assert layer.merge().bias is None


def test_layers_of_other_shapes_are_refused_also_where_they_would_broadcast() -> None:
    original = nn.Linear(4, 3)
    with pytest.raises(UnsupportedModuleError, match=r"\(3, 4\).*\(1, 4\)"):
        CrossModalReparameterization(original, nn.Linear(4, 1))
    assert list(original.state_dict()) == ["weight", "bias"]


def test_a_model_that_holds_one_collapses_by_the_ordinary_verb() -> None:
    model = nn.Sequential(nn.Linear(24, 24), nn.Tanh(), golden_layer())
    collapsed, report = collapse(model)
    assert [entry.scales for entry in report.layers] == [(pytest.approx(m2pt()["linear/lambda"].item()),)]
    torch.testing.assert_close(collapsed(VALUES), model(VALUES), rtol=0, atol=1e-6)
    assert collapsed[2].merged


def test_biases_are_merged_by_the_same_scale_only_where_asked() -> None:
    layer = CrossModalReparameterization(linear(""), linear("aux_"), biases=True)
    layer.scale.data.fill_(m2pt()["linear/lambda"].item())
    for _ in range(2):
        assert largest_difference(layer(VALUES), m2pt()["linear/y_with_aux_bias_too"]) <= 1e-6
        if not layer.merged:
            layer.merge()
    assert list(layer.linear.state_dict()) == ["weight", "bias"]


def test_biases_are_refused_where_a_layer_has_none() -> None:
    with pytest.raises(UnsupportedModuleError, match="bias"):
        CrossModalReparameterization(nn.Linear(4, 3, bias=False), nn.Linear(4, 3), biases=True)
