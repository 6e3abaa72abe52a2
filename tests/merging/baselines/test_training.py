"""Every baseline is trained by the one trainer, on rows of which many lack a modality."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from onepath.merging.baselines import MultiModN, state_change_penalty
from onepath.training import Batch, TrainerSettings, evaluate, fit
from onepath.training.forward import encoded_rows
from tests.merging.baselines.small_baselines import MAKERS, baseline
from tests.training.small_data import class_rows

BRIEFLY = TrainerSettings(
    epochs=8, batch_size=32, learning_rate=1e-2, schedule="constant", modality_dropout=0.2, seed=3, threads=1
)


@pytest.mark.parametrize("kind", MAKERS)
def test_training_lowers_the_loss_and_answers_every_pattern_better_than_chance(kind: str) -> None:
    rows, others = class_rows(240, missing=0.3), class_rows(240, 1, missing=0.3)
    model = baseline(kind)
    before = evaluate(model, others, ["accuracy"], resamples=0)["accuracy"].value
    history = fit(model, rows, None, BRIEFLY)
    losses = [record.loss for record in history.epochs]
    after = evaluate(model, others, ["accuracy"], resamples=0)["accuracy"].value
    assert losses[-1] < 0.8 * losses[0]
    assert after > max(before + 0.15, 0.6)


def step_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    features = encoded_rows(model, batch.values, batch.present)
    scores = model.step_scores(features, batch.present)
    losses = functional.cross_entropy(scores.transpose(1, 2), batch.target[:, None].expand(-1, scores.shape[1]))
    return losses + 0.01 * state_change_penalty(model.states(features, batch.present))


def test_multimodn_is_trained_at_every_step_through_an_objective() -> None:
    rows = class_rows(240, missing=0.3)
    model = baseline("multimodn")
    assert isinstance(model, MultiModN)
    history = fit(model, rows, None, BRIEFLY, objective=step_loss)
    features = encoded_rows(model, rows.values, rows.present)
    with torch.no_grad():
        scores = model.step_scores(features, rows.present)
    hits = [(scores[:, step].argmax(1) == rows.target).double().mean().item() for step in range(3)]
    assert history.epochs[-1].loss < history.epochs[0].loss
    assert hits[0] < hits[1] < hits[2]
