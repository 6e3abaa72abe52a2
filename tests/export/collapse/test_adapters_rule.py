"""`collapse` folds low-rank adapters, wherever they are in a model."""

import json

import pytest
import torch
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.contract.plugins import known_plugins
from onepath.export.collapse import collapse
from onepath.merging.adapters import attach_adapters, attached_adapters
from onepath.merging.reparameterization import reparameterize
from tests.merging.adapters.random_adapters import drawn, random_adapter


def adapted_model() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 3, bias=False)).double()
    attach_adapters(model, {"0": random_adapter(4, 5, rank=2, seed=1, biased=True, alpha=3)})
    attach_adapters(model, {"0": random_adapter(4, 5, rank=1, seed=2), "2": random_adapter(3, 4, seed=3)})
    return model


def test_the_rule_is_installed() -> None:
    assert "adapted_linear" in known_plugins("onepath.collapse_rules")


def test_an_adapted_model_collapses_to_plain_layers_that_give_its_outputs() -> None:
    model, x = adapted_model(), drawn(7, 5, seed=9)
    collapsed, _ = collapse(model)
    torch.testing.assert_close(collapsed(x), model(x), rtol=1e-12, atol=1e-12)
    assert not attached_adapters(collapsed)
    assert [type(module) for module in collapsed] == [nn.Linear, nn.GELU, nn.Linear]
    fresh = nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 3, bias=False)).double()
    assert list(collapsed.state_dict()) == list(fresh.state_dict())
    fresh.load_state_dict(collapsed.state_dict(), strict=True)


def test_the_model_that_was_given_keeps_its_adapters() -> None:
    model = adapted_model()
    collapse(model)
    assert list(attached_adapters(model)) == ["0.weight", "2.weight"]


def test_a_wrong_fold_would_be_seen() -> None:
    model, x = adapted_model(), drawn(7, 5, seed=9)
    collapsed, _ = collapse(model)
    collapsed[0].bias.data += 1e-9
    assert (collapsed(x) - model(x)).abs().max() > 1e-11


def test_the_report_tells_what_was_folded_into_what() -> None:
    _, report = collapse(adapted_model())
    assert [(entry.layer, entry.rule, entry.folded, entry.scales) for entry in report.layers] == [
        ("0.weight", "adapted_linear", "2 low-rank adapters of rank 2 and 1 into one weight", (1.5, 1.0)),
        ("0.bias", "adapted_linear", "the adapters' shift into the bias", ()),
        ("2.weight", "adapted_linear", "1 low-rank adapter of rank 2 into one weight", (1.0,)),
    ]
    assert all(entry.relative_change > 0 for entry in report.layers)


def test_a_change_of_zeros_has_no_ratio_and_the_report_is_still_json() -> None:
    model = nn.Sequential(nn.Linear(5, 4))
    nn.init.zeros_(model[0].bias)
    attach_adapters(model, {"0": random_adapter(4, 5, biased=True)})
    _, report = collapse(model)
    weight, bias = report.layers
    assert weight.relative_change > 0
    assert bias.relative_change is None
    json.dumps(report.as_json(), allow_nan=False)


def test_collapsing_twice_equals_collapsing_once() -> None:
    once, _ = collapse(adapted_model())
    twice, report = collapse(once)
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), twice.parameters(), strict=True))
    assert not [entry for entry in report.layers if entry.rule == "adapted_linear"]


def test_adapters_and_cross_modal_weights_on_different_layers_collapse_together() -> None:
    model, x = adapted_model(), drawn(2, 5, seed=1)
    model.append(nn.Linear(3, 3, dtype=torch.float64))
    reparameterize(model[3], nn.Linear(3, 3, dtype=torch.float64), layers={"weight": "weight"})
    model[3].parametrizations.weight[0].scale.data.fill_(0.5)
    collapsed, report = collapse(model)
    torch.testing.assert_close(collapsed(x), model(x), rtol=1e-12, atol=1e-12)
    assert {"adapted_linear", "cross_modal"} <= {entry.rule for entry in report.layers}


def test_a_tied_weight_is_refused_and_the_model_stays_as_it_was() -> None:
    model = adapted_model()
    model.append(nn.Linear(5, 4, dtype=torch.float64))
    model[3].weight = model[0].parametrizations.weight.original
    with pytest.raises(UnsupportedModuleError, match="tied with another layer's"):
        collapse(model)
    assert list(attached_adapters(model)) == ["0.weight", "2.weight"]
