import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from onepath.training.losses import (
    class_weights_from_counts,
    cross_entropy,
    l1_penalty,
    multilabel_cross_entropy,
    survival_loss,
    used_parameters,
)
from onepath.training.survival import SurvivalTarget, log_survival, survival_risk
from tests.merging.golden import mm_lego

COVERS = ("u.nll.*", "u.cw.*")
GOLDEN = 1e-9


def golden_rows() -> tuple[torch.Tensor, SurvivalTarget]:
    arrays = mm_lego()
    bins = torch.from_numpy(arrays["u.nll.Y"])
    events = torch.from_numpy(arrays["u.nll.c"]) == 0
    return torch.from_numpy(arrays["u.nll.logits"]), SurvivalTarget(bins, torch.zeros(len(bins)), events)


def test_the_survival_loss_is_the_published_one():
    loss = survival_loss(*golden_rows())
    assert_allclose(loss.item(), mm_lego()["u.nll.loss"], rtol=GOLDEN)


def test_without_alpha_it_is_the_plain_likelihood():
    loss = survival_loss(*golden_rows(), alpha=0.0)
    assert_allclose(loss.item(), mm_lego()["u.nll.loss_alpha0"], rtol=GOLDEN)


def test_class_weights_act_as_published():
    weights = torch.from_numpy(mm_lego()["u.nll.weights"])
    loss = survival_loss(*golden_rows(), class_weights=weights)
    assert_allclose(loss.item(), mm_lego()["u.nll.loss_weighted"], rtol=GOLDEN)


@pytest.mark.parametrize("change", [{"alpha": 0.41}, {"class_weights": torch.ones(4)}])
def test_another_form_is_noticed(change):
    loss = survival_loss(*golden_rows(), **change)
    assert abs(loss.item() - mm_lego()["u.nll.loss"]) > 1e-3


def test_exchanging_observed_and_censored_is_noticed():
    logits, target = golden_rows()
    turned = SurvivalTarget(target.bins, target.times, ~target.events)
    assert abs(survival_loss(logits, turned).item() - mm_lego()["u.nll.loss"]) > 1e-2


def test_survival_and_risk_are_the_published_ones():
    logits, _ = golden_rows()
    assert_allclose(log_survival(logits).exp().numpy(), mm_lego()["u.nll.survival"], rtol=GOLDEN)
    assert_allclose(survival_risk(logits).numpy(), mm_lego()["u.nll.risk"], rtol=GOLDEN)


def test_an_observed_event_costs_a_coin_toss_per_bin_that_it_lived_through():
    logits = np.array([[0.3, -1.2, 0.8]])
    hazard = 1 / (1 + np.exp(-logits[0]))
    target = SurvivalTarget(torch.tensor([2]), torch.zeros(1), torch.tensor([True]))
    expected = -np.log(1 - hazard[0]) - np.log(1 - hazard[1]) - np.log(hazard[2])
    assert_allclose(survival_loss(torch.from_numpy(logits), target, alpha=0.0).item(), expected, rtol=1e-12)


def test_a_hopeless_row_costs_no_more_than_the_bound_allows():
    logits = torch.tensor([[800.0, -800.0]], dtype=torch.float64, requires_grad=True)
    target = SurvivalTarget(torch.tensor([1]), torch.zeros(1), torch.tensor([True]))
    assert_allclose(survival_loss(logits, target).item(), -2 * np.log(1e-7), rtol=1e-12)
    assert survival_loss(logits, target, eps=0.0).item() == 1600


def test_without_a_bound_a_hopeless_row_still_has_a_gradient():
    logits = torch.tensor([[30.0, -30.0]], dtype=torch.float64, requires_grad=True)
    target = SurvivalTarget(torch.tensor([1]), torch.zeros(1), torch.tensor([True]))
    (bounded,) = torch.autograd.grad(survival_loss(logits, target), logits)
    (free,) = torch.autograd.grad(survival_loss(logits, target, eps=0.0), logits)
    assert not bounded.any()
    assert_allclose(free.numpy(), [[1.0, -1.0]], atol=1e-9)


def test_class_weights_are_the_published_ones():
    counts = torch.from_numpy(mm_lego()["u.cw.counts"])
    assert_allclose(class_weights_from_counts(counts, "inverse"), mm_lego()["u.cw.inverse"], rtol=GOLDEN)
    assert_allclose(class_weights_from_counts(counts, "inverse_root"), mm_lego()["u.cw.inverse_root"], rtol=GOLDEN)
    assert class_weights_from_counts(counts, "none") is None


def test_a_class_without_rows_has_a_finite_weight():
    assert class_weights_from_counts(torch.tensor([0, 4]), "inverse").tolist() == [1.0, 0.25]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_weights_rows_by_their_class(smoothing):
    rng = np.random.default_rng(0)
    logits, classes, weights = rng.normal(size=(7, 3)), rng.integers(0, 3, 7), np.array([0.2, 1.0, 3.0])
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    share = (1 - smoothing) * np.eye(3)[classes] + smoothing / 3
    expected = -(share * weights * log_p).sum() / weights[classes].sum()
    loss = cross_entropy(
        torch.from_numpy(logits),
        torch.from_numpy(classes),
        class_weights=torch.from_numpy(weights),
        label_smoothing=smoothing,
    )
    assert_allclose(loss.item(), expected, rtol=1e-12)


def test_labels_are_judged_apart():
    logits, labels = np.array([[0.5, -2.0]]), np.array([[1.0, 0.0]])
    p, smooth = 1 / (1 + np.exp(-logits)), labels * 0.8 + 0.1
    expected = -(smooth * np.log(p) + (1 - smooth) * np.log(1 - p)).mean()
    loss = multilabel_cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels), label_smoothing=0.2)
    assert_allclose(loss.item(), expected, rtol=1e-12)


def test_a_parameter_that_does_not_move_the_loss_is_not_used():
    used, unreached, silent = (nn.Parameter(torch.full((2,), value)) for value in (1.0, 2.0, 4.0))
    (used.sum() + 0 * silent.sum()).backward()
    assert used_parameters([used, unreached, silent]) == [used]


def test_the_l1_penalty_is_the_sum_of_absolute_values():
    assert l1_penalty([torch.tensor([-1.0, 2.0]), torch.tensor([[-3.5]])]).item() == 6.5
    assert l1_penalty([]).item() == 0
