"""Parallel branches on one input and their sum, as one convolution or linear layer."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from onepath.export.collapse import collapse
from tests.export.collapse.small_networks import TOLERANCE, RepVggBlock, normal, randomised, relative_error

RULES = ["parallel_branches"]


class Sum(nn.Module):
    """Adds what each branch makes of the input, and applies the rest to the sum."""

    def __init__(self, *branches: nn.Module, rest: nn.Module | None = None) -> None:
        super().__init__()
        self.branches, self.act = nn.ModuleList(branches), rest

    def forward(self, values: Tensor) -> Tensor:
        total = sum(branch(values) for branch in self.branches)
        return total if self.act is None else self.act(total)


class Residual(nn.Module):
    """Adds the input to what one layer makes of it."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, values: Tensor) -> Tensor:
        return functional.gelu(values + self.layer(values))


def conv(kernel, padding=0, **settings) -> nn.Conv2d:
    return nn.Conv2d(4, 4, kernel, padding=padding, **settings)


BLOCKS = {
    "repvgg": (lambda: RepVggBlock(4, 4), (2, 4, 7, 6)),
    "repvgg, stride": (lambda: RepVggBlock(4, 6, stride=2), (2, 4, 7, 6)),
    "repvgg, groups": (lambda: RepVggBlock(4, 4, groups=2), (2, 4, 5, 6)),
    "repvgg, depthwise, 7x7": (lambda: RepVggBlock(4, 4, groups=4, kernel=7), (2, 4, 9, 6)),
    "asymmetric kernels": (lambda: Sum(conv((1, 3), (0, 1)), conv((3, 1), (1, 0)), conv(3, 1)), (2, 4, 5, 6)),
    "dilated and wide": (lambda: Sum(conv(3, 2, dilation=2), conv(5, 2)), (2, 4, 7, 6)),
    "no padding": (lambda: Sum(conv(3), conv(3, bias=False)), (2, 4, 7, 6)),
    "same and reflected": (
        lambda: Sum(conv(3, "same", padding_mode="reflect"), conv(1), nn.Identity()),
        (2, 4, 7, 6),
    ),
    "one dimension": (lambda: Sum(nn.Conv1d(4, 4, 5, padding=2), nn.BatchNorm1d(4)), (2, 4, 7)),
    "three dimensions": (lambda: Sum(nn.Conv3d(2, 2, 3, padding=1), nn.Conv3d(2, 2, 1)), (1, 2, 4, 5, 3)),
    "identities on the way": (
        lambda: Sum(nn.Sequential(nn.Identity(), conv(3, 1), nn.Dropout()), conv(1)),
        (2, 4, 7, 6),
    ),
    "linear": (lambda: Sum(nn.Linear(4, 6), nn.Linear(4, 6, bias=False), rest=nn.Tanh()), (3, 4)),
    "linear and input": (lambda: Residual(nn.Linear(4, 4)), (2, 3, 4)),
    "convolution and input": (lambda: Residual(conv(3, 1)), (2, 4, 5, 6)),
}


def layers(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, (nn.Linear, nn.modules.conv._ConvNd, _BatchNorm))]


@pytest.mark.parametrize("rules", [RULES, None])
@pytest.mark.parametrize("name", BLOCKS)
def test_one_layer_equals_the_sum_of_the_branches(name: str, rules: list[str] | None) -> None:
    make, shape = BLOCKS[name]
    model, values = randomised(nn.Sequential(make())), normal(*shape)
    collapsed, _ = collapse(model, rules=rules)
    assert len(layers(collapsed)) == 1
    assert relative_error(collapsed(values), model(values)) <= TOLERANCE


def test_the_identity_is_a_one_in_the_middle_of_the_kernel() -> None:
    layer = conv(3, 1, bias=False)
    layer.weight.data.zero_()
    collapsed, _ = collapse(Sum(layer, nn.Identity()))
    expected = torch.zeros(4, 4, 3, 3)
    for channel in range(4):
        expected[channel, channel, 1, 1] = 1
    assert torch.equal(collapsed.merged.weight, expected)
    values = torch.rand(1, 4, 5, 6)
    assert torch.equal(functional.conv2d(values, expected, padding=1), values)
    assert not torch.equal(functional.conv2d(values, expected.roll(1, dims=3), padding=1), values)


