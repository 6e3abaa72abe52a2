"""`collapse` with rules that look at neighbours: their order, what it leaves untouched, and what it refuses."""

import copy
import hashlib

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import weight_norm

from onepath.contract.errors import UnknownPluginError, UnsupportedModuleError
from onepath.export.collapse import FoldedLayer, Folding, collapse
from onepath.export.collapse.rules import OPT_IN, across_layers, installed_rules
from onepath.merging.reparameterization import reparameterize
from tests.export.collapse.small_networks import (
    TOLERANCE,
    RepVggBlock,
    SmallResNet,
    normal,
    randomised,
    relative_error,
)


def digest(model: nn.Module) -> str:
    parts = [key.encode() + value.numpy().tobytes() for key, value in model.state_dict().items()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


class Stack(nn.Module):
    """What every rule has something to do with: a block, two convolutions, two linear layers, norms."""

    def __init__(self) -> None:
        super().__init__()
        self.block = RepVggBlock(3, 3)
        self.convolutions = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1))
        self.head = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 5))

    def forward(self, values: Tensor) -> Tensor:
        return self.head(self.convolutions(self.block(values)).mean((2, 3)))


def test_all_rules_together_leave_one_layer_of_each() -> None:
    model, values = randomised(Stack()), normal(2, 3, 6, 5)
    collapsed, report = collapse(model)
    layers = [m for m in collapsed.modules() if isinstance(m, (nn.Linear, nn.Conv2d, _BatchNorm))]
    assert [type(layer) for layer in layers] == [nn.Conv2d, nn.Conv2d, nn.Linear]
    assert relative_error(collapsed(values), model(values)) <= TOLERANCE
    assert report.left == ()


def test_re_parameterised_weights_are_folded_before_their_neighbours() -> None:
    model, values = randomised(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Linear(6, 3))), normal(3, 4)
    reparameterize(model, randomised(copy.deepcopy(model), seed=3))
    for name, parameter in model.named_parameters():
        if name.endswith(".scale"):
            parameter.data.fill_(0.7)
    collapsed, report = collapse(model)
    assert relative_error(collapsed(values), model(values)) <= TOLERANCE
    assert [entry.rule for entry in report.layers] == ["cross_modal", "cross_modal", "batch_norm", "linear_pair"]


@pytest.mark.parametrize("make", [Stack, SmallResNet])
def test_collapsing_twice_equals_collapsing_once(make: type[nn.Module]) -> None:
    once, _ = collapse(randomised(make()))
    twice, report = collapse(once)
    assert report.layers == ()
    assert digest(once) == digest(twice)


def test_the_order_of_the_report_is_the_same_each_time() -> None:
    model = randomised(Stack())
    assert collapse(model)[1] == collapse(model)[1]


def test_the_model_is_never_changed() -> None:
    model = randomised(Stack())
    before, names = digest(model), [name for name, _ in model.named_modules()]
    collapse(model)
    assert digest(model) == before
    assert [name for name, _ in model.named_modules()] == names


def test_a_refused_model_keeps_its_bytes() -> None:
    model = randomised(nn.Sequential(Stack(), nn.BatchNorm1d(5, track_running_stats=False)))
    before = digest(model)
    with pytest.raises(UnsupportedModuleError, match="running statistics"):
        collapse(model)
    assert digest(model) == before


class Untouched(nn.Module):
    """An odd module that nothing can follow, beside layers to fold."""

    def __init__(self) -> None:
        super().__init__()
        self.folded = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.odd = nn.Sequential(nn.Linear(4, 4), nn.Tanh())

    def forward(self, values: Tensor) -> Tensor:
        values = self.folded(values)
        return self.odd(values) if float(values.sum()) > 0 else values


def test_what_is_not_folded_keeps_its_class_flags_precision_hooks_and_mode() -> None:
    model = Untouched().eval()
    model.odd[0].half().requires_grad_(False)
    model.odd[1].train().register_forward_pre_hook(lambda *_: None)
    collapsed, report = collapse(model)
    assert [entry.layer for entry in report.layers] == ["folded.0"]
    linear, activation = collapsed.odd
    assert type(linear) is nn.Linear
    assert linear.weight.dtype == torch.float16
    assert not linear.weight.requires_grad
    assert torch.equal(linear.weight, model.odd[0].weight)
    assert activation.training
    assert len(activation._forward_pre_hooks) == 1


def test_a_shared_block_is_folded_once_and_stays_shared() -> None:
    block = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU())
    model, values = randomised(nn.Sequential(block, block)), normal(3, 4)
    collapsed, report = collapse(model)
    assert collapsed[0] is collapsed[1]
    assert len(report.layers) == 1
    assert relative_error(collapsed(values), model(values)) <= TOLERANCE


