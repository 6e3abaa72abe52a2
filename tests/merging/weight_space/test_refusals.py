"""What cannot be merged: every problem is named, all at once, and nothing is computed."""

import pytest
import torch

from onepath.contract.errors import OnepathError, RecipeError, UnsupportedModuleError
from onepath.merging.weight_space import ScopeRule, merge_state_dicts
from tests.merging.weight_space.small_models import family

HALF = {"a": 0.5, "b": 0.5}


def problems(method="linear", models=None, **settings) -> dict[str, str]:
    given = {"base": "base", "weights": HALF, **settings}
    with pytest.raises(RecipeError) as caught:
        merge_state_dicts(method, family() if models is None else models, **given)
    return dict(caught.value.problems)


def changed(model: str, name: str, value: torch.Tensor) -> dict:
    models = family()
    models[model][name] = value
    return models


def test_every_problem_is_named_at_once() -> None:
    models = changed("b", "embed.weight", torch.zeros(7, 4))
    del models["a"]["norm.weight"]
    found = problems(
        "ties",
        {**models, "c": {**models["base"], "extra": torch.zeros(1)}},
        base="root",
        weights={"a": -1.0, "b": 1.0, "nobody": 1.0},
        options={"density": 0, "sparsity": 1},
        scope=[ScopeRule("nothing.*", method="keep:none"), ScopeRule("*", method="tie")],
    )
    assert set(found) == {
        "base",
        "weights",
        "weights.nobody",
        "options.density",
        "options.sparsity",
        "scope.0.method",
        "scope.0.pattern",
        "scope.1.method",
        "models.a",
        "models.b.embed.weight",
        "models.c",
    }


def test_a_checkpoint_that_holds_the_tensors_further_inside_is_told_apart_from_them() -> None:
    models = family()
    found = problems(models={**models, "a": {"model": models["a"], "epoch": 3}})
    assert found == {
        "models.a.model": "it is a dict, not a tensor; give the tensors themselves, by name",
        "models.a.epoch": "it is an int, not a tensor; give the tensors themselves, by name",
    }


def test_a_module_in_the_place_of_its_tensors_is_refused() -> None:
    found = problems(models={**family(), "a": torch.nn.Linear(2, 2)})
    assert found == {"models.a": "it is a Linear, not tensors by name; give its state_dict()"}


@pytest.mark.parametrize("density", [0, -0.5, 1.5, float("nan"), "0.5"])
@pytest.mark.parametrize("method", ["ties", "dare_linear", "dare_ties"])
def test_a_density_is_above_zero_and_at_most_one(method: str, density: object) -> None:
    assert list(problems(method, options={"density": density})) == ["options.density"]


@pytest.mark.parametrize("method", ["task_arithmetic", "ties", "dare_linear", "dare_ties"])
def test_differences_need_a_base(method: str) -> None:
    models = family()
    models.pop("base")
    assert "fine-tuned from" in problems(method, models, base=None)["base"]


def test_a_scope_may_need_a_base_too() -> None:
    models = family()
    models.pop("base")
    assert list(problems("linear", models, base=None, scope=[ScopeRule("norm*", method="ties")])) == ["base"]


def test_an_unknown_method_names_the_nearest() -> None:
    assert "did you mean 'slerp'" in problems("slurp")["method"]


def test_an_unknown_model_names_the_known_ones() -> None:
    assert "base, a, b" in problems(weights={**HALF, "d": 1.0})["weights.d"]


def test_no_models_at_all() -> None:
    assert list(problems(models={}, base=None)) == ["models"]


def test_no_weights_at_all() -> None:
    assert list(problems(weights={}, models={"base": family()["base"]})) == ["weights"]


def test_a_model_without_a_weight_is_not_left_out_in_silence() -> None:
    assert list(problems(models=family(3))) == ["models.c"]


@pytest.mark.parametrize("method", ["slerp", "ties", "dare_ties"])
def test_shares_are_not_negative(method: str) -> None:
    assert "negative" in problems(method, weights={"a": 2.0, "b": -1.0})["weights"]


@pytest.mark.parametrize("method", ["linear", "slerp", "ties"])
def test_weights_that_add_up_to_zero_cannot_be_normalised(method: str) -> None:
    assert "add up to 0" in problems(method, weights={"a": 0.0, "b": 0.0})["weights"]


