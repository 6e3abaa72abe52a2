import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.metrics import average_precision_score, roc_auc_score
from sksurv.metrics import concordance_index_censored
from torch import nn

from onepath.training import SurvivalTarget, TrainingError, evaluate, only_modality, predictions, rows_from_tensors
from tests.training.small_data import class_rows, linear


def value(model, data, metric):
    return evaluate(model, data, [metric], resamples=0)[metric].value


def softmax(logits):
    exponent = np.exp(logits - logits.max(1, keepdims=True))
    return exponent / exponent.sum(1, keepdims=True)


def test_metrics_of_classes_are_taken_of_probabilities():
    model, data = linear(), only_modality(class_rows(), "a")
    logits, classes = predictions(model, data).double().numpy(), data.target.numpy()
    one_hot = np.eye(3)[classes]
    assert value(model, data, "accuracy") == (logits.argmax(1) == classes).mean()
    assert_allclose(value(model, data, "auc"), roc_auc_score(classes, softmax(logits), multi_class="ovr"), rtol=1e-9)
    assert_allclose(
        value(model, data, "mean_average_precision"), average_precision_score(one_hot, softmax(logits)), rtol=1e-9
    )
    assert abs(value(model, data, "auc") - roc_auc_score(one_hot, logits)) > 1e-4  # of logits it would be another


def test_the_auc_of_two_classes_is_that_of_scores_and_not_of_hard_predictions():
    data = only_modality(class_rows(), "a")
    binary = rows_from_tensors({"a": data.source.values["a"]}, (data.target > 0).long())
    model = linear(seed=3, outputs=2)
    logits, classes = predictions(model, binary).double().numpy(), binary.target.numpy()
    assert_allclose(value(model, binary, "auc"), roc_auc_score(classes, softmax(logits)[:, 1]), rtol=1e-9)
    assert abs(value(model, binary, "auc") - roc_auc_score(classes, logits.argmax(1))) > 1e-3


def test_metrics_of_labels_are_taken_label_by_label():
    labels = torch.rand(90, 3, generator=torch.Generator().manual_seed(0)).round()
    data = rows_from_tensors({"a": class_rows().values["a"]}, labels)
    model = linear()
    scores = predictions(model, data).sigmoid().numpy()
    assert_allclose(value(model, data, "auc"), roc_auc_score(labels.numpy(), scores), rtol=1e-9)
    assert_allclose(
        value(model, data, "mean_average_precision"), average_precision_score(labels.numpy(), scores), rtol=1e-9
    )


def survival_rows():
    generator = torch.Generator().manual_seed(0)
    times = torch.rand(60, generator=generator, dtype=torch.float64) + 0.1
    target = SurvivalTarget((times * 2).long(), times, torch.rand(60, generator=generator) < 0.7)
    return rows_from_tensors({"a": torch.randn(60, 4, generator=generator)}, target)


def test_the_concordance_index_is_taken_of_risks():
    model, data = linear(), survival_rows()
    hazards = predictions(model, data).double().sigmoid().numpy()
    risks = -np.cumprod(1 - hazards, axis=1).sum(1)
    expected = concordance_index_censored(data.target.events.numpy(), data.target.times.numpy(), risks)[0]
    assert_allclose(value(model, data, "concordance_index"), expected, rtol=1e-12)
    assert abs(expected - 0.5) > 0.005


def test_every_metric_has_its_interval():
    found = evaluate(linear(), only_modality(class_rows(), "a"), ["accuracy", "auc"], resamples=50)
    assert list(found) == ["accuracy", "auc"]
    assert all(interval.low < interval.value < interval.high for interval in found.values())


@pytest.mark.parametrize(("data", "metric"), [(survival_rows(), "accuracy"), (class_rows(), "concordance_index")])
def test_a_metric_of_another_kind_of_target_is_refused(data, metric):
    with pytest.raises(TrainingError, match="target is"):
        evaluate(linear(), only_modality(data, "a"), [metric])


LABELS = rows_from_tensors({"a": torch.zeros(3, 4)}, torch.eye(3))


@pytest.mark.parametrize(
    ("model", "data", "metric", "problem"),
    [
        (linear(), LABELS, "accuracy", "the target is of labels"),
        (linear(outputs=4), LABELS, "auc", r"width 4.*3 labels"),
        (linear(outputs=4), LABELS, "mean_average_precision", r"width 4.*3 labels"),
        (linear(outputs=2), only_modality(class_rows(), "a"), "accuracy", r"width 2.*3 classes"),
        (linear(outputs=2), only_modality(class_rows(), "a"), "auc", r"width 2.*3 classes"),
    ],
)
def test_outputs_that_do_not_fit_the_target_are_refused(model, data, metric, problem):
    with pytest.raises(TrainingError, match=problem):
        evaluate(model, data, [metric])


def test_a_concordance_that_resamples_do_not_define_is_left_out_of_its_interval():
    target = SurvivalTarget(
        torch.arange(3), torch.arange(1.0, 4.0, dtype=torch.float64), torch.tensor([True, False, False])
    )
    data = rows_from_tensors({"a": torch.randn(3, 4, generator=torch.Generator().manual_seed(0))}, target)
    found = evaluate(linear(), data, ["concordance_index"], resamples=200)["concordance_index"]
    assert 100 < found.resamples < 160  # 9 of 27 hold no pair: no first row, or nothing else
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_a_loss_is_no_metric_of_held_out_rows():
    with pytest.raises(TrainingError, match="accuracy, auc"):
        evaluate(linear(), only_modality(class_rows(), "a"), ["loss"])


def test_outputs_that_are_not_finite_are_refused():
    model = linear()
    nn.init.constant_(model.bias, torch.nan)
    with pytest.raises(TrainingError, match="90 of 90 rows have NaN"):
        evaluate(model, only_modality(class_rows(), "a"), ["accuracy"])
