"""Every wrong merge that a publication shows, or warns of, is caught by the proof of a collapse at its tolerance."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from onepath.contract.errors import ParityError
from onepath.contract.proofs import Measurement
from onepath.export.collapse import CollapseRule, FoldedLayer, Folding, collapse
from onepath.export.collapse.adapted_linear import adapted_linear
from onepath.export.collapse.cross_modal import cross_modal
from onepath.export.collapse.pixel_normalization import pixel_normalization
from onepath.export.collapse.pixel_unshuffle import pixel_unshuffle
from onepath.export.proofs import Batch, compare
from onepath.export.tolerances import Tolerances
from onepath.merging.adapters import LowRankAdapter, attach_adapters, fold_adapters
from onepath.merging.encoders.pixel_unshuffle import PixelUnshuffleProjector, StridedProjector
from onepath.merging.encoders.pixels import PixelNormalization
from onepath.merging.reparameterization import collapse_in_place, reparameterize
from tests.merging.adapters.golden import LAYERS, adapters, projector, semi, tensor
from tests.merging.adapters.random_adapters import drawn
from tests.merging.golden import largest_difference, m2pt

TOLERANCE = Tolerances().collapse


def proved(model: nn.Module, rule: CollapseRule, values: Tensor) -> tuple[Measurement, ...]:
    """The comparison of `prove_collapse`, with a rule of one's own, on the values in float64."""
    model = copy.deepcopy(model).double().eval()
    collapsed, _ = collapse(model, rules=[rule])
    return compare(
        "collapse",
        reference=lambda batch: {"y": outputs(model, batch)},
        candidate=lambda batch: {"y": outputs(collapsed, batch)},
        batches=[Batch("float64", {"x": values.numpy()}, {"x": np.ones((len(values), 1), np.uint8)})],
        tolerance=TOLERANCE,
        relative=True,
    )


@torch.no_grad()
def outputs(model: nn.Module, batch: Batch) -> np.ndarray:
    values = torch.from_numpy(batch.values["x"])
    return model(values if values.dtype == torch.uint8 else values.double()).numpy()


def wrong(kind: type, change: Callable[[nn.Module], nn.Module]) -> CollapseRule:
    """A rule that puts whatever `change` makes of the outermost module in its place."""

    def rule(module: nn.Module) -> Folding | None:
        return Folding(change(module), (FoldedLayer("", "wrong", "wrongly"),)) if type(module) is kind else None

    return rule


# SEMI: a projector with generated adapters, one for a narrower encoder, and the LoRA baseline with a scale of 2

Adapters = dict[str, LowRankAdapter]
LORA = "lora/projector.net."


def lora_adapters(alpha: float | None) -> Adapters:
    pairs = [[tensor(f"lora/lora_adapters.loras.{index}.{name}").t() for name in "AB"] for index in range(2)]
    return {layer: LowRankAdapter(*pair, alpha=alpha) for layer, pair in zip(LAYERS, pairs, strict=True)}


def adapted(model: nn.Module, own: Adapters) -> nn.Module:
    attach_adapters(model, own)
    return model


def generated() -> nn.Module:
    return adapted(projector(), adapters("full"))


def lora() -> nn.Module:
    return adapted(projector(LORA), lora_adapters(alpha=4))


def narrow() -> nn.Module:
    return adapted(projector(inputs=5), adapters("mm5", 5))


def folded(model: nn.Module, own: Adapters) -> nn.Module:
    fold_adapters(adapted(model.double(), own))
    return model


def truncated() -> nn.Module:
    """As the published forward, which stops after the first layer and its activation."""
    return folded(projector(), adapters("full"))[:2]


def without_shifts() -> nn.Module:
    return folded(projector(), {name: LowRankAdapter(each.a, each.b) for name, each in adapters("full").items()})


def without_the_second_adapter() -> nn.Module:
    return folded(projector(), {LAYERS[0]: adapters("full")[LAYERS[0]]})


def with_factors_not_transposed() -> nn.Module:
    own = adapters("full")
    second = own[LAYERS[1]]
    return folded(projector(), own | {LAYERS[1]: LowRankAdapter(second.b.t(), second.a.t(), second.bias)})


