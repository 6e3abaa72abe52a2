import json

import numpy as np
import pytest
import torch
from safetensors.torch import load
from torch import nn

from onepath.contract.errors import ParityError, UnsupportedModuleError
from onepath.export.collapse import collapse
from onepath.export.proofs import Batch, compare, digest_from_model, safetensors_from_model
from onepath.merging.lego import LegoBlock, LegoFuse, LegoMerge, LegoSettings

ROWS = Batch("three rows", {"x": np.arange(3.0)}, {"x": np.ones((3, 1), np.uint8)})


def differing_by(amount, tolerance, *, relative=False, scale=1.0):
    return compare(
        "step",
        reference=lambda batch: {"y": batch.values["x"] * scale},
        candidate=lambda batch: {"y": batch.values["x"] * scale + amount},
        batches=[ROWS],
        tolerance=tolerance,
        relative=relative,
    )


def test_a_difference_within_the_tolerance_is_measured():
    (measured,) = differing_by(0.25, 0.25)
    assert (measured.error, measured.tolerance, measured.inputs) == (0.25, 0.25, "three rows")


def test_a_difference_over_the_tolerance_names_the_step_and_the_inputs():
    with pytest.raises(ParityError, match=r"step changed.*0\.25.*three rows"):
        differing_by(0.25, 0.2)


def test_a_relative_difference_is_divided_by_the_largest_output():
    (measured,) = differing_by(1.0, 0.01, relative=True, scale=500.0)
    assert measured.error == pytest.approx(1 / 1000)
    with pytest.raises(ParityError):
        differing_by(1.0, 0.01, relative=False, scale=500.0)


@pytest.mark.parametrize("wrong", [{"y": np.full(3, np.nan)}, {"z": np.arange(3.0)}, {"y": np.arange(2.0)}, {}])
def test_nan_and_other_names_or_shapes_are_no_match(wrong):
    with pytest.raises(ParityError):
        compare(
            "step",
            reference=lambda batch: {"y": batch.values["x"]},
            candidate=lambda batch: wrong,
            batches=[ROWS],
            tolerance=1e9,
        )


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("sign", [1, -1])
def test_infinity_is_no_match_for_infinity(relative, sign):
    endless = np.array([1.0, np.inf])
    with pytest.raises(ParityError, match="to which the model itself answers NaN or infinity"):
        compare(
            "step",
            reference=lambda batch: {"y": endless},
            candidate=lambda batch: {"y": sign * endless},
            batches=[ROWS],
            tolerance=1e9,
            relative=relative,
        )


def test_of_several_outputs_the_worst_is_measured():
    (measured,) = compare(
        "step",
        reference=lambda batch: {"y": batch.values["x"], "z": batch.values["x"]},
        candidate=lambda batch: {"y": batch.values["x"] + 0.125, "z": batch.values["x"] - 0.25},
        batches=[ROWS],
        tolerance=1.0,
    )
    assert measured.error == 0.25


def test_a_measurement_says_what_was_computed_in_float64_and_keeps_what_was_compared():
    seen = []
    (measured,) = compare(
        "step",
        reference=lambda batch: {"y": batch.values["x"]},
        candidate=lambda batch: {"y": batch.values["x"] + 1e-13},
        batches=[ROWS],
        tolerance=1e-12,
        computed_in="float64",
        seen=seen,
    )
    assert measured.computed_in == "float64"
    (kept,) = seen
    assert kept.batch is ROWS
    assert np.abs(kept.found["y"] - kept.expected["y"]).max() == measured.error


@pytest.mark.parametrize("side", ["reference", "candidate"])
def test_an_answer_in_float32_is_no_comparison_in_float64(side):
    """Both sides rounded to float32 may be equal where the models are not."""
    answers = dict.fromkeys(("reference", "candidate"), lambda batch: {"y": batch.values["x"]})
    rounded = answers | {side: lambda batch: {"y": batch.values["x"].astype(np.float32)}}
    measured = {"batches": [ROWS], "tolerance": 1e-12}
    compare("step", **answers, **measured, computed_in="float64")
    compare("step", **rounded, **measured)
    with pytest.raises(UnsupportedModuleError, match="in float32 though all its weights are in float64"):
        compare("step", **rounded, **measured, computed_in="float64")


def test_equal_weights_have_one_digest_and_one_changed_bit_has_another():
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    before = digest_from_model(layer)
    assert digest_from_model(nn.Linear(3, 2)) != before
    with torch.no_grad():
        layer.bias[0] = torch.nextafter(layer.bias[0], torch.tensor(9.0))
    assert digest_from_model(layer) != before


def test_the_weights_file_is_plain_safetensors():
    layer = nn.Linear(3, 2)
    data = safetensors_from_model(layer)
    assert {name: tensor.tolist() for name, tensor in load(data).items()} == {
        name: tensor.tolist() for name, tensor in layer.state_dict().items()
    }
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert set(header) == {"weight", "bias", "__metadata__"}


def test_equal_weights_that_are_used_differently_have_different_digests():
    torch.manual_seed(0)
    layer = nn.Linear(3, 3)
    assert digest_from_model(nn.Sequential(layer, nn.ReLU())) != digest_from_model(nn.Sequential(layer, nn.Tanh()))
    blocks = {name: LegoBlock(nn.Linear(2, 3), LegoSettings(3, 2, latents=4, width=4, heads=1)) for name in "ab"}
    kinds = [
        LegoMerge(blocks, method="sum"),
        LegoMerge(blocks, method="mean"),
        LegoMerge(blocks, method="sum", head="linear"),
        LegoMerge(blocks, method="sum", weights={"a": 2.0}),
        LegoFuse(blocks, order="stack"),
        LegoFuse(blocks, order="weave"),
    ]
    digests = [digest_from_model(model) for model in kinds]
    assert len(set(digests)) == len(kinds)
    collapsed = [digest_from_model(collapse(model.eval())[0]) for model in kinds]
    assert len(set(collapsed)) == len(kinds)
    assert digest_from_model(LegoMerge(blocks, method="sum")) == digests[0]


def test_nothing_to_compare_proves_nothing():
    def nothing(batch):
        return {"y": np.zeros((0, 3))}

    for batches, outputs in (([], nothing), ([ROWS], nothing), ([ROWS], lambda batch: {})):
        with pytest.raises(ParityError):
            compare("step", reference=outputs, candidate=outputs, batches=batches, tolerance=1.0)
