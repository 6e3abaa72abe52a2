"""Heads merged by optimal transport: features are paired, classes never."""

import sys
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from torch import nn

from onepath.contract.errors import MissingExtraError, UnsupportedModuleError
from onepath.export.collapse import collapse
from onepath.merging.lego import LegoFuse, LegoMerge
from onepath.merging.lego.head_table import HeadTable
from onepath.merging.lego.heads import HEAD_METHODS, head_method, linear, merged_heads
from onepath.merging.lego.layers import TaskHead
from onepath.merging.lego.transport import paired, transport
from tests.merging.lego.small_blocks import every_pattern, small_blocks, small_inputs

WIDTH, CLASSES = 6, 3
SEEDS = st.integers(0, 2**32 - 1)
ORDERS = st.permutations(range(WIDTH))


def drawn_head(seed: int) -> TaskHead:
    head = TaskHead(WIDTH, CLASSES).double()
    generator = np.random.default_rng(seed)
    for parameter in head.parameters():
        parameter.data = torch.from_numpy(generator.normal(size=tuple(parameter.shape)))
    return head


def reordered(head: TaskHead, order: list[int]) -> TaskHead:
    """The same head for features in another order."""
    moved = TaskHead(WIDTH, CLASSES).double()
    moved.norm.weight.data, moved.norm.bias.data = head.norm.weight.data[order], head.norm.bias.data[order]
    moved.linear.weight.data, moved.linear.bias.data = head.linear.weight.data[:, order], head.linear.bias.data
    return moved


def merged(heads: list[TaskHead], *shares: float, method: str = "transport") -> HeadTable:
    return merged_heads(heads, torch.tensor([shares], dtype=torch.float64), head_method(method))


def tensors_of(head: TaskHead) -> tuple[torch.Tensor, ...]:
    return head.norm.weight, head.norm.bias, head.linear.weight, head.linear.bias


def largest_distance(table: HeadTable, head: TaskHead) -> float:
    return max((part[0] - own).detach().abs().max().item() for part, own in zip(table, tensors_of(head), strict=True))


@settings(max_examples=25, deadline=None)
@given(seed=SEEDS, order=ORDERS, share=st.floats(0.01, 1))
def test_a_head_that_is_another_in_another_order_is_found_to_be_it(seed: int, order: list[int], share: float) -> None:
    head = drawn_head(seed)
    assert largest_distance(merged([head, reordered(head, order)], share, 1 - share), head) <= 1e-12


