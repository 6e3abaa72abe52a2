"""What holds for every merge of models, whatever the numbers are."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onepath.contract.plugins import known_plugins
from onepath.merging.weight_space import merge_state_dicts
from tests.merging.weight_space.small_models import drawn, tuned

METHODS = known_plugins("onepath.weight_merges")
SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=15, deadline=None)


def merged(method, models, weights, **settings):
    return merge_state_dicts(method, models, base="base", weights=weights, **settings).tensors


def distance(one, other) -> float:
    return max(float((one[name].double() - other[name].double()).abs().max()) for name in other)


def models_of(seed: int, *, dtype: torch.dtype = torch.float64):
    base = drawn(seed, dtype=dtype)
    return {"base": base, "a": tuned(base, seed + 1), "b": tuned(base, seed + 2), "c": tuned(base, seed + 3)}


def test_the_methods_are_those_of_the_project() -> None:
    assert {"linear", "slerp", "task_arithmetic", "ties", "dare_linear", "dare_ties"} <= set(METHODS)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_models_merge_to_themselves_to_the_last_bit(method: str, dtype: torch.dtype) -> None:
    models = {name: drawn(0, dtype=dtype) for name in ("base", "a", "b", "c")}
    result = merged(method, models, {"a": 1 / 3, "b": 0.3, "c": 1.1 - 1 / 3})
    assert all(torch.equal(result[name], tensor) for name, tensor in models["base"].items())


@pytest.mark.parametrize("method", ["linear", "slerp"])
@few
@given(seed=SEEDS)
def test_all_the_weight_on_one_model_gives_that_model(method: str, seed: int) -> None:
    models = models_of(seed)
    result = merged(method, models, {"a": 0.0, "b": 2.0, "c": 0.0})
    assert distance(result, models["b"]) < 1e-14
    assert distance(result, models["a"]) > 1e-3


@pytest.mark.parametrize("method", METHODS)
@few
@given(seed=SEEDS, order=st.permutations(["a", "b", "c"]))
def test_the_order_of_models_does_not_matter(method: str, seed: int, order: list[str]) -> None:
    models, weights = models_of(seed), {"a": 0.2, "b": 0.3, "c": 0.5}
    swapped = merged(method, models, {name: weights[name] for name in order})
    assert distance(swapped, merged(method, models, weights)) < 1e-12


@pytest.mark.parametrize("method", METHODS)
def test_which_model_has_which_weight_does_matter(method: str) -> None:
    models = models_of(0)
    one, other = (merged(method, models, {"a": 0.2, "b": w, "c": 0.8 - w}) for w in (0.1, 0.7))
    assert distance(one, other) > 1e-3


@few
@given(seed=SEEDS, scale=st.floats(0.1, 2))
def test_ties_of_agreeing_models_at_density_one_is_the_mean_of_their_changes(seed: int, scale: float) -> None:
    base = drawn(seed, dtype=torch.float64)
    ups = [{name: tensor + step * tensor.abs() + 0.01 for name, tensor in base.items()} for step in (0.1, 0.3)]
    models, weights = {"base": base, "a": ups[0], "b": ups[1]}, {"a": 0.25, "b": 0.75}
    result = merged("ties", models, weights, options={"density": 1.0, "scale": scale})
    expected = {
        name: base[name] + scale * (0.25 * (ups[0][name] - base[name]) + 0.75 * (ups[1][name] - base[name]))
        for name in base
    }
    assert distance(result, expected) < 1e-12


@few
@given(seed=SEEDS)
def test_dare_at_density_one_is_task_arithmetic_and_with_weights_of_sum_one_linear(seed: int) -> None:
    models, weights = models_of(seed), {"a": 0.2, "b": 0.3, "c": 0.5}
    result = merged("dare_linear", models, weights, options={"density": 1.0})
    assert distance(result, merged("task_arithmetic", models, weights)) == 0
    assert distance(result, merged("linear", models, weights)) < 1e-14


@few
@given(seed=SEEDS)
def test_dare_ties_at_density_one_is_ties_at_density_one(seed: int) -> None:
    models, weights = models_of(seed), {"a": 0.2, "b": 0.3, "c": 0.5}
    at_one = {"options": {"density": 1.0}}
    assert distance(merged("dare_ties", models, weights, **at_one), merged("ties", models, weights, **at_one)) == 0


def test_the_mean_of_dare_over_seeds_is_task_arithmetic() -> None:
    models, weights = models_of(0), {"a": 0.6, "b": 0.4}
    models.pop("c")
    runs = [merged("dare_linear", models, weights, seed=seed) for seed in range(100)]
    mean = {name: torch.stack([run[name] for run in runs]).mean(0) for name in runs[0]}
    expected = merged("task_arithmetic", models, weights)
    # A change of 0.05 kept with probability 0.5 has a standard deviation of 0.05; the mean of 100 runs, of 0.005.
    assert distance(mean, expected) < 6 * 0.005
    assert distance(runs[0], expected) > 0.05


@pytest.mark.parametrize("method", ["dare_linear", "dare_ties"])
def test_what_is_dropped_depends_on_the_seed(method: str) -> None:
    models, weights = models_of(0), {"a": 1.0, "b": 1.0, "c": 1.0}
    first, again, other = (merged(method, models, weights, seed=seed) for seed in (1, 1, 2))
    assert distance(first, again) == 0
    assert distance(first, other) > 1e-3


def test_what_is_dropped_depends_on_the_names_of_tensor_and_model_alone() -> None:
    models = models_of(0)
    alone = {name: {"embed.weight": tensors["embed.weight"]} for name, tensors in models.items() if name != "c"}
    whole = merged("dare_linear", models, {"c": 0.0, "b": 1.0, "a": 1.0})
    assert torch.equal(merged("dare_linear", alone, {"a": 1.0, "b": 1.0})["embed.weight"], whole["embed.weight"])


def test_models_drop_different_changes() -> None:
    base = {"w": torch.zeros(1000)}
    models = {"base": base, "a": {"w": torch.ones(1000)}, "b": {"w": torch.full((1000,), 10.0)}}
    result = merged("dare_linear", models, {"a": 1.0, "b": 1.0})["w"]
    assert sorted(set(result.tolist())) == [0, 2, 20, 22]


def test_tensors_drop_different_changes() -> None:
    models = {
        name: {tensor: torch.full((1000,), value) for tensor in "vw"} for name, value in (("base", 0.0), ("a", 1.0))
    }
    result = merged("dare_linear", models, {"a": 1.0})
    assert 0.4 < (result["v"] != result["w"]).double().mean() < 0.6


def test_what_is_dropped_is_the_same_in_float64() -> None:
    narrow = models_of(0, dtype=torch.float32)
    wide = {model: {name: tensor.double() for name, tensor in tensors.items()} for model, tensors in narrow.items()}
    weights = {"a": 1.0, "b": 1.0, "c": 1.0}
    assert distance(merged("dare_ties", narrow, weights), merged("dare_ties", wide, weights)) < 1e-6
