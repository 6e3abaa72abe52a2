"""Pixel-unshuffle and what projects its channels become one strided convolution."""

import numpy as np
import pytest
import torch
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse import CollapseReport, collapse
from onepath.merging.encoders.pixel_unshuffle import PixelUnshuffleProjector, StridedProjector
from onepath.merging.encoders.pixels import PixelNormalization
from tests.merging.adapters.random_adapters import drawn
from tests.merging.golden import largest_difference

EXACT = 1e-12


def folded(model: nn.Module) -> tuple[nn.Module, CollapseReport]:
    return collapse(model, rules=["pixel_unshuffle"])


def projected(tokens: np.ndarray, model: PixelUnshuffleProjector) -> np.ndarray:
    """Block by block, as it is published: feature c of row i and column j of a block is feature c·f² + i·f + j."""
    rows, _, width = tokens.shape
    factor, grid = model.factor, model.grid
    weight, bias = model.proj.weight.detach().numpy(), model.proj.bias.detach().numpy()
    square = tokens.reshape(rows, grid, grid, width)
    found = []
    for top in range(0, grid, factor):
        for left in range(0, grid, factor):
            joined = np.empty((rows, width * factor**2))
            for row in range(factor):
                for column in range(factor):
                    for feature in range(width):
                        index = feature * factor**2 + row * factor + column
                        joined[:, index] = square[:, top + row, left + column, feature]
            found.append(joined @ weight.T + bias)
    return np.stack(found, axis=1)


SIZES = [(1, 1, 1, 1), (3, 5, 2, 4), (4, 2, 3, 6), (2, 7, 4, 4), (6, 3, 1, 5)]


