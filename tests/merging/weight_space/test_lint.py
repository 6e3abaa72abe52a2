"""The linter finds each planted fault by the tensor's name, and is silent on healthy merges."""

import pytest
import torch

from onepath.contract.plugins import known_plugins
from onepath.merging.weight_space import lint_state_dict, merge_state_dicts
from tests.merging.weight_space.small_models import drawn, family

WEIGHTS = {"a": 0.5, "b": 0.5}


def parents(count: int = 2):
    return {name: wide(seed) for seed, name in enumerate("abcdef"[:count])}


def wide(seed: int):
    """Return a model with matrices large enough that two of them are at right angles."""
    generator = torch.Generator().manual_seed(seed)
    return {"fc.weight": torch.randn(64, 64, generator=generator), "norm.weight": torch.ones(64)}


def only(tensors, reference=None):
    findings = lint_state_dict(tensors, reference)
    assert len(findings) == 1, findings
    return findings[0]


@pytest.mark.parametrize("method", known_plugins("onepath.weight_merges"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_healthy_merge_has_no_findings(method: str, dtype: torch.dtype) -> None:
    models = family(dtype=dtype)
    for tensors in models.values():
        tensors["head.weight"] = tensors["embed.weight"]
        tensors["zeros"] = torch.zeros(3, 3)
        tensors["steps"] = torch.tensor(3)
        tensors["running_var"] = torch.ones(4)
    merged = merge_state_dicts(method, models, base="base", weights=WEIGHTS).tensors
    assert lint_state_dict(merged, models) == []


def test_a_healthy_model_has_no_findings_without_parents() -> None:
    assert lint_state_dict({**drawn(0), "fc.bias": torch.zeros(4), "ids": torch.arange(4)}) == []


UNREADABLE = {
    "float8_e4m3fn": torch.ones(3, 3).to(torch.float8_e4m3fn),
    "complex64": torch.ones(3, 3, dtype=torch.complex64),
    "sparse_coo": torch.eye(3).to_sparse(),
    "meta device": torch.empty(3, 3, device="meta"),
    "an int, not a tensor": 3,
}


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_looked_over_is_told_by_its_kind(kind: str) -> None:
    tensors = {**drawn(0), "odd": UNREADABLE[kind]}
    for reference in (None, {"a": tensors}):
        finding = only(tensors, reference)
        assert (finding.level, finding.tensor) == ("warning", "odd")
        assert finding.message.startswith("it was not looked over: ")
        assert kind in finding.message


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_nan_and_infinite_values_are_errors(value: float) -> None:
    tensors = drawn(0)
    tensors["embed.weight"][1, 2] = value
    finding = only(tensors, family())
    assert (finding.level, finding.tensor) == ("error", "embed.weight")
    assert "1 of 24" in finding.message


def test_infinite_values_of_a_parent_are_its_own() -> None:
    mask = {"mask": torch.tensor([[0.0, -torch.inf], [0, 0]])}
    assert lint_state_dict(mask, {"a": mask}) == []
    assert only(mask, {"a": {"mask": torch.ones(2, 2)}}).level == "error"


def test_negative_variances_are_errors() -> None:
    assert only({"bn.running_var": torch.tensor([1.0, -0.1])}).level == "error"


def test_zeros_are_found_where_the_parents_have_none() -> None:
    finding = only({**family()["a"], "embed.weight": torch.zeros(6, 4)}, family())
    assert (finding.level, finding.tensor) == ("warning", "embed.weight")
    assert "all values are 0" in finding.message


def test_a_matrix_of_zeros_is_found_without_parents() -> None:
    assert "all values are 0" in only({"fc.weight": torch.zeros(2, 2)}).message


@pytest.mark.parametrize(("factor", "found"), [(0.45, 1), (1.1, 0), (1.9, 0), (2.2, 1)])
def test_norms_outside_half_to_twice_those_of_the_parents_have_drifted(factor: float, found: int) -> None:
    vector = torch.randn(50, generator=torch.Generator().manual_seed(0))
    findings = lint_state_dict({"fc.bias": factor * vector}, {"a": {"fc.bias": vector}})
    assert [finding.message.startswith("its norm is") for finding in findings] == [True] * found


def test_weights_that_do_not_add_up_to_one_are_found_by_their_norms() -> None:
    merged = merge_state_dicts(
        "linear", family(), base="base", weights={"a": 2.0, "b": 2.0}, options={"normalise": False}
    )
    found = lint_state_dict(merged.tensors, family())
    assert {finding.tensor for finding in found} == set(merged.tensors)


@pytest.mark.parametrize(("count", "part"), [(2, "0.71"), (3, "0.58")])
def test_the_mean_of_unaligned_models_is_found_by_how_it_shrank(count: int, part: str) -> None:
    models = parents(count)
    merged = merge_state_dicts("linear", models, weights=dict.fromkeys(models, 1.0)).tensors
    finding = only(merged, models)
    assert finding.tensor == "fc.weight"
    assert f"unrelated ones has {part}" in finding.message


def test_slerp_of_unaligned_models_does_not_shrink() -> None:
    merged = merge_state_dicts("slerp", parents(), weights=WEIGHTS).tensors
    assert lint_state_dict(merged, parents()) == []


def test_a_matrix_that_was_normalised_on_the_way_is_found() -> None:
    models = {name: {"fc.weight": 1.3 * row} for name, row in (("a", torch.eye(2) / 2), ("b", torch.eye(2)))}
    unit = {"fc.weight": torch.eye(2) / 2**0.5}
    assert lint_state_dict(unit, models) == []  # between its parents
    longer = {name: {"fc.weight": 1.7 * tensors["fc.weight"]} for name, tensors in models.items()}
    assert "normalised it" in only(unit, longer).message


def test_gains_far_from_the_parents_are_found() -> None:
    tensors = {**family()["a"]}
    tensors["norm.weight"] = tensors["norm.weight"].clone()
    tensors["norm.weight"][3] = 2.5
    finding = only(tensors, family())
    assert (finding.tensor, finding.message.startswith("gain 3 is 2.5")) == ("norm.weight", True)


def test_tensors_that_were_tied_and_differ_are_found() -> None:
    models = family()
    for tensors in models.values():
        tensors["head.weight"] = tensors["embed.weight"].clone()  # as read from a file
    torn = {**models["a"], "head.weight": 1.01 * models["a"]["embed.weight"]}
    finding = only(torn, models)
    assert (finding.level, finding.tensor) == ("warning", "head.weight")
    assert "embed.weight" in finding.message
    models["b"]["head.weight"] = models["b"]["head.weight"] + 0.01
    assert lint_state_dict(torn, models) == []  # one parent does not tie them


def test_a_dtype_narrower_than_a_parents_is_found() -> None:
    models = {"a": {"fc.bias": torch.ones(2)}, "b": {"fc.bias": torch.ones(2, dtype=torch.bfloat16)}}
    assert "float32 in a" in only(models["b"], models).message
    assert lint_state_dict(models["a"], models) == []


def test_packed_integers_that_differ_are_found() -> None:
    models = {name: {"packed": torch.full((2, 2), value, dtype=torch.uint8)} for name, value in (("a", 1), ("b", 2))}
    assert "packed" in only(merge_state_dicts("linear", models, weights=WEIGHTS).tensors, models).message


def test_tensors_that_no_parent_has_are_only_looked_at_alone() -> None:
    assert lint_state_dict({"new.weight": torch.ones(2, 2)}, {"a": {"new.weight": torch.ones(3, 3)}}) == []
