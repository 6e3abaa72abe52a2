"""What the report of a collapse says: FLOPs on an example, rounding errors, and what was left."""

import json

import pytest
import torch
from torch import nn

from onepath.export.collapse import collapse
from onepath.export.collapse.flops import flops_by_module
from onepath.export.collapse.report import CollapseReport, FoldedLayer, LeftLayer
from onepath.merging.lego import LegoMerge
from onepath.merging.reparameterization import reparameterize
from tests.export.collapse.small_networks import RepVggBlock, normal, randomised
from tests.merging.lego.small_blocks import small_blocks, small_inputs


def test_flops_are_two_for_each_multiplication_of_the_example() -> None:
    model = nn.Sequential(nn.Linear(4, 10), nn.Linear(10, 3), nn.ReLU(), nn.Linear(3, 2))
    _, report = collapse(model, example=(torch.rand(5, 4),))
    assert (report.flops_before, report.flops_after) == (2 * 5 * (40 + 30 + 6), 2 * 5 * (12 + 6))
    (entry,) = report.layers
    assert (entry.flops_before, entry.flops_after) == (2 * 5 * 70, 2 * 5 * 12)


def test_the_flops_of_what_is_folded_twice_are_in_its_last_entry() -> None:
    model = nn.Sequential(nn.Linear(4, 10), nn.Linear(10, 9), nn.Linear(9, 3))
    _, report = collapse(model, example=(torch.rand(5, 4),))
    figures = [(entry.flops_before, entry.flops_after) for entry in report.layers]
    assert figures == [(None, None), (2 * 5 * (40 + 90 + 27), 2 * 5 * 12)]


def test_a_function_can_make_the_example_call() -> None:
    model = nn.ModuleDict({"only": nn.Sequential(nn.Linear(4, 10), nn.Linear(10, 3))})
    _, report = collapse(model, example=lambda module: module["only"](torch.rand(1, 4)))
    assert (report.flops_before, report.flops_after) == (140, 24)


def test_merged_branches_cost_one_of_them() -> None:
    block = randomised(nn.Sequential(RepVggBlock(4, 4)))
    _, report = collapse(block, example=(normal(1, 4, 5, 6),))
    positions, dense, point = 5 * 6, 4 * 4 * 9, 4 * 4
    assert report.flops_before == 2 * positions * (dense + point)
    assert report.flops_after == 2 * positions * dense
    assert (report.layers[-1].flops_before, report.layers[-1].flops_after) == (report.flops_before, report.flops_after)


def test_the_products_of_an_attention_are_counted() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True).eval()
    projections, scores, feed_forward = 4 * 8 * 8, 2 * 5 * 8, 2 * 8 * 12
    _, report = collapse(layer, example=(torch.rand(3, 5, 8),))
    assert report.flops_before == 2 * 3 * 5 * (projections + scores + feed_forward)
    assert torch.backends.mha.get_fastpath_enabled()


def test_counting_flops_changes_no_model() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).train()
    collapsed, _ = collapse(model, example=(torch.rand(3, 4),))
    assert model.training
    assert collapsed.training
    assert model[1].num_batches_tracked == 0


def with_pathway(model: nn.Linear, name: str | None = None, **options: bool) -> nn.Linear:
    reparameterize(model, nn.Linear(model.in_features, model.out_features).to(model.weight), name=name, **options)
    for chain in model.parametrizations.values():
        chain[-1].scale.data.fill_(0.3)
    return model


def test_the_entry_of_a_weight_has_the_flops_of_its_module_and_that_of_a_bias_none() -> None:
    model = nn.Sequential(nn.ReLU(), with_pathway(nn.Linear(6, 4), biases=True))
    _, report = collapse(model, example=(torch.rand(5, 6),))
    figures = {entry.layer: (entry.flops_before, entry.flops_after) for entry in report.layers}
    assert figures == {"1.weight": (2 * 5 * 24, 2 * 5 * 24), "1.bias": (None, None)}


def test_a_layer_that_a_later_fold_moves_elsewhere_keeps_its_flops() -> None:
    blocks = small_blocks("ab")
    with_pathway(blocks["b"].encoder.linear)
    _, report = collapse(LegoMerge(blocks), example=(small_inputs("ab", rows=3), torch.ones(3, 2, dtype=torch.bool)))
    entry = next(entry for entry in report.layers if entry.rule == "cross_modal")
    assert entry.layer == "encoders.b.block.encoder.linear.weight"
    assert (entry.flops_before, entry.flops_after) == (2 * 3 * 4 * 24, 2 * 3 * 4 * 24)