def test_a_layer_shared_with_a_module_that_cannot_be_followed_is_not_folded() -> None:
    model = Untouched().eval()
    model.odd[0] = model.folded[0]
    collapsed, report = collapse(model)
    assert collapsed.odd[0] is collapsed.folded[0]
    assert report.layers == ()
    assert "elsewhere" in report.left[0].reason


def test_rules_can_be_given_by_name() -> None:
    model = randomised(Stack())
    _, report = collapse(model, rules=["linear_pair"])
    assert {entry.rule for entry in report.layers} == set()
    _, report = collapse(model, rules=["linear_pair", "batch_norm"])
    assert {entry.rule for entry in report.layers} == {"batch_norm", "linear_pair"}
    with pytest.raises(UnknownPluginError, match="batch_norm"):
        collapse(model, rules=["batchnorm"])


def test_opt_in_rules_are_installed_but_not_used_unless_named() -> None:
    names = {rule.__name__ for rule in installed_rules()}
    assert sorted(OPT_IN) == ["norm_into_linear"]
    assert not OPT_IN & names
    assert {"batch_norm", "linear_pair", "parallel_branches"} <= names


def with_norm() -> nn.Module:
    return randomised(nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.LayerNorm(6), nn.Linear(6, 3)))


def test_an_opt_in_rule_comes_besides_the_others() -> None:
    model, values = with_norm(), normal(3, 4)
    collapsed, report = collapse(model, also=["norm_into_linear"])
    assert [(entry.layer, entry.rule) for entry in report.layers] == [("0", "batch_norm"), ("3", "norm_into_linear")]
    assert relative_error(collapsed(values), model(values)) <= TOLERANCE


def test_without_its_name_an_opt_in_rule_folds_nothing_and_reports_nothing() -> None:
    _, report = collapse(with_norm())
    assert [entry.rule for entry in report.layers] == ["batch_norm"]
    assert report.left == ()


def test_an_opt_in_rule_has_its_place_by_name_among_the_others() -> None:
    names = [rule.__name__ for rule in installed_rules(frozenset(["norm_into_linear"]))]
    assert names == sorted(names)
    assert set(names) - {rule.__name__ for rule in installed_rules()} == {"norm_into_linear"}


def test_a_rule_that_is_applied_anyway_may_be_named_and_comes_once() -> None:
    assert installed_rules(frozenset(["batch_norm"])) == installed_rules()


def test_given_rules_come_before_those_named_besides() -> None:
    _, report = collapse(with_norm(), rules=["batch_norm"], also=["norm_into_linear"])
    assert [entry.rule for entry in report.layers] == ["batch_norm", "norm_into_linear"]


def test_an_unknown_rule_besides_the_others_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownPluginError, match="did you mean 'norm_into_linear'"):
        collapse(with_norm(), also=["norm_into_liner"])


def test_a_rule_across_layers_is_offered_modules_that_hold_its_kinds_as_a_whole() -> None:
    offered = []

    @across_layers(nn.Tanh)
    def rule(module: nn.Module) -> Folding | None:
        offered.append(type(module).__name__)
        return None

    collapse(nn.Sequential(nn.Sequential(nn.Linear(2, 2), nn.Tanh()), nn.Sequential(nn.ReLU())), rules=[rule])
    collapse(nn.ModuleList([nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Tanh())]), rules=[rule])
    assert offered == ["Sequential", "ModuleList", "Sequential"]


def test_rules_that_fold_for_ever_are_refused() -> None:
    @across_layers(nn.Tanh)
    def restless(module: nn.Module) -> Folding:
        return Folding(module, (FoldedLayer("", "restless", "nothing into nothing"),))

    with pytest.raises(UnsupportedModuleError, match="at last restless"):
        collapse(nn.Sequential(nn.Tanh()), rules=[restless])


def test_a_model_whose_weights_a_hook_computes_is_refused_by_name() -> None:
    with pytest.warns(FutureWarning):
        model = nn.Sequential(weight_norm(nn.Linear(2, 2)))
    with pytest.raises(UnsupportedModuleError, match="a Sequential for a collapse: it cannot be copied"):
        collapse(model)


def test_a_vision_transformer_of_twelve_blocks_collapses_in_two_seconds_of_cpu(vision_ops: object) -> None:
    import time

    import timm

    with torch.device("meta"):
        model = timm.create_model("vit_base_patch16_224")
    start = time.process_time()
    collapse(model)
    assert time.process_time() - start < 2
