"""Every rule in float64 on inputs of several shapes: its collapse equals the model on all, a wrong one on none."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from onepath.contract.plugins import known_plugins
from onepath.export.collapse import collapse
from onepath.merging.adapters import attach_adapters
from onepath.merging.encoders.pixel_unshuffle import PixelUnshuffleProjector
from onepath.merging.encoders.pixels import PixelNormalization
from onepath.merging.lego import LegoBlock, LegoFuse, LegoMerge, LegoSettings
from onepath.merging.reparameterization import reparameterize
from tests.export.collapse.small_networks import TOLERANCE, RepVggBlock, normal, randomised, relative_error
from tests.merging.adapters.random_adapters import random_adapter
from tests.merging.lego.small_blocks import every_pattern, small_blocks, small_inputs

SEEN = 1e-4
"""What a wrong fold is off by at least."""


class Case(NamedTuple):
    """A model, the arguments of calls of several shapes, and what a wrong fold would have stored."""

    rule: str
    make: Callable[[], nn.Module]
    calls: list[tuple[Any, ...]]
    slip: Callable[[Any, Any], object]


def of_shapes(*shapes: tuple[int, ...]) -> list[tuple[Tensor]]:
    return [(normal(*shape, seed=number),) for number, shape in enumerate(shapes)]


def pixels(*shapes: tuple[int, ...]) -> list[tuple[Tensor]]:
    return [((normal(*shape) * 60 + 128).clamp(0, 255).to(torch.uint8),) for shape in shapes]


def rows_of_blocks(*counts: int) -> list[tuple[Any, Tensor]]:
    return [
        (small_inputs("ab", rows=count, seed=count), every_pattern(2).repeat(2, 1)[1 : count + 1]) for count in counts
    ]


VECTORS = of_shapes((1, 6), (3, 6), (2, 7, 6))
IMAGES = of_shapes((1, 3, 8, 8), (3, 3, 9, 7), (2, 3, 16, 5))


def with_pathway() -> nn.Module:
    model = randomised(nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 4)))
    reparameterize(model, randomised(nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 4)), 1))
    for number in (0, 2):
        model[number].parametrizations.weight[0].scale.data.fill_(0.3)
    return model


def with_adapter() -> nn.Module:
    model = randomised(nn.Sequential(nn.Linear(6, 5), nn.GELU()))
    attach_adapters(model, {"0": random_adapter(5, 6, rank=2, seed=1, alpha=3)})
    return model


def only_original(collapsed: Any, model: Any) -> None:
    collapsed[0].weight.data.copy_(model[0].parametrizations.weight.original)


def bias_of(place: int, source: int) -> Callable[[Any, Any], object]:
    """Return a slip: the bias of a layer is that of one of the model's own, with nothing folded into it."""
    return lambda collapsed, model: collapsed[place].bias.data.copy_(model[source].bias)


def open_block() -> nn.Module:
    settings = LegoSettings(feature_dim=6, classes=3, latents=6, width=8, heads=2, head_width=4, tokens=None)
    return randomised(LegoBlock(nn.Linear(5, 6), settings))


