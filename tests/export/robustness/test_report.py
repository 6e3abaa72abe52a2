"""What a robustness report measures, on models whose accuracy can be counted by hand."""

import json
import re

import numpy as np
import pytest
import torch
from torch import nn

from onepath.contract.errors import RecipeError
from onepath.export.robustness import ReportSettings, robustness_report
from onepath.export.robustness.intervals import wilson
from onepath.export.robustness.report import chosen_rows
from onepath.export.rows import RowSource
from tests.export.robustness.adder import (
    AUDIO_RIGHT,
    CLASSES,
    IMAGE_RIGHT,
    NO_BIAS,
    TARGETS,
    entries,
    rows_of_votes,
    source_of_vectors,
    source_of_votes,
    votes,
    write_adder,
)


def values(report, figure=lambda result: result.metric):
    return {result.present: figure(result).value for result in report.patterns}


def test_each_pattern_has_the_accuracy_of_what_is_present(report):
    assert report.metric == "accuracy"
    assert values(report) == {("image",): 9 / 12, ("audio",): 6 / 12, ("image", "audio"): 6 / 12}


def test_the_full_patterns_accuracy_is_the_reports(report):
    assert report.accuracy == sum(AUDIO_RIGHT) / 12


def test_an_accuracy_has_wilsons_interval(report):
    image = report.pattern(["image"]).metric
    assert (image.low, image.high) == pytest.approx(wilson(9, 12), abs=1e-6)


def test_exchanging_two_modalities_changes_the_report(report, report_of):
    exchanged = [{"image": row["audio"], "audio": row["image"]} for row in rows_of_votes()]
    assert values(report_of(source=source_of_votes(exchanged)))[("image",)] == 6 / 12
    assert values(report_of(source=source_of_votes(exchanged))) != values(report)


def test_agreement_is_with_the_answer_to_the_full_row(report):
    both = sum(image == audio for image, audio in zip(IMAGE_RIGHT, AUDIO_RIGHT, strict=True))
    assert values(report, lambda result: result.agreement) == {
        ("image",): round(both / 12, 6),
        ("audio",): 1.0,
        ("image", "audio"): 1.0,
    }


def test_a_model_that_takes_zeros_for_a_vote_is_worse_by_zero_filling(report):
    zeros = report.pattern(["image"]).zero_filling
    assert zeros.metric.value == round(TARGETS.count(0) / 12, 6)  # audio's bias answers class 0 in every row
    assert zeros.gain.value == round(9 / 12 - 4 / 12, 6)
    assert report.pattern(["audio"]).zero_filling.gain.value == 0.0  # the image has no bias


def test_zero_filling_that_changes_no_answer_gains_nothing(report_of):
    gains = [result.zero_filling.gain.value for result in report_of("plain").patterns[:-1]]
    assert gains == [0.0, 0.0]


def test_nothing_is_filled_in_where_nothing_is_missing(report):
    assert report.full.zero_filling is None


def test_an_encoder_is_measured_alone_on_the_same_rows(report):
    assert {name: each.value for name, each in report.encoders.items()} == {"image": 9 / 12, "audio": 6 / 12}


def test_a_pattern_is_compared_with_every_encoder_row_by_row(report):
    gains = report.pattern(["image"]).gain_over_encoder
    assert {name: gain.value for name, gain in gains.items()} == {"image": 0.0, "audio": 0.25}
    only_image = sum(image and not audio for image, audio in zip(IMAGE_RIGHT, AUDIO_RIGHT, strict=True))
    only_audio = sum(audio and not image for image, audio in zip(IMAGE_RIGHT, AUDIO_RIGHT, strict=True))
    difference = (only_image - only_audio) / 14  # Bonett and Price: two rows more, one of each kind
    half = 1.959964 * (((only_image + only_audio + 2) / 14 - difference**2) / 14) ** 0.5
    assert (gains["audio"].low, gains["audio"].high) == pytest.approx((difference - half, difference + half), abs=1e-5)


def test_without_targets_the_metric_is_agreement(report_of, report):
    without = report_of(targets=[])
    assert (without.metric, without.accuracy) == ("agreement", None)
    assert values(without) == values(report, lambda result: result.agreement)


@pytest.mark.parametrize(
    ("encoder", "reason"),
    [
        (nn.Linear(CLASSES, 5), "gives 5 numbers a row, and the model 3"),
        (nn.Linear(CLASSES + 1, CLASSES), "raised RuntimeError"),
        (lambda rows: {"scores": rows}, "gives dict"),
        (lambda rows: rows[:, 0], r"gives \[5\]"),
        (lambda rows: rows[:1], "gives 3 rows for 12"),
        (lambda rows: rows / 0, "not finite"),
    ],
)
def test_an_encoder_that_does_not_fit_is_left_out_with_the_reason(report_of, encoder, reason):
    found = report_of(encoders={"image": encoder, "audio": nn.Identity()})
    assert list(found.encoders) == list(found.full.gain_over_encoder) == ["audio"]
    assert list(found.encoders_left_out) == ["image"]
    assert re.search(reason, found.encoders_left_out["image"])


def test_encoders_of_other_modalities_are_ignored(report_of):
    assert report_of(encoders={"smell": nn.Identity()}).encoders == {}


def test_an_encoder_runs_in_eval_mode_and_is_left_as_it_was(report_of):
    encoder = nn.Sequential(nn.Dropout(0.9), nn.Sequential(nn.Dropout(0.9)).eval())
    found = report_of(encoders={"image": encoder})
    assert found.encoders["image"].value == 9 / 12
    assert [part.training for part in encoder.modules()] == [True, True, False, False]


