"""Generated adapters give what SEMI gave, folded and not, and not what its truncated forward gave."""

import numpy as np
import pytest
import torch
from torch import nn

from onepath.merging.adapters import (
    LowRankAdapter,
    attach_adapters,
    average_factors,
    average_updates,
    fold_adapters,
    generated_adapter,
    narrowed_linear,
)
from tests.merging.adapters.golden import LAYERS, adapters, generated_values, projector, semi, tensor
from tests.merging.golden import largest_difference

COVERS_SEMI = (
    *("x", "x5", "proj/net.*", "support/z_full", "support/z_second", "pe_table_len11_d8_scaled", "hn_att/*"),
    *("gen_att_full/[AB]?_flat", "gen_att_full/bias?", "gen_att_full/lora_forward_*"),
    *("gen_att_nobias/[AB]?_flat", "gen_att_mm5/[AB]?_flat", "gen_att_mm5/bias?"),
    *("gen_att_2shot_padded/*", "gen_att_rot/*", "fold_att_2shot_padded/*", "fold_att_rot/*", "iso/x_rot"),
    *("fold_att_full/*", "fold_att_nobias/*", "fold_att_mm5/*", "fold_avg_two_adapters/*"),
    *("lora/lora_adapters.loras.*", "lora/projector.net.*", "lora_fold/W?", "lora_fold/out", "lora_out"),
)
TOLERANCE = 1e-6


def adapted(case: str, inputs: int = 8) -> nn.Sequential:
    model = projector(inputs=inputs)
    attach_adapters(model, adapters(case, inputs))
    return model


def test_with_its_adapters_the_projector_gives_the_corrected_output() -> None:
    output = adapted("full")(tensor("x"))
    assert largest_difference(output, semi()["gen_att_full/lora_forward_corrected"]) <= TOLERANCE


def test_the_published_forward_that_leaves_the_second_layer_out_is_not_reproduced() -> None:
    published = semi()["gen_att_full/lora_forward_as_published"]
    assert largest_difference(adapted("full")[:2](tensor("x")), published) <= TOLERANCE
    assert largest_difference(adapted("full")(tensor("x")), published) > 0.5


@pytest.mark.parametrize(
    ("case", "inputs", "x"),
    [("full", 8, "x"), ("nobias", 8, "x"), ("mm5", 5, "x5"), ("2shot_padded", 8, "x"), ("rot", 8, "iso/x_rot")],
)
def test_the_folded_projector_is_the_published_one(case: str, inputs: int, x: str) -> None:
    model = adapted(case, inputs)
    fold_adapters(model)
    for index, layer in enumerate(LAYERS):
        weight, bias = model.get_submodule(layer).parameters()
        assert largest_difference(weight, semi()[f"fold_att_{case}/W{index}"]) <= TOLERANCE
        assert largest_difference(bias, semi()[f"fold_att_{case}/b{index}"]) <= TOLERANCE
    assert largest_difference(model(tensor(x)), semi()[f"fold_att_{case}/out"]) <= TOLERANCE


@pytest.mark.parametrize(("case", "x"), [("2shot_padded", "x"), ("rot", "iso/x_rot")])
def test_a_fold_of_the_adapters_of_another_sequence_is_not_the_published_one(case: str, x: str) -> None:
    model = adapted("full")
    fold_adapters(model)
    assert largest_difference(model[0].weight, semi()[f"fold_att_{case}/W0"]) > 5e-3
    assert largest_difference(model(tensor(x)), semi()[f"fold_att_{case}/out"]) > 1e-2


def test_a_fold_without_the_generated_biases_is_not_the_published_one() -> None:
    model = projector()
    attach_adapters(model, {name: LowRankAdapter(each.a, each.b) for name, each in adapters("full").items()})
    assert largest_difference(model(tensor("x")), semi()["fold_att_full/out"]) > 1e-2


def test_factors_that_are_not_transposed_are_not_the_published_ones() -> None:
    values = torch.cat([tensor(f"gen_att_full/{name}1_flat") for name in "AB"])
    right = generated_adapter(values, inputs=12, outputs=12, rank=2)
    wrong = LowRankAdapter(values[:24].reshape(2, 12), values[24:].reshape(12, 2))
    change = semi()["fold_att_full/W1"] - semi()["proj/net.3.weight"]
    assert largest_difference(right.update(), change) <= TOLERANCE
    assert largest_difference(wrong.update(), change) > 1e-2