CASES = {
    "a pathway": Case("cross_modal", with_pathway, VECTORS, only_original),
    "an adapter": Case("adapted_linear", with_adapter, VECTORS, only_original),
    "a norm after a linear layer": Case(
        "batch_norm",
        lambda: randomised(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))),
        VECTORS[:2],
        bias_of(0, 0),
    ),
    "a norm after a convolution": Case(
        "batch_norm",
        lambda: randomised(nn.Sequential(nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU())),
        IMAGES,
        bias_of(0, 0),
    ),
    "two linear layers": Case(
        "linear_pair", lambda: randomised(nn.Sequential(nn.Linear(6, 9), nn.Linear(9, 3))), VECTORS, bias_of(0, 1)
    ),
    "two convolutions": Case(
        "linear_pair",
        lambda: randomised(nn.Sequential(nn.Conv2d(3, 9, 3, padding=1), nn.Conv2d(9, 4, 1, stride=2))),
        IMAGES,
        bias_of(0, 1),
    ),
    "a gain and a linear layer": Case(
        "norm_into_linear",
        lambda: randomised(nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 5))),
        VECTORS,
        bias_of(1, 1),
    ),
    "branches": Case(
        "parallel_branches",
        lambda: randomised(nn.Sequential(RepVggBlock(3, 3))),
        IMAGES,
        lambda collapsed, _: collapsed[0].merged.weight.data.copy_(collapsed[0].merged.weight.roll(1, 3)),
    ),
    "pixels": Case(
        "pixel_normalization",
        lambda: randomised(nn.Sequential(PixelNormalization((0.5, 0.4, 0.6), (0.2, 0.3, 0.25)), nn.Conv2d(3, 4, 3))),
        pixels((1, 3, 8, 8), (3, 3, 9, 7), (2, 3, 16, 5)),
        bias_of(1, 1),
    ),
    "an unshuffle": Case(
        "pixel_unshuffle",
        lambda: randomised(nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 5, 3, padding=1))),
        of_shapes((1, 3, 8, 8), (3, 3, 4, 12), (2, 3, 10, 6)),
        lambda collapsed, _: collapsed[1].weight.data.copy_(collapsed[1].weight.mT.clone()),
    ),
    "a projector": Case(
        "pixel_unshuffle",
        lambda: randomised(nn.Sequential(PixelUnshuffleProjector(3, 5, factor=2, grid=4))),
        of_shapes((1, 16, 3), (3, 16, 3)),
        lambda collapsed, _: collapsed[0].proj.weight.data.copy_(collapsed[0].proj.weight.mT.clone()),
    ),
    "a block of any number of tokens": Case(
        "lego_block",
        open_block,
        of_shapes((1, 2, 5), (3, 7, 5), (2, 4, 5)),
        lambda collapsed, _: collapsed.chain.shares.data.fill_(1 / 4),  # mirrored rows counted once
    ),
    "merged blocks": Case(
        "lego_merge",
        lambda: LegoMerge(small_blocks("ab")),
        rows_of_blocks(1, 3),
        lambda collapsed, _: collapsed.heads.bias.data.zero_(),
    ),
    "fused blocks": Case(
        "lego_fuse",
        lambda: LegoFuse(small_blocks("ab"), order="weave"),
        rows_of_blocks(1, 3),
        lambda collapsed, _: collapsed.heads.bias.data.zero_(),
    ),
}


def test_every_rule_but_that_of_pefts_modules_is_among_them() -> None:
    assert {case.rule for case in CASES.values()} == set(known_plugins("onepath.collapse_rules")) - {"peft_lora"}


def test_low_rank_adapters_of_peft_are_folded_for_inputs_of_several_shapes(vision_ops: object) -> None:
    import peft

    plain = randomised(nn.Sequential(nn.Linear(6, 5), nn.GELU()))
    model = peft.get_peft_model(plain, peft.LoraConfig(r=2, target_modules=["0"], init_lora_weights=False)).double()
    collapsed, _ = collapse(model.eval(), rules=["peft_lora"])
    for (values,) in VECTORS:
        assert relative_error(collapsed(values), model(values)) <= TOLERANCE
        with model.disable_adapter():
            assert relative_error(collapsed(values), model(values)) > SEEN


@pytest.mark.parametrize("name", CASES)
def test_one_collapse_equals_the_model_on_inputs_of_several_shapes(name: str) -> None:
    case = CASES[name]
    model = case.make()
    collapsed, report = collapse(model, rules=[case.rule])
    assert report.layers
    for call in case.calls:
        assert relative_error(collapsed(*call), model(*call)) <= TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_a_wrong_fold_differs_from_the_model_on_each_of_the_shapes(name: str) -> None:
    case = CASES[name]
    model = case.make()
    collapsed, _ = collapse(model, rules=[case.rule])
    case.slip(collapsed, model)
    for call in case.calls:
        assert relative_error(collapsed(*call), model(*call)) > SEEN
