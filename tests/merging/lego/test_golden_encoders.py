"""The self-normalising network, attention-MIL and the blocks around them equal the golden file's results."""

import numpy as np
import pytest
import torch

from onepath.merging.lego import LegoFuse, LegoMerge
from tests.merging.encoders.filled import CLASSES, filled, filled_bags, filled_block, filled_network, published_blocks
from tests.merging.golden import largest_difference, mm_lego, wide

COVERS = ("fill.selftest.*", "SNN.*", "MIL.*", "SB.*", "MB.*", "*.SBMB.*", "proposal.MIL.features")
TOLERANCE = 1e-9


def inputs() -> dict[str, torch.Tensor]:
    return {"SB": wide("x.A"), "MB": wide("x.I")}


@pytest.mark.parametrize(
    ("name", "shape", "kind"), [("SNN.fc1.w", (256, 256), "w"), ("A.latent", (6, 8), "x")], ids=["matrix", "latent"]
)
def test_the_fill_rule_gives_the_self_tests_numbers_to_the_last_bit(name, shape, kind) -> None:
    stored = mm_lego()[f"fill.selftest.{name}"]
    rows, columns = stored.shape
    assert np.array_equal(filled(name, shape, kind)[:rows, :columns], stored)


def test_the_fill_rule_gives_the_stored_weights_of_every_kind() -> None:
    for name, kind in {"A.d0.ca.lnq_g": "g", "A.d0.ca.o_b": "b", "A.d0.ca.q_w": "w"}.items():
        assert np.array_equal(filled(name, mm_lego()[name].shape, kind), mm_lego()[name])


def test_the_networks_features_are_the_golden_ones() -> None:
    assert largest_difference(filled_network()(wide("x.A")), mm_lego()["SNN.out.features"]) <= TOLERANCE


def test_the_networks_logits_are_the_golden_ones() -> None:
    assert largest_difference(filled_network(classes=CLASSES)(wide("x.A")), mm_lego()["SNN.out.logits"]) <= TOLERANCE


def test_the_scores_of_instances_are_the_golden_ones() -> None:
    encoder = filled_bags()
    scores = encoder.scores(torch.relu(encoder.embed(wide("x.I"))))
    assert largest_difference(scores, mm_lego()["MIL.att_scores"]) <= TOLERANCE


def test_features_of_bags_are_those_of_attention_over_instances() -> None:
    assert largest_difference(filled_bags()(wide("x.I")), mm_lego()["proposal.MIL.features"]) <= TOLERANCE


def test_attention_over_the_batch_is_another_model() -> None:
    assert largest_difference(filled_bags()(wide("x.I")), mm_lego()["MIL.out.features"]) > 1e-2


@pytest.mark.parametrize(("rows", "array"), [(3, "features"), (2, "features_b2"), (1, "features_b1")])
def test_the_published_form_depends_on_the_batch_as_published(rows: int, array: str) -> None:
    features = filled_bags(compat="published")(wide("x.I")[:rows])
    golden = mm_lego()[f"MIL.out.{array}"].reshape(rows, 256)  # one row is published without its axis
    assert largest_difference(features, golden) <= TOLERANCE


def test_the_published_forms_logits_are_the_golden_ones() -> None:
    logits = filled_bags(classes=CLASSES, compat="published")(wide("x.I"))
    assert largest_difference(logits, mm_lego()["MIL.out.logits"]) <= TOLERANCE


@pytest.mark.parametrize("name", ["SB", "MB"])
def test_the_blocks_around_them_have_the_golden_latents_and_logits(name: str) -> None:
    block = published_blocks()[name]
    latent = torch.complex(*block.encoded(inputs()[name]))
    assert largest_difference(latent, mm_lego()[f"{name}.out.latent_complex"]) <= TOLERANCE
    assert largest_difference(block(inputs()[name]), mm_lego()[f"{name}.out.logits"]) <= TOLERANCE


def test_the_block_around_the_network_has_the_golden_logits_without_compat_too() -> None:
    block = filled_block("SB", filled_network())
    assert largest_difference(block(wide("x.A")), mm_lego()["SB.out.logits"]) <= TOLERANCE


def test_the_block_around_bags_differs_from_the_published_one() -> None:
    block = filled_block("MB", filled_bags())
    assert largest_difference(block(wide("x.I")), mm_lego()["MB.out.logits"]) > 1e-3


@pytest.mark.parametrize("method", ["sum", "harmonic"])
def test_the_merge_of_both_has_the_golden_logits(method: str) -> None:
    weights = {"SB": 0.2, "MB": 0.8}
    model = LegoMerge(published_blocks(), method=method, weights=weights, compat="published")
    assert largest_difference(model(inputs()), mm_lego()[f"merge.SBMB.{method}.slerp.a0.8.logits"]) <= TOLERANCE


def test_the_comparison_of_merges_notices_another_weight() -> None:
    model = LegoMerge(published_blocks(), method="sum", weights={"SB": 0.5, "MB": 0.5}, compat="published")
    assert largest_difference(model(inputs()), mm_lego()["merge.SBMB.sum.slerp.a0.8.logits"]) > 1e-3


def test_entries_that_hang_on_the_sign_of_zero_are_where_both_latents_are_negative_reals() -> None:
    latents = [torch.complex(*block.encoded(inputs()[name])) for name, block in published_blocks().items()]
    negative = [(z.imag.abs() < 1e-12) & (z.real < 0) for z in latents]
    assert np.array_equal((negative[0] & negative[1]).numpy(), mm_lego()["merge.SBMB.harmonic.branch_sensitive_mask"])


def test_the_stack_of_both_has_the_golden_logits() -> None:
    model = LegoFuse(published_blocks(), compat="published")
    assert largest_difference(model(inputs()), mm_lego()["fuse.stack.SBMB.slerp.logits"]) <= TOLERANCE
