"""What attaching and collapsing do to a model."""

import copy
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse import collapse
from onepath.merging.reparameterization import (
    attach,
    collapse_in_place,
    collapsed_state_dict,
    plan_reparameterization,
    reparameterize,
    scales,
)
from onepath.merging.reparameterization.parametrization import CrossModalWeight


class FunctionalAttention(nn.Module):
    """Reads its layer's weight directly and has biases of its own, as the published video encoder does."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(8, 24, bias=False)
        self.q_bias, self.v_bias = nn.Parameter(torch.full((8,), 0.1)), nn.Parameter(torch.full((8,), 0.2))

    def forward(self, tokens: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        query, key, value = functional.linear(tokens, self.qkv.weight, bias).chunk(3, dim=-1)
        return functional.scaled_dot_product_attention(query, key, value)


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()


def multi_head() -> nn.Module:
    class SelfAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.attention(tokens, tokens, tokens)[0]

    return SelfAttention().eval()


def plain() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 12, bias=False), nn.GELU(), nn.Linear(12, 8)).eval()


MODELS = [transformer, multi_head, plain, FunctionalAttention]
TOKENS = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(0))


def set_all(model: nn.Module, value: float) -> None:
    for module in model.modules():
        if isinstance(module, CrossModalWeight):
            module.scale.data.fill_(value)


def attached(make: Callable[[], nn.Module], value: float = 0.3) -> tuple[nn.Module, nn.Module, nn.Module]:
    torch.manual_seed(1)
    target, auxiliary = make(), make()
    original = copy.deepcopy(target)
    reparameterize(target, auxiliary)
    set_all(target, value)
    return target, auxiliary, original


def by_hand(original: nn.Module, auxiliary: nn.Module, names: list[str], value: float) -> nn.Module:
    """The oracle: sums made on state dicts."""
    state, other = original.state_dict(), auxiliary.state_dict()
    summed = copy.deepcopy(original)
    summed.load_state_dict(state | {name: state[name] + value * other[name] for name in names})
    return summed


@pytest.mark.parametrize("make", MODELS)
@torch.no_grad()
def test_outputs_are_those_of_summed_weights_even_where_code_reads_the_weight(make: Callable[[], nn.Module]) -> None:
    target, auxiliary, original = attached(make)
    expected = by_hand(original, auxiliary, list(scales(target)), 0.3)(TOKENS)
    torch.testing.assert_close(target(TOKENS), expected, rtol=0, atol=1e-6)
    assert (original(TOKENS) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("make", MODELS)
@torch.no_grad()
def test_with_scales_at_zero_nothing_changes_to_the_last_bit(make: Callable[[], nn.Module]) -> None:
    target, _, original = attached(make, 0.0)
    assert torch.equal(target(TOKENS), original(TOKENS))


@pytest.mark.parametrize("make", MODELS)
@torch.no_grad()
def test_a_collapsed_state_loads_strictly_in_the_plain_order_with_equal_outputs(make: Callable[[], nn.Module]) -> None:
    target, _, original = attached(make)
    state, _ = collapsed_state_dict(target)
    assert list(state) == list(original.state_dict())
    original.load_state_dict(state, strict=True)
    assert torch.equal(original(TOKENS), target(TOKENS))


@pytest.mark.parametrize("make", MODELS)
@torch.no_grad()
def test_collapsing_in_place_restores_the_plain_classes(make: Callable[[], nn.Module]) -> None:
    target, _, original = attached(make)
    before = target(TOKENS)
    collapse_in_place(target)
    assert [type(module) for module in target.modules()] == [type(module) for module in original.modules()]
    assert [name for name, _ in target.named_parameters()] == [name for name, _ in original.named_parameters()]
    assert torch.equal(target(TOKENS), before)


@pytest.mark.parametrize("make", MODELS)
@torch.no_grad()
def test_a_collapse_of_a_copy_leaves_the_attached_model_working(make: Callable[[], nn.Module]) -> None:
    target, _, _ = attached(make)
    before = target(TOKENS)
    collapsed, _ = collapse(target)
    assert torch.equal(target(TOKENS), before)
    assert torch.equal(collapsed(TOKENS), before)
    assert scales(target)
    assert not scales(collapsed)


@torch.no_grad()
def test_attaching_to_a_copy_leaves_the_original_working() -> None:
    target, auxiliary, _ = attached(transformer)
    before = target(TOKENS)
    reparameterize(copy.deepcopy(target), auxiliary)
    assert torch.equal(target(TOKENS), before)


@settings(max_examples=15, deadline=None)
@given(first=st.floats(-2, 2, width=32), second=st.floats(-2, 2, width=32))
@torch.no_grad()
def test_a_second_auxiliary_adds_to_the_first(first: float, second: float) -> None:
    torch.manual_seed(2)
    target, one, two = (nn.Linear(5, 4).double() for _ in range(3))
    expected = target.weight + first * one.weight + second * two.weight
    for auxiliary in (one, two):
        reparameterize(target, auxiliary, layers={"weight": "weight"})
    for link, value in zip(target.parametrizations.weight, (first, second), strict=True):
        link.scale.fill_(value)
    torch.testing.assert_close(target.weight, expected, rtol=0, atol=1e-12)
    assert scales(target) == {"weight": (first, second)}
    collapse_in_place(target)
    torch.testing.assert_close(target.weight, expected, rtol=0, atol=1e-12)


@settings(max_examples=15, deadline=None)
@given(first=st.floats(-2, 2, width=32), second=st.floats(-2, 2, width=32))
@torch.no_grad()
def test_attaching_a_second_auxiliary_later_equals_attaching_both_at_the_start(first: float, second: float) -> None:
    torch.manual_seed(2)
    at_once, one, two = plain().double(), plain(), plain()
    later = copy.deepcopy(at_once)
    reparameterize(at_once, one)
    reparameterize(at_once, two)
    for linear in (at_once[0], at_once[2]):
        for link, value in zip(linear.parametrizations.weight, (first, second), strict=True):
            link.scale.fill_(value)
    reparameterize(later, one)
    set_all(later, first)
    reparameterize(later, two)
    assert scales(later)["0.weight"] == (first, 0.0)
    for linear in (later[0], later[2]):
        linear.parametrizations.weight[1].scale.fill_(second)
    assert torch.equal(at_once(TOKENS.double()), later(TOKENS.double()))
    assert list(at_once.state_dict()) == list(later.state_dict())


@torch.no_grad()
def test_a_shared_auxiliary_takes_no_memory_of_its_own() -> None:
    torch.manual_seed(1)
    target, auxiliary = plain(), plain()
    copied, before = copy.deepcopy(target), target(TOKENS)
    plan = plan_reparameterization(target, auxiliary)
    attach(plan, target, auxiliary, training="frozen", share_storage=True)
    attach(plan, copied, auxiliary, training="frozen")
    for model, is_shared in ((target, True), (copied, False)):
        held = model[0].parametrizations.weight[0].auxiliary
        assert (held.data_ptr() == auxiliary[0].weight.data_ptr()) is is_shared
        assert torch.equal(model(TOKENS), before)
        set_all(model, 0.3)
    assert torch.equal(target(TOKENS), copied(TOKENS))
    state = collapsed_state_dict(target)[0]
    assert torch.equal(auxiliary[0].weight, target[0].parametrizations.weight[0].auxiliary)
    assert not torch.equal(state["0.weight"], auxiliary[0].weight)


def test_a_shared_auxiliary_is_not_trained() -> None:
    target, auxiliary = plain(), plain()
    before = copy.deepcopy(auxiliary.state_dict())
    attach(plan_reparameterization(target, auxiliary), target, auxiliary, training="frozen", share_storage=True)
    set_all(target, 0.5)
    target(TOKENS).square().sum().backward()
    torch.optim.SGD(target.parameters(), lr=0.1).step()
    assert all(torch.equal(before[key], value) for key, value in auxiliary.state_dict().items())


def test_the_auxiliary_is_copied_and_stays_as_it_was() -> None:
    target, auxiliary, _ = attached(plain)
    before = copy.deepcopy(auxiliary.state_dict())
    target(TOKENS).square().sum().backward()
    torch.optim.SGD(target.parameters(), lr=0.1).step()
    assert all(torch.equal(before[key], value) for key, value in auxiliary.state_dict().items())


def test_a_frozen_auxiliary_is_a_buffer_and_a_trainable_one_a_parameter() -> None:
    for training, expected in (("frozen", False), ("trainable", True)):
        target = plain()
        reparameterize(target, plain(), training=training)
        names = [name for name, _ in target.named_parameters()]
        assert any(name.endswith("auxiliary") for name in names) is expected


def test_flags_hooks_and_precision_of_the_target_are_kept() -> None:
    target = nn.Linear(4, 4, bias=False).to(torch.bfloat16).requires_grad_(False)
    calls = []
    target.register_forward_hook(lambda *_: calls.append(1))
    reparameterize(target, nn.Linear(4, 4), layers={"weight": "weight"})
    assert isinstance(target, nn.Linear)
    assert target.weight.dtype is torch.bfloat16
    collapse_in_place(target)
    target(torch.zeros(1, 4, dtype=torch.bfloat16))
    assert (target.weight.dtype, target.weight.requires_grad, calls) == (torch.bfloat16, False, [1])


@torch.no_grad()
def test_half_precision_weights_are_summed_in_float32_and_rounded_once() -> None:
    target, auxiliary = nn.Linear(64, 64).to(torch.bfloat16), nn.Linear(64, 64).to(torch.bfloat16)
    exact = (target.weight.double() + 0.37 * auxiliary.weight.double()).to(torch.bfloat16)
    in_place = target.weight + torch.tensor(0.37).to(torch.bfloat16) * auxiliary.weight
    reparameterize(target, auxiliary, layers={"weight": "weight"})
    set_all(target, 0.37)
    collapse_in_place(target)
    assert (target.weight != exact).float().mean() < 0.001
    assert (in_place != exact).float().mean() > 0.05


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_scale_stays_float32_and_unrounded_where_the_model_is_cast_below(dtype: torch.dtype) -> None:
    target, _, _ = attached(plain, 0.1)
    before = scales(target)
    target.to(dtype)
    assert target[0].weight.dtype is dtype
    assert {link.scale.dtype for link in target.modules() if isinstance(link, CrossModalWeight)} == {torch.float32}
    assert scales(target) == before
    assert before["0.weight"][0] != torch.tensor(0.1).to(dtype).item()


def test_a_scale_of_a_model_cast_below_float32_keeps_its_gradient() -> None:
    target, _, _ = attached(plain, 0.1)
    target(TOKENS).square().sum().backward()
    scale = target[0].parametrizations.weight[0].scale
    before = scale.grad.clone()
    target.half()
    assert torch.equal(scale.grad, before)
    assert target[0].parametrizations.weight[0].scale is scale


def test_a_model_cast_to_float64_has_its_scale_in_float64() -> None:
    target, _, _ = attached(plain, 0.1)
    assert target.double()[0].parametrizations.weight[0].scale.dtype is torch.float64


def test_the_report_gives_scale_and_relative_change() -> None:
    target, auxiliary = nn.Linear(3, 3), nn.Linear(3, 3)
    nn.init.ones_(target.weight)
    nn.init.constant_(auxiliary.weight, 2.0)
    reparameterize(target, auxiliary, layers={"weight": "weight"})
    set_all(target, 0.25)
    (folded,) = collapse_in_place(target)
    assert (folded.weight, folded.scales, folded.dtype) == ("weight", (0.25,), "float32")
    assert folded.relative_change == pytest.approx(0.5)


def test_collapsing_twice_is_refused_in_place_and_the_identity_by_the_verb() -> None:
    target, _, _ = attached(plain)
    collapse_in_place(target)
    with pytest.raises(UnsupportedModuleError, match="no auxiliary weights are attached"):
        collapse_in_place(target)
    again, report = collapse(target)
    assert report.layers == ()
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), target.parameters(), strict=True))


@pytest.mark.parametrize("value", [float("nan"), 1e38])
def test_a_collapse_to_values_that_are_not_finite_is_refused_and_changes_nothing(value: float) -> None:
    target, _, _ = attached(plain)
    target[2].parametrizations.weight[0].auxiliary.data.fill_(1e3)
    target[2].parametrizations.weight[0].scale.data.fill_(value)
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(UnsupportedModuleError, match=r"2: its collapsed weight has NaN or infinite values"):
        collapse_in_place(target)
    assert list(before) == list(target.state_dict())
    assert scales(target)


def test_a_further_parametrisation_of_the_same_weight_is_refused() -> None:
    target, _, _ = attached(plain)
    parametrizations.orthogonal(target[0])
    with pytest.raises(UnsupportedModuleError, match="parametrised by something else too"):
        collapse(target)


def test_an_attached_model_exports_its_state_under_stable_names() -> None:
    target, _, _ = attached(plain)
    assert list(target.state_dict())[:3] == [
        "0.parametrizations.weight.original",
        "0.parametrizations.weight.0.scale",
        "0.parametrizations.weight.0.auxiliary",
    ]
