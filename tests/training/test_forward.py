import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from onepath.merging.lego import LegoMerge
from onepath.merging.multimodal import run_dense
from onepath.training import TrainingError, only_modality, predictions, rows_at, rows_from_tensors, showing
from onepath.training.data import Batch
from onepath.training.forward import logits
from tests.merging.lego.small_blocks import every_pattern, small_blocks, small_inputs
from tests.training.small_data import class_rows, linear, merged


def batch_of(values, present):
    return Batch(values, present, torch.zeros(len(present), dtype=torch.int64))


def test_running_the_present_rows_only_equals_running_all():
    model, present = LegoMerge(small_blocks()), every_pattern(3)
    values = small_inputs(rows=7)
    dense = run_dense(model, values, present)["scores"]
    assert_allclose(logits(model, batch_of(values, present)).detach(), dense.detach(), rtol=1e-12)
    assert not torch.allclose(logits(model, batch_of(values, torch.ones_like(present))), dense)


def gradients(run, model, values, present):
    model.zero_grad()
    run(model, values, present).square().sum().backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None])


def test_what_an_absent_row_holds_reaches_no_gradient():
    model, present = LegoMerge(small_blocks(), method="sum"), every_pattern(3)
    values = small_inputs(rows=7)
    poisoned = {name: tensor.clone() for name, tensor in values.items()}
    for column, name in enumerate(values):
        poisoned[name][~present[:, column]] = torch.nan

    def sparse(model, values, present):
        return logits(model, batch_of(values, present))

    clean = gradients(sparse, model, values, present)
    assert torch.equal(gradients(sparse, model, poisoned, present), clean)
    dense = gradients(lambda *run: run_dense(*run)["scores"], model, poisoned, present)
    assert dense.isnan().any()  # running all rows would have spoilt it


def test_an_absent_modality_costs_no_encoder_run():
    model = LegoMerge(small_blocks())
    present = torch.tensor([[True, False, True]]).expand(5, 3)
    logits(model, batch_of(small_inputs(rows=5), present))
    assert [block.encoder.runs for block in model.blocks.values()] == [1, 0, 1]


def test_columns_are_found_by_name():
    model, data = merged(), class_rows(missing=0.5)
    turned = rows_from_tensors(dict(reversed(data.values.items())), data.target, data.present.flip(1))
    assert torch.equal(predictions(model, data), predictions(model, turned))
    wrong = rows_from_tensors(data.values, data.target, data.present.flip(1))
    assert not torch.equal(predictions(model, data).nan_to_num(), predictions(model, wrong).nan_to_num())


def test_predictions_come_in_the_order_of_rows_whatever_the_batches():
    model, data = merged().double(), class_rows(50, missing=0.3)
    double = rows_from_tensors({name: value.double() for name, value in data.values.items()}, data.target, data.present)
    whole = predictions(model, double, batch_size=64)
    assert_allclose(predictions(model, double, batch_size=7), whole, rtol=1e-12)
    assert_allclose(predictions(model, rows_at(double, torch.tensor([4, 9]))), whole[[4, 9]], rtol=1e-12)


@pytest.mark.parametrize("training", [True, False])
def test_predicting_runs_in_eval_mode_and_leaves_the_mode_as_it_was(training):
    model = nn.Sequential(linear(), nn.Dropout(0.5)).train(training)
    data = only_modality(class_rows(), "a")
    assert torch.equal(predictions(model, data), predictions(model, data))
    assert model.training is training


@pytest.mark.parametrize(
    "data", [class_rows(), only_modality(showing(class_rows(), ("b",)), "b"), showing(class_rows(), ("b",))]
)
def test_a_model_of_one_modality_refuses_rows_of_several_and_rows_without_it(data):
    model = linear(inputs=6)
    if data.modalities == ("b",):
        assert predictions(model, data).shape == (90, 3)
    else:
        with pytest.raises(TrainingError, match="only_modality"):
            predictions(model, data)


def test_a_merged_model_needs_a_column_for_each_of_its_modalities():
    with pytest.raises(TrainingError, match="model's b have no column"):
        predictions(merged(), only_modality(class_rows(), "a"))


def test_no_rows_are_refused():
    with pytest.raises(TrainingError, match="no rows"):
        predictions(linear(), rows_at(class_rows(), torch.arange(0)))


def test_predicting_leaves_the_mode_of_every_part_as_it_was():
    model = nn.Sequential(nn.BatchNorm1d(4), linear()).train()
    model[0].eval()  # as of a frozen backbone
    predictions(model, only_modality(class_rows(), "a"))
    assert [module.training for module in model.modules()] == [True, False, True]


def test_a_batch_holds_a_row_at_least():
    with pytest.raises(TrainingError, match="batch_size"):
        predictions(linear(), only_modality(class_rows(), "a"), batch_size=0)
