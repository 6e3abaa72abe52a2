"""What cannot be adapted or folded exactly is refused by name and reason, and nothing is changed then."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.adapters import (
    LowRankAdapter,
    attach_adapters,
    attached_adapters,
    average_factors,
    average_updates,
    fold_adapters,
    generated_adapter,
    narrowed_linear,
    new_adapters,
)
from onepath.merging.adapters.parametrization import LowRankWeight
from onepath.merging.reparameterization import reparameterize
from tests.merging.adapters.random_adapters import random_adapter


def two_layers() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False))


def tied() -> nn.Sequential:
    model = two_layers()
    model[1].weight = model[0].weight
    return model


def with_nan() -> nn.Sequential:
    model = two_layers()
    model[0].weight.data[0, 0] = float("nan")
    return model


def repeating() -> nn.Sequential:
    """One row of numbers in memory, which is each row of the weight."""
    model = two_layers()
    model[1].weight = nn.Parameter(torch.ones(1, 4).expand(4, 4))
    return model


def reparameterized() -> nn.Sequential:
    model = two_layers()
    reparameterize(model, two_layers())
    return model


ATTACHMENTS = {
    "shapes": (two_layers, "0", random_adapter(4, 5), r"its weight is \(4, 4\) and B·A of the adapter is \(4, 5\)"),
    "no bias": (two_layers, "1", random_adapter(4, 4, biased=True), "shifts its bias, and it has none"),
    "unknown": (two_layers, "2", random_adapter(4, 4), "no layer with a weight"),
    "tied": (tied, "0", random_adapter(4, 4), "tied with another layer's"),
    "repeating": (repeating, "1", random_adapter(4, 4), "several of its values lie at one place in memory"),
    "not finite": (with_nan, "0", random_adapter(4, 4), "NaN or infinite"),
    "parametrised": (reparameterized, "0", random_adapter(4, 4), "already parametrised by something else"),
    "no data": (lambda: two_layers().to("meta"), "0", random_adapter(4, 4), "no data"),
    "too wide": (two_layers, "0", LowRankAdapter(1e39 * torch.ones(1, 4).double(), torch.ones(4, 1)), "cannot hold"),
    "normalisation": (lambda: nn.LayerNorm(4), "weight", random_adapter(4, 4), "takes no low-rank adapter"),
    "embedding": (lambda: nn.Embedding(4, 4), "weight", random_adapter(4, 4), "takes no low-rank adapter"),
    "groups": (lambda: nn.Conv1d(4, 4, 1, groups=2), "weight", random_adapter(4, 2, 1), "grouped convolution"),
}


@pytest.mark.parametrize("case", ATTACHMENTS)
def test_an_adapter_that_does_not_fit_is_refused_and_the_model_is_as_it_was(case: str) -> None:
    make, layer, adapter, reason = ATTACHMENTS[case]
    model = make()
    before, kinds = copy.deepcopy(model.state_dict()), [type(module) for module in model.modules()]
    with pytest.raises(UnsupportedModuleError, match=reason):
        attach_adapters(model, {layer: adapter})
    assert [type(module) for module in model.modules()] == kinds
    assert list(model.state_dict()) == list(before)


def test_one_misfit_keeps_the_others_from_being_attached() -> None:
    model = two_layers()
    with pytest.raises(UnsupportedModuleError, match="cannot use 1"):
        attach_adapters(model, {"0": random_adapter(4, 4), "1": random_adapter(4, 3)})
    assert attached_adapters(model) == {}


def test_a_quantised_weight_is_refused() -> None:
    layer = nn.Linear(4, 4)
    layer.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.int8), requires_grad=False)
    with pytest.raises(UnsupportedModuleError, match=r"already quantised or packed \(Parameter of int8\)"):
        attach_adapters(layer, {"weight": random_adapter(4, 4)})


def test_nothing_to_attach_and_an_unknown_training_are_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="nothing to attach"):
        attach_adapters(two_layers(), {})
    with pytest.raises(UnsupportedModuleError, match="trainable or frozen"):
        attach_adapters(two_layers(), {"0": random_adapter(4, 4)}, training="half")


@pytest.mark.parametrize(
    ("tensors", "settings", "reason"),
    [
        ((torch.ones(2, 3), torch.ones(4, 3)), {}, r"A is \(2, 3\) and B is \(4, 3\), which have no rank in common"),
        ((torch.ones(0, 3), torch.ones(4, 0)), {}, "one is empty"),
        ((torch.ones(2, 3), torch.ones(4, 2), torch.ones(3)), {}, r"its bias is \(3,\) and B is \(4, 2\)"),
        ((torch.full((2, 3), torch.inf), torch.ones(4, 2)), {}, "A is not all finite"),
        ((torch.ones(2, 3), torch.ones(4, 2).int()), {}, "B is not all finite floating-point"),
        ((torch.ones(2, 3), torch.ones(4, 2)), {"alpha": float("nan")}, "its scale is nan"),
        ((torch.ones(2, 3), torch.ones(4, 2)), {"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_a_malformed_adapter_is_refused(
    tensors: tuple[torch.Tensor, ...], settings: dict[str, float], reason: str
) -> None:
    with pytest.raises(UnsupportedModuleError, match=reason):
        LowRankAdapter(*tensors, **settings)


class GatedWeight(LowRankWeight):
    """An adapter whose scale is not one stored number."""

    scale = 2.0


def gated(model: nn.Sequential) -> None:
    link = GatedWeight(random_adapter(4, 4), trainable=True, plain_order=("weight", "bias"))
    parametrize.register_parametrization(model.double()[0], "weight", link)


def rankless(model: nn.Sequential) -> None:
    (link,) = attached_adapters(model)["0.weight"]
    link.lora_A, link.lora_B = nn.Parameter(torch.zeros(0, 4)), nn.Parameter(torch.zeros(4, 0))


def dropping(model: nn.Sequential) -> None:
    attach_adapters(model, {"0": LowRankAdapter(torch.ones(1, 4), torch.ones(4, 1), dropout=0.1)})


def later_tied(model: nn.Sequential) -> None:
    model[1].weight = model[0].parametrizations.weight.original


def of_numbers(value: float) -> Callable[[nn.Sequential], None]:
    def fill(model: nn.Sequential) -> None:
        attached_adapters(model)["0.weight"][0].lora_A.data.fill_(value)

    return fill


def mixed(model: nn.Sequential) -> None:
    parametrize.register_parametrization(model[0], "weight", nn.Identity())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (gated, "GatedWeight, which may compute its scale"),
        (rankless, "has rank 0"),
        (dropping, "drops inputs in training mode"),
        (later_tied, "tied with another layer's"),
        (of_numbers(float("nan")), "NaN or infinite values in float32"),
        (mixed, "parametrised by something else too"),
    ],
)
def test_what_cannot_be_folded_exactly_is_refused_and_stays_as_it_was(
    change: Callable[[nn.Sequential], None], reason: str
) -> None:
    model = two_layers()
    if change is not gated:
        attach_adapters(model, {"0": random_adapter(4, 4)})
    change(model)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UnsupportedModuleError, match=reason):
        fold_adapters(model)
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0, equal_nan=True)
    assert parametrize.is_parametrized(model[0])


def test_dropout_in_eval_mode_is_folded() -> None:
    model = two_layers().eval()
    dropping(model)
    fold_adapters(model)
    assert not attached_adapters(model)


def test_a_sum_that_fp16_cannot_hold_is_refused() -> None:
    layer = nn.Linear(4, 4).half()
    attach_adapters(layer, {"weight": LowRankAdapter(300 * torch.ones(1, 4), 300 * torch.ones(4, 1))})
    with pytest.raises(UnsupportedModuleError, match="infinite values in float16"):
        fold_adapters(layer)
    fold_adapters(layer.float())
    assert layer.weight.mean() > 65504


def test_a_model_without_adapters_has_nothing_to_fold() -> None:
    with pytest.raises(UnsupportedModuleError, match="no adapters are attached"):
        fold_adapters(two_layers())


def test_new_adapters_have_a_rank_and_a_layer() -> None:
    with pytest.raises(UnsupportedModuleError, match="rank is 0"):
        new_adapters(two_layers(), ["0"], rank=0)
    with pytest.raises(UnsupportedModuleError, match="no layer with a weight"):
        new_adapters(two_layers(), ["5"], rank=1)


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.LayerNorm(4), "weight of a LayerNorm takes no low-rank adapter"),
        (nn.Embedding(4, 4), "weight of a Embedding takes no low-rank adapter"),
        (nn.Conv2d(4, 4, 1, groups=2), "grouped convolution"),
        (nn.LazyLinear(4), "its weight has no data"),
    ],
)
def test_new_adapters_are_made_for_layers_that_take_some(layer: nn.Module, reason: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=reason):
        new_adapters(nn.Sequential(layer), ["0"], rank=2)


def test_a_layer_whose_weight_is_computed_is_not_narrowed() -> None:
    model = two_layers()
    attach_adapters(model, {"0": random_adapter(4, 4)})
    with pytest.raises(UnsupportedModuleError, match="its weight is computed"):
        narrowed_linear(model[0], 2)
    with pytest.raises(UnsupportedModuleError, match="its weight is computed"):
        narrowed_linear(nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), 2)
    fold_adapters(model)
    assert torch.equal(narrowed_linear(model[0], 2).weight, model[0].weight[:, :2])


def test_a_generated_adapter_of_another_size_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match="take 14 numbers without the bias and 18 with it"):
        generated_adapter(torch.ones(16), inputs=3, outputs=4, rank=2)
    with pytest.raises(UnsupportedModuleError, match="it has 4 features and the layer 3 inputs"):
        generated_adapter(torch.ones(14), inputs=3, outputs=4, rank=2, kept_inputs=4)
    with pytest.raises(UnsupportedModuleError, match="it has 0 features"):
        narrowed_linear(nn.Linear(3, 4), 0)


def test_adapters_that_are_not_alike_have_no_mean() -> None:
    one = random_adapter(3, 5)
    with pytest.raises(UnsupportedModuleError, match="nothing to average"):
        average_factors([])
    with pytest.raises(UnsupportedModuleError, match="ranks or scales differ"):
        average_factors([one, random_adapter(3, 5, rank=1)])
    with pytest.raises(UnsupportedModuleError, match=r"of \(3, 5\) and one for \(3, 4\)"):
        average_updates([one, random_adapter(3, 4)])
    with pytest.raises(UnsupportedModuleError, match="some have a bias"):
        average_updates([one, random_adapter(3, 5, biased=True)])
