"""The transforms are numpy's, in real arithmetic."""

import numpy as np
import pytest
import torch

from onepath.merging.lego.fourier import fourier, inverse_fourier, real_fourier, row_counts

LENGTHS = [1, 2, 5, 6, 64]


def drawn(length: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(length).normal(size=(2, length, 3))).to(dtype)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_transform_is_numpys(length: int) -> None:
    expected = np.fft.fft(drawn(length).numpy(), axis=1)
    np.testing.assert_allclose(torch.complex(*fourier(drawn(length))).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_real_part_is_numpys(length: int) -> None:
    expected = np.fft.fft(drawn(length).numpy(), axis=1).real
    np.testing.assert_allclose(real_fourier(drawn(length)).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("length", LENGTHS)
def test_the_inverse_gives_the_values_back(length: int) -> None:
    torch.testing.assert_close(inverse_fourier(fourier(drawn(length))), drawn(length), rtol=0, atol=1e-12)


def test_the_inverse_needs_the_imaginary_part() -> None:
    spectrum = fourier(drawn(6))
    changed = inverse_fourier(spectrum._replace(imag=torch.zeros_like(spectrum.imag)))
    assert (changed - drawn(6)).abs().max() > 1e-2


@pytest.mark.parametrize("length", [2, 6, 64])
def test_rows_that_mirror_themselves_have_no_imaginary_part_at_all(length: int) -> None:
    imag = fourier(drawn(length, torch.float32)).imag
    assert torch.equal(imag[:, [0, length // 2]], torch.zeros(2, 2, 3))


@pytest.mark.parametrize("length", LENGTHS)
def test_the_counts_of_distinct_rows_add_up_to_all_rows(length: int) -> None:
    assert row_counts(length).sum() == length
