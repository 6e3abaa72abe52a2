"""Our block gives what the published one gave."""

import pytest
import torch

from onepath.merging.lego import LegoBlock
from tests.merging.golden import largest_difference, mm_lego, wide
from tests.merging.lego.golden_blocks import golden_block, golden_input

TOLERANCE = 1e-9
VARIANTS = {
    "depth1": {"layers": (0,)},
    "depth3": {"layers": (0, 1, 2)},
    "notrack": {"track_imaginary": False},
    "nonorm": {"normalise": False},
    "ws_false_depth3": {"layers": (0, 2, 2)},
    "odd_lc": {"latent": "Iodd.latent"},
}


def spectrum(block: LegoBlock, name: str) -> torch.Tensor:
    return torch.complex(*block.spectrum(block.mixed(block.context(golden_input(name)))))


@pytest.mark.parametrize("name", "AIT")
def test_the_context_is_the_encoders_output_as_tokens(name: str) -> None:
    context = golden_block(name).context(golden_input(name))
    assert largest_difference(context, mm_lego()[f"{name}.out.features"]) <= TOLERANCE


@pytest.mark.parametrize("name", "AIT")
def test_the_spectrum_is_the_published_complex_latent(name: str) -> None:
    difference = largest_difference(spectrum(golden_block(name), name), mm_lego()[f"{name}.out.latent_complex"])
    assert difference <= TOLERANCE


@pytest.mark.parametrize("name", "AIT")
def test_the_logits_are_the_published_ones(name: str) -> None:
    logits = golden_block(name)(golden_input(name))
    assert largest_difference(logits, mm_lego()[f"{name}.out.logits"]) <= TOLERANCE


def test_the_comparison_notices_layers_in_the_wrong_order() -> None:
    logits = golden_block("I", layers=(1, 0))(golden_input("I"))
    assert largest_difference(logits, mm_lego()["I.out.logits"]) > 1e-3


@pytest.mark.parametrize(("variant", "form"), VARIANTS.items())
def test_each_form_of_the_block_gives_the_published_spectrum(variant: str, form: dict) -> None:
    difference = largest_difference(spectrum(golden_block("I", **form), "I"), mm_lego()[f"Ivar.{variant}.latent"])
    assert difference <= TOLERANCE


@pytest.mark.parametrize(("variant", "form"), VARIANTS.items())
def test_the_plain_block_is_not_any_of_the_other_forms(variant: str, form: dict) -> None:
    golden = mm_lego()[f"Ivar.{variant}.latent"]
    plain = spectrum(golden_block("I"), "I")
    assert plain.shape != golden.shape or largest_difference(plain, golden) > 1e-3


def test_out_of_the_frequency_domain_the_latent_is_the_published_one() -> None:
    real = spectrum(golden_block("I", frequency_domain=False), "I").real
    assert largest_difference(real, mm_lego()["Ivar.spatial.latent"]) <= TOLERANCE


def test_a_given_latent_is_used_in_the_place_of_the_blocks_own() -> None:
    block = golden_block("I")
    given = block.spectrum(block.mixed(block.context(golden_input("I"))), wide("I.passed_latent"))
    assert largest_difference(given.real, mm_lego()["I.out.embedding_given_latent"]) <= TOLERANCE
