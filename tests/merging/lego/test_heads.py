"""Merged heads: spherical and linear means of any number."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onepath.merging.lego.heads import apply_heads, linear, merged_heads, pattern_index, slerp, subset_weights
from onepath.merging.lego.layers import TaskHead

SEEDS = st.integers(0, 2**32 - 1)


def drawn(seed: int, count: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 6)))


def weights(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, second=st.floats(0, 1))
def test_between_two_vectors_slerp_is_the_textbook_formula(seed: int, second: float) -> None:
    first, last = drawn(seed, 2).numpy()
    sizes = np.linalg.norm(first), np.linalg.norm(last)
    angle = np.arccos(first @ last / (sizes[0] * sizes[1]))
    direction = (np.sin((1 - second) * angle) * first / sizes[0] + np.sin(second * angle) * last / sizes[1]) / np.sin(
        angle
    )
    expected = direction * ((1 - second) * sizes[0] + second * sizes[1])
    np.testing.assert_allclose(slerp(drawn(seed, 2), weights(1 - second, second))[0].numpy(), expected, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, order=st.permutations(range(4)))
def test_the_order_of_heads_does_not_matter(seed: int, order: list[int]) -> None:
    operands, share = drawn(seed, 4), torch.tensor([[0.1, 0.2, 0.3, 0.4]], dtype=torch.float64)
    torch.testing.assert_close(slerp(operands[order], share[:, order]), slerp(operands, share), rtol=0, atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS)
def test_the_norm_is_interpolated_linearly(seed: int) -> None:
    operands = drawn(seed, 3)
    expected = (operands.norm(dim=1) * torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)).sum()
    assert slerp(operands, weights(0.5, 0.3, 0.2)).norm().item() == pytest.approx(expected.item(), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, factor=st.floats(0.1, 10), share=st.floats(0, 1))
def test_scaled_heads_have_the_scaled_mean(seed: int, factor: float, share: float) -> None:
    operands, given_weights = drawn(seed, 2), weights(1 - share, share)
    expected = factor * slerp(operands, given_weights)
    torch.testing.assert_close(slerp(factor * operands, given_weights), expected, rtol=1e-9, atol=1e-9)


def test_slerp_and_linear_differ() -> None:
    assert (slerp(drawn(0, 3), weights(0.5, 0.3, 0.2)) - linear(drawn(0, 3), weights(0.5, 0.3, 0.2))).abs().max() > 1e-2


@pytest.mark.parametrize("method", [slerp, linear])
def test_a_weight_of_one_returns_that_head_to_the_last_bit(method) -> None:
    assert torch.equal(method(drawn(0, 3), weights(0, 1, 0))[0], drawn(0, 3)[1])


@pytest.mark.parametrize(
    "operands",
    [[[1.0, 2], [1, 2]], [[1, 2], [-1, -2]], [[0, 0], [1, 2]], [[0, 0], [0, 0]], [[1, 0], [-1, 0], [0, 1]]],
)
def test_degenerate_heads_have_finite_means_and_gradients(operands: list[list[float]]) -> None:
    vectors = torch.tensor(operands, dtype=torch.float64, requires_grad=True)
    result = slerp(vectors, torch.full((1, len(operands)), 1 / len(operands), dtype=torch.float64))
    result.sum().backward()
    assert result.isfinite().all()
    assert vectors.grad.isfinite().all()


def test_equal_heads_merge_to_themselves() -> None:
    vectors = torch.tensor([[1.0, 2, 3]] * 3, dtype=torch.float64)
    torch.testing.assert_close(slerp(vectors, weights(0.2, 0.3, 0.5))[0], vectors[0], rtol=0, atol=1e-12)


def test_every_subset_has_weights_that_add_up_to_one() -> None:
    table = subset_weights([1.0, 3.0, 4.0])
    assert table.sum(1).tolist() == [0, *[1] * 7]
    assert table[0b101].tolist() == [0.2, 0, 0.8]


def test_the_pattern_index_reads_presence_as_bits() -> None:
    assert pattern_index(torch.tensor([[True, False, True], [False, False, False]])).tolist() == [5, 0]


def test_each_row_is_answered_by_its_own_head() -> None:
    torch.manual_seed(0)
    heads = [TaskHead(4, 3).double() for _ in range(2)]
    pooled = torch.randn(2, 4, dtype=torch.float64)
    table = merged_heads(heads, torch.eye(2), slerp)
    logits = apply_heads(table, torch.tensor([1, 0]), pooled)
    torch.testing.assert_close(logits, torch.stack([heads[1](pooled[0]), heads[0](pooled[1])]), rtol=0, atol=1e-14)


def tangent_at(point: np.ndarray, operands: np.ndarray, share: np.ndarray) -> float:
    """The length of the weighted mean of the arcs from a point to the operands: 0 at the spherical mean only."""
    point, units = point / np.linalg.norm(point), operands / np.linalg.norm(operands, axis=1, keepdims=True)
    cosines = units @ point
    angles = np.arccos(cosines)
    arcs = (angles / np.sin(angles))[:, None] * (units - cosines[:, None] * point)
    return float(np.linalg.norm(share @ arcs))


@pytest.mark.parametrize("count", [3, 4, 8, 12])
@pytest.mark.parametrize("seed", range(5))
def test_no_arc_is_left_from_the_spherical_mean_of_many(count: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    operands, share = generator.normal(size=(count, 64)), generator.uniform(0.1, 1, size=count)
    share /= share.sum()
    result = slerp(torch.from_numpy(operands), torch.from_numpy(share)[None])[0].numpy()
    assert tangent_at(result, operands, share) <= 1e-12
    assert (
        tangent_at(linear(torch.from_numpy(operands), torch.from_numpy(share)[None])[0].numpy(), operands, share) > 1e-4
    )


def test_a_pair_among_many_is_the_pair_alone() -> None:
    operands = drawn(3, 5)
    alone = slerp(operands[[1, 4]], weights(0.3, 0.7))
    torch.testing.assert_close(slerp(operands, weights(0, 0.3, 0, 0, 0.7)), alone, rtol=0, atol=1e-14)
