"""Two linear layers, or two convolutions, with nothing between them: one layer where it is exact and costs no more."""

import pytest
import torch
from torch import nn

from onepath.export.collapse import collapse
from tests.export.collapse.small_networks import TOLERANCE, normal, randomised, relative_error

RULES = ["linear_pair"]
PAIRS = {
    "linear": (lambda: (nn.Linear(4, 6), nn.Linear(6, 3)), (5, 4)),
    "linear, no bias": (lambda: (nn.Linear(4, 6, bias=False), nn.Linear(6, 3, bias=False)), (5, 4)),
    "first bias only": (lambda: (nn.Linear(4, 6), nn.Linear(6, 3, bias=False)), (2, 5, 4)),
    "second bias only": (lambda: (nn.Linear(4, 6, bias=False), nn.Linear(6, 3)), (2, 5, 4)),
    "nothing between": (lambda: (nn.Linear(4, 6), nn.Identity(), nn.Dropout(), nn.Linear(6, 3)), (5, 4)),
    "three": (lambda: (nn.Linear(4, 8), nn.Linear(8, 8), nn.Linear(8, 2)), (5, 4)),
    "a bottleneck, then less": (lambda: (nn.Linear(16, 2), nn.Linear(2, 16), nn.Linear(16, 2)), (5, 16)),
    "1x1 and 1x1": (lambda: (nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 1)), (2, 3, 5, 6)),
    "3x3 and 1x1": (lambda: (nn.Conv2d(3, 9, 3, padding=1, dilation=2), nn.Conv2d(9, 4, 1)), (2, 3, 9, 7)),
    "stride twice": (lambda: (nn.Conv2d(3, 6, 3, stride=2), nn.Conv2d(6, 4, 1, stride=(2, 3))), (2, 3, 20, 17)),
    "1x1 and 3x3": (lambda: (nn.Conv2d(3, 9, 1), nn.Conv2d(9, 4, 3, stride=2)), (2, 3, 9, 8)),
    "1x1 and padded": (lambda: (nn.Conv2d(3, 9, 1, bias=False), nn.Conv2d(9, 4, 3, padding=1)), (2, 3, 9, 8)),
    "1x1 and reflected": (
        lambda: (nn.Conv1d(3, 9, 1), nn.Conv1d(9, 4, 3, padding=1, padding_mode="reflect")),
        (2, 3, 9),
    ),
    "groups": (lambda: (nn.Conv1d(4, 6, 3, groups=2), nn.Conv1d(6, 4, 1, groups=2)), (2, 4, 9)),
    "same": (lambda: (nn.Conv3d(2, 6, 3, padding="same"), nn.Conv3d(6, 2, 1)), (1, 2, 4, 3, 5)),
}


def layers(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, (nn.Linear, nn.modules.conv._ConvNd))]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", PAIRS)
def test_one_layer_equals_the_two(name: str, seed: int) -> None:
    make, shape = PAIRS[name]
    model, values = randomised(nn.Sequential(*make()), seed), normal(*shape, seed=seed + 5)
    collapsed, _ = collapse(model, rules=RULES)
    assert len(layers(collapsed)) == 1
    assert relative_error(collapsed(values), model(values)) <= TOLERANCE


def test_the_matrices_are_multiplied_in_the_order_of_the_layers() -> None:
    first, second = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    for layer, weight, bias in zip(model, (first, second), ([1.0, 0.0], [0.0, 10.0]), strict=True):
        layer.weight.data, layer.bias.data = weight.clone(), torch.tensor(bias)
    collapsed, _ = collapse(model)
    assert collapsed[0].weight.tolist() == [[0.0, 1.0], [1.0, 2.0]]
    assert collapsed[0].weight.tolist() != (first @ second).tolist()
    assert collapsed[0].bias.tolist() == [0.0, 11.0]


def test_a_bottleneck_stays_two_layers_and_the_report_says_what_one_would_cost() -> None:
    model = nn.Sequential(nn.Linear(512, 8), nn.Linear(8, 512))
    collapsed, report = collapse(model)
    assert len(layers(collapsed)) == 2
    assert report.layers == ()
    (entry,) = report.left
    assert entry.reason.endswith("one layer would take 262144 multiplications for each position instead of 8192")


LEFT = {
    "the second pads": (lambda: (nn.Conv2d(3, 9, 3), nn.Conv2d(9, 2, 1, padding=1)), True),
    "where the bias of the first would have to be": (
        lambda: (nn.Conv2d(3, 9, 1), nn.Conv2d(9, 2, 3, padding=1)),
        True,
    ),
    "3 and 1 groups": (lambda: (nn.Conv2d(3, 9, 3, groups=3), nn.Conv2d(9, 2, 1)), True),
    "none of them is 1": (lambda: (nn.Conv2d(3, 9, 3), nn.Conv2d(9, 2, 3)), True),
    "a stride, and the second a kernel": (lambda: (nn.Conv2d(3, 9, 1, stride=2), nn.Conv2d(9, 2, 3)), True),
    "an activation": (lambda: (nn.Linear(3, 9), nn.ReLU(), nn.Linear(9, 2)), False),
    "a dropout that acts": (lambda: (nn.Linear(3, 9), nn.Dropout(0.5).train(), nn.Linear(9, 2)), False),
}


@pytest.mark.parametrize("reason", LEFT)
def test_what_is_not_one_layer_exactly_stays_two(reason: str) -> None:
    make, is_reported = LEFT[reason]
    collapsed, report = collapse(nn.Sequential(*make()), rules=RULES)
    assert len(layers(collapsed)) == 2
    assert [reason in entry.reason for entry in report.left] == ([True] if is_reported else [])


def test_tied_layers_stay_two() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    collapsed, report = collapse(model)
    assert collapsed[0].weight is collapsed[1].weight
    assert "tied" in report.left[0].reason


class Counting(nn.Linear):
    """A linear layer with something of its own."""


def test_a_layer_of_ones_own_class_stays() -> None:
    collapsed, report = collapse(nn.Sequential(nn.Linear(3, 3), Counting(3, 3)))
    assert isinstance(collapsed[1], Counting)
    assert "it is a Counting" in report.left[0].reason


def test_complex_weights_stay() -> None:
    model = nn.Sequential(*(nn.Linear(3, 3, dtype=torch.complex64) for _ in range(2)))
    assert "complex64" in collapse(model)[1].left[0].reason


def test_a_hook_between_the_layers_keeps_them_two() -> None:
    model, seen = nn.Sequential(nn.Linear(3, 3), nn.Identity(), nn.Linear(3, 3)), []
    model[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    collapsed, _ = collapse(model)
    assert len(layers(collapsed)) == 2
    assert len(collapsed[1]._forward_hooks) == 1


def test_the_pair_is_one_new_layer_and_an_identity() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3)).to(torch.bfloat16)
    collapsed, report = collapse(model)
    assert list(collapsed.state_dict()) == ["0.weight", "0.bias"]
    nn.Sequential(nn.Linear(4, 3), nn.Identity()).load_state_dict(collapsed.state_dict(), strict=True)
    assert collapsed[0].weight.dtype == torch.bfloat16
    (entry,) = report.layers
    assert (entry.parameters_before, entry.parameters_after) == (51, 15)
    assert entry.parts == ("1",)