def cropped_at_the_wrong_end() -> nn.Module:
    own, wide = adapters("mm5", 5), adapters("full")[LAYERS[0]]
    return folded(projector(inputs=5), own | {LAYERS[0]: LowRankAdapter(wide.a[:, 3:], wide.b, wide.bias)})


def folded_twice() -> nn.Module:
    return folded(folded(projector(), adapters("full")), adapters("full"))


SEMI = {
    "truncated": (generated, truncated),
    "no scale": (lora, lambda: folded(projector(LORA), lora_adapters(alpha=None))),
    "scale twice": (lora, lambda: folded(projector(LORA), lora_adapters(alpha=8))),
    "no shifts": (generated, without_shifts),
    "one layer only": (generated, without_the_second_adapter),
    "not transposed": (generated, with_factors_not_transposed),
    "wrong crop": (narrow, cropped_at_the_wrong_end),
    "twice": (generated, folded_twice),
}


def inputs_of(model: nn.Module) -> Tensor:
    return tensor("x5" if model[0].in_features == 5 else "x")


@pytest.mark.parametrize("make", [generated, lora, narrow])
def test_the_right_fold_of_a_projectors_adapters_passes(make: Callable[[], nn.Module]) -> None:
    (measured,) = proved(make(), adapted_linear, inputs_of(make()))
    assert measured.error <= 1e-12


@pytest.mark.parametrize("case", SEMI)
def test_a_wrong_fold_of_a_projectors_adapters_is_caught(case: str) -> None:
    make, wrongly = SEMI[case]
    with pytest.raises(ParityError, match="collapse changed the result"):
        proved(make(), wrong(nn.Sequential, lambda _: wrongly()), inputs_of(make()))


def test_the_truncated_fold_is_the_published_output() -> None:
    found = truncated().float()(tensor("x"))
    assert largest_difference(found, semi()["gen_att_full/lora_forward_as_published"]) <= 1e-6


# M2PT: the three results of a faulty merge of one layer, as they were computed there


def layers_of_m2pt() -> tuple[nn.Linear, nn.Linear, float]:
    layer, auxiliary = nn.Linear(24, 16), nn.Linear(24, 16)
    for linear, prefix in ((layer, ""), (auxiliary, "aux_")):
        linear.weight.data = torch.from_numpy(m2pt()[f"linear/{prefix}W"].copy())
        linear.bias.data = torch.from_numpy(m2pt()[f"linear/{prefix}b"].copy())
    return layer, auxiliary, m2pt()["linear/lambda"].item()


def attached_layer() -> nn.Sequential:
    layer, auxiliary, scale = layers_of_m2pt()
    reparameterize(layer, auxiliary, layers={"weight": "weight"})
    layer.parametrizations.weight[0].scale.data.fill_(scale)
    return nn.Sequential(layer)


def with_a_shifted_bias(model: nn.Sequential) -> nn.Sequential:
    _, auxiliary, scale = layers_of_m2pt()
    collapse_in_place(model)
    model[0].bias.data += scale * auxiliary.bias.data
    return model


def counted_twice(model: nn.Sequential) -> nn.Sequential:
    """As the published module after its merge: the second path is in the weight, and acts once more."""
    _, auxiliary, scale = layers_of_m2pt()
    merged = with_a_shifted_bias(model)
    merged[0].weight.data += scale * auxiliary.weight.data
    return merged


M2PT = {
    "double count": (counted_twice, "linear/y_kg_module_after_merge_DOUBLE_COUNT"),
    "shifted bias": (with_a_shifted_bias, "linear/y_kg_original_linear_after_merge_BIAS_SHIFTED"),
}


def test_the_right_merge_of_one_layer_passes() -> None:
    proved(attached_layer(), cross_modal, torch.from_numpy(m2pt()["linear/x"]))


@pytest.mark.parametrize("case", M2PT)
def test_a_published_faulty_merge_of_one_layer_is_caught(case: str) -> None:
    change, golden = M2PT[case]
    values = torch.from_numpy(m2pt()["linear/x"])
    assert largest_difference(change(attached_layer())(values), m2pt()[golden]) <= 1e-5
    with pytest.raises(ParityError, match="collapse changed the result"):
        proved(attached_layer(), wrong(nn.Sequential, change), values)