@pytest.mark.parametrize(("model", "convolutions"), [("repvgg_a0", 22), ("mobileone_s0", 43)])
def test_a_model_of_timm_is_a_chain_of_single_convolutions(vision_ops: object, model: str, convolutions: int) -> None:
    import timm

    network = randomised(timm.create_model(model, num_classes=3), 0, _BatchNorm)
    collapsed, report = collapse(network)
    values = normal(1, 3, 64, 64)
    assert relative_error(collapsed(values), network(values)) <= TOLERANCE
    assert len(layers(collapsed)) == convolutions + 1
    assert report.left == ()


def test_a_block_becomes_a_merged_layer_and_what_it_did_with_the_sum() -> None:
    collapsed, report = collapse(nn.Sequential(randomised(Sum(conv(3, 1), conv(1), rest=nn.PReLU()))))
    assert [name for name, _ in collapsed[0].named_children()] == ["merged", "act"]
    assert list(collapsed.state_dict()) == ["0.merged.weight", "0.merged.bias", "0.act.weight"]
    (entry,) = report.layers
    assert (entry.layer, entry.folded) == ("0", "2 branches into one Conv2d")
    assert (entry.parameters_before, entry.parameters_after) == (169, 149)


class Between(nn.Module):
    """A sum of branches between two convolutions of the same forward."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.one, self.two = conv(3), conv(1), conv(1)

    def forward(self, values: Tensor) -> Tensor:
        hidden = torch.tanh(self.before(values))
        return self.one(hidden) + self.two(hidden)


class Weighted(Sum):
    def forward(self, values: Tensor) -> Tensor:
        return self.branches[0](values) + 2 * self.branches[1](values)


class Another(Sum):
    def forward(self, values: Tensor) -> Tensor:
        return self.branches[0](values) + self.branches[1](values) + 1


LEFT = {
    "it does more than add them": Between,
    "looks at other positions than another": lambda: Sum(conv(3, 1), conv(3, 2, dilation=2), conv((2, 3), (1, 1))),
    "has 2 groups, and another has 1": lambda: Sum(conv(3, 1), conv(1, groups=2)),
    "pads by reflect, and another by zeros": lambda: Sum(conv(5, 2), conv(3, 1, padding_mode="reflect")),
    "a norm before its layer": lambda: Sum(nn.Sequential(nn.BatchNorm2d(4), conv(3, 1)), conv(1)).eval(),
    "in training mode": lambda: Sum(nn.Sequential(conv(1), nn.BatchNorm2d(4)).train(), conv(1)),
    "more than one layer": lambda: Sum(nn.Sequential(conv(3, 1), conv(3, 1)), conv(1)),
}


@pytest.mark.parametrize("reason", LEFT)
def test_branches_that_are_not_one_layer_are_left_with_the_reason(reason: str) -> None:
    model = LEFT[reason]()
    collapsed, report = collapse(model, rules=RULES)
    assert type(collapsed) is type(model)
    assert reason in report.left[0].reason


@pytest.mark.parametrize("kind", [Weighted, Another])
def test_a_sum_of_other_things_is_no_sum_of_branches(kind: type[Sum]) -> None:
    collapsed, report = collapse(kind(conv(1), conv(1)))
    assert isinstance(collapsed, kind)
    assert report.layers == report.left == ()


@pytest.mark.parametrize("wrap", [nn.Sequential, nn.ModuleList, lambda block: block[0]])
def test_a_block_with_a_hook_is_left(wrap) -> None:
    model = Sum(conv(3, 1), conv(1))
    model.register_forward_hook(lambda *_: None)
    collapsed, report = collapse(wrap([model]) if wrap is not nn.Sequential else wrap(model))
    assert any(isinstance(part, Sum) for part in collapsed.modules())
    assert report.layers == ()


def test_complex_branches_are_left() -> None:
    model = Sum(*(nn.Linear(3, 3, dtype=torch.complex64) for _ in range(2)))
    assert "floating-point" in collapse(model)[1].left[0].reason


def test_tied_branches_are_left() -> None:
    model = Sum(conv(1), conv(1))
    model.branches[1].weight = model.branches[0].weight
    assert "tied" in collapse(model)[1].left[0].reason
