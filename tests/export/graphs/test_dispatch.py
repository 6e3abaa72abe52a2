import numpy as np
import pytest
import torch
from torch import nn

from onepath.export.graphs.dispatch import PresenceGraph, RowDispatch
from tests.export import toy


@pytest.mark.parametrize("rows", [1, 2, 9, 32])
def test_every_mix_of_states_gives_what_numpy_gives_row_by_row(rows):
    model = toy.seeded_model()
    values, states = toy.inputs(rows, seed=rows)
    with torch.inference_mode():
        found = PresenceGraph(model, "classification")(values, states)
    assert np.abs(found["scores"].numpy() - toy.numpy_scores(model, values, states)).max() < 1e-6


def test_another_row_s_values_would_be_noticed():
    model = toy.seeded_model()
    values, states = toy.inputs(9, seed=9)
    shifted = {name: tensor.roll(1, 0) for name, tensor in values.items()}
    with torch.inference_mode():
        found = PresenceGraph(model, "classification")(shifted, states)
    assert np.abs(found["scores"].numpy() - toy.numpy_scores(model, values, states)).max() > 1e-3


def test_an_absent_row_costs_no_encoder_run():
    model = toy.seeded_model()
    values, states = toy.inputs(8)
    states["image"][:] = torch.tensor([1, 0, 0, 1, 0, 2, 0, 0]).reshape(-1, 1)
    states["audio"][:] = 0
    with torch.inference_mode():
        PresenceGraph(model, "classification")(values, states)
    assert model.encoders["image"].rows_seen == [2]
    assert model.encoders["audio"].rows_seen == []


def test_an_encoder_that_cannot_run_on_no_rows_is_not_asked_to():
    class NeedsRows(nn.Module):
        def forward(self, values):
            return torch.stack([row.float().sum(-1) for row in values])

    values, _ = toy.inputs(3)
    dispatch = RowDispatch(NeedsRows(), torch.tensor([7.0, 8.0]))
    assert dispatch(values["image"], torch.zeros(3, dtype=bool)).tolist() == [[7, 8]] * 3
    assert dispatch(values["image"], torch.arange(3) == 1)[1].tolist() == values["image"][1].sum(-1).tolist()


def test_presence_says_what_was_used_and_a_failed_row_uses_nothing():
    states = {"image": torch.tensor([[1], [1], [0], [2]]), "audio": torch.tensor([[1], [0], [0], [1]])}
    values, _ = toy.inputs(4)
    with torch.inference_mode():
        found = PresenceGraph(toy.seeded_model(), "classification")(
            values, {name: state.to(torch.uint8) for name, state in states.items()}
        )
    assert found["presence"].tolist() == [[1, 1], [1, 0], [0, 0], [0, 0]]
    assert found["row_status"].tolist() == [[0], [0], [1], [2]]
    assert found["scores"][2:].abs().max() == 0


def test_a_row_is_bit_for_bit_the_same_alone_and_among_others():
    dispatch = RowDispatch(toy.seeded_model().encoders["image"], torch.zeros(3))
    values, _ = toy.inputs(16)
    present = torch.arange(16) % 3 != 0
    with torch.inference_mode():
        together = dispatch(values["image"], present)
        changed = values["image"].clone()
        changed[~present] = 255
        assert torch.equal(together, dispatch(changed, present))


def test_an_embedding_is_left_as_the_model_gives_it():
    model = toy.seeded_model()
    values, states = toy.inputs(5)
    states = {name: torch.ones_like(state) for name, state in states.items()}
    with torch.inference_mode():
        raw = PresenceGraph(model, "embedding")(values, states)["scores"]
        expected = model.encoders["image"](values["image"]) + model.encoders["audio"](values["audio"])
    assert torch.allclose(raw, expected, atol=1e-6)
    assert not torch.allclose(raw, torch.softmax(expected, -1), atol=1e-3)