def test_the_bias_of_the_published_faulty_merge_is_the_shifted_one() -> None:
    assert largest_difference(with_a_shifted_bias(attached_layer())[0].bias, m2pt()["linear/kg_merged_b"]) <= 1e-6


# MultiMeditron: what its list of collapses says is exact under a condition, without the condition


def padded_patches(padding: int) -> nn.Sequential:
    torch.manual_seed(0)
    norm = PixelNormalization((0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
    return nn.Sequential(norm, nn.Conv2d(3, 4, 3, padding=padding))


def folded_in_spite_of_padding(model: nn.Module) -> nn.Module:
    unpadded = nn.Sequential(model[0], nn.Conv2d(3, 4, 3, dtype=torch.float64))
    unpadded[1].load_state_dict(model[1].state_dict())
    folded, _ = collapse(unpadded, rules=[pixel_normalization])
    folded[1].padding = model[1].padding
    return folded


def without_the_mean(model: nn.Module) -> nn.Module:
    bias = model[1].bias.detach().clone()
    folded, _ = collapse(model, rules=[pixel_normalization])
    folded[1].bias.data = bias
    return folded


def without_255(model: nn.Module) -> nn.Module:
    folded, _ = collapse(model, rules=[pixel_normalization])
    folded[1].weight.data *= 255
    return folded


def unshuffled() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(PixelUnshuffleProjector(3, 5, factor=2, grid=4))


def features_last(model: nn.Module) -> nn.Module:
    linear = model[0].proj
    strided = StridedProjector(3, 5, factor=2, grid=4).double()
    strided.proj.weight.data = linear.weight.data.reshape(5, 2, 2, 3).permute(0, 3, 1, 2).contiguous()
    strided.proj.bias.data = linear.bias.data
    return nn.Sequential(strided)


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3))


def through_the_activation(model: nn.Module) -> nn.Module:
    first, last = model[0], model[2]
    merged = nn.Linear(4, 3, dtype=torch.float64)
    merged.weight.data = last.weight.data @ first.weight.data
    merged.bias.data = last.weight.data @ first.bias.data + last.bias.data
    return nn.Sequential(merged)


class TwoTowers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.towers = nn.ModuleList([nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3)) for _ in range(2)])

    def forward(self, values: Tensor) -> Tensor:
        return (self.towers[0](values) + self.towers[1](values)) / 2


def averaged(model: nn.Module) -> nn.Module:
    soup = copy.deepcopy(model.towers[0])
    for mine, other in zip(soup.parameters(), model.towers[1].parameters(), strict=True):
        mine.data = (mine.data + other.data) / 2
    return soup


def random_pixels() -> Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8))


MULTIMEDITRON = {
    "padding": (lambda: padded_patches(1), folded_in_spite_of_padding, random_pixels()),
    "no mean": (lambda: padded_patches(0), without_the_mean, random_pixels()),
    "no 255": (lambda: padded_patches(0), without_255, random_pixels()),
    "features last": (unshuffled, features_last, drawn(2, 16, 3, seed=1)),
    "through a GELU": (mlp, through_the_activation, drawn(5, 4, seed=1)),
    "soup of towers": (TwoTowers, averaged, drawn(5, 4, seed=1)),
}


def test_the_right_folds_of_pixels_pass() -> None:
    proved(padded_patches(0), pixel_normalization, random_pixels())
    proved(padded_patches(1), pixel_normalization, random_pixels())  # left as it is
    proved(unshuffled(), pixel_unshuffle, drawn(2, 16, 3, seed=1))


@pytest.mark.parametrize("case", MULTIMEDITRON)
def test_a_collapse_without_its_condition_is_caught(case: str) -> None:
    make, change, values = MULTIMEDITRON[case]
    model = make()
    with pytest.raises(ParityError, match="collapse changed the result"):
        proved(model, wrong(type(model), change), values)


@pytest.mark.parametrize("slip", [1e-9, 1e-8])
def test_a_scale_or_a_bias_that_is_off_by_far_less_is_caught_too(slip: float) -> None:
    def off(model: nn.Module) -> nn.Module:
        fold_adapters(model)
        model[3].bias.data += slip
        return model

    with pytest.raises(ParityError):
        proved(generated(), wrong(nn.Sequential, off), tensor("x"))
