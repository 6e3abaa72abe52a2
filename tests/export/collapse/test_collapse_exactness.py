"""Models in which a fold that looks right would be wrong: the collapse equals the model, or is refused by name."""

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse import collapse
from tests.export.collapse.small_networks import TOLERANCE, normal, randomised, relative_error


class Written(nn.Module):
    """A linear layer `a`, a layer or norm `b`, and a forward that is given as a function."""

    def __init__(self, run: Callable[[nn.Module, Tensor], Tensor], b: nn.Module, **parts: nn.Module) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), b
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = [run]

    def forward(self, values: Tensor) -> Tensor:
        return self.run[0](self, values)


def norm() -> nn.Module:
    return nn.BatchNorm1d(4)


class Tanh(nn.Module):
    """Called as a whole by its parent, which calls its layer too."""

    def __init__(self, *, decides: bool) -> None:
        super().__init__()
        self.a, self.decides = nn.Linear(4, 4), decides

    def forward(self, values: Tensor) -> Tensor:
        if self.decides and values.sum() < -1e9:
            return values
        return torch.tanh(self.a(values))


class Listed(nn.Module):
    """Calls its parts from a list of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), norm()
        self.order = [self.a, self.b]

    def forward(self, values: Tensor) -> Tensor:
        for part in self.order:
            values = part(values)
        return values


class Holds(nn.Module):
    """Calls a layer of another module, in a forward that decides by values."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.held = {"layer": layer}

    def forward(self, values: Tensor) -> Tensor:
        return values if values.sum() < -1e9 else self.held["layer"](values)


class LooksInto(nn.Module):
    """Decides by values, and reads the part of a chain that a fold would change."""

    def __init__(self, *, weight: bool) -> None:
        super().__init__()
        self.chain, self.weight = nn.Sequential(nn.Linear(4, 4), norm()), weight

    def forward(self, values: Tensor) -> Tensor:
        if values.sum() < -1e9:
            return values
        if self.weight:
            return self.chain(values) + functional.linear(values, self.chain[0].weight)
        hidden = self.chain[0](values)
        return self.chain[1](hidden) + hidden


class AddsToItsInput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, values: Tensor) -> Tensor:
        values += self.a(values) + self.b(values)
        return values


class Doubled(AddsToItsInput):
    def __call__(self, values: Tensor) -> Tensor:
        return 2 * super().__call__(values)

    def forward(self, values: Tensor) -> Tensor:
        return self.a(values) + self.b(values)


