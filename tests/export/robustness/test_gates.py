"""A bundle that is not as good as its recipe asks is refused, with every gate that it misses."""

import pickle

import pytest
from pydantic import ValidationError
from torch import nn

from onepath.contract.errors import GateError
from onepath.export.recipe.gates import Gates, named_patterns
from onepath.export.robustness import check_gates
from tests.export.robustness.adder import TARGETS, source_of_votes

MODALITIES = ("image", "audio")
# Of the report: image is right in 9 of 12 rows, audio and both in 6; image agrees with both in 5; zeros for audio
# leave image right in 4, zeros for the image change nothing; the encoders are as good as the patterns of one.


def missed(report, gates, *, bundle="adder", modalities=MODALITIES):
    """Return the gates that a report misses, with what was found."""
    try:
        check_gates(report, Gates.model_validate(gates), bundle, modalities=modalities)
    except GateError as error:
        return dict(error.missed)
    return {}


@pytest.mark.parametrize(
    "met",
    [
        {},
        {"min_accuracy": {"image": 0.75, "audio": 0.5, "all": 0.5}},
        {"min_accuracy": 0.5},
        {"min_accuracy": {"any": 0.5}},
        {"max_loss_against_encoder": 0.0},
        {"min_gain_over_zero_filling": {"image": 0.416, "audio": 0.0}},
        {"min_agreement": {"image": 0.41, "audio": 1.0}},
    ],
)
def test_a_gate_that_is_just_met_passes(report, met):
    assert missed(report, met) == {}


@pytest.mark.parametrize(
    ("gates", "names"),
    [
        ({"min_accuracy": {"image": 0.76}}, ["min_accuracy.image"]),
        ({"min_accuracy": {"all": 0.51}}, ["min_accuracy.image+audio"]),
        ({"min_accuracy": {"audio+image": 0.51}}, ["min_accuracy.image+audio"]),
        ({"min_accuracy": 0.51}, ["min_accuracy.audio", "min_accuracy.image+audio"]),
        ({"min_gain_over_zero_filling": {"image": 0.42}}, ["min_gain_over_zero_filling.image"]),
        ({"min_gain_over_zero_filling": 0.01}, ["min_gain_over_zero_filling.audio"]),
        ({"min_agreement": 0.42}, ["min_agreement.image"]),
    ],
)
def test_a_gate_that_is_just_missed_does_not(report, gates, names):
    assert list(missed(report, gates)) == names


def test_every_gate_that_is_missed_is_listed_with_what_was_measured(report):
    gates = Gates(min_accuracy={"image": 0.8, "all": 0.95}, min_agreement=0.9)
    with pytest.raises(GateError) as caught:
        check_gates(report, gates, "adder", modalities=MODALITIES)
    assert str(caught.value).splitlines() == [
        "the bundle adder misses gates of its recipe, and was not written:",
        "  gates.min_accuracy.image: accuracy is 75.0 % (95 % interval 46.8 to 91.1, 12 rows), and at least 80.0 % is "
        "asked",
        "  gates.min_accuracy.image+audio: accuracy is 50.0 % (95 % interval 25.4 to 74.6, 12 rows), and at least "
        "95.0 % is asked",
        "  gates.min_agreement.image: agreement is 41.7 % (95 % interval 19.3 to 68.0, 12 rows), and at least 90.0 % "
        "is asked",
        "Train its models for longer or merge them otherwise, or change these gates in the recipe",
    ]
    assert dict(pickle.loads(pickle.dumps(caught.value)).missed) == dict(caught.value.missed)


def test_a_pattern_that_is_better_than_its_encoder_has_lost_nothing(report_of):
    found = report_of(encoders={"audio": lambda rows: rows.roll(1, dims=1)})  # two classes off, or one: never right
    assert found.encoders["audio"].value == 0.0
    assert missed(found, {"max_loss_against_encoder": 0.0}) == {}


def test_a_pattern_that_is_worse_than_its_encoder_is_told_by_how_much(report_of):
    better = report_of(encoders={"image": _Knowing()})
    assert better.encoders["image"].value == 1.0
    assert missed(better, {"max_loss_against_encoder": 0.25}) == {}
    (finding,) = missed(better, {"max_loss_against_encoder": 0.24}).values()
    assert finding.startswith("against the encoder alone is -25.0 points (95 % interval")
    assert finding.endswith("12 rows), and at least -24.0 points is asked")


class _Knowing(nn.Module):
    """Answers the targets of the twelve rows, whatever it sees."""

    def __init__(self):
        super().__init__()
        self.row = 0

    def forward(self, values):
        wanted = TARGETS[self.row : self.row + len(values)]
        self.row += len(values)
        return nn.functional.one_hot(values.new_tensor(wanted).long(), 3).float()