def test_weights_that_cancel_can_be_used_without_normalising() -> None:
    weights = {"a": 1.0, "b": -1.0}
    assert "add up to 0" in problems("linear", weights=weights)["weights"]
    merge_state_dicts("linear", family(), base="base", weights=weights, options={"normalise": False})


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), "1", True])
def test_a_weight_is_a_finite_number(weight: object) -> None:
    assert list(problems(weights={"a": weight, "b": 1.0})) == ["weights.a"]


def test_an_option_that_the_method_has_not() -> None:
    assert list(problems("linear", options={"density": 0.5})) == ["options.density"]


def test_a_scope_that_no_tensor_is_left_for() -> None:
    scope = [ScopeRule("*.weight", weights={"a": 1.0}), ScopeRule("norm.*", weights={"b": 1.0})]
    assert list(problems(scope=scope)) == ["scope.1.pattern"]


def test_kept_tensors_have_neither_weights_nor_options() -> None:
    scope = [ScopeRule("norm.*", method="keep:a", weights={"a": 1.0}, options={"density": 1.0})]
    assert set(problems(scope=scope)) == {"scope.0.weights", "scope.0.options"}


def test_missing_and_extra_tensors_are_listed() -> None:
    models = family()
    models["b"]["new.weight"] = models["b"].pop("norm.weight")
    with pytest.raises(RecipeError) as caught:
        merge_state_dicts("linear", models, base="base", weights=HALF)
    texts = [text for place, text in caught.value.problems if place == "models.b"]
    assert ["norm.weight" in text for text in texts] == [True, False]
    assert ["new.weight" in text for text in texts] == [False, True]


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (torch.zeros(6, 4, dtype=torch.complex64), "complex64"),
        (torch.zeros(6, 4).to_sparse(), "dense"),
        (torch.zeros(6, 4, device="meta"), "no values"),
        (torch.zeros(6, 4).to(torch.float8_e4m3fn), "dequantise"),
        (torch.zeros(6, 4, dtype=torch.int64), "int64"),
        (torch.zeros(6, 5), "(6, 5)"),
    ],
)
def test_tensors_that_cannot_be_added_are_refused(value: torch.Tensor, word: str) -> None:
    assert word in problems(models=changed("b", "embed.weight", value))["models.b.embed.weight"]


@pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions:UserWarning")  # torch will remove them
def test_quantised_tensors_are_refused() -> None:
    packed = torch.quantize_per_tensor(torch.zeros(6, 4), 0.1, 0, torch.qint8)
    assert "dequantise" in problems(models=changed("b", "embed.weight", packed))["models.b.embed.weight"]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_values_that_would_spread_are_refused(value: float) -> None:
    models = family()
    models["a"]["norm.weight"][2] = value
    assert "keep:<model>" in problems(models=models)["models.a.norm.weight"]


def test_tied_tensors_that_differ_in_a_model_are_refused() -> None:
    models = family()
    for tensors in models.values():
        tensors["head.weight"] = tensors["embed.weight"]
    models["b"]["head.weight"] = models["b"]["embed.weight"] + 1
    assert "tied" in problems(models=models)["models.b.head.weight"]


def test_tied_tensors_that_a_scope_separates_are_refused() -> None:
    models = family()
    for tensors in models.values():
        tensors["head.weight"] = tensors["embed.weight"]
    assert "tied" in problems(models=models, scope=[ScopeRule("head.*", method="keep:a")])["head.weight"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_sum_that_the_dtype_cannot_hold_is_refused_by_the_tensors_name(dtype: torch.dtype) -> None:
    largest = torch.full((2,), torch.finfo(dtype).max, dtype=dtype)
    models = {
        "a": {"ok": torch.ones(2, dtype=dtype), "w": largest},
        "b": {"ok": torch.ones(2, dtype=dtype), "w": largest},
    }
    with pytest.raises(UnsupportedModuleError, match=r"cannot use w: .* cannot hold"):
        merge_state_dicts("linear", models, weights={"a": 1.0, "b": 1.0}, options={"normalise": False})
    merge_state_dicts("linear", models, weights={"a": 0.5, "b": 0.5}, options={"normalise": False})


def test_every_refusal_is_an_error_of_the_project() -> None:
    with pytest.raises(OnepathError, match="the merge of weights"):
        merge_state_dicts("linear", {}, weights={})
