"""Fourier features of tokens' places, against the golden arrays."""

import math

import pytest
import torch

from onepath.merging.baselines.positions import fourier_features, position_width, with_positions
from tests.merging.golden import largest_difference, mm_lego, wide

COVERS = ("u.fenc.*",)


def test_the_features_are_the_published_ones() -> None:
    features = fourier_features(wide("u.fenc.pos"), bands=2, max_frequency=2.0)
    assert largest_difference(features, mm_lego()["u.fenc.out"]) <= 1e-9


def test_other_frequencies_would_be_noticed_where_there_are_several() -> None:
    features = fourier_features(wide("u.fenc.pos"), bands=2, max_frequency=2.1)
    assert largest_difference(features, mm_lego()["u.fenc.out"]) > 1e-3


def test_frequencies_lie_evenly_from_half_a_cycle_a_unit() -> None:
    features = fourier_features(torch.tensor([0.3], dtype=torch.float64), bands=3, max_frequency=6.0)
    angles = [0.3 * math.pi * factor for factor in (1, 2, 3)]
    expected = [*map(math.sin, angles), *map(math.cos, angles), 0.3]
    assert features[0].tolist() == pytest.approx(expected, abs=1e-15)


def test_tokens_keep_their_values_and_get_places_from_minus_one_to_one() -> None:
    tokens = torch.randn(2, 5, 3, dtype=torch.float64)
    placed = with_positions(tokens, bands=2, max_frequency=2.0)
    assert placed.shape == (2, 5, 3 + position_width(2))
    assert torch.equal(placed[..., :3], tokens)
    assert placed[1, :, -1].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]


def test_without_bands_tokens_stay_as_they_are() -> None:
    tokens = torch.randn(2, 5, 3)
    assert torch.equal(with_positions(tokens, bands=0, max_frequency=2.0), tokens)
    assert position_width(0) == 0
