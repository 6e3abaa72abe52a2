"""The published form of merges, heads and chains gives the published results, faults included."""

from itertools import product

import numpy as np
import pytest
import torch

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.lego import LegoFuse, LegoMerge
from onepath.merging.lego.fourier import Spectrum
from onepath.merging.lego.heads import merged_heads
from onepath.merging.lego.published import published_harmonic, published_head, published_linear, published_slerp
from tests.merging.golden import largest_difference, mm_lego, wide
from tests.merging.lego.golden_blocks import golden_block, golden_blocks, golden_input, golden_inputs
from tests.merging.lego.small_blocks import small_blocks, small_inputs

COVERS = (
    "u.interp.*",
    "u.slerp.*",
    "u.lerp.*",
    "u.merge.harmonic.*",
    "merge.AI.*latent_complex",
    "merge.AI.*slerp*",
    "merge.AI.*linear*",
    "merge.AI.spatial.*",
    "merge.AI.harmonic.branch_sensitive_mask",
    "merge.AIT.*",
    "head.AI.slerp.*",
    "head.AI.linear.*",
    "fuse.stack.[AI]*.logits",
    "fuse.weave.*",
    "weave.L",
)
TOLERANCE = 1e-9
CASES = ["vec", "mat", "unit", "same", "ones", "zeros", "zero_a", "anti"]
POINTS = ["0.0", "0.25", "0.5", "0.8", "1.0"]
NATIVE = ["N1", "N2"]
PASSES = {1: (0,), 2: (0, 1), 3: (0, 1, 1)}


def golden_names(pattern: str, *choices: list[str]) -> list[tuple[str, ...]]:
    return [chosen for chosen in product(*choices) if pattern.format(*chosen) in mm_lego()]


def interpolated(method, case: str, point: str) -> np.ndarray:
    pair = torch.stack([wide(f"u.interp.{case}.{side}").flatten() for side in "ab"])
    share = float(point)
    return method(pair, torch.tensor([[1 - share, share]], dtype=torch.float64))[0].numpy()


def shares(alpha: str) -> dict[str, float]:
    return {"A": 1 - float(alpha), "I": float(alpha)}


def merge(method: str, alpha: str, *, head: str = "slerp", names: str = "AI", **form: bool) -> LegoMerge:
    weights = {name: share for name, share in shares(alpha).items() if name in names}
    return LegoMerge(golden_blocks(names, **form), method=method, head=head, weights=weights, compat="published")


def merged_latent(model: LegoMerge, names: str = "AI") -> Spectrum:
    features = [model.encoders[name](values) for name, values in golden_inputs(names).items()]
    present = torch.ones(3, len(names), dtype=torch.bool)
    return model.method(Spectrum(*torch.stack(features, dim=1).unbind(2)), present, model.weights)


def weave(passes: int) -> LegoFuse:
    blocks = {name: golden_block(name, layers=PASSES[passes]) for name in NATIVE}
    blocks["N1"].latent.data.copy_(wide("weave.L"))
    return LegoFuse(blocks, order="weave", compat="published")


