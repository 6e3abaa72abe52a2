"""An adapted layer computes W·x + b + Σ scale·B·(A·x) + δb, and its fold the same with one weight."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from onepath.merging.adapters import (
    LowRankAdapter,
    attach_adapters,
    attached_adapters,
    average_factors,
    average_updates,
    fold_adapters,
    new_adapters,
)
from tests.merging.adapters.random_adapters import drawn, random_adapter, relative_difference

SIZES = [(1, 1, 1), (3, 5, 2), (17, 4, 4), (8, 64, 6)]
EXACT = 1e-12


def plain_linear(outputs: int, inputs: int, *, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias, dtype=torch.float64)
    layer.weight.data = drawn(outputs, inputs, seed=7)
    if bias:
        layer.bias.data = drawn(outputs, seed=8)
    return layer


def two_paths(x: np.ndarray, layer: nn.Linear, adapters: list[LowRankAdapter], scales: list[float]) -> np.ndarray:
    """The formula, path by path, in numpy."""
    total = x @ layer.weight.detach().numpy().T + (0 if layer.bias is None else layer.bias.detach().numpy())
    for adapter, scale in zip(adapters, scales, strict=True):
        total = total + scale * (x @ adapter.a.numpy().T @ adapter.b.numpy().T)
        total = total if adapter.bias is None else total + adapter.bias.numpy()
    return total


@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize(("outputs", "inputs", "rank"), SIZES)
def test_a_linear_layer_with_two_adapters_gives_the_sum_of_its_paths(
    outputs: int, inputs: int, rank: int, *, biased: bool, folds: bool
) -> None:
    layer, x = plain_linear(outputs, inputs), drawn(6, inputs, seed=9)
    adapters = [
        random_adapter(outputs, inputs, rank=rank, seed=1, biased=biased, alpha=3),
        random_adapter(outputs, inputs, rank=1, seed=2, alpha=0.5),
    ]
    expected = two_paths(x.numpy(), layer, adapters, [3 / rank, 0.5])
    for adapter in adapters:
        attach_adapters(layer, {"weight": adapter})
    if folds:
        fold_adapters(layer)
    assert relative_difference(layer(x), expected) <= EXACT


def test_a_fold_that_forgets_the_scale_gives_another_output() -> None:
    layer, x, adapter = plain_linear(3, 5), drawn(6, 5, seed=9), random_adapter(3, 5, alpha=3)
    expected = two_paths(x.numpy(), layer, [adapter], [1.0])
    attach_adapters(layer, {"weight": adapter})
    assert relative_difference(layer(x), expected) > 1e-2


@pytest.mark.parametrize(("stabilized", "scale"), [(False, 8 / 4), (True, 8 / 2)])
def test_the_scale_is_alpha_over_the_rank_or_over_its_root(stabilized: bool, scale: float) -> None:
    adapter = LowRankAdapter(torch.ones(4, 3), torch.ones(2, 4), alpha=8, rank_stabilized=stabilized)
    layer = nn.Linear(3, 2)
    attach_adapters(layer, {"weight": adapter})
    assert adapter.scale == scale
    assert attached_adapters(layer)["weight"][0].scale == scale


@pytest.mark.parametrize("settings", [{"stride": 2}, {"padding": 1}, {"dilation": 2, "padding": 2}])
def test_a_convolution_takes_a_kernel_as_a_and_a_1x1_convolution_as_b(settings: dict[str, int]) -> None:
    layer = nn.Conv2d(3, 4, (3, 2), dtype=torch.float64, **settings)
    images, adapter = drawn(2, 3, 9, 8, seed=3), random_adapter(4, 3, 3, 2, rank=2, seed=4, alpha=1)
    first = functional.conv2d(images, adapter.a, **settings)
    expected = layer(images) + 0.5 * functional.conv2d(first, adapter.b[..., None, None])
    attach_adapters(layer, {"weight": adapter})
    assert relative_difference(layer(images), expected.detach().numpy()) <= EXACT
    fold_adapters(layer)
    assert relative_difference(layer(images), expected.detach().numpy()) <= EXACT
    assert type(layer) is nn.Conv2d


def test_packed_attention_sees_its_adapters_also_where_the_layer_is_never_called() -> None:
    attention = nn.MultiheadAttention(4, 2, batch_first=True, dtype=torch.float64).eval()
    plain, tokens = copy.deepcopy(attention), drawn(2, 3, 4, seed=1)
    packed, output = random_adapter(12, 4, seed=2, biased=True), random_adapter(4, 4, seed=3, biased=True)
    attach_adapters(attention, {"in_proj_weight": packed, "out_proj": output})
    with torch.no_grad():
        plain.in_proj_weight += packed.b @ packed.a
        plain.in_proj_bias += packed.bias
        plain.out_proj.weight += output.b @ output.a
        plain.out_proj.bias += output.bias
    expected = plain(tokens, tokens, tokens)[0].detach().numpy()
    assert relative_difference(attention(tokens, tokens, tokens)[0], expected) <= EXACT
    fold_adapters(attention)
    assert relative_difference(attention(tokens, tokens, tokens)[0], expected) <= EXACT
    assert list(attention.state_dict()) == list(plain.state_dict())


def test_the_fast_path_of_a_transformer_layer_sees_its_adapters() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, dropout=0.0, dtype=torch.float64).eval()
    tokens = drawn(2, 3, 4, seed=1)
    before = layer(tokens)
    attach_adapters(layer, {"linear1": random_adapter(8, 4, seed=2)})
    hidden = layer.norm1(tokens + layer.self_attn(tokens, tokens, tokens)[0])
    slow = layer.norm2(hidden + layer.linear2(functional.relu(layer.linear1(hidden))))
    with torch.no_grad():
        fast = layer(tokens)
    torch.testing.assert_close(fast, slow, rtol=EXACT, atol=EXACT)
    assert (fast - before).abs().max() > 1e-2


def test_a_layer_that_keeps_its_weight_transposed_takes_adapters(vision_ops: object) -> None:
    from transformers.pytorch_utils import Conv1D

    layer, x, adapter = Conv1D(3, 5).double(), drawn(2, 5, seed=1), random_adapter(3, 5, seed=2)
    expected = layer(x) + x @ adapter.a.t() @ adapter.b.t()
    attach_adapters(layer, {"weight": adapter})
    fold_adapters(layer)
    assert relative_difference(layer(x), expected.detach().numpy()) <= EXACT


def model_with_hooks() -> tuple[nn.Sequential, list[str]]:
    model, calls = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), []
    model[0].weight.requires_grad_(False)
    model[0].register_forward_hook(lambda *_: calls.append("called"))
    return model, calls


def test_attaching_and_folding_keep_hooks_flags_mode_and_class() -> None:
    model, calls = model_with_hooks()
    model[0].eval()
    attach_adapters(model, {"0": random_adapter(4, 4, biased=True)})
    fold_adapters(model)
    model(torch.zeros(1, 4))
    assert calls == ["called"]
    assert (model[0].weight.requires_grad, model[0].bias.requires_grad) == (False, True)
    assert (model[0].training, model[2].training) == (False, True)
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_the_folded_state_is_that_of_the_plain_class(dtype: torch.dtype) -> None:
    model = nn.Sequential(nn.Linear(4, 3, dtype=dtype))
    plain = {name: (value.shape, value.dtype) for name, value in model.state_dict().items()}
    attach_adapters(model, {"0": random_adapter(3, 4, biased=True)})
    fold_adapters(model)
    state = model.state_dict()
    assert [(name, value.shape, value.dtype) for name, value in state.items()] == [
        (name, *rest) for name, rest in plain.items()
    ]
    nn.Sequential(nn.Linear(4, 3, dtype=dtype)).load_state_dict(state, strict=True)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_folded_weight_is_the_attached_one_to_the_last_bit(dtype: torch.dtype) -> None:
    layer = nn.Linear(64, 32, dtype=dtype)
    for seed in range(3):
        attach_adapters(layer, {"weight": random_adapter(32, 64, rank=4, seed=seed, biased=True)})
    attached = layer.weight.detach().clone(), layer.bias.detach().clone()
    fold_adapters(layer)
    assert torch.equal(layer.weight, attached[0])
    assert torch.equal(layer.bias, attached[1])


def test_below_float32_the_sum_is_rounded_once() -> None:
    layer = nn.Linear(64, 32, dtype=torch.bfloat16)
    plain, adapters = layer.weight.detach().double(), [random_adapter(32, 64, rank=4, seed=seed) for seed in range(3)]
    for adapter in adapters:
        attach_adapters(layer, {"weight": adapter})
    fold_adapters(layer)
    exact = plain + sum(adapter.b @ adapter.a for adapter in adapters)
    rounded_each_time = plain.bfloat16()
    for adapter in adapters:
        rounded_each_time = rounded_each_time + (adapter.b @ adapter.a).bfloat16()
    half_a_step = exact.abs() * 2**-8 * 1.001
    assert ((layer.weight.double() - exact).abs() <= half_a_step).all()
    assert not ((rounded_each_time.double() - exact).abs() <= half_a_step).all()


def test_under_autocast_the_products_are_those_without_it() -> None:
    layer, x = nn.Linear(64, 32), drawn(4, 64, seed=9).float()
    adapter = random_adapter(32, 64, rank=4)
    exact = layer.weight.detach().double() + adapter.b @ adapter.a
    attach_adapters(layer, {"weight": adapter})
    attached = layer.weight.detach().clone()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight, attached)
        assert layer(x).dtype == torch.bfloat16
        (record,) = fold_adapters(layer)
    assert torch.equal(layer.weight, attached)
    assert record.error <= 1e-7
    assert (exact.bfloat16() - exact).abs().max() > 1e-3


def test_a_layer_at_two_paths_is_told_by_its_first() -> None:
    shared = nn.Linear(4, 4)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    attach_adapters(model, {"2": random_adapter(4, 4, biased=True)})
    assert list(attached_adapters(model)) == ["0.weight"]
    assert [entry.parameter for entry in fold_adapters(model)] == ["0.weight", "0.bias"]
    assert model[0] is model[2]


def test_the_record_tells_ranks_scales_and_the_relative_change() -> None:
    layer = plain_linear(3, 5)
    adapters = [random_adapter(3, 5, rank=2, seed=1, alpha=1), random_adapter(3, 5, rank=1, seed=2, biased=True)]
    change = 0.5 * adapters[0].b @ adapters[0].a + adapters[1].b @ adapters[1].a
    ratio = np.linalg.norm(change.numpy()) / np.linalg.norm(layer.weight.detach().numpy())
    for adapter in adapters:
        attach_adapters(layer, {"weight": adapter})
    weight, bias = fold_adapters(layer)
    assert (weight.parameter, weight.ranks, weight.scales) == ("weight", (2, 1), (0.5, 1.0))
    assert math.isclose(weight.relative_change, ratio, rel_tol=1e-12)
    assert (bias.parameter, bias.ranks, bias.scales) == ("bias", (), ())
    assert (weight.numbers_before, weight.numbers_after) == (15 + 2 * (3 + 5) + 3 + 5, 15)
    assert (bias.numbers_before, bias.numbers_after) == (6, 3)


@pytest.mark.parametrize(("dtype", "low", "high"), [(torch.float64, 0, 1e-15), (torch.bfloat16, 1e-4, 2**-8)])
def test_the_record_tells_how_far_the_stored_weight_is_from_the_exact_one(
    dtype: torch.dtype, low: float, high: float
) -> None:
    layer, adapter = nn.Linear(64, 32, dtype=dtype), random_adapter(32, 64, rank=4)
    exact = layer.weight.detach().double() + adapter.b @ adapter.a.double()
    attach_adapters(layer, {"weight": adapter})
    (record,) = fold_adapters(layer)
    found = (layer.weight.detach().double() - exact).norm() / exact.norm()
    assert low <= record.error <= high
    assert abs(record.error - found) <= 1e-6


def test_new_adapters_add_nothing_and_are_trained_alone() -> None:
    model, x = nn.Sequential(nn.Linear(4, 3)), torch.ones(2, 4)
    before = model(x)
    attach_adapters(model, new_adapters(model, ["0"], rank=2, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(model(x), before)
    model(x).sum().backward()
    (link,) = attached_adapters(model)["0.weight"]
    assert link.lora_B.grad.abs().max() > 0
    assert link.lora_A.abs().max() > 0


def test_frozen_adapters_take_no_gradient() -> None:
    layer = nn.Linear(4, 3)
    attach_adapters(layer, {"weight": random_adapter(3, 4, biased=True)}, training="frozen")
    trained = {name for name, parameter in layer.named_parameters() if parameter.requires_grad}
    assert trained == {"parametrizations.weight.original", "parametrizations.bias.original"}


def test_dropout_leaves_whole_inputs_out_in_training_only() -> None:
    torch.manual_seed(0)
    layer, adapter = nn.Linear(50, 3, dtype=torch.float64), random_adapter(3, 50)
    plain, update = layer.weight.detach().clone(), adapter.b @ adapter.a
    attach_adapters(layer, {"weight": LowRankAdapter(adapter.a, adapter.b, dropout=0.5)})
    added = layer.weight - plain
    dropped = (added.abs() < 1e-15).all(dim=0)
    assert 10 < dropped.sum() < 40
    torch.testing.assert_close(added[:, ~dropped], 2 * update[:, ~dropped])
    torch.testing.assert_close(layer.eval().weight - plain, update)


def test_a_copy_of_an_adapted_model_folds_by_itself() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    attach_adapters(model, {"0": random_adapter(3, 4)})
    other = copy.deepcopy(model)
    fold_adapters(other)
    assert type(other[0]) is nn.Linear
    assert attached_adapters(model)
    model(torch.zeros(1, 4))


def test_the_mean_of_factors_takes_the_mean_of_each() -> None:
    adapters = [random_adapter(3, 5, seed=seed, biased=True, alpha=4) for seed in (1, 2, 3)]
    mean = average_factors(adapters)
    for name in ("a", "b", "bias"):
        expected = np.mean([getattr(each, name).numpy() for each in adapters], axis=0)
        np.testing.assert_allclose(getattr(mean, name), expected, rtol=1e-14)
    assert mean.scale == 2


def test_the_mean_of_updates_is_exact_for_any_ranks_and_scales() -> None:
    adapters = [random_adapter(3, 5, rank=rank, seed=rank, biased=True, alpha=7) for rank in (1, 2, 4)]
    mean = average_updates(adapters)
    expected = np.mean([7 / each.rank * (each.b @ each.a).numpy() for each in adapters], axis=0)
    np.testing.assert_allclose(mean.update(), expected, rtol=0, atol=1e-13)
    assert mean.rank == 7
    assert np.abs(average_factors(adapters[:1]).update().numpy() - expected).max() > 1e-2
