"""Batch normalization into the layer before or after it: exact in eval mode, left or refused where it is not."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrizations

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse import collapse
from onepath.merging.presets.batch_norm import BatchNorm as OverLastAxis
from tests.export.collapse.small_networks import TOLERANCE, SmallResNet, normal, randomised, relative_error

RULES = ["batch_norm"]
PAIRS = {
    "linear": (lambda: (nn.Linear(4, 6), nn.BatchNorm1d(6)), (5, 4)),
    "linear without bias": (lambda: (nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6)), (5, 4)),
    "conv1d": (lambda: (nn.Conv1d(4, 6, 3, padding=1, stride=2), nn.BatchNorm1d(6)), (5, 4, 9)),
    "conv2d": (lambda: (nn.Conv2d(4, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)), (2, 4, 7, 5)),
    "groups": (lambda: (nn.Conv2d(4, 6, 3, groups=2, dilation=2), nn.BatchNorm2d(6)), (2, 4, 7, 6)),
    "depthwise": (lambda: (nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4)), (2, 4, 7, 5)),
    "conv3d": (lambda: (nn.Conv3d(2, 4, (1, 2, 3)), nn.BatchNorm3d(4)), (2, 2, 4, 5, 6)),
    "transposed": (lambda: (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), nn.BatchNorm2d(6)), (2, 4, 5, 4)),
    "transposed, no bias": (lambda: (nn.ConvTranspose1d(4, 6, 3, bias=False), nn.BatchNorm1d(6)), (2, 4, 5)),
    "not affine": (lambda: (nn.Linear(4, 6), nn.BatchNorm1d(6, affine=False)), (5, 4)),
    "large eps": (lambda: (nn.Linear(4, 6), nn.BatchNorm1d(6, eps=0.5)), (5, 4)),
    "identity between": (lambda: (nn.Linear(4, 6), nn.Identity(), nn.Dropout(), nn.BatchNorm1d(6)), (5, 4)),
    "two norms": (lambda: (nn.Linear(4, 6), nn.BatchNorm1d(6), nn.BatchNorm1d(6)), (5, 4)),
    "before a linear layer": (lambda: (nn.BatchNorm1d(4), nn.Linear(4, 6, bias=False)), (5, 4)),
    "before a convolution": (lambda: (nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, groups=2)), (2, 4, 7, 5)),
    "before reflected borders": (
        lambda: (nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect")),
        (2, 4, 7, 5),
    ),
    "on both sides": (lambda: (nn.BatchNorm1d(4), nn.Linear(4, 6), nn.BatchNorm1d(6)), (5, 4)),
}


def norms(model: nn.Module) -> list[nn.Module]:
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("name", PAIRS)
def test_the_folded_layer_equals_the_layer_and_its_norm(name: str, rows: int) -> None:
    make, shape = PAIRS[name]
    model, values = randomised(nn.Sequential(*make())), normal(rows, *shape[1:])
    collapsed, _ = collapse(model, rules=RULES)
    assert not norms(collapsed)
    assert relative_error(collapsed(values), model(values)) <= TOLERANCE


def test_a_fold_by_hand_that_forgets_eps_or_the_bias_would_be_seen() -> None:
    model, values = randomised(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))), normal(5, 4)
    linear, norm = model
    for eps, keeps_bias, passes in [(norm.eps, True, True), (0.0, True, False), (norm.eps, False, False)]:
        scale = norm.weight / (norm.running_var + eps).sqrt()
        shift = norm.bias + ((linear.bias if keeps_bias else 0) - norm.running_mean) * scale
        folded = functional.linear(values, linear.weight * scale.unsqueeze(1), shift)
        assert (relative_error(folded, model(values)) <= TOLERANCE) is passes


@pytest.mark.parametrize("size", [8, 13])
def test_a_small_resnet_collapses_with_no_batch_normalization_left(size: int) -> None:
    model, values = randomised(SmallResNet()), normal(2, 3, size, size)
    collapsed, report = collapse(model)
    assert not norms(collapsed)
    assert relative_error(collapsed(values), model(values)) <= TOLERANCE
    assert {entry.rule for entry in report.layers} == {"batch_norm"}
    assert report.left == ()


class PresentRows(nn.Module):
    """Runs a network on the rows that are present."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        rows = torch.nonzero(present).flatten()
        return torch.zeros(values.shape[0], 5).index_copy(0, rows, self.network(values.index_select(0, rows)))


def test_a_collapsed_network_exports_for_any_number_of_present_rows_and_one_with_norms_does_not() -> None:
    model = randomised(SmallResNet()).float()
    arguments = (torch.rand(4, 3, 8, 8), torch.ones(4, dtype=torch.bool))
    rows = torch.export.Dim("rows", min=1, max=64)
    dynamic = ({0: rows}, {0: rows})
    torch.export.export(PresentRows(collapse(model)[0]), arguments, dynamic_shapes=dynamic)
    with pytest.raises(Exception, match="data-dependent"):
        torch.export.export(PresentRows(model), arguments, dynamic_shapes=dynamic)


def test_a_model_of_timm_with_activations_in_its_norms_keeps_the_activations(vision_ops: object) -> None:
    import timm

    model = randomised(timm.create_model("mobilenetv2_035", num_classes=3), 0, _BatchNorm)
    collapsed, values = collapse(model)[0], normal(1, 3, 32, 32)
    assert not norms(collapsed)
    assert sum(isinstance(module, nn.ReLU6) for module in collapsed.modules()) == 35
    assert relative_error(collapsed(values), model(values)) <= TOLERANCE


