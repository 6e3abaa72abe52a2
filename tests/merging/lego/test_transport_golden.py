"""Optimal transport as published: the recorded plans give the golden heads and logits."""

from functools import partial

import numpy as np
import pytest
import torch

from onepath.merging.lego import LegoMerge
from onepath.merging.lego.head_table import HeadTable
from onepath.merging.lego.heads import WholeHeadMethod, merged_heads
from onepath.merging.lego.published import published_head
from onepath.merging.lego.transport import paired, published_transport
from tests.merging.golden import largest_difference, mm_lego, wide
from tests.merging.lego.golden_blocks import golden_blocks, golden_inputs

COVERS = ("u.ot.*", "head.AI.ot.*", "merge.AI.*.ot.*")
TOLERANCE = 1e-9
NAMES = ("ln_g", "ln_b", "w", "b")


def recorded() -> WholeHeadMethod:
    plans = HeadTable(*(wide(f"head.AI.ot.plan.{name}") for name in NAMES))
    return WholeHeadMethod(partial(published_transport, plans=plans))


def merged_rows(first: torch.Tensor, second: torch.Tensor, alpha: float, plan: torch.Tensor | None) -> torch.Tensor:
    """A table whose weights are the two operands; its other tensors are zeros."""
    rows, columns = first.shape
    vectors = torch.zeros(2, columns, dtype=torch.float64), torch.zeros(2, rows, dtype=torch.float64)
    heads = HeadTable(vectors[0], vectors[0], torch.stack([first, second]), vectors[1])
    eyes = torch.eye(columns).double(), torch.eye(rows).double()
    plans = None if plan is None else HeadTable(eyes[0], eyes[0], plan, eyes[1])
    return published_transport(heads, torch.tensor([[1 - alpha, alpha]], dtype=torch.float64), plans=plans).weight[0]


def test_the_plan_between_matrices_is_the_golden_one() -> None:
    first, second = (mm_lego()[f"u.interp.mat.{side}"].astype(np.float64) for side in "ab")
    assert np.array_equal(paired(first, second), mm_lego()["u.ot.mat.plan"])


def test_another_pair_of_matrices_has_another_plan() -> None:
    first, second = (mm_lego()[f"u.interp.mat.{side}"].astype(np.float64) for side in "ab")
    assert not np.array_equal(paired(first, second[::-1]), mm_lego()["u.ot.mat.plan"])


@pytest.mark.parametrize("alpha", ["0.25", "0.5", "0.8"])
def test_merged_matrices_are_the_golden_ones(alpha: str) -> None:
    result = merged_rows(wide("u.interp.mat.a"), wide("u.interp.mat.b"), float(alpha), None)
    assert largest_difference(result, mm_lego()[f"u.ot.mat.t{alpha}"]) <= TOLERANCE


@pytest.mark.parametrize("alpha", ["0.5", "0.8"])
def test_a_merged_vector_is_golden_under_one_of_its_optimal_plans(alpha: str) -> None:
    first, second = (wide(f"u.interp.vec.{side}")[:4] for side in "ab")
    golden, share = mm_lego()[f"u.ot.vec4.t{alpha}"], float(alpha)
    moved = (golden - (1 - share) * first.numpy()) / share
    plan = torch.from_numpy(np.isclose(moved[:, None], second.numpy(), rtol=0, atol=1e-9).astype(np.float64))
    cost = np.abs(first.numpy()[:, None] - second.numpy())
    assert np.array_equal(plan.sum(0), torch.ones(4))
    assert (plan.numpy() * cost).sum() == pytest.approx((paired(first[:, None], second[:, None]) * cost).sum())
    result = merged_rows(first[:, None], second[:, None], share, plan)
    assert largest_difference(result[:, 0], golden) <= TOLERANCE


@pytest.mark.parametrize("alpha", ["0.5", "0.8"])
def test_merged_heads_are_the_golden_ones(alpha: str) -> None:
    heads = [block.head for block in golden_blocks("AI").values()]
    table = merged_heads(heads, torch.tensor([[1 - float(alpha), float(alpha)]], dtype=torch.float64), recorded())
    for part, name in zip(table, NAMES, strict=True):
        assert largest_difference(part[0], mm_lego()[f"head.AI.ot.a{alpha}.{name}"]) <= TOLERANCE


def test_the_comparison_of_heads_notices_the_direction_of_the_weight() -> None:
    heads = [block.head for block in golden_blocks("AI").values()]
    table = merged_heads(heads, torch.tensor([[0.8, 0.2]], dtype=torch.float64), recorded())
    assert largest_difference(table.weight[0], mm_lego()["head.AI.ot.a0.8.w"]) > 1e-2


@pytest.mark.parametrize("alpha", ["0.5", "0.8"])
@pytest.mark.parametrize("method", ["sum", "harmonic"])
def test_merged_logits_are_the_golden_ones(method: str, alpha: str) -> None:
    weights = {"A": 1 - float(alpha), "I": float(alpha)}
    model = LegoMerge(golden_blocks("AI"), method=method, weights=weights, compat="published")
    model.head_method = recorded()
    assert (
        largest_difference(model(golden_inputs("AI")), mm_lego()[f"merge.AI.{method}.ot.a{alpha}.logits"]) <= TOLERANCE
    )


def test_the_golden_matrix_of_the_heads_is_found_without_the_recorded_plan_too() -> None:
    heads = [block.head for block in golden_blocks("AI").values()]
    table = merged_heads(heads, torch.tensor([[0.2, 0.8]], dtype=torch.float64), published_head("transport"))
    assert largest_difference(table.weight[0], mm_lego()["head.AI.ot.a0.8.w"]) <= TOLERANCE


def test_the_corrected_form_pairs_no_classes_and_gives_other_logits() -> None:
    model = LegoMerge(golden_blocks("AI"), method="sum", head="transport", weights={"A": 0.2, "I": 0.8})
    assert largest_difference(model(golden_inputs("AI")), mm_lego()["merge.AI.sum.ot.a0.8.logits"]) > 1e-2


def test_a_recorded_plan_of_the_weights_mixes_classes_up() -> None:
    assert not np.array_equal(mm_lego()["head.AI.ot.plan.w"], np.eye(4))
