from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from onepath.merging.reparameterization import reparameterize, scales
from onepath.training import (
    NonFiniteError,
    Rows,
    SurvivalTarget,
    TrainerSettings,
    TrainingError,
    UndefinedMetricError,
    evaluate,
    fit,
    only_modality,
    predictions,
    rows_at,
    rows_from_tensors,
    showing,
)
from onepath.training.forward import logits
from tests.training.small_data import QUICK, block, class_rows, dropping_net, equal, linear, merged, weights

TRAIN, HELD_OUT = class_rows(seed=0), class_rows(seed=1)
TRAIN_A, HELD_OUT_A = only_modality(TRAIN, "a"), only_modality(HELD_OUT, "a")
PLAIN = TrainerSettings(
    epochs=1, batch_size=90, optimiser="sgd", learning_rate=0.5, weight_decay=0.0, momentum=0.0, schedule="constant"
)


def accuracy(model, data):
    return float((predictions(model, data).argmax(1) == data.target).double().mean())


def gradient(model, data):
    """The gradient of the mean cross-entropy of a linear model, in closed form."""
    x = data.source.values["a"].double().numpy()
    exponent = np.exp(x @ model.weight.detach().double().numpy().T + model.bias.detach().double().numpy())
    error = exponent / exponent.sum(1, keepdims=True) - np.eye(3)[data.target.numpy()]
    return error.T @ x / len(x)


@pytest.mark.parametrize("model", [dropping_net(), block("a")], ids=["network", "block"])
def test_a_model_of_one_modality_learns(model):
    before = accuracy(model, HELD_OUT_A)
    history = fit(model, TRAIN_A, HELD_OUT_A, QUICK.model_copy(update={"epochs": 8}))
    assert accuracy(model, HELD_OUT_A) > max(0.85, before + 0.2)
    assert history.epochs[-1].loss < history.epochs[0].loss


def test_a_merged_model_learns_from_rows_that_lack_modalities():
    train = class_rows(150, missing=0.4)
    model = merged()
    fit(model, train, HELD_OUT, QUICK.model_copy(update={"epochs": 20, "modality_dropout": 0.3}))
    assert all(accuracy(model, showing(HELD_OUT, pattern)) > 0.7 for pattern in [("a",), ("b",), ("a", "b")])


def test_equal_seeds_give_equal_weights_and_histories():
    settings = QUICK.model_copy(update={"modality_dropout": 0.5})
    models, nets = [merged() for _ in range(2)], [dropping_net() for _ in range(2)]
    assert fit(models[0], TRAIN, HELD_OUT, settings) == fit(models[1], TRAIN, HELD_OUT, settings)
    fit(nets[0], TRAIN_A, HELD_OUT_A, QUICK)
    torch.manual_seed(99)  # what the process drew before does not matter
    fit(nets[1], TRAIN_A, HELD_OUT_A, QUICK)
    assert equal(weights(models[0]), weights(models[1]))
    assert equal(weights(nets[0]), weights(nets[1]))


@pytest.mark.parametrize("change", [{"seed": 1}, {"modality_dropout": 0.5}])
def test_another_seed_or_dropout_gives_other_weights(change):
    first, second = merged(), merged()
    fit(first, TRAIN, HELD_OUT, QUICK)
    fit(second, TRAIN, HELD_OUT, QUICK.model_copy(update=change))
    assert not equal(weights(first), weights(second))


def test_the_random_state_and_the_threads_of_the_process_are_left_as_they_were():
    model, threads = dropping_net(), torch.get_num_threads()
    state = torch.get_rng_state()
    fit(model, TRAIN_A, HELD_OUT_A, QUICK.model_copy(update={"threads": threads + 1}))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    model.train()(TRAIN.values["a"])  # as dropout alone would have left it
    assert not torch.equal(torch.get_rng_state(), state)


def cross_entropy_of(model, data):
    logits = predictions(model, data).double()
    return float(-logits.log_softmax(1)[torch.arange(len(logits)), data.target].mean())


def test_the_model_ends_in_eval_mode_with_the_weights_of_the_best_epoch():
    model = dropping_net()
    settings = QUICK.model_copy(update={"epochs": 12, "learning_rate": 0.5, "schedule": "constant", "metric": "loss"})
    history = fit(model, TRAIN_A, HELD_OUT_A, settings)
    values = [record.validation for record in history.epochs]
    assert values[-1] > 1.5 * min(values)  # so that the last epoch is not the best
    assert cross_entropy_of(model, HELD_OUT_A) == pytest.approx(min(values), rel=1e-5)
    assert history.best_epoch == values.index(min(values)) + 1
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_training_stops_when_validation_stops_to_improve():
    history = fit(linear(), TRAIN_A, HELD_OUT_A, QUICK.model_copy(update={"epochs": 50, "patience": 3}))
    assert history.stopped_early
    assert len(history.epochs) == history.best_epoch + 3


