"""The algebra of the merge methods, on drawn spectra."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from onepath.merging.lego.fourier import Spectrum
from onepath.merging.lego.methods import LINEAR, harmonic, mean, product, sum_

METHODS = [sum_, mean, product, harmonic]
SEEDS = st.integers(0, 2**32 - 1)
WEIGHTS = st.lists(st.floats(0.1, 10), min_size=3, max_size=3)


def drawn(seed: int, blocks: int = 3) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(2, blocks, 4, 5)) + 1j * generator.normal(size=(2, blocks, 4, 5))


def merged(method, values: np.ndarray, weights: list[float], present: np.ndarray | None = None) -> np.ndarray:
    here = np.ones(values.shape[:2], dtype=bool) if present is None else present
    spectra = Spectrum(torch.from_numpy(values.real.copy()), torch.from_numpy(values.imag.copy()))
    result = method(spectra, torch.from_numpy(here), weights)
    return result.real.numpy() + 1j * result.imag.numpy()


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, weights=WEIGHTS, order=st.permutations(range(3)))
def test_the_order_of_blocks_does_not_matter(method, seed: int, weights: list[float], order: list[int]) -> None:
    values = drawn(seed)
    turned = merged(method, values[:, order], [weights[i] for i in order])
    np.testing.assert_allclose(turned, merged(method, values, weights), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, weights=WEIGHTS, factor=st.floats(0.1, 10))
def test_only_the_ratios_of_weights_count(method, seed: int, weights: list[float], factor: float) -> None:
    scaled = merged(method, drawn(seed), [factor * weight for weight in weights])
    np.testing.assert_allclose(scaled, merged(method, drawn(seed), weights), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, weights=WEIGHTS, block=st.integers(0, 2))
def test_one_block_alone_is_unchanged_to_the_last_bit(method, seed: int, weights: list[float], block: int) -> None:
    values = drawn(seed)
    present = np.zeros((2, 3), dtype=bool)
    present[:, block] = True
    assert np.array_equal(merged(method, values, weights, present), values[:, block])


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, weights=WEIGHTS)
def test_absent_blocks_leave_no_trace_even_as_nan(method, seed: int, weights: list[float]) -> None:
    values = drawn(seed)
    present = np.array([[True, False, True]] * 2)
    expected = merged(method, values[:, [0, 2]], [weights[0], weights[2]])
    values[:, 1] = np.nan
    np.testing.assert_allclose(merged(method, values, weights, present), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, weights=WEIGHTS)
def test_conjugate_spectra_give_the_conjugate(method, seed: int, weights: list[float]) -> None:
    values = drawn(seed)
    np.testing.assert_array_equal(merged(method, values.conj(), weights), merged(method, values, weights).conj())


@pytest.mark.parametrize(("method", "degree"), [(sum_, 1), (mean, 1), (harmonic, 1), (product, 4)])
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, factor=st.floats(0.1, 10))
def test_scaled_spectra_give_the_scaled_result(method, degree: int, seed: int, factor: float) -> None:
    values, equal = drawn(seed, blocks=4), [1.0] * 4
    expected = factor**degree * merged(method, values, equal)
    np.testing.assert_allclose(merged(method, factor * values, equal), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, angle=st.floats(-3, 3))
def test_a_common_turn_of_the_phase_turns_the_result(method, seed: int, angle: float) -> None:
    values, equal, turn = drawn(seed, blocks=5), [1.0] * 5, np.exp(1j * angle)
    expected = merged(method, values, equal) * (turn**5 if method is product else turn)
    np.testing.assert_allclose(merged(method, turn * values, equal), expected, rtol=1e-6, atol=1e-8)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, weights=WEIGHTS)
def test_the_mean_is_numpys_weighted_average(seed: int, weights: list[float]) -> None:
    values = drawn(seed)
    expected = np.average(values, axis=1, weights=weights)
    np.testing.assert_allclose(merged(mean, values, weights), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(merged(sum_, values, weights), 3 * expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS, weights=WEIGHTS)
def test_the_harmonic_magnitude_is_the_weighted_harmonic_mean(seed: int, weights: list[float]) -> None:
    values = drawn(seed)
    share = np.array(weights).reshape(1, 3, 1, 1) / sum(weights)
    expected = 1 / (share / np.abs(values)).sum(axis=1)
    np.testing.assert_allclose(np.abs(merged(harmonic, values, weights)), expected, rtol=1e-9)


def test_the_harmonic_mean_is_not_the_arithmetic_one() -> None:
    assert np.abs(merged(harmonic, drawn(0), [1, 1, 1]) - merged(mean, drawn(0), [1, 1, 1])).max() > 1e-2


@pytest.mark.parametrize("method", METHODS)
def test_only_linear_methods_commute_with_averaging(method) -> None:
    values = drawn(1)
    pooled = merged(method, values.mean(axis=2, keepdims=True), [1, 1, 1])
    commutes = np.allclose(pooled, merged(method, values, [1, 1, 1]).mean(axis=1, keepdims=True))
    assert commutes == (method in LINEAR)


@pytest.mark.parametrize("method", METHODS)
def test_zeros_are_finite(method) -> None:
    assert np.isfinite(merged(method, np.zeros((1, 2, 3, 3), dtype=complex), [1, 1])).all()


@pytest.mark.parametrize("method", METHODS)
def test_small_numbers_in_half_precision_merge_as_wide_ones_do(method) -> None:
    small = [torch.from_numpy(part).half() for part in (1e-3 * drawn(2).real, 1e-3 * drawn(2).imag)]
    here, equal = torch.ones(2, 3, dtype=torch.bool), [1.0] * 3
    result = method(Spectrum(*small), here, equal).real
    expected = method(Spectrum(*(part.double() for part in small)), here, equal).real
    assert result.dtype == torch.float16
    torch.testing.assert_close(result.double(), expected, rtol=2e-3, atol=1e-7)
