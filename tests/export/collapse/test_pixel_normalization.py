"""Pixel normalisation is folded into the layer that takes the pixels, where that is exact, and left where it is not."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.contract.errors import UnsupportedModuleError
from onepath.contract.plugins import known_plugins
from onepath.export.collapse import CollapseReport, collapse
from onepath.merging.encoders.pixels import CastInput, PixelNormalization
from tests.export.collapse.clip_tower import golden_tower, multimeditron, pixels
from tests.merging.golden import largest_difference
from tests.merging.presets.small_presets import small_model, values_of

COVERS_MULTIMEDITRON = ("pixels", "fixed/infer/pixel_values", "meta/*", "vision_features_infer", "weights/vision/*")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EXACT = 1e-12


def folded(model: nn.Module) -> tuple[nn.Module, CollapseReport]:
    return collapse(model, rules=["pixel_normalization"])


def images(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


def normalised(values: Tensor, mean: tuple[float, ...] = MEAN, std: tuple[float, ...] = STD) -> np.ndarray:
    """The formula, in numpy."""
    shape = (1, -1, *(1,) * (values.ndim - 2))
    return (values.numpy() / 255 - np.reshape(mean, shape)) / np.reshape(std, shape)


def normalization(channels: int = 3) -> PixelNormalization:
    return PixelNormalization(MEAN[:channels], STD[:channels])


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "patches": (lambda: nn.Sequential(normalization(), nn.Conv2d(3, 8, 4, stride=4)), (5, 3, 16, 12)),
    "without a bias": (lambda: nn.Sequential(normalization(), nn.Conv2d(3, 8, 4, bias=False)), (2, 3, 7, 9)),
    "overlapping": (lambda: nn.Sequential(normalization(), nn.Conv2d(3, 4, 5, stride=2, dilation=2)), (1, 3, 20, 21)),
    "grouped": (lambda: nn.Sequential(normalization(), nn.Conv2d(3, 6, 3, groups=3)), (3, 3, 8, 8)),
    "valid": (lambda: nn.Sequential(normalization(), nn.Conv2d(3, 6, 3, padding="valid")), (3, 3, 8, 8)),
    "mirrored": (
        lambda: nn.Sequential(normalization(), nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect")),
        (3, 3, 8, 8),
    ),
    "clips": (lambda: nn.Sequential(normalization(), nn.Conv3d(3, 4, (2, 4, 4), stride=(2, 4, 4))), (2, 3, 4, 8, 8)),
    "one channel": (lambda: nn.Sequential(normalization(1), nn.Conv2d(1, 4, 3)), (2, 1, 8, 8)),
    "one for all": (lambda: nn.Sequential(normalization(1), nn.Conv2d(3, 4, 3)), (2, 3, 8, 8)),
    "flattened": (lambda: nn.Sequential(normalization(), nn.Flatten(), nn.Linear(3 * 5 * 4, 6)), (4, 3, 5, 4)),
    "linear": (lambda: nn.Sequential(normalization(1), nn.Linear(7, 6, bias=False)), (4, 3, 7)),
    "through others": (
        lambda: nn.Sequential(normalization(), nn.Identity(), nn.Dropout(0.5).eval(), nn.Conv2d(3, 4, 3)),
        (2, 3, 8, 8),
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_the_folded_layer_takes_pixels_as_they_are_and_gives_the_same(case: str) -> None:
    make, shape = MODELS[case]
    model, values = make().double(), images(*shape)
    expected = model[1:](torch.from_numpy(normalised(values, model[0].mean, model[0].std)))
    collapsed, report = folded(model)
    assert largest_difference(collapsed(values), expected.detach().numpy()) <= EXACT * expected.abs().max().item()
    assert largest_difference(collapsed[1:](values.double()), expected.detach().numpy()) <= EXACT * 100
    assert type(collapsed[0]) is CastInput
    assert type(collapsed[-1]) is type(model[-1])
    assert [(entry.rule, entry.parts) for entry in report.layers] == [("pixel_normalization", ("0",))]
    assert report.left == ()


@pytest.mark.parametrize("slip", ["no scale", "no shift", "swapped channels"])
def test_a_wrong_fold_gives_something_else(slip: str) -> None:
    model, values = MODELS["patches"][0]().double(), images(5, 3, 16, 12)
    collapsed, _ = folded(model)
    weight, bias = collapsed[1].weight.data, collapsed[1].bias.data
    if slip == "no scale":
        weight *= 255
    elif slip == "no shift":
        bias.copy_(model[1].bias)
    else:
        weight[:] = weight[:, [1, 0, 2]].clone()
    assert (collapsed(values) - model(values)).abs().max() > 1e-2


def test_in_float32_the_folded_layer_gives_what_float64_gives() -> None:
    model, values = MODELS["patches"][0](), images(5, 3, 16, 12)
    exact = model.double()[1](torch.from_numpy(normalised(values)))
    collapsed, _ = folded(model.float())
    assert (collapsed(values) - exact).abs().max() < 1e-5


def test_a_layer_without_a_bias_gets_one_and_flags_are_kept() -> None:
    model = MODELS["without a bias"][0]().train()
    model[1].weight.requires_grad_(False)
    collapsed, _ = folded(model)
    expected = -(model[1].weight * (torch.tensor(MEAN) / torch.tensor(STD)).reshape(3, 1, 1)).sum((1, 2, 3))
    torch.testing.assert_close(collapsed[1].bias.data, expected, rtol=1e-5, atol=1e-5)
    assert list(collapsed[1].state_dict()) == ["weight", "bias"]
    assert not any(parameter.requires_grad for parameter in collapsed.parameters())
    assert all(part.training for part in collapsed.modules())


def test_zeros_around_the_pixels_would_be_others_than_zeros_around_normalised_ones() -> None:
    model = nn.Sequential(normalization(), nn.Conv2d(3, 4, 3, padding=1)).double()
    values = images(2, 3, 8, 8)
    weight = model[1].weight / (255 * torch.tensor(STD, dtype=torch.float64).reshape(3, 1, 1))
    shift = (model[1].weight.sum((2, 3)) * (torch.tensor(MEAN) / torch.tensor(STD)).double()).sum(1)
    naive = functional.conv2d(values.double(), weight, model[1].bias - shift, padding=1)
    difference = (naive - model(values)).abs()
    assert difference[:, :, 1:-1, 1:-1].max() < 1e-6
    assert difference[:, :, 0].max() > 0.1


class Twice(nn.Module):
    def __init__(self, second: nn.Module) -> None:
        super().__init__()
        self.normalization, self.patches, self.second = normalization(), nn.Conv2d(3, 4, 3), second

    def forward(self, values: Tensor) -> Tensor:
        values = self.normalization(values)
        return self.patches(values).mean((1, 2, 3)) + self.second(values).mean((1, 2, 3))


def hooked() -> nn.Module:
    model = nn.Sequential(normalization(), nn.Conv2d(3, 4, 3))
    model[1].register_forward_hook(lambda *_: None)
    return model


def tied() -> nn.Module:
    model = nn.Sequential(normalization(), nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3))
    model[2].weight = model[1].weight
    return model


class Undecided(nn.Module):
    """A forward that depends on values."""

    def __init__(self, *first: nn.Module) -> None:
        super().__init__()
        self.first, self.patches = nn.Sequential(*first, normalization()), nn.Conv2d(3, 4, 3)

    def forward(self, values: Tensor) -> Tensor:
        prepared = self.first(values)
        return self.patches(prepared) if values.sum() >= 0 else prepared


class NormalisingTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.normalization, self.patches = normalization(), nn.Conv2d(3, 4, 3)

    def forward(self, values: Tensor) -> Tensor:
        return self.patches(self.normalization(values)).mean() + self.normalization(values).mean()


LEFT = {
    "undecided": (Undecided, "first.0", "what is around it cannot be followed"),
    "undecided, inside": (lambda: nn.Sequential(Undecided(), nn.ReLU()), "0.first.0", "cannot be followed"),
    "twice": (NormalisingTwice, "normalization", "it is not called exactly once"),
    "padding": (lambda: nn.Sequential(normalization(), nn.Conv2d(3, 4, 3, padding=1)), "0", "pads with zeros"),
    "same": (lambda: nn.Sequential(normalization(), nn.Conv2d(3, 4, 3, padding="same")), "0", "pads with zeros"),
    "two layers": (lambda: Twice(nn.Conv2d(3, 2, 3)), "normalization", "no single layer reads its output"),
    "a pool": (lambda: nn.Sequential(normalization(), nn.AvgPool2d(2), nn.Conv2d(3, 4, 3)), "0", "it is a AvgPool2d"),
    "a function": (lambda: Twice(nn.Identity()), "normalization", "no single layer reads its output"),
    "a hook": (hooked, "0", "a hook sees its input"),
    "tied": (tied, "0", "tied to another"),
    "transposed": (
        lambda: nn.Sequential(normalization(), nn.ConvTranspose2d(3, 4, 3), nn.Conv2d(4, 2, 1)),
        "0",
        "it is a ConvTranspose2d",
    ),
    "unknown order": (lambda: nn.Sequential(normalization(), nn.Linear(3, 4)), "0", "not known to be those"),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_cannot_be_folded_exactly_is_left_with_the_reason(case: str) -> None:
    make, path, reason = LEFT[case]
    model = make().double().eval()
    collapsed, report = folded(model)
    assert [(entry.layer, entry.rule) for entry in report.left] == [(path, "pixel_normalization")]
    assert reason in report.left[0].reason
    assert report.layers == ()
    shape = (2, 3, 3) if case == "unknown order" else (2, 3, 8, 8)
    assert torch.equal(collapsed(images(*shape)), model(images(*shape)))


def test_weights_that_would_sink_below_what_fp16_tells_from_zero_are_left() -> None:
    model = nn.Sequential(normalization(), nn.Conv2d(3, 4, 4, bias=False))
    model[1].weight.data = torch.from_numpy(np.random.default_rng(0).normal(0, 1e-5, (4, 3, 4, 4))).float()
    assert folded(model)[1].layers[0].error < 1e-7
    sunk = (model[1].weight.double() / 255 / 0.225).half()
    assert ((sunk.double() * 255 * 0.225 - model[1].weight).norm() / model[1].weight.norm()).item() > 0.05
    collapsed, report = folded(model.half())
    assert report.layers == ()
    assert [(entry.layer, "float16" in entry.reason) for entry in report.left] == [("0", True)]
    assert torch.equal(collapsed(images(1, 3, 8, 8)), model(images(1, 3, 8, 8)))


def test_a_layer_without_data_is_left() -> None:
    _, report = folded(nn.Sequential(normalization(), nn.Conv2d(3, 4, 3)).to("meta"))
    assert [(entry.layer, entry.reason) for entry in report.left] == [("0", "1 cannot take it: its weight has no data")]


def test_torchvisions_normalize_is_folded_too(vision_ops: object) -> None:
    from torchvision.transforms import Normalize, v2

    for norm in (Normalize(MEAN, STD), v2.Normalize(list(MEAN), list(STD))):
        model = nn.Sequential(norm, nn.Conv2d(3, 4, 2, stride=2)).double()
        values = images(2, 3, 8, 8)
        expected = model[1](torch.from_numpy(normalised(values))).detach().numpy()
        collapsed, report = folded(model)
        assert largest_difference(collapsed(values.double() / 255), expected) <= EXACT * 10
        assert [entry.rule for entry in report.layers] == ["pixel_normalization"]
        assert type(collapsed[0]) is CastInput


@pytest.mark.parametrize("kind", ["in place", "clips"])
def test_torchvisions_normalize_is_left_where_it_does_more_or_counts_axes_from_the_end(
    vision_ops: object, kind: str
) -> None:
    from torchvision.transforms import Normalize

    layer = nn.Conv3d(3, 4, 2) if kind == "clips" else nn.Conv2d(3, 4, 2)
    _, report = folded(nn.Sequential(Normalize(MEAN, STD, inplace=kind == "in place"), layer))
    assert [entry.layer for entry in report.left] == ["0"]


def test_folded_weights_are_not_loaded_into_a_model_that_normalises_first() -> None:
    model = MODELS["patches"][0]()
    collapsed, _ = folded(model)
    with pytest.raises(RuntimeError, match=r"Unexpected key\(s\) in state_dict: \"0.precision\""):
        MODELS["patches"][0]().load_state_dict(collapsed.state_dict(), strict=True)
    plain = nn.Sequential(CastInput(stored=True), nn.Conv2d(3, 8, 4, stride=4))
    plain.load_state_dict(collapsed.state_dict(), strict=True)
    assert torch.equal(plain(images(1, 3, 8, 8)), collapsed(images(1, 3, 8, 8)))


def test_the_golden_tower_gives_the_published_features_of_raw_pixels_before_and_after() -> None:
    tower = golden_tower()
    assert (
        largest_difference(tower.embeddings.normalization(pixels()), multimeditron()["fixed/infer/pixel_values"])
        <= 1e-6
    )
    assert largest_difference(tower(pixels()), multimeditron()["vision_features_infer"]) <= 1e-5
    collapsed, report = folded(tower)
    assert [entry.layer for entry in report.layers] == ["embeddings.patch_embedding"]
    assert type(collapsed.embeddings.normalization) is CastInput
    assert largest_difference(collapsed(pixels()), multimeditron()["vision_features_infer"]) <= 1e-5


def test_the_golden_tower_with_a_mean_forgotten_gives_other_features() -> None:
    collapsed, _ = folded(golden_tower())
    collapsed.embeddings.patch_embedding.bias.data.zero_()
    assert largest_difference(collapsed(pixels()), multimeditron()["vision_features_infer"]) > 1e-2


@pytest.mark.parametrize("modality", ["image", "video"])
def test_the_presets_fold_their_preparation(modality: str) -> None:
    model, values = small_model(modality).eval().double(), values_of(modality, 3)
    collapsed, report = folded(model)
    assert [entry.layer for entry in report.layers] == ["patch_embed.proj"]
    assert not [part for part in collapsed.modules() if isinstance(part, PixelNormalization)]
    torch.testing.assert_close(collapsed(values), model(values), rtol=EXACT, atol=EXACT)


def test_the_rule_is_installed() -> None:
    assert {"pixel_normalization", "pixel_unshuffle"} <= set(known_plugins("onepath.collapse_rules"))


@pytest.mark.parametrize(
    ("mean", "std", "reason"),
    [
        ((), (), "0 means and 0 standard deviations"),
        ((0.5,), (0.2, 0.3), "1 means and 2 standard deviations"),
        ((0.5,), (0.0,), "std above 0"),
        ((float("nan"),), (0.2,), "give finite ones"),
    ],
)
def test_constants_that_are_none_are_refused(mean: tuple[float, ...], std: tuple[float, ...], reason: str) -> None:
    with pytest.raises(UnsupportedModuleError, match=reason):
        PixelNormalization(mean, std)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.float32, torch.float64])
def test_pixels_of_any_dtype_are_cast_to_the_precision_of_the_model(dtype: torch.dtype) -> None:
    values = images(2, 3, 4, 4)
    for precision in (torch.float32, torch.float64):
        found = normalization().to(precision)(values.to(dtype))
        assert found.dtype == precision
        assert largest_difference(found, normalised(values)) <= (1e-5 if precision == torch.float32 else 1e-14)