def test_equal_arguments_give_equal_reports(report_of, report):
    assert json.dumps(report_of().as_json()) == json.dumps(report.as_json())


@pytest.mark.parametrize("size", [1, 12, 100])
def test_the_batch_size_changes_nothing(report_of, report, size):
    assert report_of(settings=ReportSettings(max_batch_size=size)) == report


def test_rows_are_decoded_once_whatever_the_number_of_patterns(report_of):
    decoded = []

    class CountedRows(RowSource):
        def decoded(self, title, rows):
            decoded.extend(rows)
            return super().decoded(title, rows)

    source = source_of_votes()
    report_of(source=CountedRows(source.modalities, source.assets, source.rows))
    assert decoded == source.rows


def test_more_rows_than_asked_for_are_drawn_by_the_seed(report_of):
    found = report_of(settings=ReportSettings(max_batch_size=5, rows=8, seed=1))
    kept = chosen_rows(12, 8, 1)
    assert (found.rows, found.rows_available, len({*kept})) == (8, 12, 8)
    assert values(found)[("image",)] == sum(IMAGE_RIGHT[row] for row in kept) / 8
    assert kept == sorted(kept)
    assert kept != chosen_rows(12, 8, 2)


def test_targets_that_are_not_one_for_each_row_are_refused(report_of):
    with pytest.raises(RecipeError, match="there are 3, and 12 rows"):
        report_of(targets=[0, 1, 2])


def test_only_patterns_that_hold_what_is_required_are_measured(report_of):
    found = report_of(source=source_of_votes(required=["audio"]))
    assert [result.present for result in found.patterns] == [("audio",), ("image", "audio")]
    assert (found.patterns_accepted, found.is_sampled) == (2, False)


@pytest.fixture(scope="module")
def seven(tmp_path_factory):
    names = [f"sensor_{index}" for index in range(7)]
    graph = write_adder(tmp_path_factory.mktemp("seven") / "seven.onnx", dict.fromkeys(names, NO_BIAS))
    rows = [{name: votes(target, right=True) for name in names} for target in TARGETS]
    source = RowSource(entries(names), graph.parent, rows)

    def make(**settings):
        chosen = ReportSettings(max_batch_size=12, **settings)
        return robustness_report(
            graph, source=source, targets=TARGETS, task="classification", encoders={}, settings=chosen
        )

    return make


def test_of_seven_modalities_the_patterns_are_a_sample_and_the_report_says_so(seven):
    found = seven(seed=5)
    assert (len(found.patterns), found.patterns_accepted, found.is_sampled) == (64, 127, True)
    assert found == seven(seed=5)
    assert {result.present for result in found.patterns} != {result.present for result in seven(seed=6).patterns}


def test_a_pattern_that_must_be_measured_is_in_the_sample(seven):
    wanted = ("sensor_0", "sensor_3", "sensor_4")
    assert seven(patterns=1).pattern(wanted) is None
    assert seven(patterns=1, always=[wanted]).pattern(wanted).metric.value == 1.0


ANGLES = np.deg2rad([0, 10, 90, 100, 200])


def circle(angles):
    return np.stack([np.cos(angles), np.sin(angles), np.zeros(len(angles))], axis=1)


def embedding_report(report_of, targets, encoders=None):
    source = source_of_vectors({"image": circle(ANGLES), "audio": circle(ANGLES + np.pi / 2)})
    return report_of("plain", source, targets=targets, task="embedding", encoders=encoders or {})


def test_an_embedding_is_right_where_its_nearest_other_row_has_its_target(report_of):
    found = embedding_report(report_of, [0, 0, 1, 2, 2])
    # neighbours: 0 and 10 degrees are each other's, so are 90 and 100, and that of 200 is 100
    assert found.metric == "nearest_neighbour_accuracy"
    assert values(found) == dict.fromkeys([("image",), ("audio",), ("image", "audio")], 3 / 5)


def test_other_targets_give_another_accuracy(report_of):
    assert values(embedding_report(report_of, [0, 0, 1, 1, 2]))[("image",)] == 4 / 5


def test_the_agreement_of_embeddings_is_their_mean_cosine(report_of):
    found = embedding_report(report_of, [])
    cosine = round(np.cos(np.pi / 4), 6)  # the sum of two unit vectors at a right angle
    assert found.metric == "agreement"
    assert values(found) == {("image",): cosine, ("audio",): cosine, ("image", "audio"): 1.0}
    assert not found.is_share("agreement")


def test_an_encoder_of_embeddings_may_have_another_width_where_there_are_targets(report_of):
    encoder = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        encoder.weight.copy_(torch.eye(3)[:2])
    found = embedding_report(report_of, [0, 0, 1, 2, 2], {"image": encoder})
    assert found.encoders["image"].value == 3 / 5
    assert (
        "gives 2 numbers a row, and the model 3"
        in (embedding_report(report_of, [], {"image": encoder}).encoders_left_out["image"])
    )


def test_a_row_of_zeros_agrees_with_nothing(report_of):
    vectors = {"image": np.zeros((5, 3)), "audio": circle(ANGLES)}
    found = report_of("plain", source_of_vectors(vectors), targets=[], task="embedding", encoders={})
    assert values(found)[("image",)] == 0.0


def test_the_report_says_how_its_figures_are_made(report, report_of):
    assert "Wilson" in report.notes["intervals"]
    assert "Student" not in report.notes["intervals"]
    assert "Student" in embedding_report(report_of, [0, 0, 1, 2, 2]).notes["intervals"]