def test_the_number_of_a_pattern_counts_before_that_of_any(report):
    assert missed(report, {"min_accuracy": {"any": 0.7, "audio": 0.5, "all": 0.5}}) == {}
    assert list(missed(report, {"min_accuracy": {"any": 0.4, "audio": 0.6}})) == ["min_accuracy.audio"]


def test_confident_asks_it_of_the_worse_end_of_the_interval(report):
    assert missed(report, {"min_accuracy": {"image": 0.46}, "confident": True}) == {}
    (finding,) = missed(report, {"min_accuracy": {"image": 0.47}, "confident": True}).values()
    assert finding.endswith("at least 47.0 % is asked of the interval's lower end")


def test_a_pattern_that_the_bundle_has_not_is_skipped(report):
    gates = {"min_accuracy": {"image+text": 0.9, "all": 0.9}}
    assert missed(report, gates, modalities=("image", "audio", "text")) == {}
    assert list(missed(report, gates)) == ["min_accuracy.image+audio"]


def test_gates_that_name_bundles_hold_for_these_alone(report):
    gates = {"min_accuracy": 0.9, "bundles": ["other"]}
    assert missed(report, gates) == {}
    assert len(missed(report, gates, bundle="other")) == 3


def test_accuracy_without_targets_cannot_be_measured_and_is_a_miss(report_of):
    without = report_of(targets=[])
    found = missed(without, {"min_accuracy": 0.1, "max_loss_against_encoder": 0.9, "min_agreement": 0.4})
    assert list(found) == ["min_accuracy", "max_loss_against_encoder"]
    assert {*found.values()} == {"cannot be measured: the held-out rows have no targets"}


def test_a_loss_without_any_encoder_is_a_miss(report_of):
    (finding,) = missed(report_of(encoders={}), {"max_loss_against_encoder": 0.9}).values()
    assert finding.startswith("cannot be measured: there is no encoder to compare with")


def test_one_number_for_every_loss_skips_a_modality_that_has_no_encoder_and_its_own_does_not(report_of):
    half = report_of(encoders={"audio": nn.Identity()})
    assert missed(half, {"max_loss_against_encoder": 0.0}) == {}
    assert missed(half, {"max_loss_against_encoder": {"image": 0.0}}) == {
        "max_loss_against_encoder.image": "cannot be measured: there is no encoder of image"
    }


def test_a_modality_that_says_why_it_has_no_encoder_is_a_miss_with_the_reason(report_of):
    half = report_of(encoders={"audio": nn.Identity()}, without_encoder={"image": "nobody trained it"})
    assert half.encoders_left_out == {"image": "nobody trained it"}
    assert missed(half, {"max_loss_against_encoder": 0.0}) == {
        "max_loss_against_encoder.image": "cannot be measured: the encoder was left out since nobody trained it"
    }
    assert missed(half, {"max_loss_against_encoder": {"audio": 0.0}}) == {}


def test_an_encoder_that_was_left_out_is_a_miss_with_the_reason(report_of):
    broken = report_of(encoders={"image": nn.Linear(3, 5), "audio": nn.Identity()})
    (finding,) = missed(broken, {"max_loss_against_encoder": 0.9}).values()
    assert finding.startswith("cannot be measured: the encoder was left out since it gives 5 numbers a row")


def test_a_pattern_that_was_not_measured_is_a_miss(report_of):
    required = report_of(source=source_of_votes(required=["audio"]))
    assert missed(required, {"min_accuracy": {"image": 0.1}}) == {
        "min_accuracy.image": "cannot be measured: the model does not accept this pattern, or it is none of those that "
        "were sampled"
    }


def test_the_patterns_that_gates_name_are_told_so_that_a_sample_has_them():
    gates = Gates(min_accuracy={"any": 0.5, "audio + image": 0.6}, min_agreement={"all": 0.5, "image": 0.4})
    assert named_patterns(gates, ("image", "audio")) == [("audio", "image"), ("image", "audio"), ("image",)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_accuracy": 95},
        {"min_accuracy": {"image": 0}},
        {"min_accuracy": {"image": "good"}},
        {"max_loss_against_encoder": -0.1},
        {"min_gain_over_zero_filling": 1},
        {"min_agreement": {"image": float("nan")}},
        {"max_accuracy": 0.5},
    ],
)
def test_numbers_that_could_not_be_missed_or_met_are_refused(wrong):
    with pytest.raises(ValidationError):
        Gates.model_validate(wrong)
