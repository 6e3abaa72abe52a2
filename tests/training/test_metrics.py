import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import average_precision_score, roc_auc_score

from onepath.contract.errors import MissingExtraError
from onepath.training import TrainingError, UndefinedMetricError
from onepath.training.metrics import (
    accuracy,
    auc,
    bootstrap_interval,
    concordance_index,
    mean_average_precision,
)
from tests.merging.golden import mm_lego

COVERS = ("u.auc.*", "u.cindex.*")


def random_scores(seed: int, *, rows: int = 40, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 7, (rows, classes)) / 7.0, rng.random((rows, classes)) < 0.4  # many ties


def test_accuracy_counts_the_rows_whose_highest_score_is_right():
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7], [0.6, 0.4]])
    assert accuracy(scores, np.array([1, 0, 0, 0])) == 0.75


def test_auc_is_the_published_one():
    arrays = mm_lego()
    found = auc(arrays["u.auc.logits"], np.eye(3, dtype=bool)[arrays["u.auc.y"]])
    assert_allclose(found, arrays["u.auc.macro_ovr"], rtol=1e-9)


def test_another_order_of_scores_is_noticed():
    arrays = mm_lego()
    members = np.eye(3, dtype=bool)[arrays["u.auc.y"]]
    assert_allclose(auc(-arrays["u.auc.logits"], members), 1 - arrays["u.auc.macro_ovr"], rtol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_auc_with_ties_is_that_of_scikit_learn(seed):
    scores, members = random_scores(seed)
    assert_allclose(auc(scores, members), roc_auc_score(members, scores, average="macro"), rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_with_ties_is_that_of_scikit_learn(seed):
    scores, members = random_scores(seed)
    expected = average_precision_score(members, scores, average="macro")
    assert_allclose(mean_average_precision(scores, members), expected, rtol=1e-12)


def test_hard_predictions_give_another_auc_than_scores():
    scores, members = np.array([0.1, 0.6, 0.7, 0.9])[:, None], np.array([False, False, True, True])[:, None]
    assert auc(scores, members) == 1.0
    assert auc((scores > 0.5).astype(float), members) == 0.75


def test_a_class_without_members_is_left_out():
    scores, members = random_scores(0)
    members[:, 1] = False
    others = [0, 2, 3]
    assert_allclose(auc(scores, members), auc(scores[:, others], members[:, others]))
    assert_allclose(
        mean_average_precision(scores, members), mean_average_precision(scores[:, others], members[:, others])
    )


def test_rows_of_one_class_have_no_auc():
    with pytest.raises(UndefinedMetricError, match="all of one class"):
        auc(np.ones((3, 1)), np.ones((3, 1), bool))
    with pytest.raises(UndefinedMetricError, match="no class has a member"):
        mean_average_precision(np.ones((3, 1)), np.zeros((3, 1), bool))


def test_no_row_has_no_accuracy():
    with pytest.raises(UndefinedMetricError, match="no row"):
        accuracy(np.ones((0, 2)), np.ones(0, np.int64))


def test_the_concordance_index_is_the_published_one():
    arrays = mm_lego()
    rows = [arrays[f"u.cindex.{name}"] for name in ("risk", "time", "event")]
    assert_allclose(concordance_index(*rows), arrays["u.cindex.out"][0], rtol=1e-12)
    assert abs(concordance_index(-rows[0], *rows[1:]) - arrays["u.cindex.out"][0]) > 0.1


def test_the_concordance_index_counts_pairs():
    rng = np.random.default_rng(1)
    risks, times, events = rng.normal(size=25), rng.permutation(25) + 1.0, rng.random(25) < 0.6
    pairs = [(i, j) for i in range(25) for j in range(25) if events[i] and times[i] < times[j]]
    assert_allclose(concordance_index(risks, times, events), np.mean([risks[i] > risks[j] for i, j in pairs]))


@pytest.mark.parametrize(("events", "reason"), [([False, False], "censored"), ([False, True], "comparable")])
def test_rows_without_comparable_pairs_have_no_concordance(events, reason):
    with pytest.raises(UndefinedMetricError, match=reason):
        concordance_index(np.array([0.1, 0.2]), np.array([1.0, 2.0]), np.array(events))


@pytest.mark.parametrize(("times", "rows"), [([1.0, 1.0], 2), ([1.0], 1)])
def test_rows_of_one_time_have_no_concordance(times, rows):
    with pytest.raises(UndefinedMetricError, match="no two rows are comparable"):
        concordance_index(np.arange(float(rows)), np.array(times), np.ones(rows, bool))


def test_the_package_of_the_concordance_index_is_named_where_it_lacks(monkeypatch):
    monkeypatch.setitem(sys.modules, "sksurv.metrics", None)
    with pytest.raises(MissingExtraError, match=r"onepath\[survival\]"):
        concordance_index(np.array([0.1, 0.2]), np.array([1.0, 2.0]), np.array([True, True]))


def right_of(right: np.ndarray):
    return lambda positions: float(right[positions].mean())


def test_an_interval_is_as_wide_as_theory_says():
    right = np.arange(400) % 4 != 0
    found = bootstrap_interval(right_of(right), 400, seed=0, resamples=2000)
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert found.value == 0.75
    assert_allclose([found.low, found.high], [0.75 - half, 0.75 + half], atol=0.006)
    narrow = bootstrap_interval(right_of(right), 400, seed=0, resamples=2000, level=0.5)
    assert narrow.high - narrow.low < 0.5 * (found.high - found.low)


def test_an_interval_depends_on_its_seed_only():
    right = np.arange(100) % 3 == 0
    first, again, other = (bootstrap_interval(right_of(right), 100, seed=seed, resamples=50) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_without_resamples_an_interval_is_its_value():
    found = bootstrap_interval(right_of(np.array([1, 0])), 2, seed=0, resamples=0)
    assert (found.value, found.low, found.high, found.resamples) == (0.5, 0.5, 0.5, 0)


def test_resamples_that_do_not_define_the_metric_are_left_out():
    members = np.array([True] * 3 + [False] * 3)[:, None]
    scores = np.linspace(0, 1, 6)[:, None]
    found = bootstrap_interval(lambda rows: auc(scores[rows], members[rows]), 6, seed=0, resamples=500)
    assert 400 < found.resamples < 500  # 1 in 32 holds one class only


def test_a_metric_that_most_resamples_do_not_define_has_no_interval():
    def value(rows: np.ndarray) -> float:
        if len(np.unique(rows)) < 4:  # 9 of 10 resamples of 4 rows hold one twice
            raise UndefinedMetricError("auc", "one class", "more rows")
        return 1.0

    with pytest.raises(UndefinedMetricError, match="one class"):
        bootstrap_interval(value, 4, seed=0, resamples=100)


@pytest.mark.parametrize(("form", "problem"), [({"level": 2.0}, "level"), ({"resamples": -1}, "resamples")])
def test_intervals_that_make_no_sense_are_refused(form, problem):
    with pytest.raises(TrainingError, match=problem):
        bootstrap_interval(right_of(np.array([1, 0])), 2, seed=0, **form)
