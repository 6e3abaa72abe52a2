"""What a baseline refuses, and what it says of it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.baselines import MCAT, Ensemble, HEALNet, LateFusion, MultiModN, Perceiver, Source
from tests.merging.baselines.small_baselines import CLASSES, INPUTS, MAKERS, SMALL, baseline, inputs, sources

THREE = {**sources(), "c": Source(nn.Linear(2, 3), 3)}
REFUSED = {
    "mcat of three": (lambda: MCAT(THREE, CLASSES), "MCAT of 3 modalities.*give two, guide first"),
    "heads": (lambda: MCAT(sources(), CLASSES, width=8, heads=3), "3 heads.*do not divide a width of 8"),
    "mcat method": (lambda: MCAT(sources(), CLASSES, method="sum"), "fusion by 'sum'.*use concat or bilinear"),
    "method": (lambda: LateFusion(sources(), CLASSES, method="sum"), "fusion by 'sum'.*use concat or bilinear"),
    "bilinear of three": (lambda: LateFusion(THREE, CLASSES, method="bilinear"), "bilinear fusion of 3 .*use concat"),
    "no source": (lambda: MultiModN({}, CLASSES), "no encoders.*at least one modality"),
    "no classifier": (lambda: Ensemble({}, CLASSES), "no encoders.*at least one modality"),
    "tokens": (lambda: MultiModN({"a": Source(nn.Identity(), 4, 0)}, CLASSES), "the encoder of a.*tokens is 0"),
    "width": (lambda: MultiModN({"a": Source(nn.Identity(), 0)}, CLASSES), "the encoder of a.*feature_dim is 0"),
    "latents": (lambda: Perceiver(sources(), CLASSES, replace(SMALL, latents=0)), "latents is 0"),
    "depth": (lambda: HEALNet(sources(), CLASSES, replace(SMALL, depth=0)), "depth is 0"),
    "bands": (lambda: HEALNet(sources(), CLASSES, replace(SMALL, bands=-1)), "bands is -1.*0 for none"),
    "self": (lambda: Perceiver(sources(), CLASSES, replace(SMALL, self_per_cross=-1)), "self_per_cross is -1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_model_that_cannot_be_is_refused_with_the_reason(case: str) -> None:
    make, message = REFUSED[case]
    with pytest.raises(UnsupportedModuleError, match=message):
        make()


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind != "ensemble"])
def test_features_of_another_shape_are_refused_never_skipped(kind: str) -> None:
    model = baseline(kind)
    model.encoders["b"].encoder = nn.Linear(INPUTS["b"], 9)
    values = {name: tensor.float() for name, tensor in inputs().items()}
    with pytest.raises(UnsupportedModuleError, match=r"encoder of b.*are \(6, 9\).*3 tokens of width 7"):
        model(values)


def test_logits_of_another_width_are_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match=r"encoder of a.*are \(2, 5\).*1 tokens of width 3"):
        Ensemble({"a": nn.Linear(4, 5)}, CLASSES)({"a": torch.zeros(2, 4)})