def test_without_validation_rows_the_last_epoch_is_kept():
    history = fit(linear(), TRAIN_A, None, QUICK)
    assert (history.best_epoch, history.stopped_early, history.best.validation) == (3, False, None)


def test_the_first_step_is_down_the_gradient():
    model = linear()
    expected = model.weight.detach().double().numpy() - 0.5 * gradient(model, TRAIN_A)
    fit(model, TRAIN_A, None, PLAIN)
    assert_allclose(model.weight.detach().numpy(), expected, atol=1e-6)


def test_a_clipped_step_is_as_long_as_the_clip():
    model, before = linear(), linear()
    fit(model, TRAIN_A, None, PLAIN.model_copy(update={"clip": 0.01}))
    steps = [(a - b).detach() for a, b in zip(model.parameters(), before.parameters(), strict=True)]
    assert float(torch.cat([step.flatten() for step in steps]).norm()) == pytest.approx(0.5 * 0.01, rel=1e-3)


def test_the_l1_penalty_pulls_used_weights_and_leaves_dead_ones():
    model = linear()
    model.dead = nn.Parameter(torch.tensor([3.0, -2.0]))
    start = model.weight.detach().double().numpy()
    expected = start - 0.5 * (gradient(model, TRAIN_A) + 0.1 * np.sign(start))
    plain = fit(linear(), TRAIN_A, None, PLAIN)
    penalised = fit(model, TRAIN_A, None, PLAIN.model_copy(update={"l1": 0.1}))
    assert_allclose(model.weight.detach().numpy(), expected, atol=1e-6)
    assert model.dead.tolist() == [3.0, -2.0]
    size = sum(float(parameter.detach().abs().sum()) for parameter in linear().parameters())
    assert penalised.best.loss - plain.best.loss == pytest.approx(0.1 * size, rel=1e-5)


def test_vectors_are_not_decayed_and_matrices_are():
    model, before = linear(), linear()
    settings = TrainerSettings(epochs=1, batch_size=90, learning_rate=0.1, weight_decay=0.5, schedule="constant")
    fit(model, TRAIN_A, None, settings, objective=lambda model, _: 0.0 * sum(p.sum() for p in model.parameters()))
    assert_allclose(model.weight.detach(), 0.95 * before.weight.detach(), rtol=1e-6)
    assert torch.equal(model.bias, before.bias)


def test_the_caller_may_give_parameter_groups():
    model, before = linear(), linear()
    fit(model, TRAIN_A, None, PLAIN, groups=[{"params": [model.bias]}, {"params": [model.weight], "lr": 0.0}])
    assert torch.equal(model.weight, before.weight)
    assert not torch.equal(model.bias, before.bias)


def test_the_callers_groups_are_not_changed():
    model = linear()
    group = {"params": list(model.parameters()), "lr": 0.25}
    fit(model, TRAIN_A, None, PLAIN.model_copy(update={"schedule": "cosine"}), groups=[group])
    assert set(group) == {"params", "lr"}
    assert group["lr"] == 0.25  # a second training with it would else begin with the rate at which this one ended


@pytest.mark.parametrize(
    ("groups", "problem"),
    [
        (lambda model: [{"lr": 1.0}], "params"),
        (lambda model: [{"params": [model.weight]}, {"params": [model.weight]}], "more than one parameter group"),
        (lambda model: model.parameters(), "mappings with `params`"),
        (lambda model: [{"params": list(linear().parameters())}], "no trainable parameter"),
        (lambda model: [], "no trainable parameter"),
    ],
    ids=["without parameters", "one twice", "no groups", "of another model", "none"],
)
def test_groups_that_cannot_be_trained_are_refused(groups, problem):
    model = linear()
    with pytest.raises(TrainingError, match=problem):
        fit(model, TRAIN_A, None, PLAIN, groups=groups(model))


def test_the_scales_of_a_pathway_are_trained_and_not_decayed():
    model, plain = (dropping_net(0).double() for _ in range(2))
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data = rows_from_tensors({"a": x}, torch.arange(40) % 3)
    reparameterize(model, dropping_net(1).double(), layers=["0", "3"])
    settings = PLAIN.model_copy(update={"weight_decay": 0.5, "optimiser": "adamw", "learning_rate": 0.1})
    fit(model, data, None, settings, objective=lambda model, _: 0.0 * sum(p.sum() for p in model.parameters()))
    assert scales(model) == {"0.weight": (0.0,), "3.weight": (0.0,)}
    assert_allclose(model[0].weight.detach(), 0.95 * plain[0].weight.detach(), rtol=1e-12)
    fit(model, data, None, settings)
    assert all(value != 0 for (value,) in scales(model).values())


