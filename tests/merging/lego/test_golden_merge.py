"""Our merges give what the published ones gave where those are right, and the corrected formulas where they are not."""

import numpy as np
import pytest
import torch

from onepath.merging.lego import LegoFuse, LegoMerge
from onepath.merging.lego.fourier import Spectrum
from onepath.merging.lego.heads import slerp
from onepath.merging.lego.methods import harmonic, mean, product, sum_
from tests.merging.golden import largest_difference, mm_lego
from tests.merging.lego.golden_blocks import golden_blocks, golden_inputs

COVERS = ("proposal.merge.*", "proposal.slerp.*", "u.merge.[elmpst]*", "fuse.stack.[AI]*.embedding")
TOLERANCE = 1e-9
METHODS = {"sum": sum_, "mean": mean, "product": product}
SLERP_CASES = sorted(name for name in mm_lego() if name.startswith("proposal.slerp."))


def merged(method, names: list[str], weights: list[float]) -> torch.Tensor:
    stacked = np.stack([mm_lego()[name] for name in names], axis=1)
    spectra = Spectrum(torch.from_numpy(stacked.real.copy()), torch.from_numpy(stacked.imag.copy()))
    present = torch.ones(stacked.shape[:2], dtype=torch.bool)
    return torch.complex(*method(spectra, present, weights))


def latents(blocks: str) -> list[str]:
    return [f"u.merge.l{block}" for block in blocks]


@pytest.mark.parametrize("blocks", ["12", "123"])
@pytest.mark.parametrize("method", METHODS)
def test_sum_mean_and_product_are_the_published_ones(method: str, blocks: str) -> None:
    result = merged(METHODS[method], latents(blocks), [1.0] * len(blocks))
    assert largest_difference(result, mm_lego()[f"u.merge.{method}.{blocks}"]) <= TOLERANCE


@pytest.mark.parametrize(
    ("blocks", "weights", "golden"),
    [("12", [1, 1], "12.w0.5"), ("12", [0.8, 0.2], "12.w0.8"), ("123", [1, 1, 1], "123")],
)
def test_the_harmonic_mean_is_the_corrected_one(blocks: str, weights: list[float], golden: str) -> None:
    result = merged(harmonic, latents(blocks), weights)
    assert largest_difference(result, mm_lego()[f"proposal.merge.harmonic.{golden}"]) <= TOLERANCE


def test_the_harmonic_mean_is_defined_for_zeros_and_opposite_phases() -> None:
    result = merged(harmonic, ["u.merge.edge1", "u.merge.edge2"], [1, 1])
    assert largest_difference(result, mm_lego()["proposal.merge.harmonic.edge"]) <= TOLERANCE


def test_the_published_harmonic_mean_of_zeros_was_not_a_number() -> None:
    assert np.isnan(mm_lego()["u.merge.edge.harmonic.a0.5"]).any()


def test_the_harmonic_magnitude_is_twice_the_published_one() -> None:
    magnitude = merged(harmonic, latents("12"), [1, 1]).abs()
    published = np.abs(mm_lego()["u.merge.harmonic.12.a0.5"])
    assert largest_difference(magnitude, mm_lego()["u.merge.true_harmonic_mag.12"]) <= TOLERANCE
    assert largest_difference(magnitude, 2 * published) <= TOLERANCE
    assert largest_difference(magnitude, published) > 1e-2


def interpolated(case: str, weight: float) -> np.ndarray:
    pair = np.stack([mm_lego()[f"u.interp.{case}.{side}"].astype(np.float64).ravel() for side in "ab"])
    weights = torch.tensor([[1 - weight, weight]], dtype=torch.float64)
    return slerp(torch.from_numpy(pair), weights)[0].numpy()


@pytest.mark.parametrize("name", SLERP_CASES)
def test_slerp_is_the_norm_safe_one(name: str) -> None:
    case, weight = name.removeprefix("proposal.slerp.").split(".t")
    assert np.abs(interpolated(case, float(weight)) - mm_lego()[name].ravel()).max() <= TOLERANCE


@pytest.mark.parametrize("weight", [0.0, 0.25, 0.5, 0.8, 1.0])
def test_between_unit_vectors_slerp_is_the_published_one(weight: float) -> None:
    published = mm_lego()[f"u.slerp.unit.t{weight}"]
    assert np.abs(interpolated("unit", weight) - published).max() <= TOLERANCE


def test_between_other_vectors_the_published_slerp_is_another_one() -> None:
    assert np.abs(interpolated("vec", 0.5) - mm_lego()["u.slerp.vec.t0.5"]).max() > 1e-2


@pytest.mark.parametrize("case", ["same", "ones", "zeros", "zero_a", "anti"])
def test_slerp_is_finite_where_the_published_one_was_not(case: str) -> None:
    assert np.isnan(mm_lego()[f"u.slerp.{case}.t0.5"]).any()
    assert np.isfinite(interpolated(case, 0.5)).all()


@pytest.mark.parametrize("blocks", ["AI", "AIT"])
@pytest.mark.parametrize("method", METHODS)
def test_merged_latents_of_whole_blocks_are_the_published_ones(method: str, blocks: str) -> None:
    golden = f"merge.{blocks}.{method}{'.a0.8' if blocks == 'AI' else ''}.latent_complex"
    model = LegoMerge(golden_blocks(blocks), method=method)
    features = [model.encoders[name](values) for name, values in golden_inputs(blocks).items()]
    spectra = Spectrum(*torch.stack(features, dim=1).unbind(2))
    result = model.method(spectra, torch.ones(3, len(blocks), dtype=torch.bool), model.weights)
    assert largest_difference(torch.complex(*result), mm_lego()[golden]) <= TOLERANCE


def test_merged_logits_with_linear_heads_are_the_published_ones() -> None:
    model = LegoMerge(golden_blocks("AI"), method="sum", head="linear")
    assert largest_difference(model(golden_inputs("AI")), mm_lego()["merge.AI.sum.linear.a0.5.logits"]) <= TOLERANCE


def test_merged_logits_with_spherical_heads_differ_from_the_published_ones_of_unnormalised_heads() -> None:
    model = LegoMerge(golden_blocks("AI"), method="sum", head="slerp")
    assert largest_difference(model(golden_inputs("AI")), mm_lego()["merge.AI.sum.slerp.a0.5.logits"]) > 1e-3


@pytest.mark.parametrize("blocks", ["AI", "IA", "AIT"])
def test_a_stack_in_published_form_gives_the_published_latent(blocks: str) -> None:
    model = LegoFuse(golden_blocks(blocks), compat="published")
    features = {name: model.encoders[name](values) for name, values in golden_inputs(blocks).items()}
    real = model.spectrum(features, torch.ones(3, len(blocks), dtype=torch.bool)).real
    assert largest_difference(real, mm_lego()[f"fuse.stack.{blocks}.embedding"]) <= TOLERANCE


@pytest.mark.parametrize("blocks", ["AI", "IA"])
def test_a_stack_in_published_form_with_linear_heads_gives_the_published_logits(blocks: str) -> None:
    model = LegoFuse(golden_blocks(blocks), head="linear", compat="published")
    assert (
        largest_difference(model(golden_inputs(blocks)), mm_lego()[f"fuse.stack.{blocks}.linear.logits"]) <= TOLERANCE
    )


def test_a_stack_hands_over_a_latent_rather_than_its_spectrum() -> None:
    model = LegoFuse(golden_blocks("AI"), head="linear")
    assert largest_difference(model(golden_inputs("AI")), mm_lego()["fuse.stack.AI.linear.logits"]) > 1e-3
