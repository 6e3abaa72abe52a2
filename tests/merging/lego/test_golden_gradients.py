"""One backward pass through a stack gives the published gradients."""

from functools import lru_cache

import pytest
import torch
from torch import Tensor

from onepath.merging.lego import LegoFuse
from onepath.merging.lego.heads import apply_heads, merged_heads, pattern_index, subset_weights
from tests.merging.golden import largest_difference, mm_lego, wide
from tests.merging.lego.golden_blocks import golden_blocks, golden_inputs

COVERS = ("grad.*",)
TOLERANCE = 1e-9


def survival_loss(logits: Tensor) -> Tensor:
    """The discrete-time negative log-likelihood of the published code: (1-α)·(observed + censored) + α·observed."""
    bins, censored = torch.from_numpy(mm_lego()["grad.Y"])[:, None], wide("grad.c")[:, None]
    hazard = torch.sigmoid(logits)
    survival = torch.cat([torch.ones(len(logits), 1, dtype=torch.float64), torch.cumprod(1 - hazard, dim=1)], dim=1)
    before, after, now = survival.gather(1, bins), survival.gather(1, bins + 1), hazard.gather(1, bins)
    observed = -(1 - censored) * (before.clamp(min=1e-7).log() + now.clamp(min=1e-7).log())
    return (0.6 * (observed - censored * after.clamp(min=1e-7).log()) + 0.4 * observed).mean()


@lru_cache
def backward(compat: str | None) -> tuple[float, dict[str, Tensor]]:
    model, present = LegoFuse(golden_blocks("AI"), compat=compat), torch.ones(3, 2, dtype=torch.bool)
    features = {name: model.encoders[name](values) for name, values in golden_inputs("AI").items()}
    pooled = model.spectrum(features, present).real.mean(1)
    table = merged_heads([block.head for block in model.blocks.values()], subset_weights([1, 1]), model.head_method)
    table.weight.retain_grad()
    loss = survival_loss(apply_heads(table, pattern_index(present), pooled))
    loss.backward()
    first, second = model.blocks.values()
    gradients = {
        "A.latent": first.latent.grad,
        "I.d1.ff.w2": second.layers[1].feed_forward.contract.weight.grad,
        "A.enc.w": first.encoder.linear.weight.grad,
        "head.w": table.weight.grad[3],
        "I.d0.ca.q_w_norm": second.layers[0].attention.query.weight.grad.norm(),
        "A.d0.ca.q_w_norm": first.layers[0].attention.query.weight.grad.norm(),
    }
    return loss.item(), gradients


def test_the_loss_is_the_published_one() -> None:
    assert backward("published")[0] == pytest.approx(mm_lego()["grad.loss"].item(), abs=TOLERANCE)


@pytest.mark.parametrize(
    "name", ["A.latent", "I.d1.ff.w2", "A.enc.w", "head.w", "I.d0.ca.q_w_norm", "A.d0.ca.q_w_norm"]
)
def test_the_gradient_is_the_published_one(name: str) -> None:
    assert largest_difference(backward("published")[1][name], mm_lego()[f"grad.{name}"]) <= TOLERANCE


def test_query_and_key_of_a_single_token_have_no_gradient() -> None:
    assert mm_lego()["grad.A.d0.ca.q_w_norm"] == 0


def test_the_comparison_notices_another_chain() -> None:
    assert largest_difference(backward(None)[1]["A.latent"], mm_lego()["grad.A.latent"]) > 1e-3