def test_without_pairing_it_is_not() -> None:
    head = drawn_head(0)
    pair = [head, reordered(head, [1, 2, 3, 4, 5, 0])]
    assert largest_distance(merged(pair, 0.5, 0.5, method="linear"), head) > 0.1


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS)
def test_the_pairing_is_the_cheapest_of_all(seed: int) -> None:
    first, second = np.random.default_rng(seed).normal(size=(2, 5, 4))
    cost = np.linalg.norm(first[:, None] - second[None], axis=-1)
    cheapest = min(cost[range(5), order].sum() for order in permutations(range(5)))
    plan = paired(first, second)
    assert (plan * cost).sum() == pytest.approx(cheapest, rel=1e-12)
    assert np.array_equal(plan.sum(0), np.ones(5))
    assert np.array_equal(plan.sum(1), np.ones(5))


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, share=st.floats(0.01, 0.99))
def test_merged_heads_are_the_weighted_means_of_what_is_paired(seed: int, share: float) -> None:
    heads = [drawn_head(seed), drawn_head(seed + 1)]
    rows = [torch.cat([g[None], s[None], w]).T.detach().numpy() for g, s, w, _ in map(tensors_of, heads)]
    order = linear_sum_assignment(np.linalg.norm(rows[0][:, None] - rows[1][None], axis=-1))[1]
    partner = reordered(heads[1], order.tolist())
    table = merged(heads, 1 - share, share)
    for part, first, second in zip(table, tensors_of(heads[0]), tensors_of(partner), strict=True):
        expected = (1 - share) * first.detach().numpy() + share * second.detach().numpy()
        np.testing.assert_allclose(part[0].detach().numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("alone", [0, 1, 2])
def test_a_head_alone_comes_back_to_the_last_bit(alone: int) -> None:
    heads = [drawn_head(seed) for seed in range(3)]
    shares = [float(index == alone) for index in range(3)]
    assert largest_distance(merged(heads, *shares), heads[alone]) == 0


def test_a_subset_of_heads_is_merged_as_if_there_were_no_others() -> None:
    heads = [drawn_head(seed) for seed in range(4)]
    among, apart = merged(heads, 0, 0.3, 0, 0.7), merged([heads[1], heads[3]], 0.3, 0.7)
    for part, own in zip(among, apart, strict=True):
        torch.testing.assert_close(part, own, rtol=0, atol=1e-14)


def test_classes_are_never_paired() -> None:
    first, second = drawn_head(0), drawn_head(0)
    second.linear.weight.data, second.linear.bias.data = first.linear.weight.flip(0), first.linear.bias.flip(0)
    bias = (first.linear.bias + second.linear.bias) / 2
    torch.testing.assert_close(merged([first, second], 0.5, 0.5).bias[0], bias, rtol=0, atol=1e-14)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_equal_features_stay_in_place(value: float) -> None:
    rows = np.full((5, 3), value)
    assert np.array_equal(paired(rows, rows), np.eye(5))


@settings(max_examples=15, deadline=None)
@given(seed=SEEDS, zeroed=st.sets(st.integers(0, 2)))
def test_zero_and_equal_heads_have_finite_means_and_gradients(seed: int, zeroed: set[int]) -> None:
    heads = [drawn_head(seed), drawn_head(seed), drawn_head(seed + 1)]
    for index in zeroed:
        for tensor in tensors_of(heads[index]):
            tensor.data.zero_()
    table = merged(heads, 0.2, 0.3, 0.5)
    sum(part.sum() for part in table).backward()
    assert all(part.isfinite().all() for part in table)
    assert all(tensor.grad.isfinite().all() for head in heads for tensor in tensors_of(head))


def test_gradients_reach_each_head_by_its_share() -> None:
    heads = [drawn_head(0), drawn_head(1)]
    merged(heads, 0.25, 0.75).gain.sum().backward()
    assert [head.norm.weight.grad.unique().tolist() for head in heads] == [[0.25], [0.75]]


def test_the_result_is_the_same_every_time() -> None:
    heads = [drawn_head(seed) for seed in range(3)]
    first, second = (merged(heads, 0.2, 0.3, 0.5) for _ in range(2))
    assert all(torch.equal(*parts) for parts in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", [LegoMerge, LegoFuse])
def test_a_model_collapses_for_every_presence_pattern(kind: type) -> None:
    model = kind(small_blocks(), head="transport")
    present = every_pattern(3)
    values = small_inputs(rows=len(present))
    torch.testing.assert_close(collapse(model)[0](values, present), model(values, present), rtol=1e-10, atol=1e-10)


def test_its_heads_differ_from_those_of_the_other_methods() -> None:
    values, logits = small_inputs(), {}
    for head in HEAD_METHODS:
        logits[head] = LegoMerge(small_blocks(), head=head)(values)
    assert (logits["transport"] - logits["linear"]).abs().max() > 1e-3
    assert (logits["transport"] - logits["slerp"]).abs().max() > 1e-3


def test_a_row_with_one_modality_gets_that_blocks_logits() -> None:
    blocks, values = small_blocks(), small_inputs()
    present = torch.tensor([[False, True, False]]).expand(7, 3)
    scores = LegoMerge(blocks, head="transport")(values, present)
    torch.testing.assert_close(scores, blocks["b"](values["b"]), rtol=0, atol=1e-12)


class Merged(nn.Module):
    def __init__(self, model: LegoMerge) -> None:
        super().__init__()
        self.body = model

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        return self.body(dict(zip(self.body.modalities, values, strict=True)))


def test_the_form_that_is_not_collapsed_refuses_to_be_exported() -> None:
    model = Merged(LegoMerge(small_blocks("ab"), head="transport"))
    with pytest.raises(UnsupportedModuleError, match="collapse the model first"):
        torch.export.export(model, tuple(small_inputs("ab").values()))


def test_a_head_that_is_not_finite_is_refused() -> None:
    broken = drawn_head(0)
    broken.norm.weight.data[0] = float("nan")
    with pytest.raises(UnsupportedModuleError, match="not finite"):
        merged([broken, drawn_head(1)], 0.5, 0.5)


def test_without_pot_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ot", None)
    with pytest.raises(MissingExtraError, match=r"POT.*onepath\[training\]"):
        merged([drawn_head(0), drawn_head(1)], 0.5, 0.5)


def test_no_present_head_gives_zeros() -> None:
    stacked = HeadTable(
        *(torch.stack(parts) for parts in zip(*map(tensors_of, map(drawn_head, range(2))), strict=True))
    )
    assert not any(part.any() for part in transport(stacked, torch.zeros(1, 2, dtype=torch.float64)))


def test_vectors_are_still_merged_one_by_one() -> None:
    heads, share = [drawn_head(0), drawn_head(1)], torch.tensor([[0.5, 0.5]], dtype=torch.float64)
    mean = (heads[0].linear.weight + heads[1].linear.weight) / 2
    torch.testing.assert_close(merged_heads(heads, share, linear).weight[0], mean, rtol=0, atol=1e-14)