def test_a_layer_that_is_called_without_the_module_around_it_counts_for_both() -> None:
    model = nn.ModuleDict({"parts": nn.ModuleList([nn.Linear(4, 3), nn.Linear(3, 2)])})
    flops = flops_by_module(model, lambda module: module["parts"][1](module["parts"][0](torch.rand(5, 4))))
    assert flops == {"parts.0": 2 * 5 * 12, "parts.1": 2 * 5 * 6, "parts": 2 * 5 * 18, "": 2 * 5 * 18}


def test_the_calls_of_a_module_are_not_counted_again_with_those_of_its_parts() -> None:
    flops = flops_by_module(nn.Sequential(nn.Sequential(nn.Linear(4, 3))), (torch.rand(5, 4),))
    assert set(flops.values()) == {2 * 5 * 12}


def test_without_an_example_there_are_no_flops() -> None:
    _, report = collapse(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3)))
    assert report.flops_before is None
    assert report.layers[0].flops_before is None


def test_the_relative_change_of_a_weight_is_that_of_the_scale_of_its_norm() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, eps=0)).double().eval()
    model[1].weight.data.fill_(1.5)
    (entry,) = collapse(model)[1].layers
    assert entry.relative_change == pytest.approx(0.5)
    assert entry.error == 0


@pytest.mark.parametrize(("precision", "bound"), [(torch.float32, 6e-8), (torch.bfloat16, 4e-3)])
def test_the_error_is_that_of_one_rounding(precision: torch.dtype, bound: float) -> None:
    model = randomised(nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32))).to(precision)
    (entry,) = collapse(model)[1].layers
    assert bound / 10 < entry.error < bound


def test_a_re_parameterised_weight_is_told_with_its_rounding_and_its_numbers() -> None:
    model = nn.Linear(6, 4).to(torch.bfloat16)
    reparameterize(model, nn.Linear(6, 4).to(torch.bfloat16))
    model.parametrizations.weight[0].scale.data.fill_(0.3)
    (entry,) = collapse(model)[1].layers
    assert 0 < entry.error < 4e-3
    assert (entry.parameters_before, entry.parameters_after) == (2 * 24 + 1, 24)


def test_a_re_parameterised_weight_tells_whose_auxiliary_each_scale_is_of() -> None:
    model = with_pathway(with_pathway(nn.Linear(6, 4), "sound"))
    (entry,) = collapse(model)[1].layers
    assert entry.auxiliaries == ("sound", None)
    assert entry.scales == pytest.approx((0.3, 0.3))
    assert entry.folded == "2 auxiliaries of sound into one weight"


class LooksInside(nn.Module):
    """Decides by values, and reads a layer of its chain."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.chain = nn.Sequential(*layers)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if values.sum() < -1e9:
            return values
        return self.chain(values) + self.chain[0](values)


@pytest.mark.parametrize(
    ("layers", "left"),
    [
        ((nn.Linear(4, 4), nn.Linear(4, 4)), [("chain.0", "linear_pair")]),
        ((nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), []),
    ],
)
def test_what_a_forward_looks_into_is_told_only_where_it_would_have_been_folded(
    layers: tuple[nn.Module, ...], left: list[tuple[str, str]]
) -> None:
    _, report = collapse(LooksInside(*layers))
    assert [(entry.layer, entry.rule) for entry in report.left] == left
    assert all(entry.reason.endswith("looks into it") for entry in report.left)


def test_the_report_is_json_and_says_what_was_left() -> None:
    model = nn.Sequential(nn.Linear(64, 2), nn.Linear(2, 64))
    _, report = collapse(model)
    data = json.loads(json.dumps(report.as_json()))
    assert data["left"][0]["layer"] == "1"
    assert data["layers"] == []
    assert data["parameters_before"] == data["parameters_after"] == 322


def test_the_report_prints_every_figure() -> None:
    entry = FoldedLayer(
        "fc",
        "linear_pair",
        "fc and out into one Linear",
        relative_change=0.25,
        error=1e-8,
        parameters_before=9,
        parameters_after=5,
        flops_before=20,
        flops_after=10,
    )
    left = LeftLayer("", "batch_norm", "it is in training mode")
    assert str(CollapseReport((entry,), 12, 8, (left,), 30, 20)).splitlines() == [
        "fc: fc and out into one Linear, ‖ΔW‖/‖W‖ = 0.25, rounding 1e-08, 9 -> 5 numbers, 20 -> 10 FLOPs",
        "(model): left by batch_norm, as it is in training mode",
        "12 -> 8 stored numbers",
        "30 -> 20 FLOPs",
    ]
