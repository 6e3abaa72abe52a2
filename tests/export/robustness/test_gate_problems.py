"""What is wrong with the gates of a recipe is told before anything is trained."""

import pytest

from onepath.export.recipe import Recipe
from onepath.export.recipe.gate_problems import gates_problems
from onepath.export.recipe.gates import Gates


def recipe(**changes):
    base = {
        "name": "adder",
        "task": "classification",
        "labels": ["no", "yes"],
        "code": "train.py",
        "modalities": {"image": {"kind": "image"}, "audio": {"kind": "audio"}, "text": {"kind": "text"}},
        "bundles": {"adder": {"model": "merged"}, "adder-text": {"model": "encoder", "source": "text"}},
    }
    return Recipe.model_validate(base | changes)


def problems(gates, *, known=None, **changes):
    return gates_problems(Gates.model_validate(gates), recipe(**changes), **(known or {}))


ONLY_TEXT = {"adder-text": {"model": "encoder", "source": "text"}}
REQUIRED = {
    "image": {"kind": "image"},
    "audio": {"kind": "audio"},
    "text": {"kind": "text", "absent": "required"},
}


@pytest.mark.parametrize(
    "gates",
    [
        {},
        {
            "min_accuracy": {"text": 0.6, "image+audio": 0.9, "all": 0.95, "any": 0.5},
            "max_loss_against_encoder": 0.02,
            "min_gain_over_zero_filling": 0.0,
            "min_agreement": {"audio + text": 0.8},
            "bundles": ["adder"],
        },
        {"max_loss_against_encoder": {"any": 0.5, "text": 0.1}},
    ],
)
def test_gates_that_can_be_measured_are_fine(gates):
    assert problems(gates) == []


@pytest.mark.parametrize(
    ("gates", "problem"),
    [
        (
            {"min_accuracy": {"image+adio": 0.9}},
            (
                "gates.min_accuracy.image+adio",
                "'adio' is not one of the modalities (did you mean 'audio'?); known: image, audio, text",
            ),
        ),
        ({"min_accuracy": {"text+text": 0.9}}, ("gates.min_accuracy.text+text", "names a modality twice")),
        (
            {"min_agreement": {"image+text": 0.9, "text+image": 0.8}},
            ("gates.min_agreement.text+image", "is the same pattern as 'image+text'; keep one of them"),
        ),
        (
            {"min_accuracy": {"all": 0.9, "text+image+audio": 0.8}},
            ("gates.min_accuracy.text+image+audio", "is the same pattern as 'all'; keep one of them"),
        ),
        (
            {"max_loss_against_encoder": {"image+text": 0.1}},
            (
                "gates.max_loss_against_encoder.image+text",
                "holds for no bundle: it is for patterns of one modality, and image+text has 2; leave it out",
            ),
        ),
        (
            {"min_agreement": {"all": 0.9}},
            (
                "gates.min_agreement.all",
                "holds for no bundle: it is for patterns that lack something, and image+audio+text lacks nothing; "
                "leave it out",
            ),
        ),
        ({"bundles": ["ader"]}, ("gates.bundles.0", "'ader' is no bundle (did you mean 'adder'?)")),
    ],
)
def test_a_gate_that_is_wrong_is_told_with_its_place(gates, problem):
    assert problems(gates) == [problem]


def test_a_gate_that_no_bundle_has_the_pattern_for_is_told():
    (found,) = problems({"min_accuracy": {"image": 0.5, "text": 0.5}}, bundles=ONLY_TEXT)
    assert found == ("gates.min_accuracy.image", "holds for no bundle: none has image; leave it out")


def test_the_bundles_that_gates_name_are_those_that_count():
    (found,) = problems({"min_accuracy": {"image": 0.5}, "bundles": ["adder-text"]})
    assert found[0] == "gates.min_accuracy.image"


@pytest.mark.parametrize("gate", ["min_gain_over_zero_filling", "min_agreement"])
def test_where_nothing_can_be_missing_no_gate_can_compare_with_it(gate):
    (found,) = problems({gate: 0.5}, bundles=ONLY_TEXT)
    assert found == (
        f"gates.{gate}",
        "holds for no bundle: it is for patterns that lack something, and none has one; leave it out",
    )
    assert problems({gate: 0.5}) == []


def test_a_pattern_without_what_is_required_is_answered_by_no_bundle():
    (found,) = problems({"min_accuracy": {"image": 0.5, "text": 0.5}}, modalities=REQUIRED)
    assert found == (
        "gates.min_accuracy.image",
        "holds for no bundle: text is required, and a row with image alone fails; leave it out",
    )


def test_a_fused_model_may_have_any_modality_until_it_is_trained():
    bundles = {"stack": {"model": "fused", "source": "stack"}}
    gates = {"min_accuracy": {"image+text": 0.5}}
    assert problems(gates, bundles=bundles) == []
    assert problems(gates, bundles=bundles, known={"fused": {"stack": ("audio", "text", "image")}}) == []
    (found,) = problems(gates, bundles=bundles, known={"fused": {"stack": ("audio", "text")}})
    assert found[1] == "holds for no bundle: none has image+text; leave it out"


@pytest.mark.parametrize("gate", ["min_accuracy", "max_loss_against_encoder"])
def test_what_needs_targets_is_refused_where_there_are_none(gate):
    assert problems({gate: 0.5}, known={"has_targets": True}) == []
    (found,) = problems({gate: 0.5, "min_agreement": 0.5}, known={"has_targets": False})
    assert found == (
        f"gates.{gate}",
        "cannot be measured: the held-out rows have no targets; give them, or leave the gate out",
    )


def test_a_file_of_rows_without_labels_has_no_targets():
    from_file = {
        "code": None,
        "rows": "rows.jsonl",
        "task": "embedding",
        "labels": [],
        "parents": {"reader": {"build": "models.py:reader"}},
        "bundles": {"adder-text": {"model": "encoder", "source": "reader", "modality": "text"}},
    }
    (found,) = problems({"min_accuracy": 0.5}, **from_file)
    assert "have no targets" in found[1]


def test_a_modality_named_as_a_word_of_the_gates_cannot_have_one():
    modalities = {"any": {"kind": "image"}, "text": {"kind": "text"}}
    (found,) = problems({"min_accuracy": {"any": 0.5}}, modalities=modalities)
    assert found == ("gates.min_accuracy.any", "is a modality's name too; rename the modality 'any'")
