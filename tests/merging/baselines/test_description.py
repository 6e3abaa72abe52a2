"""Models that compute differently from equal weights have different digests."""

from dataclasses import replace

import torch
from torch import nn

from onepath.export.proofs import digest_from_model
from onepath.merging.baselines import MCAT, HEALNet, LateFusion, MultiModN, Perceiver
from tests.merging.baselines.small_baselines import CLASSES, SMALL, sources

FORMS = {
    "perceiver": lambda: Perceiver(sources(), CLASSES, SHARED),
    "perceiver, deeper": lambda: Perceiver(sources(), CLASSES, replace(SHARED, depth=3)),
    "perceiver, heads": lambda: Perceiver(sources(), CLASSES, replace(SHARED, cross_heads=2, head_width=2)),
    "perceiver, frequency": lambda: Perceiver(sources(), CLASSES, replace(SHARED, max_frequency=4.0)),
    "healnet": lambda: HEALNet(sources(), CLASSES, SHARED),
    "healnet, deeper": lambda: HEALNet(sources(), CLASSES, replace(SHARED, depth=3)),
    "healnet, order": lambda: HEALNet(dict(reversed(sources().items())), CLASSES, SHARED),
    "multimodn": lambda: MultiModN(sources(), CLASSES),
    "multimodn, order": lambda: MultiModN(dict(reversed(sources().items())), CLASSES),
    "late fusion": lambda: LateFusion(sources(), CLASSES),
    "late fusion, order": lambda: LateFusion(dict(reversed(sources().items())), CLASSES),
    "mcat": lambda: MCAT(sources(), CLASSES, width=8, heads=2),
    "mcat, heads": lambda: MCAT(sources(), CLASSES, width=8, heads=4),
}
SHARED = replace(SMALL, share_layers=True)


def zeroed(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    return model


def test_models_of_different_form_have_different_digests() -> None:
    assert len({digest_from_model(zeroed(make())) for make in FORMS.values()}) == len(FORMS)


def test_models_of_one_form_and_equal_weights_have_one_digest() -> None:
    for make in FORMS.values():
        assert digest_from_model(zeroed(make())) == digest_from_model(zeroed(make()))
