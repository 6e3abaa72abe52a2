"""The self-normalising network: shapes, start, dropout, refusals and export."""

import pytest
import torch

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.encoders import SelfNormalizingNetwork
from onepath.merging.encoders.self_normalizing import WIDTHS
from tests.merging.lego.test_onnx import Positional, largest_error


def network(**form) -> SelfNormalizingNetwork:
    torch.manual_seed(0)
    return SelfNormalizingNetwork(12, **{"widths": (9, 7), **form}).eval()


@pytest.mark.parametrize("size", sorted(WIDTHS))
def test_a_published_size_has_its_widths(size: str) -> None:
    encoder = SelfNormalizingNetwork(30, widths=size)
    assert [layer[0].out_features for layer in encoder.layers] == list(WIDTHS[size])
    assert encoder.feature_dim == WIDTHS[size][-1]


def test_the_published_parameter_count_is_kept() -> None:
    assert sum(p.numel() for p in SelfNormalizingNetwork(2189, classes=4).parameters()) == 759_044


def test_a_row_is_one_of_its_tokens() -> None:
    tokens = torch.randn(3, 4, 12)
    torch.testing.assert_close(network()(tokens)[:, 2], network()(tokens[:, 2]), rtol=0, atol=1e-6)


def test_a_classifiers_logits_are_averaged_over_tokens() -> None:
    encoder, tokens = network(classes=5), torch.randn(3, 4, 12)
    by_hand = torch.stack([encoder(tokens[:, index]) for index in range(4)]).mean(0)
    torch.testing.assert_close(encoder(tokens), by_hand, rtol=0, atol=1e-6)


def test_weights_start_so_that_a_standardised_row_keeps_its_scale() -> None:
    torch.manual_seed(0)
    encoder = SelfNormalizingNetwork(400, widths=(300,))
    weight = encoder.layers[0][0].weight
    assert weight.std().item() == pytest.approx(1 / 20, rel=0.02)
    assert not encoder.layers[0][0].bias.any()


def test_dropout_acts_in_every_layer_in_training_and_in_none_after_it() -> None:
    encoder, rows = network(dropout=0.5).train(), torch.randn(3, 12)
    assert all(
        not torch.equal(layer(x), layer(x)) for layer, x in zip(encoder.layers, (rows, rows[:, :9]), strict=True)
    )
    assert torch.equal(encoder.eval()(rows), encoder(rows))


def test_integers_are_taken_as_numbers() -> None:
    counts = torch.arange(24).reshape(2, 12)
    assert torch.equal(network()(counts), network()(counts.float()))


class OfRowsAndTokens(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, rows: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.network(rows).unsqueeze(1), self.network(tokens)], dim=1)


def test_it_runs_in_onnx_for_any_number_of_rows() -> None:
    assert largest_error(Positional(OfRowsAndTokens()), (torch.randn(7, 12), torch.randn(7, 2, 12))) <= 1e-5


@pytest.mark.parametrize(("shape", "reason"), [((3, 11), "encoder takes others"), ((12,), "give \\(rows, 12\\)")])
def test_values_of_another_shape_are_refused(shape: tuple[int, ...], reason: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=reason):
        network()(torch.zeros(shape))


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ({"widths": "medium"}, "size 'medium'.*small, big"),
        ({"widths": ()}, "no layer"),
        ({"widths": (4, 0)}, "width is 0"),
        ({"classes": 0}, "classes is 0"),
        ({"dropout": -0.5}, r"dropout is -0\.5"),
    ],
)
def test_sizes_that_cannot_be_are_refused(form: dict, reason: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=reason):
        network(**form)