def woven(passes: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model = weave(passes)
    features = {name: model.encoders[name](values) for name, values in golden_inputs(NATIVE).items()}
    return model.spectrum(features, torch.ones(3, 2, dtype=torch.bool)).real, features


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("case", CASES)
def test_slerp_is_the_published_formula_with_nan_where_that_is_undefined(case: str, point: str) -> None:
    golden = mm_lego()[f"u.slerp.{case}.t{point}"].ravel()
    np.testing.assert_allclose(interpolated(published_slerp, case, point), golden, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("case", CASES)
def test_linear_weighs_the_first_operand_as_published(case: str, point: str) -> None:
    golden = mm_lego()[f"u.lerp.{case}.t{point}"].ravel()
    np.testing.assert_allclose(interpolated(published_linear, case, point), golden, rtol=0, atol=TOLERANCE)


def test_the_published_direction_of_linear_is_not_ours() -> None:
    assert np.abs(interpolated(published_linear, "vec", "0.8") - mm_lego()["u.lerp.vec.t0.25"]).max() > 1e-2


@pytest.mark.parametrize("alpha", ["0.2", "0.5", "0.8"])
def test_the_harmonic_mean_is_the_published_formula(alpha: str) -> None:
    stacked = np.stack([mm_lego()["u.merge.l1"], mm_lego()["u.merge.l2"]], axis=1)
    spectra = Spectrum(torch.from_numpy(stacked.real.copy()), torch.from_numpy(stacked.imag.copy()))
    present = torch.ones(2, 2, dtype=torch.bool)
    result = torch.complex(*published_harmonic(spectra, present, [1 - float(alpha), float(alpha)]))
    assert largest_difference(result, mm_lego()[f"u.merge.harmonic.12.a{alpha}"]) <= TOLERANCE


def test_the_published_harmonic_mean_of_edge_cases_is_reproduced_with_its_nan() -> None:
    stacked = np.stack([mm_lego()["u.merge.edge1"], mm_lego()["u.merge.edge2"]], axis=1)
    spectra = Spectrum(torch.from_numpy(stacked.real.copy()), torch.from_numpy(stacked.imag.copy()))
    result = torch.complex(*published_harmonic(spectra, torch.ones(1, 2, dtype=torch.bool), [1, 1])).numpy()
    golden = mm_lego()["u.merge.edge.harmonic.a0.5"]
    assert np.array_equal(np.isnan(result), np.isnan(golden))
    np.testing.assert_allclose(result[~np.isnan(result)], golden[~np.isnan(golden)], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("method", "alpha"),
    golden_names("merge.AI.{}.a{}.latent_complex", ["sum", "mean", "product", "harmonic"], ["0.5", "0.8"]),
)
def test_merged_latents_are_the_published_ones(method: str, alpha: str) -> None:
    golden = mm_lego()[f"merge.AI.{method}.a{alpha}.latent_complex"]
    assert largest_difference(torch.complex(*merged_latent(merge(method, alpha))), golden) <= TOLERANCE


@pytest.mark.parametrize("method", ["sum", "mean", "product"])
def test_merged_latents_of_three_are_the_published_ones(method: str) -> None:
    golden = mm_lego()[f"merge.AIT.{method}.latent_complex"]
    assert (
        largest_difference(torch.complex(*merged_latent(merge(method, "0.5", names="AIT"), "AIT")), golden) <= TOLERANCE
    )


@pytest.mark.parametrize("method", ["sum", "harmonic"])
def test_merged_latents_out_of_the_frequency_domain_are_the_published_ones(method: str) -> None:
    result = merged_latent(merge(method, "0.8", frequency_domain=False)).real
    assert largest_difference(result, mm_lego()[f"merge.AI.spatial.{method}.embedding"]) <= TOLERANCE


@pytest.mark.parametrize(
    ("method", "head", "alpha"),
    golden_names(
        "merge.AI.{}.{}.a{}.logits", ["sum", "mean", "product", "harmonic"], ["slerp", "linear"], ["0.5", "0.8"]
    ),
)
def test_merged_logits_are_the_published_ones(method: str, head: str, alpha: str) -> None:
    logits = merge(method, alpha, head=head)(golden_inputs("AI"))
    assert largest_difference(logits, mm_lego()[f"merge.AI.{method}.{head}.a{alpha}.logits"]) <= TOLERANCE


def test_the_comparison_of_logits_notices_another_weight() -> None:
    logits = merge("harmonic", "0.5")(golden_inputs("AI"))
    assert largest_difference(logits, mm_lego()["merge.AI.harmonic.slerp.a0.8.logits"]) > 1e-3


def test_entries_whose_published_phase_hangs_on_the_sign_of_zero_are_where_both_latents_are_negative_reals() -> None:
    model = merge("harmonic", "0.8")
    both = [torch.complex(*model.encoders[name](values).unbind(1)) for name, values in golden_inputs("AI").items()]
    negative = [(z.imag.abs() < 1e-12) & (z.real < 0) for z in both]
    assert np.array_equal((negative[0] & negative[1]).numpy(), mm_lego()["merge.AI.harmonic.branch_sensitive_mask"])


@pytest.mark.parametrize("alpha", ["0.5", "0.8"])
@pytest.mark.parametrize("method", ["slerp", "linear"])
def test_merged_heads_are_the_published_ones(method: str, alpha: str) -> None:
    heads = [block.head for block in golden_blocks("AI").values()]
    weights = torch.tensor([list(shares(alpha).values())], dtype=torch.float64)
    table = merged_heads(heads, weights, published_head(method))
    for part, name in zip(table, ("ln_g", "ln_b", "w", "b"), strict=True):
        assert largest_difference(part[0], mm_lego()[f"head.AI.{method}.a{alpha}.{name}"]) <= TOLERANCE


@pytest.mark.parametrize("head", ["slerp", "linear"])
@pytest.mark.parametrize("names", ["AI", "IA", "AIT"])
def test_a_stacks_logits_are_the_published_ones(names: str, head: str) -> None:
    logits = LegoFuse(golden_blocks(names), head=head, compat="published")(golden_inputs(names))
    assert largest_difference(logits, mm_lego()[f"fuse.stack.{names}.{head}.logits"]) <= TOLERANCE


@pytest.mark.parametrize("passes", PASSES)
def test_a_weaves_latent_is_the_published_one(passes: int) -> None:
    golden = mm_lego()[f"fuse.weave.N1N2.depth{passes}.embedding"]
    assert largest_difference(woven(passes)[0], golden) <= TOLERANCE


def test_the_tokens_after_a_weave_are_the_published_ones_and_the_input_is_as_it_was() -> None:
    before = golden_input("N1")
    _, features = woven(2)
    for name in NATIVE:
        assert (
            largest_difference(features[name][:, -1], mm_lego()[f"fuse.weave.N1N2.depth2.x_{name}_after"]) <= TOLERANCE
        )
    assert torch.equal(golden_input("N1"), before)


def test_a_weaves_logits_are_the_published_ones() -> None:
    logits = weave(2)(golden_inputs(NATIVE))
    assert largest_difference(logits, mm_lego()["fuse.weave.N1N2.depth2.slerp.logits"]) <= TOLERANCE


def test_the_corrected_weave_is_another_model() -> None:
    blocks = weave(2).blocks
    logits = LegoFuse(blocks, order="weave")(golden_inputs(NATIVE))
    assert largest_difference(logits, mm_lego()["fuse.weave.N1N2.depth2.slerp.logits"]) > 1e-2


@pytest.mark.parametrize("kind", [LegoMerge, LegoFuse])
def test_a_row_that_lacks_a_modality_is_refused_in_published_form(kind: type) -> None:
    model = kind(small_blocks("ab"), compat="published")
    with pytest.raises(UnsupportedModuleError, match="lacks a modality"):
        model(small_inputs("ab"), torch.tensor([[True, False]]).expand(7, 2))


def test_what_has_no_published_form_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedModuleError, match=r"merge method.*use one of harmonic, mean, product, sum"):
        LegoMerge(small_blocks("ab"), method=lambda *_: None, compat="published")
    with pytest.raises(UnsupportedModuleError, match=r"head method 'cubic'.*use one of linear, slerp"):
        LegoMerge(small_blocks("ab"), head="cubic", compat="published")
    with pytest.raises(UnsupportedModuleError, match="it takes two"):
        LegoMerge(small_blocks("a"), compat="published")
    with pytest.raises(UnsupportedModuleError, match="without encoders only"):
        LegoFuse(small_blocks("ab"), order="weave", compat="published")
    with pytest.raises(UnsupportedModuleError, match="compat 'printed'"):
        LegoMerge(small_blocks("ab"), compat="printed")