@pytest.mark.parametrize("kind", ["narrowed", "cropped"])
def test_a_narrower_encoder_gets_the_first_inputs_of_layer_and_adapter(kind: str) -> None:
    full, narrow = projector(), narrowed_linear(projector()[0], 5)
    if kind == "cropped":
        values = torch.from_numpy(generated_values("support/z_full")[0])
        attach_adapters(full, {"0": generated_adapter(values, inputs=8, outputs=12, rank=2)})
        attach_adapters(narrow, {"weight": generated_adapter(values, inputs=8, outputs=12, rank=2, kept_inputs=5)})
    padded = torch.cat([tensor("x5"), torch.zeros(5, 3)], dim=1)
    assert largest_difference(narrow(tensor("x5")), full[0](padded).detach().numpy()) <= TOLERANCE


def test_a_crop_of_the_last_inputs_gives_another_layer() -> None:
    adapter = adapters("full")["0"]
    cropped = LowRankAdapter(adapter.a[:, 3:], adapter.b, adapter.bias)
    narrow = narrowed_linear(projector()[0], 5)
    attach_adapters(narrow, {"weight": cropped})
    assert largest_difference(narrow.weight, semi()["fold_att_full/W0"][:, :5]) > 1e-3


def two_generated(layer: int) -> list[LowRankAdapter]:
    inputs = (8, 12)[layer]
    values = [torch.from_numpy(generated_values(f"support/z_{name}")[layer]) for name in ("full", "second")]
    return [generated_adapter(each, inputs=inputs, outputs=12, rank=2) for each in values]


def test_the_hypernetwork_of_these_tests_is_the_published_one() -> None:
    for layer in range(2):
        expected = adapters("full")[LAYERS[layer]]
        assert largest_difference(two_generated(layer)[0].a, expected.a.numpy()) <= TOLERANCE
        assert largest_difference(two_generated(layer)[0].bias, expected.bias.numpy()) <= TOLERANCE


def test_the_mean_of_two_generated_adapters_folds_to_the_published_projector() -> None:
    model = projector()
    attach_adapters(model, {layer: average_factors(two_generated(index)) for index, layer in enumerate(LAYERS)})
    fold_adapters(model)
    for index, layer in enumerate(LAYERS):
        weight, bias = model.get_submodule(layer).parameters()
        assert largest_difference(weight, semi()[f"fold_avg_two_adapters/W{index}"]) <= TOLERANCE
        assert largest_difference(bias, semi()[f"fold_avg_two_adapters/b{index}"]) <= TOLERANCE
    assert largest_difference(model(tensor("x")), semi()["fold_avg_two_adapters/out"]) <= TOLERANCE


def test_the_mean_of_their_updates_is_another_one() -> None:
    change = semi()["fold_avg_two_adapters/W0"] - semi()["proj/net.0.weight"]
    updates = [adapter.update() for adapter in two_generated(0)]
    exact = average_updates(two_generated(0)).update()
    np.testing.assert_allclose(exact, (updates[0] + updates[1]) / 2, rtol=0, atol=1e-12)
    assert largest_difference(exact, change) > 1e-4


def lora_baseline(alpha: float | None) -> nn.Sequential:
    model = projector("lora/projector.net.")
    for index, layer in enumerate(LAYERS):
        a, b = (tensor(f"lora/lora_adapters.loras.{index}.{name}") for name in "AB")
        attach_adapters(model, {layer: LowRankAdapter(a.t(), b.t(), alpha=alpha)})
    return model


def test_the_lora_baseline_and_its_fold_give_the_published_outputs() -> None:
    model = lora_baseline(alpha=4)
    assert largest_difference(model(tensor("x")), semi()["lora_out"]) <= TOLERANCE
    fold_adapters(model)
    assert largest_difference(model[0].weight, semi()["lora_fold/W0"]) <= TOLERANCE
    assert largest_difference(model[3].weight, semi()["lora_fold/W1"]) <= TOLERANCE
    assert largest_difference(model(tensor("x")), semi()["lora_fold/out"]) <= TOLERANCE


def test_the_lora_baseline_without_its_scale_gives_another_output() -> None:
    assert largest_difference(lora_baseline(alpha=None)(tensor("x")), semi()["lora_out"]) > 1e-2