def test_frozen_parameters_stay():
    model, before = linear(), linear()
    model.weight.requires_grad_(False)
    fit(model, TRAIN_A, HELD_OUT_A, QUICK)
    assert torch.equal(model.weight, before.weight)
    assert not torch.equal(model.bias, before.bias)


def test_an_objective_replaces_the_loss_of_training_only():
    model = linear()
    history = fit(
        model,
        TRAIN_A,
        HELD_OUT_A,
        QUICK.model_copy(update={"metric": "loss"}),
        objective=lambda model, batch: (model(batch.values["a"]) - 7.0).square().mean(),
    )
    assert history.best.validation == pytest.approx(cross_entropy_of(model, HELD_OUT_A), rel=1e-5)
    assert history.epochs[0].loss > 10


def test_survival_is_trained_and_measured():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 4, generator=generator)
    times = torch.exp(-x[:, 0] + 0.3 * torch.randn(200, generator=generator)).double()
    events = torch.rand(200, generator=generator) < 0.7
    bins = torch.bucketize(times, torch.quantile(times, torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)))
    data = rows_from_tensors({"a": x}, SurvivalTarget(bins, times, events))
    train, held_out = rows_at(data, torch.arange(150)), rows_at(data, torch.arange(150, 200))
    settings = QUICK.model_copy(update={"epochs": 20, "learning_rate": 0.05, "loss": "survival"})
    model = linear(outputs=4)
    history = fit(model, train, held_out, settings.model_copy(update={"metric": "concordance_index"}))
    found = evaluate(model, held_out, ["concordance_index"], resamples=0)["concordance_index"].value
    assert found == pytest.approx(history.best.validation)
    assert found > 0.85


@dataclass(frozen=True, eq=False)
class CountedRows:
    """Rows that count how often each is read."""

    rows: Rows
    reads: list[int] = field(default_factory=list)

    modalities = property(lambda self: self.rows.modalities)
    present = property(lambda self: self.rows.present)
    target = property(lambda self: self.rows.target)

    def batch(self, positions):
        self.reads.extend(positions.tolist())
        return self.rows.batch(positions)


def test_every_row_is_read_once_an_epoch_in_training_and_in_validation():
    train, held_out = CountedRows(class_rows(50)), CountedRows(class_rows(40, seed=1))
    fit(merged(), train, held_out, QUICK)
    first, *reads = train.reads  # one row is run before anything changes, to see what the model gives
    assert first == 0
    assert np.bincount(reads).tolist() == [3] * 50
    assert np.bincount(held_out.reads).tolist() == [3] * 40
    assert reads[:50] != sorted(reads[:50])


def poisoned() -> Rows:
    rows = class_rows(64)
    values = {name: tensor.clone() for name, tensor in rows.values.items()}
    values["a"][5] = torch.inf
    return rows_from_tensors(values, rows.target)


def test_a_loss_that_is_not_finite_stops_training_and_leaves_the_model_as_it_was():
    model, before = linear(), linear()
    with pytest.raises(NonFiniteError, match=r"in epoch 1, step [1-4], and") as caught:
        fit(model, only_modality(poisoned(), "a"), HELD_OUT_A, QUICK)
    assert caught.value.quantity == "loss"
    assert equal(weights(model), weights(before))


def test_a_gradient_that_is_not_finite_stops_training_before_it_is_applied():
    model, before = linear(), linear()

    def objective(model, batch):
        return model.weight.sum() * 0 + (model.bias - model.bias.detach()).abs().sqrt().sum()  # slope 0 · infinity

    with pytest.raises(NonFiniteError, match="the gradient became nan in epoch 1, step 1"):
        fit(model, TRAIN_A, None, QUICK, objective=objective)
    assert equal(weights(model), weights(before))


def test_outputs_on_validation_rows_that_are_not_finite_stop_training():
    model, before = linear(), linear()
    with pytest.raises(NonFiniteError, match=r"largest output on the validation rows became .* in epoch 1, step 6"):
        fit(model, TRAIN_A, only_modality(poisoned(), "a"), QUICK)
    assert equal(weights(model), weights(before))


def test_an_interrupted_training_keeps_the_best_epoch_so_far():
    model, seen = linear(), []

    def interrupt(record):
        seen.append(weights(model))
        if record.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, TRAIN_A, None, QUICK, report=interrupt)
    assert equal(weights(model), seen[1])
    assert not model.training