class WeightOfTwice(nn.Linear):
    """A linear layer whose weight is another one doubled."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.in_features = self.out_features = 4
        self.raw, self.bias = nn.Parameter(torch.zeros(4, 4)), nn.Parameter(torch.zeros(4))

    @property
    def weight(self) -> Tensor:
        return 2 * self.raw


def if_tensor(model: nn.Module, values: Tensor, *, asked: Callable[[object], bool]) -> Tensor:
    hidden = model.a(values)
    return model.b(functional.relu(hidden) if asked(hidden) else hidden)


def reading(read: Callable[[nn.Module], Tensor]) -> Callable[[], nn.Module]:
    return lambda: Written(lambda m, x: m.b(m.a(x)) + functional.linear(x, read(m)), norm())


def sharing_memory() -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), norm(), nn.ReLU(), nn.Linear(4, 4)).double()
    values = model[0].weight.data
    for layer, weight in ((model[0], values), (model[3], values.T)):
        del layer.weight
        layer.register_buffer("weight", weight)
    return model


def held_layer() -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(nn.Sequential(layer, norm()), Holds(layer))


def added_twice(model: nn.Module, values: Tensor) -> Tensor:
    hidden = model.a(values)
    return model.whole(hidden) + hidden


def by_class(model: nn.Module, values: Tensor) -> Tensor:
    result = model.b(model.a(values))
    return 3 * result if isinstance(model.b, _BatchNorm) else result


TRAPS = {
    "a weight from named_parameters": reading(lambda m: dict(m.named_parameters())["a.weight"]),
    "a weight from parameters, changed": reading(lambda m: 2 * next(m.parameters())),
    "a weight from the state dict": reading(lambda m: m.state_dict()["a.weight"]),
    "a weight from the table": reading(lambda m: m.a._parameters["weight"]),
    "a list of the parts": Listed,
    "a layer in another's dict": held_layer,
    "a part of a whole that is called twice": lambda: Written(
        lambda m, x: m.b(m.whole.a(m.whole(m.whole(m.a(x))))), norm(), whole=Tanh(decides=False)
    ),
    "a part of a whole that decides": lambda: Written(
        lambda m, x: m.b(m.whole.a(m.whole(m.a(x)))), norm(), whole=Tanh(decides=True)
    ),
    "a projection of an attention": lambda: Written(
        lambda m, x: m.b(m.mha.out_proj(m.mha(x, x, x)[0])), norm(), mha=nn.MultiheadAttention(4, 2)
    ),
    "a part that is called in a forward that decides": lambda: LooksInto(weight=False),
    "a weight that is read in a forward that decides": lambda: LooksInto(weight=True),
    "asks for a tensor": lambda: Written(
        lambda m, x: if_tensor(m, x, asked=lambda h: isinstance(h, Tensor)), nn.Linear(4, 4)
    ),
    "asks for a tensor by torch": lambda: Written(lambda m, x: if_tensor(m, x, asked=torch.is_tensor), nn.Linear(4, 4)),
    "asks for an attribute": lambda: Written(
        lambda m, x: if_tensor(m, x, asked=lambda h: not hasattr(h, "logits")), nn.Linear(4, 4)
    ),
    "adds to its input in place": lambda: Written(added_twice, norm(), whole=AddsToItsInput()),
    "a call of its own": lambda: nn.Sequential(Doubled(), nn.ReLU()),
    "buffers that share memory": sharing_memory,
    "a weight that is computed": lambda: nn.Sequential(WeightOfTwice(), norm()),
}


@pytest.mark.parametrize("name", TRAPS)
def test_what_a_fold_would_change_elsewhere_is_left(name: str) -> None:
    model, values = randomised(TRAPS[name]()), normal(5, 4)
    collapsed, _ = collapse(model)
    assert relative_error(collapsed(values.clone()), model(values.clone())) <= TOLERANCE


REFUSED = {
    "the size of a part": lambda: Written(lambda m, x: m.b(m.a(x)) / m.a.out_features, nn.Linear(4, 2)),
    "the class of a part": lambda: Written(by_class, norm()),
    "a number of a part": lambda: Written(lambda m, x: m.b(m.a(x)) * m.b.eps, norm()),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_forward_that_decides_by_its_parts_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=r"it decides by what its parts are, which .* changes"):
        collapse(randomised(REFUSED[name]()))


def test_a_forward_that_asks_for_a_bias_and_does_nothing_with_it_is_folded() -> None:
    model, values = Written(lambda m, x: (m.a.bias, m.b(m.a(x)))[1], norm()), normal(5, 4)
    model.a = nn.Linear(4, 4, bias=False)
    collapsed, report = collapse(randomised(model))
    assert [entry.rule for entry in report.layers] == ["batch_norm"]
    assert relative_error(collapsed(values), model(values)) <= TOLERANCE


@pytest.mark.parametrize("last", [lambda: nn.Linear(4, 4), norm])
def test_a_model_in_training_mode_is_collapsed_to_what_it_does_in_eval_mode(last: Callable[[], nn.Module]) -> None:
    def run(model: nn.Module, values: Tensor) -> Tensor:
        hidden = model.a(values)
        return model.b(hidden if model.training else functional.relu(hidden))

    model, values = randomised(Written(run, last())), normal(5, 4)
    model.train()
    model.b.eval()
    collapsed, _ = collapse(model)
    assert relative_error(collapsed.eval()(values), copy.deepcopy(model).eval()(values)) <= TOLERANCE


class WithHidden(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, values: Tensor, hidden: bool = False) -> Tensor:
        first = self.a(values)
        return first if hidden else self.b(first)


def test_a_layer_whose_output_a_flag_returns_is_left() -> None:
    model, values = randomised(WithHidden()), normal(5, 4)
    collapsed, _ = collapse(model)
    assert relative_error(collapsed(values, hidden=True), model(values, hidden=True)) <= TOLERANCE


def test_another_thread_runs_a_module_while_a_forward_is_followed() -> None:
    running, values, results = nn.Sequential(nn.Linear(4, 4), nn.ReLU()), torch.rand(2, 4), list[Tensor]()

    def run(model: nn.Module, inputs: Tensor) -> Tensor:
        thread = threading.Thread(target=lambda: results.append(running(values)))
        thread.start()
        thread.join()
        return model.b(model.a(inputs))

    _, report = collapse(randomised(Written(run, norm())))
    assert [entry.rule for entry in report.layers] == ["batch_norm"]
    assert results
    assert all(torch.equal(result, running(values)) for result in results)


def test_a_model_that_cannot_be_copied_or_has_no_weights_yet_is_refused_by_name() -> None:
    locked = nn.Sequential(nn.Linear(2, 2))
    locked.lock = threading.Lock()
    with pytest.raises(UnsupportedModuleError, match=r"cannot be copied \(cannot pickle '_thread.lock' object\)"):
        collapse(locked)
    with pytest.raises(UnsupportedModuleError, match="lazy layers without weights; call it once"):
        collapse(nn.Sequential(nn.LazyLinear(2)))
