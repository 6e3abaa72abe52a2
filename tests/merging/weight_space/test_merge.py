"""Merging whole models: form, dtypes, tied tensors, exceptions for some tensors, and the report."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn

from onepath.merging.weight_space import ScopeRule, merge_state_dicts
from tests.merging.weight_space.small_models import SHAPES, drawn, family

HALF = {"a": 0.5, "b": 0.5}


def reports(result):
    return {report.name: report for report in result.report}


def test_the_result_loads_strictly_into_the_models_class_and_answers_as_the_mean_of_a_linear_model() -> None:
    models = [nn.Linear(3, 2) for _ in range(2)]
    states = {"a": models[0].state_dict(), "b": models[1].state_dict()}
    merged = nn.Linear(3, 2)
    merged.load_state_dict(merge_state_dicts("linear", states, weights=HALF).tensors, strict=True)
    inputs = torch.randn(5, 3)
    expected = (models[0](inputs) + models[1](inputs)) / 2
    torch.testing.assert_close(merged(inputs), expected, rtol=0, atol=1e-6)
    assert (merged(inputs) - models[0](inputs)).abs().max() > 1e-3


def test_names_order_shapes_and_dtypes_are_those_of_the_base() -> None:
    models = family()
    models["base"] = {name: tensor.to(torch.float16) for name, tensor in reversed(models["base"].items())}
    result = merge_state_dicts("ties", models, base="base", weights=HALF).tensors
    assert list(result) == list(reversed(SHAPES))
    assert {name: tuple(tensor.shape) for name, tensor in result.items()} == SHAPES
    assert {tensor.dtype for tensor in result.values()} == {torch.float16}


def test_without_a_base_the_first_model_gives_the_form() -> None:
    models = {"a": drawn(1, dtype=torch.bfloat16), "b": drawn(2)}
    assert merge_state_dicts("linear", models, weights=HALF).tensors["norm.weight"].dtype == torch.bfloat16


def test_a_base_may_be_one_of_the_merged_models() -> None:
    models = {"a": drawn(1, dtype=torch.float64), "b": drawn(2, dtype=torch.float64)}
    result = merge_state_dicts("linear", models, base="b", weights={"a": 1, "b": 3}).tensors["embed.weight"]
    expected = (models["a"]["embed.weight"].numpy() + 3 * models["b"]["embed.weight"].numpy()) / 4
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_models_are_summed_in_float32_and_rounded_once(dtype: torch.dtype) -> None:
    values = torch.randn(3, 1000, generator=torch.Generator().manual_seed(0)).to(dtype)
    weights = {"a": 0.2, "b": 0.3, "c": 0.5}
    result = merge_state_dicts(
        "linear", {name: {"w": row} for name, row in zip("abc", values, strict=True)}, weights=weights
    ).tensors["w"]
    exact = sum(w * row for w, row in zip(weights.values(), values.double(), strict=True))
    in_steps = sum(torch.tensor(w, dtype=dtype) * row for w, row in zip(weights.values(), values, strict=True))
    assert (result != exact.to(dtype)).double().mean() < 0.01
    assert (in_steps != exact.to(dtype)).double().mean() > 0.1


def test_float64_stays_float64() -> None:
    models = {
        "a": {"w": torch.tensor([1 / 3], dtype=torch.float64)},
        "b": {"w": torch.tensor([0.1], dtype=torch.float64)},
    }
    merged = merge_state_dicts("linear", models, weights=HALF).tensors["w"]
    assert merged.item() == pytest.approx((1 / 3 + 0.1) / 2, rel=1e-15)
    assert merged.item() != pytest.approx(np.float32((1 / 3 + 0.1) / 2), rel=1e-10)


def test_the_models_stay_as_they_are_and_share_no_memory_with_the_result() -> None:
    models = family()
    before = {name: {key: tensor.clone() for key, tensor in tensors.items()} for name, tensors in models.items()}
    scope = [ScopeRule("embed.*", method="keep:a")]
    for tensor in merge_state_dicts("dare_ties", models, base="base", weights=HALF, scope=scope).tensors.values():
        tensor.fill_(7)
    assert all(torch.equal(models[name][key], before[name][key]) for name in models for key in SHAPES)


def test_parameters_are_merged_without_gradients() -> None:
    states = {name: dict(nn.Linear(3, 2).named_parameters()) for name in "ab"}
    assert not merge_state_dicts("slerp", states, weights=HALF).tensors["weight"].requires_grad


def test_integers_and_booleans_are_taken_from_the_base_and_reported() -> None:
    counters = {"n": torch.tensor(3), "mask": torch.tensor([True, False])}
    models = {
        "a": {**counters, "w": torch.ones(2)},
        "base": {"n": torch.tensor(5), "mask": ~counters["mask"], "w": torch.zeros(2)},
    }
    result = merge_state_dicts("task_arithmetic", models, base="base", weights={"a": 1.0})
    assert (result.tensors["n"].item(), result.tensors["mask"].tolist()) == (5, [False, True])
    assert [reports(result)[name].method for name in ("n", "mask", "w")] == [
        "keep:base",
        "keep:base",
        "task_arithmetic",
    ]


def test_tied_tensors_stay_tied() -> None:
    models = family()
    for tensors in models.values():
        tensors["head.weight"] = tensors["embed.weight"]
    result = merge_state_dicts("dare_linear", models, base="base", weights=HALF)
    assert result.tensors["head.weight"] is result.tensors["embed.weight"]
    assert reports(result)["head.weight"].tied_to == "embed.weight"
    assert reports(result)["embed.weight"].tied_to is None


def test_a_slice_of_a_tensor_is_not_tied_to_it() -> None:
    models = family()
    for tensors in models.values():
        tensors["part"] = tensors["embed.weight"][:2]
    result = merge_state_dicts("linear", models, base="base", weights=HALF)
    assert reports(result)["part"].tied_to is None
    assert torch.equal(result.tensors["part"], result.tensors["embed.weight"][:2])


def test_the_first_scope_that_matches_counts() -> None:
    models = family()
    scope = [
        ScopeRule("blocks.0.*", weights={"b": 1.0}),
        ScopeRule("norm.*", method="keep:base"),
        ScopeRule("*.weight", weights={"a": 1.0, "b": 3.0}),
    ]
    result = merge_state_dicts("linear", models, base="base", weights={"a": 1.0}, scope=scope).tensors
    assert torch.equal(result["blocks.0.fc.weight"], models["b"]["blocks.0.fc.weight"])
    assert torch.equal(result["blocks.0.fc.bias"], models["b"]["blocks.0.fc.bias"])
    assert torch.equal(result["norm.weight"], models["base"]["norm.weight"])
    a, b = (models[name]["embed.weight"].double().numpy() for name in "ab")
    np.testing.assert_allclose(result["embed.weight"].numpy(), (a + 3 * b) / 4, rtol=1e-6)


def test_a_scope_adds_its_options_to_those_of_the_merge() -> None:
    models, options = family(), {"density": 0.1, "scale": 3.0}
    both = {"density": 1.0, "scale": 3.0}
    scoped = merge_state_dicts(
        "ties",
        models,
        base="base",
        weights=HALF,
        options=options,
        scope=[ScopeRule("embed*", options={"density": 1.0})],
    ).tensors
    expected = {
        name: merge_state_dicts("ties", models, base="base", weights=HALF, options=given).tensors
        for name, given in (("few", options), ("all", both))
    }
    assert torch.equal(scoped["embed.weight"], expected["all"]["embed.weight"])
    assert torch.equal(scoped["blocks.0.fc.weight"], expected["few"]["blocks.0.fc.weight"])
    assert not torch.equal(expected["few"]["embed.weight"], expected["all"]["embed.weight"])


def test_another_method_in_a_scope_has_options_of_its_own() -> None:
    models, scope = family(), [ScopeRule("embed*", method="linear", weights={"a": 1.0})]
    options = {"density": 0.1}
    result = merge_state_dicts("ties", models, base="base", weights=HALF, options=options, scope=scope).tensors
    assert torch.equal(result["embed.weight"], models["a"]["embed.weight"])


def test_a_model_may_be_kept_whole() -> None:
    models = family()
    result = merge_state_dicts("keep:b", {"b": models["b"]}, weights={})
    assert all(torch.equal(result.tensors[name], models["b"][name]) for name in SHAPES)


def test_infinite_values_may_be_kept_but_not_merged() -> None:
    masks = {name: {"mask": torch.tensor([0.0, -torch.inf]), "w": torch.ones(2)} for name in "ab"}
    result = merge_state_dicts("linear", masks, weights=HALF, scope=[ScopeRule("mask", method="keep:b")])
    assert result.tensors["mask"].tolist() == [0, -torch.inf]


def test_the_report_says_method_weights_and_how_they_apply() -> None:
    result = merge_state_dicts("linear", family(), base="base", weights={"a": 1.0, "b": 3.0})
    report = reports(result)["norm.weight"]
    assert (report.method, report.weights, report.coefficients) == ("linear", {"a": 1, "b": 3}, {"a": 0.25, "b": 0.75})


def test_the_report_says_how_far_the_base_was_moved() -> None:
    models = {"base": {"w": torch.tensor([3.0, 4.0])}, "a": {"w": torch.tensor([3.0, 5.0])}}
    result = merge_state_dicts("task_arithmetic", models, base="base", weights={"a": 2.0})
    assert result.report[0].relative_change == pytest.approx(2 / 5, rel=1e-12)


def test_the_report_has_no_change_where_the_base_is_zero() -> None:
    models = {"base": {"w": torch.zeros(2), "v": torch.zeros(2)}, "a": {"w": torch.ones(2), "v": torch.zeros(2)}}
    result = reports(merge_state_dicts("task_arithmetic", models, base="base", weights={"a": 2.0}))
    assert (result["w"].relative_change, result["v"].relative_change) == (None, 0.0)


def test_the_report_is_json() -> None:
    result = merge_state_dicts("slerp", family(), base="base", weights=HALF)
    assert json.loads(json.dumps([asdict(report) for report in result.report], allow_nan=False))[0]["method"] == "slerp"


def test_empty_and_scalar_tensors_are_merged() -> None:
    models = {name: {"none": torch.zeros(0, 3), "one": torch.tensor(value)} for name, value in (("a", 1.0), ("b", 3.0))}
    for method in ("linear", "slerp", "ties", "dare_linear"):
        result = merge_state_dicts(method, models, base="a", weights={"b": 1.0}, options={}).tensors
        assert (result["none"].shape, result["one"].shape) == ((0, 3), ())