@pytest.mark.parametrize(
    ("train", "validation", "change", "problem"),
    [
        (TRAIN_A, None, {"patience": 2}, "no validation rows"),
        (TRAIN_A, None, {"schedule": "plateau"}, "no validation rows"),
        (TRAIN_A, HELD_OUT_A, {"modality_dropout": 0.5}, "one modality"),
        (TRAIN_A, HELD_OUT_A, {"modality_dropout": {"c": 0.5}}, "modality_dropout of c"),
        (TRAIN_A, HELD_OUT_A, {"loss": "survival", "metric": "loss"}, "fits loss 'cross_entropy'"),
        (TRAIN, HELD_OUT, {}, "only_modality"),
        (TRAIN_A, HELD_OUT, {}, "only_modality"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_changes(train, validation, change, problem):
    model, before = linear(), linear()
    with pytest.raises(TrainingError, match=problem):
        fit(model, train, validation, QUICK.model_copy(update=change))
    assert equal(weights(model), weights(before))
    assert model.training


def test_a_model_without_trainable_parameters_is_refused():
    with pytest.raises(TrainingError, match="no trainable parameter"):
        fit(linear().requires_grad_(False), TRAIN_A, None, QUICK)


class Flat(nn.Linear):
    """Gives `(rows,)`."""

    def forward(self, x):
        return super().forward(x)[:, 0]


class Paired(nn.Linear):
    """Gives a tuple."""

    def forward(self, x):
        return super().forward(x), x


LABELS = rows_from_tensors({"a": TRAIN.values["a"]}, nn.functional.one_hot(TRAIN.target).double())
SEVENS = rows_from_tensors({"a": TRAIN.values["a"]}, torch.full((90, 3), 7.0))
ONE_CLASS = rows_at(TRAIN_A, (TRAIN.target == 0).nonzero().squeeze(1))


@pytest.mark.parametrize(
    ("model", "train", "validation", "change", "problem"),
    [
        (linear(outputs=2), TRAIN_A, None, {}, r"width 2.*3 classes"),
        (linear(outputs=2), ONE_CLASS, HELD_OUT_A, {}, r"width 2.*3 classes"),
        (linear(outputs=2), ONE_CLASS, HELD_OUT_A, {"metric": "auc"}, r"width 2.*3 classes"),
        (linear(outputs=4), LABELS, None, {"loss": "multilabel"}, r"width 4.*3 labels"),
        (linear(), SEVENS, None, {"loss": "multilabel"}, "0 to 1"),
        (Flat(4, 3), TRAIN_A, None, {}, r"Flat.*\(1,\).*\(rows, width\)"),
        (Paired(4, 3), TRAIN_A, None, {}, r"Paired.*tuple"),
        (linear(), TRAIN_A, ONE_CLASS, {"metric": "auc"}, "all of one class"),
    ],
)
def test_what_a_model_gives_is_looked_at_before_anything_changes(model, train, validation, change, problem):
    before = weights(model)
    with pytest.raises((TrainingError, UndefinedMetricError), match=problem):
        fit(model.train(), train, validation, QUICK.model_copy(update={"metric": "loss", **change}))
    assert equal(weights(model), before)
    assert model.training


def test_a_validation_value_that_is_not_finite_stops_training():
    model = linear()
    model.load_state_dict({"weight": torch.eye(3, 4), "bias": torch.zeros(3)})
    far = rows_from_tensors({"a": torch.tensor([[3e38, -3e38, 0.0, 0.0]])}, torch.tensor([1]))  # finite outputs
    with pytest.raises(NonFiniteError, match="loss on the validation rows became inf in epoch 1"):
        fit(model, TRAIN_A, far, PLAIN.model_copy(update={"metric": "loss", "learning_rate": 1e-30}))
    assert torch.equal(model.weight, torch.eye(3, 4))


def test_modality_dropout_leaves_a_modality_of_the_model_and_not_only_of_the_data():
    more = rows_from_tensors({**TRAIN.values, "c": torch.zeros(90, 2)}, TRAIN.target)
    model, shown = merged(), []

    def objective(model, batch):
        shown.append(batch.present)
        return logits(model, batch).square().mean()

    fit(model, more, None, QUICK.model_copy(update={"modality_dropout": 1.0}), objective=objective)
    assert torch.cat(shown).sum(dim=1).tolist() == [1] * 270


def test_class_weights_come_from_the_training_rows():
    few = rows_from_tensors({"a": TRAIN.values["a"][:40]}, torch.tensor([0] * 30 + [1] * 10))
    model, start = linear(), linear()
    settings = PLAIN.model_copy(update={"batch_size": 40, "class_weights": "inverse"})
    share = np.array([1 / 30] * 30 + [1 / 10] * 10) / 2
    x = few.values["a"].double().numpy()
    exponent = np.exp(x @ start.weight.detach().double().numpy().T + start.bias.detach().double().numpy())
    error = exponent / exponent.sum(1, keepdims=True) - np.eye(3)[few.target.numpy()]
    fit(model, few, None, settings)
    moved = (start.weight - model.weight).detach().double().numpy() / 0.5
    assert_allclose(moved, (error * share[:, None]).T @ x, atol=1e-6)
