"""A model says what its numbers mean beside its weights: two that compute differently have two descriptions."""

import functools
import json
from collections.abc import Callable

import pytest
from torch import nn

from onepath.export.collapse import collapse
from onepath.merging.lego import LegoBlock, LegoFuse, LegoMerge
from onepath.merging.lego.methods import harmonic, sum_
from tests.merging.lego.small_blocks import small_block, small_blocks


def own_method(spectra, present, weights):
    return sum_(spectra, present, weights)


def harmonic_of_ones_own(spectra, present, weights):
    return sum_(spectra, present, weights)


harmonic_of_ones_own.__name__ = "harmonic"

MERGES = {
    "plain": lambda: LegoMerge(small_blocks()),
    "method": lambda: LegoMerge(small_blocks(), method="sum"),
    "own method": lambda: LegoMerge(small_blocks(), method=own_method),
    "own method with the name of a plug-in": lambda: LegoMerge(small_blocks(), method=harmonic_of_ones_own),
    "callable object": lambda: LegoMerge(small_blocks(), method=functools.partial(sum_)),
    "head": lambda: LegoMerge(small_blocks(), head="linear"),
    "weights": lambda: LegoMerge(small_blocks(), weights={"b": 2}),
    "weights of another": lambda: LegoMerge(small_blocks(), weights={"a": 2}),
    "order of modalities": lambda: LegoMerge(small_blocks("cba")),
    "fewer": lambda: LegoMerge(small_blocks("ab")),
    "block form": lambda: LegoMerge(small_blocks(track_imaginary=False)),
    "stack": lambda: LegoFuse(small_blocks()),
    "weave": lambda: LegoFuse(small_blocks(), order="weave"),
    "fuse head": lambda: LegoFuse(small_blocks(), head="linear"),
    "fuse weights": lambda: LegoFuse(small_blocks(), weights={"b": 2}),
    "fuse block form": lambda: LegoFuse(small_blocks(normalise=False)),
    "published": lambda: LegoFuse(small_blocks(), compat="published"),
    "block": lambda: small_block("a"),
    "block without imaginary part": lambda: small_block("a", track_imaginary=False),
    "block over features": lambda: small_block("a", fourier_dim=2),
    "block of a bag": lambda: small_block("a", context_fft=False),
    "published block": lambda: small_block("a", compat="published"),
    "published merge": lambda: LegoMerge(small_blocks(), compat="published"),
}
COLLAPSIBLE = [name for name in MERGES if "published" not in name]


def text(model: nn.Module) -> str:
    return json.dumps(model.description(), sort_keys=True, allow_nan=False)


def test_models_that_differ_in_anything_but_weights_have_different_descriptions() -> None:
    assert len({text(make()) for make in MERGES.values()}) == len(MERGES)


def test_collapsed_models_differ_as_their_sources_do() -> None:
    assert len({text(collapse(MERGES[name]())[0]) for name in COLLAPSIBLE}) == len(COLLAPSIBLE)


@pytest.mark.parametrize("make", MERGES.values(), ids=list(MERGES))
def test_equal_models_have_equal_descriptions(make: Callable[[], nn.Module]) -> None:
    assert text(make()) == text(make())


@pytest.mark.parametrize("name", COLLAPSIBLE)
def test_a_collapsed_model_describes_its_source_and_that_it_is_collapsed(name: str) -> None:
    model = MERGES[name]()
    assert collapse(model)[0].description() == {**model.description(), "collapsed": True}


def test_a_merge_method_is_the_same_by_name_and_as_a_function() -> None:
    assert text(LegoMerge(small_blocks(), method="harmonic")) == text(LegoMerge(small_blocks(), method=harmonic))
    assert text(LegoMerge(small_blocks(), method="sum")) == text(LegoMerge(small_blocks(), method=sum_))


def test_the_description_of_a_merge_is_literally_this() -> None:
    block = LegoBlock(nn.Linear(5, 12), small_block("a").settings)
    assert LegoMerge({"a": block}, method="mean", head="linear", weights={"a": 0.5}).description() == {
        "kind": "lego_merge",
        "modalities": ["a"],
        "method": "mean",
        "compat": None,
        "head": "linear",
        "weights": {"a": 0.5},
        "settings": {
            "a": {
                "feature_dim": 7,
                "classes": 3,
                "latents": 6,
                "width": 8,
                "depth": 2,
                "heads": 2,
                "head_width": 4,
                "tokens": 1,
                "dropout": 0.0,
                "frequency_domain": True,
                "normalise": True,
                "track_imaginary": True,
                "share_layers": False,
                "fourier_dim": 1,
                "context_fft": True,
                "compat": None,
            }
        },
    }


def test_the_description_of_a_chain_has_its_order() -> None:
    described = LegoFuse(small_blocks("ba"), order="weave").description()
    assert {key: described[key] for key in ("kind", "modalities", "order", "compat", "head", "weights")} == {
        "kind": "lego_fuse",
        "modalities": ["b", "a"],
        "order": "weave",
        "compat": None,
        "head": "slerp",
        "weights": {"b": 1.0, "a": 1.0},
    }


def test_a_function_that_is_no_plug_in_is_named_with_its_module() -> None:
    described = LegoMerge(small_blocks(), method=own_method).description()
    assert described["method"] == "tests.merging.lego.test_description.own_method"


def test_changing_a_description_does_not_change_the_next_one() -> None:
    collapsed, _ = collapse(LegoMerge(small_blocks()))
    before = text(collapsed)
    collapsed.description()["settings"]["a"]["width"] = 0
    assert text(collapsed) == before
