import pickle

import pytest

from onepath.contract.errors import (
    BundleIntegrityError,
    DeadlineExceededError,
    MissingExtraError,
    OnepathError,
    ParityError,
    RecipeError,
    UnknownPluginError,
    UnsupportedModuleError,
)

ERRORS = [
    RecipeError("recipe.yaml", [("bundles.a", "has no model"), ("", "is empty")]),
    MissingExtraError("onnxruntime", "serve", purpose="scoring"),
    UnsupportedModuleError("blocks.0", "its weight is quantised", "collapse before quantising"),
    ParityError("onnx", error=0.5, tolerance=1e-5, where="batch 1"),
    BundleIntegrityError("graph.onnx", "was changed", root="build/digits"),
    DeadlineExceededError("127.0.0.1:8001", 2.0),
    UnknownPluginError("no such thing", group="onepath.modalities", name="smell", known=["image"]),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_an_error_survives_pickling_with_its_message_and_data(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_error_is_an_onepath_error(error):
    assert isinstance(error, OnepathError)


def test_a_recipe_error_lists_every_problem_with_its_path():
    assert str(ERRORS[0]).splitlines()[1:] == ["  bundles.a: has no model", "  (top): is empty"]


def test_a_missing_extra_says_what_to_type():
    assert 'pip install "onepath[serve]"' in str(ERRORS[1])


def test_an_integrity_error_names_the_file():
    assert ERRORS[4].path == "graph.onnx"
    assert "graph.onnx" in str(ERRORS[4])
