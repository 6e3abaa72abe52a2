"""A merge method that another distribution brings: its signature says what it needs and which options it has."""

import importlib
from pathlib import Path

import pytest
import torch

from onepath.contract.errors import RecipeError, UnsupportedModuleError
from onepath.merging.weight_space import merge_state_dicts

SOURCE = """
import torch

def largest(tensors, weights: "list[float]", *, times: int, sign: bool = True):
    stacked = torch.stack(list(tensors))
    chosen = stacked.abs().amax(0) * times
    return chosen * stacked.sum(0).sign() if sign else chosen

def flat(tensors, weights: "list[float]"):
    return tensors[0].flatten()
"""
MODELS = {"a": {"w": torch.tensor([[1.0, -4.0]])}, "b": {"w": torch.tensor([[-3.0, 2.0]])}}
WEIGHTS = {"a": 1.0, "b": 1.0}


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "largest_merge-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: largest-merge\nVersion: 1.0\n")
    points = "[onepath.weight_merges]\nlargest = largest_merge:largest\nflat = largest_merge:flat\n"
    (package / "entry_points.txt").write_text(points)
    (tmp_path / "largest_merge.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()


@pytest.mark.usefixtures("_installed")
def test_its_keyword_parameters_are_its_options() -> None:
    merged = merge_state_dicts("largest", MODELS, weights=WEIGHTS, options={"times": 2})
    assert merged.tensors["w"].tolist() == [[-6, -8]]
    merged = merge_state_dicts("largest", MODELS, weights=WEIGHTS, options={"times": 1, "sign": False})
    assert merged.tensors["w"].tolist() == [[3, 4]]


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize(
    ("options", "place"),
    [({}, "options.times"), ({"times": 0.5}, "options.times"), ({"times": 1, "tims": 1}, "options.tims")],
)
def test_its_options_are_checked_by_their_annotations(options: dict, place: str) -> None:
    with pytest.raises(RecipeError) as caught:
        merge_state_dicts("largest", MODELS, weights=WEIGHTS, options=options)
    assert [found for found, _ in caught.value.problems] == [place]


@pytest.mark.usefixtures("_installed")
def test_a_result_of_another_shape_is_refused() -> None:
    with pytest.raises(UnsupportedModuleError, match=r"shape \(2,\) for w, which has \(1, 2\)"):
        merge_state_dicts("flat", MODELS, weights=WEIGHTS)


def test_without_the_distribution_the_method_is_unknown() -> None:
    with pytest.raises(RecipeError, match="has no 'largest'"):
        merge_state_dicts("largest", MODELS, weights=WEIGHTS)
