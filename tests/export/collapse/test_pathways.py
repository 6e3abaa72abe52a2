"""`collapse` walks any model, and asks the installed rules."""

import copy

import pytest
import torch
from torch import nn

from onepath.contract.plugins import known_plugins
from onepath.export.collapse import CollapseReport, FoldedLayer, Folding, collapse
from onepath.merging.lego import LegoMerge
from onepath.merging.reparameterization import reparameterize, scales
from tests.merging.lego.small_blocks import every_pattern, small_block, small_blocks, small_inputs


def test_the_built_in_rules_are_installed_as_plug_ins() -> None:
    assert {"cross_modal", "lego_block", "lego_fuse", "lego_merge"} <= set(known_plugins("onepath.collapse_rules"))


def test_a_plain_model_comes_back_as_an_equal_copy() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    collapsed, report = collapse(model)
    assert collapsed is not model
    assert torch.equal(collapsed[0].weight, model[0].weight)
    assert report == CollapseReport((), 16, 16)


def test_blocks_with_re_parameterised_encoders_collapse_in_one_go() -> None:
    blocks = small_blocks()
    reparameterize(blocks["b"].encoder, copy.deepcopy(blocks["b"].encoder))
    blocks["b"].encoder.linear.parametrizations.weight[0].scale.data.fill_(0.5)
    model = LegoMerge(blocks)
    collapsed, report = collapse(model)
    inputs, patterns = small_inputs(), every_pattern(3)
    torch.testing.assert_close(collapsed(inputs, patterns), model(inputs, patterns), rtol=1e-10, atol=1e-10)
    assert {entry.rule for entry in report.layers} == {"lego_merge", "cross_modal"}
    assert not scales(collapsed)


def test_a_shared_module_stays_shared() -> None:
    shared = nn.Linear(3, 3)
    collapsed, _ = collapse(nn.ModuleDict({"first": shared, "second": shared}))
    assert collapsed["first"] is collapsed["second"]


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_kept(training: bool) -> None:
    assert collapse(nn.Sequential(nn.Linear(2, 2)).train(training))[0][0].training is training


def test_a_frozen_module_stays_frozen() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)).train()
    model[0].eval()
    assert [module.training for module in collapse(model)[0].modules()] == [True, False, True]


def test_an_encoder_keeps_its_modes_and_what_a_rule_makes_takes_the_models() -> None:
    model = LegoMerge(small_blocks()).train()
    model.blocks["b"].encoder.linear.eval()
    collapsed, _ = collapse(model)
    assert [name for name, module in collapsed.named_modules() if not module.training] == [
        "encoders.b.features.encoder.linear"
    ]


def test_a_block_in_eval_mode_inside_a_model_in_training_mode_is_folded_in_eval_mode() -> None:
    model = nn.Sequential(small_block("a"), nn.Linear(3, 3)).train()
    model[0].eval()
    collapsed, _ = collapse(model)
    assert not any(module.training for module in collapsed[0].modules())
    assert collapsed[1].training


def test_a_rule_of_ones_own_can_be_given() -> None:
    def without_identity(module: nn.Module) -> Folding | None:
        if not isinstance(module, nn.Dropout):
            return None
        return Folding(nn.Identity(), (FoldedLayer("", "without_identity", "dropout to nothing"),))

    collapsed, report = collapse(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), rules=[without_identity])
    assert isinstance(collapsed[1], nn.Identity)
    assert [entry.layer for entry in report.layers] == ["1"]


def test_the_report_prints_a_line_for_each_layer() -> None:
    report = CollapseReport((FoldedLayer("fc1", "cross_modal", "1 auxiliary into one weight", 0.25, (0.5,)),), 9, 5)
    assert str(report) == "fc1: 1 auxiliary into one weight, λ = 0.5, ‖ΔW‖/‖W‖ = 0.25\n9 -> 5 stored numbers"