@pytest.mark.parametrize(("inputs", "outputs", "factor", "grid"), SIZES)
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_projector_and_its_strided_form_give_the_published_projection(
    inputs: int, outputs: int, factor: int, grid: int, rows: int
) -> None:
    model = PixelUnshuffleProjector(inputs, outputs, factor=factor, grid=grid).double()
    tokens = drawn(rows, grid**2, inputs, seed=1)
    expected = projected(tokens.numpy(), model)
    assert expected.shape == (rows, (grid // factor) ** 2, outputs)
    collapsed, report = folded(model)
    assert type(collapsed) is StridedProjector
    for found in (model(tokens), collapsed(tokens)):
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=0, atol=EXACT)
    assert (report.parameters_before, report.parameters_after) == (report.parameters_after, report.parameters_before)


def test_features_in_another_order_give_another_projection() -> None:
    model = PixelUnshuffleProjector(3, 5, factor=2, grid=4).double()
    tokens = drawn(2, 16, 3, seed=1)
    collapsed, _ = folded(model)
    weight = model.proj.weight.detach().reshape(5, 2, 2, 3).permute(0, 3, 1, 2)  # rows and columns before features
    collapsed.proj.weight.data.copy_(weight)
    assert largest_difference(collapsed(tokens), projected(tokens.numpy(), model)) > 1e-2


def test_the_strided_projector_loads_strictly_into_a_fresh_one() -> None:
    model = PixelUnshuffleProjector(3, 5, factor=2, grid=4, bias=False).half()
    collapsed, _ = folded(model)
    fresh = StridedProjector(3, 5, factor=2, grid=4, bias=False).half()
    fresh.load_state_dict(collapsed.state_dict(), strict=True)
    assert list(fresh.state_dict()) == ["proj.weight"]
    assert (fresh.proj.kernel_size, fresh.proj.stride) == ((2, 2), (2, 2))


def test_a_projector_inside_a_model_is_replaced_in_its_place() -> None:
    projector = PixelUnshuffleProjector(3, 5, factor=2, grid=4)
    model = nn.Sequential(nn.Linear(3, 3), projector, nn.GELU()).double().eval()
    model[1].proj.weight.requires_grad_(False)
    collapsed, report = folded(model)
    tokens = drawn(2, 16, 3, seed=2)
    torch.testing.assert_close(collapsed(tokens), model(tokens), rtol=EXACT, atol=EXACT)
    assert [entry.layer for entry in report.layers] == ["1"]
    assert (collapsed[1].proj.weight.requires_grad, collapsed[1].proj.bias.requires_grad) == (False, True)
    assert not any(part.training for part in collapsed.modules())


def unshuffled(images: np.ndarray, factor: int) -> np.ndarray:
    rows, channels, height, width = images.shape
    found = np.empty((rows, channels * factor**2, height // factor, width // factor))
    for row in range(factor):
        for column in range(factor):
            found[:, row * factor + column :: factor**2] = images[:, :, row::factor, column::factor]
    return found


CONVOLUTIONS = {
    "1x1": {"kernel_size": 1},
    "3x3": {"kernel_size": 3},
    "not square": {"kernel_size": (2, 3), "stride": (1, 2)},
    "padded": {"kernel_size": 3, "padding": 1, "stride": 2},
    "valid": {"kernel_size": 2, "padding": "valid"},
    "grouped": {"kernel_size": 2, "groups": 3},
    "without a bias": {"kernel_size": 1, "bias": False},
}


@pytest.mark.parametrize("factor", [1, 2, 3])
@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_an_unshuffle_and_a_convolution_are_one_strided_convolution(case: str, factor: int) -> None:
    layer = nn.Conv2d(3 * factor**2, 6, **CONVOLUTIONS[case])
    model = nn.Sequential(nn.PixelUnshuffle(factor), layer).double()
    images = drawn(2, 3, 4 * factor, 6 * factor, seed=3)
    expected = layer(torch.from_numpy(unshuffled(images.numpy(), factor))).detach().numpy()
    collapsed, report = folded(model)
    assert [type(part) for part in collapsed] == [nn.Identity, nn.Conv2d]
    assert collapsed(images).shape == expected.shape
    assert largest_difference(collapsed(images), expected) <= EXACT
    assert [(entry.layer, entry.parts) for entry in report.layers] == [("1", ("0",))]


def test_a_kernel_whose_rows_and_columns_are_swapped_gives_something_else() -> None:
    model = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 6, 1)).double()
    images = drawn(2, 3, 8, 8, seed=3)
    collapsed, _ = folded(model)
    collapsed[1].weight.data = collapsed[1].weight.data.transpose(2, 3).contiguous()
    assert (collapsed(images) - model(images)).abs().max() > 1e-2


class Split(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unshuffle, self.first, self.second = nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 1), nn.Conv2d(12, 4, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        blocks = self.unshuffle(images)
        return self.first(blocks) + self.second(blocks)


class Undecided(nn.Module):
    """A forward that depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.unshuffle, self.layer = nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        blocks = self.unshuffle(images)
        return self.layer(blocks) if images.sum() < 1e9 else blocks


class UnshuffledTwice(Undecided):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer(self.unshuffle(images)) + self.unshuffle(2 * images).mean()


class Halved(nn.Module):
    """What is around a projector reads its factor."""

    def __init__(self) -> None:
        super().__init__()
        self.project = PixelUnshuffleProjector(3, 5, factor=2, grid=4)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.project(tokens) / self.project.factor


def test_a_projector_keeps_its_factor_for_those_who_read_it() -> None:
    model, tokens = Halved().double(), drawn(2, 16, 3, seed=1)
    collapsed, report = folded(model)
    assert [entry.layer for entry in report.layers] == ["project"]
    torch.testing.assert_close(collapsed(tokens), model(tokens), rtol=EXACT, atol=EXACT)


def hooked_projector() -> nn.Module:
    model = nn.Sequential(PixelUnshuffleProjector(3, 5, factor=2, grid=4))
    model[0].register_forward_hook(lambda *_: None)
    return model


def tied_projector() -> nn.Module:
    model = nn.Sequential(PixelUnshuffleProjector(3, 12, factor=2, grid=4), nn.Linear(12, 12))
    model[1].weight = model[0].proj.weight
    return model


LEFT = {
    "dilated": (lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 2, dilation=2)), "it is dilated"),
    "mirrored": (
        lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 3, padding=1, padding_mode="reflect")),
        "pads in the mode reflect",
    ),
    "same": (lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 3, padding="same")), "zeros, same"),
    "parting groups": (lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 6, 1, groups=6)), "part the channels"),
    "undecided": (Undecided, "what is around it cannot be followed"),
    "twice": (UnshuffledTwice, "it is not called exactly once"),
    "two layers": (Split, "no single layer reads its output"),
    "an activation": (lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.ReLU()), "1 is a ReLU"),
    "a hook": (hooked_projector, "a hook sees"),
    "tied": (tied_projector, "tied to another"),
}


@pytest.mark.parametrize("case", LEFT)
def test_what_cannot_be_folded_exactly_is_left_with_the_reason(case: str) -> None:
    make, reason = LEFT[case]
    model = make().double()
    collapsed, report = folded(model)
    assert report.layers == ()
    assert [reason in entry.reason for entry in report.left] == [True]
    values = drawn(2, 16, 3, seed=1) if case in ("a hook", "tied") else drawn(2, 3, 8, 8, seed=1)
    assert torch.equal(collapsed(values), model(values))


def test_normalised_pixels_go_through_an_unshuffle_into_one_convolution() -> None:
    model = nn.Sequential(PixelNormalization([0.4, 0.5, 0.6], [0.2, 0.3, 0.25]), nn.PixelUnshuffle(2))
    model.append(nn.Conv2d(12, 5, 1, bias=False)).double()
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 3, 8, 8), dtype=np.uint8))
    collapsed, report = collapse(model, rules=["pixel_normalization", "pixel_unshuffle"])
    torch.testing.assert_close(collapsed(images), model(images), rtol=EXACT, atol=EXACT)
    assert [entry.rule for entry in report.layers] == ["pixel_unshuffle", "pixel_normalization"]
    assert report.left == ()


def test_sizes_that_make_no_projector_are_refused() -> None:
    for kind in (PixelUnshuffleProjector, StridedProjector):
        with pytest.raises(UnsupportedModuleError, match="a factor of 3 does not divide a grid of 4 × 4"):
            kind(3, 5, factor=3, grid=4)
        with pytest.raises(UnsupportedModuleError, match="inputs is 0"):
            kind(0, 5, factor=2, grid=4)
