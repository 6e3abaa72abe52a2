"""What a symbolic run tells about who calls whom, and what it leaves alone."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, weight_norm

from onepath.export.collapse.dataflow import Flow, does_nothing, flow_of, known_within


def flow(module: nn.Module) -> Flow:
    found = flow_of(module)
    assert found is not None
    return found


class Written(nn.Module):
    """A module whose forward is given as a function of it and its arguments."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = [run]
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, values: Tensor) -> Tensor:
        return self.run[0](self, values)


def linear(size: int = 3) -> nn.Linear:
    return nn.Linear(size, size)


def test_a_layer_in_a_chain_has_the_layer_before_as_its_source_and_the_one_after_as_its_consumer() -> None:
    found = flow(nn.Sequential(linear(), nn.Sequential(nn.ReLU(), linear())))
    assert [(p, found.source(p), found.consumers(p)) for p in found.paths(nn.Module)] == [
        ("0", None, ["1.0"]),
        ("1.0", "0", ["1.1"]),
        ("1.1", "1.0", None),
    ]


def test_producers_and_takers_look_through_modules_that_do_nothing() -> None:
    found = flow(nn.Sequential(linear(), nn.Identity(), nn.Dropout(0.5), linear()).eval())
    assert found.producer("3") == "0"
    assert found.takers("0") == ["3"]
    assert found.source("3") == "2"


def test_a_dropout_that_acts_is_no_identity() -> None:
    assert not does_nothing(nn.Dropout(0.5).train())
    assert does_nothing(nn.Dropout(0.0).train())
    assert does_nothing(nn.Dropout(0.5).eval())


def test_an_output_that_is_added_to_something_has_no_known_consumers() -> None:
    found = flow(Written(lambda m, x: m.last(m.first(x) + x), first=linear(), last=linear()))
    assert found.consumers("first") is None
    assert found.source("last") is None


def test_reading_a_shape_does_not_count_as_reading_values() -> None:
    def run(m, x):
        hidden = m.first(x)
        rows, _ = hidden.shape
        return m.last(hidden).reshape(rows, -1)

    assert flow(Written(run, first=linear(), last=linear())).consumers("first") == ["last"]


def test_an_output_given_as_a_second_argument_has_no_known_consumers() -> None:
    attention = nn.MultiheadAttention(4, 2)
    found = flow(Written(lambda m, x: m.mha(x, m.key(x), x)[0], key=linear(4), mha=attention))
    assert found.consumers("key") is None


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (lambda m, x: m.part(m.part(x)), "not called exactly once"),
        (lambda m, x: functional.linear(m.part(x), m.part.weight), "its weight is read elsewhere"),
    ],
)
def test_a_layer_that_is_used_twice_is_not_private(run, reason: str) -> None:
    found = flow(Written(run, part=linear()))
    assert not found.is_private("part")
    assert reason in found.obstacle("part")


def test_a_layer_called_once_is_private() -> None:
    assert flow(nn.Sequential(linear(), nn.ReLU())).is_private("0")


def test_tied_shared_parametrised_and_hooked_layers_are_not_private() -> None:
    tied = nn.Sequential(linear(), nn.ReLU(), linear())
    tied[2].weight = tied[0].weight
    assert "tied" in flow(tied).obstacle("0")
    parametrised = nn.Sequential(parametrizations.weight_norm(linear()), nn.ReLU())
    assert "parametrisation" in flow(parametrised).obstacle("0")
    hooked = nn.Sequential(linear(), nn.ReLU())
    hooked[0].register_forward_hook(lambda *_: None)
    assert "hook" in flow(hooked).obstacle("0")


def test_the_old_weight_norm_is_seen_as_a_hook() -> None:
    with pytest.warns(FutureWarning):
        layer = weight_norm(linear())
    assert "hook" in flow(nn.Sequential(layer, nn.ReLU())).obstacle("0")


def test_sharing_outside_of_the_traced_part_is_known_within_the_model() -> None:
    part = nn.Sequential(linear(), nn.ReLU())
    model = nn.ModuleDict({"part": part, "other": nn.Sequential(part[0], nn.Tanh())})
    assert flow(part).is_private("0")
    with known_within(model):
        assert not flow(part).is_private("0")


def test_a_hook_on_a_container_stands_between_its_layers_and_their_neighbours() -> None:
    model = nn.Sequential(nn.Sequential(linear()), linear())
    assert flow(model).consumers("0.0") == ["1"]
    model[0].register_forward_hook(lambda *_: None)
    assert flow(model).consumers("0.0") is None
    assert flow(model).source("1") is None


def test_a_forward_that_decides_by_values_cannot_be_followed() -> None:
    assert flow_of(Written(lambda m, x: m.part(x) if x.sum() > 0 else x, part=linear())) is None


def test_a_child_that_cannot_be_followed_is_a_leaf_and_is_offered_on_its_own() -> None:
    odd = Written(lambda m, x: m.part(x) if x.sum() > 0 else x, part=nn.Sequential(linear(), linear()))
    found = flow(nn.Sequential(linear(), odd))
    assert found.consumers("0") == ["1"]
    assert found.containers() == ["1"]
    assert not found.is_private("1")


def test_a_module_that_is_called_twice_is_a_leaf_and_is_offered_on_its_own() -> None:
    found = flow(Written(lambda m, x: m.part(m.part(x)), part=nn.Sequential(linear(), linear())))
    assert found.containers() == ["part"]


def test_a_model_of_encoders_and_a_fusion_is_not_followed() -> None:
    model = nn.Sequential(linear())
    model.encoders, model.modalities = nn.ModuleDict(), ()
    model.fuse = model.absent = lambda *_: None
    assert flow_of(model) is None


class Optional(nn.Module):
    """Its second layer is left out where a mask is given."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = linear(), linear()

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        hidden = self.first(values)
        return self.last(hidden) if mask is None else hidden * mask


def test_only_what_holds_with_and_without_optional_arguments_is_told() -> None:
    assert flow(Optional()).consumers("first") is None


class LoudNorm(nn.LayerNorm):
    """A layer norm with a forward of its own that does the same."""

    def forward(self, input: Tensor) -> Tensor:
        return functional.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)


class DoubledNorm(nn.LayerNorm):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


class ShiftedLinear(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return functional.linear(input, self.weight) + 1


def test_a_norm_with_an_equal_forward_of_its_own_is_a_leaf() -> None:
    found = flow(nn.Sequential(LoudNorm(3), linear()))
    assert found.consumers("0") == ["1"]
    assert found.is_private("0")
    assert found.tail("0") == []


@pytest.mark.parametrize("layer", [DoubledNorm(3), ShiftedLinear(3, 3)])
def test_a_layer_with_another_forward_is_no_neighbour(layer: nn.Module) -> None:
    found = flow(nn.Sequential(linear(), layer, linear()))
    assert found.source("2") is None


class Careless(nn.Module):
    """A forward that changes the module, and makes tensors on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.part, self.runs = linear(), 0
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, values: Tensor) -> Tensor:
        self.runs += 1
        self.seen += 1
        return self.part(values) + torch.ones(3)


def test_looking_changes_nothing_and_runs_no_hook() -> None:
    model, called = nn.Sequential(Careless(), linear()), []
    for module in model.modules():
        module.register_forward_hook(lambda *_: called.append(1))
    before = copy.deepcopy(model.state_dict())
    flow(model)
    assert model[0].runs == 0
    assert not called
    assert list(before) == list(model.state_dict())
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