def test_the_batch_normalization_over_the_last_axis_goes_into_linear_layers() -> None:
    parts = [nn.Linear(4, 6), OverLastAxis(6), nn.ReLU(), OverLastAxis(6, affine=False), nn.Linear(6, 3)]
    model, values = randomised(nn.Sequential(*parts)), normal(2, 5, 4)
    collapsed, report = collapse(model)
    assert [type(part) for part in collapsed] == [nn.Linear, nn.Identity, nn.ReLU, nn.Identity, nn.Linear]
    assert relative_error(collapsed(values), model(values)) <= TOLERANCE
    assert report.left == ()


def test_the_collapsed_state_dict_has_a_bias_for_each_norm_and_loads_strictly() -> None:
    collapsed, _ = collapse(randomised(nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))))
    plain = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity()).double()
    assert list(collapsed.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(collapsed.state_dict(), strict=True)


def test_a_norm_without_running_statistics_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    with pytest.raises(UnsupportedModuleError, match="the BatchNorm2d 1: it has no running statistics"):
        collapse(model)


def reason_left(model: nn.Module) -> str:
    collapsed, report = collapse(model, rules=RULES)
    assert len(norms(collapsed)) == len(norms(model))
    assert report.layers == ()
    (entry,) = report.left
    return entry.reason


def test_a_norm_in_training_mode_is_left() -> None:
    assert "training mode" in reason_left(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)))


class Beside(nn.Module):
    """The output of the linear layer is read by the norm and by a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3)

    def forward(self, values: Tensor) -> Tensor:
        hidden = self.linear(values)
        return self.norm(hidden) + hidden


def hooked() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    model[0].register_forward_hook(lambda *_: None)
    return model


def tied() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 3))
    model[3].weight = model[0].weight
    return model


LEFT = {
    "output of linear is also read elsewhere": Beside,
    "a hook sees its input or output": hooked,
    "tied to another module's": tied,
    "computed by a parametrisation": lambda: nn.Sequential(
        parametrizations.weight_norm(nn.Linear(3, 4)), nn.BatchNorm1d(4)
    ),
    "0 is a ReLU": lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4)),
    "pads with zeros, which the shift": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3, padding=1)),
    "is a transposed convolution, whose borders": lambda: nn.Sequential(nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 4, 3)),
    "would not be finite": lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).half(),
}


@pytest.mark.parametrize("reason", LEFT)
def test_a_norm_that_cannot_be_folded_is_left_with_the_reason(reason: str) -> None:
    model = LEFT[reason]().eval()
    for norm in norms(model):
        norm.running_mean.fill_(0.5)
        if "finite" in reason:
            norm.weight.data.fill_(6e4)
            norm.running_var.fill_(1e-5)
    assert reason in reason_left(model)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_a_fold_in_a_small_precision_is_rounded_once(precision: torch.dtype) -> None:
    model = randomised(nn.Sequential(nn.Linear(16, 8), nn.BatchNorm1d(8))).to(precision)
    collapsed, report = collapse(model)
    exact, _ = collapse(copy.deepcopy(model).double())
    assert torch.equal(collapsed[0].weight, exact[0].weight.to(precision))
    assert torch.equal(collapsed[0].bias, exact[0].bias.to(precision))
    assert 0 < report.layers[0].error <= torch.finfo(precision).eps


def test_what_is_folded_keeps_its_flags_and_its_mode() -> None:
    model = randomised(nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4))).train()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    collapsed, _ = collapse(model)
    assert [module.training for module in collapsed.modules()] == [True, True, False]
    assert [parameter.requires_grad for parameter in collapsed.parameters()] == [False, False]


AT_POSITIONS = {
    "after a linear layer": lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)),
    "before a linear layer": lambda: nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 4)),
    "in a sum of branches": lambda: nn.Sequential(Sum(nn.Linear(4, 4), nn.BatchNorm1d(4))),
}


class Sum(nn.Module):
    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.first(values) + self.second(values)


@pytest.mark.parametrize("case", AT_POSITIONS)
def test_a_norm_over_as_many_positions_as_features_is_left_where_an_example_shows_it(case: str) -> None:
    model, values = randomised(AT_POSITIONS[case]()), normal(3, 4, 4)
    collapsed, report = collapse(model, example=(values,))
    assert report.layers == ()
    assert any("the last axis" in entry.reason for entry in report.left)
    assert torch.equal(collapsed(values), model(values))


class ByName(nn.Sequential):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self[1](input=self[0](values))


def test_a_norm_that_is_given_its_values_by_name_is_looked_at_too() -> None:
    model, values = randomised(ByName(nn.Linear(4, 4), nn.BatchNorm1d(4))), normal(3, 4, 4)
    collapsed, report = collapse(model, example=(values,))
    assert report.layers == ()
    assert torch.equal(collapsed(values), model(values))


@pytest.mark.parametrize("case", AT_POSITIONS)
def test_a_norm_of_rows_is_folded_with_an_example_and_the_fold_would_be_wrong_at_positions(case: str) -> None:
    model, values = randomised(AT_POSITIONS[case]()), normal(3, 4)
    collapsed, report = collapse(model, example=(values,))
    assert len(report.layers) == 1
    assert relative_error(collapsed(values), model(values)) <= TOLERANCE
    assert relative_error(collapsed(normal(3, 4, 4)), model(normal(3, 4, 4))) > 1e-3
