import pytest
import torch

from onepath.training import SurvivalTarget, TrainingError, only_modality, rows_at, rows_from_tensors, showing
from onepath.training.data import row_batches, row_count

VALUES = {"a": torch.arange(6.0).reshape(6, 1), "b": torch.arange(12.0).reshape(6, 2)}
PRESENT = torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1], [0, 0], [1, 1]], dtype=torch.bool)
CLASSES = torch.tensor([0, 1, 2, 0, 1, 2])
TIMES = torch.arange(1.0, 7.0, dtype=torch.float64)
ROWS = rows_from_tensors(VALUES, CLASSES, PRESENT)


def test_all_modalities_are_present_where_nothing_else_is_said():
    assert rows_from_tensors(VALUES, CLASSES).present.all()


def test_a_batch_holds_the_rows_at_its_positions():
    batch = ROWS.batch(torch.tensor([4, 1]))
    assert batch.values["a"].flatten().tolist() == [4.0, 1.0]
    assert batch.present.tolist() == [[False, False], [True, False]]
    assert batch.target.tolist() == [1, 1]


def test_one_modality_is_taken_with_the_rows_that_have_it():
    view = only_modality(ROWS, "b")
    batch = view.batch(torch.arange(row_count(view)))
    assert list(batch.values) == ["b"]
    assert batch.values["b"][:, 0].tolist() == [0.0, 4.0, 6.0, 10.0]
    assert batch.target.tolist() == view.target.tolist() == [0, 2, 0, 2]
    assert batch.present.all()


def test_showing_a_pattern_hides_the_other_modalities():
    view = showing(ROWS, ("a",))
    assert view.present.tolist() == [[bool(row[0]), False] for row in PRESENT]
    assert torch.equal(view.batch(torch.arange(6)).present, view.present)


def test_views_of_views_are_rows_of_the_source():
    view = only_modality(rows_at(ROWS, torch.tensor([5, 2, 0])), "b")
    assert view.batch(torch.tensor([1, 2])).values["b"][:, 0].tolist() == [4.0, 0.0]


@pytest.mark.parametrize("take", [lambda: only_modality(ROWS, "c"), lambda: showing(ROWS, ("a", "c"))])
def test_an_unknown_modality_is_refused(take):
    with pytest.raises(TrainingError, match=r"modality c.*a, b"):
        take()


@pytest.mark.parametrize(
    ("values", "target", "present", "problem"),
    [
        ({}, CLASSES, None, "no modality"),
        ({"a": torch.zeros(5, 1)}, CLASSES, None, "has 6 and the values have"),
        (VALUES, CLASSES, PRESENT.int(), "bool"),
        (VALUES, CLASSES, PRESENT[:, :1], "bool"),
        (VALUES, CLASSES.float(), None, "int64"),
        (VALUES, CLASSES - 1, None, "negative"),
        (VALUES, torch.tensor(6), None, "int64"),
        (VALUES, CLASSES.tolist(), None, "list.*from_numpy"),
        ({"a": VALUES["a"].numpy()}, CLASSES, None, "a.*ndarray.*from_numpy"),
        ({"a": torch.tensor(1.0)}, CLASSES, None, "has 6 and the values have"),
        (VALUES, SurvivalTarget(CLASSES, TIMES, CLASSES), None, "events.*bool"),
        (VALUES, SurvivalTarget(CLASSES.double(), TIMES, CLASSES > 0), None, "bins.*int64"),
        (VALUES, SurvivalTarget(CLASSES - 1, TIMES, CLASSES > 0), None, "negative"),
        (VALUES, SurvivalTarget(CLASSES, TIMES[:5], CLASSES > 0), None, "times.*5"),
        (VALUES, SurvivalTarget(CLASSES, TIMES / 0, CLASSES > 0), None, "not finite"),
    ],
)
def test_rows_that_do_not_fit_are_refused(values, target, present, problem):
    with pytest.raises(TrainingError, match=problem):
        rows_from_tensors(values, target, present)


@pytest.mark.parametrize(
    ("rows", "size", "sizes"), [(10, 4, [4, 3, 3]), (9, 4, [3, 3, 3]), (3, 8, [3]), (4, 1, [1] * 4)]
)
def test_batches_differ_by_one_row_at_most(rows, size, sizes):
    batches = row_batches(rows, size, torch.Generator().manual_seed(0))
    assert [len(batch) for batch in batches] == sizes
    assert sorted(torch.cat(batches).tolist()) == list(range(rows))


def test_the_order_of_batches_depends_on_the_generator_only():
    first, again, other = (row_batches(50, 10, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4))
    assert torch.equal(torch.cat(first), torch.cat(again))
    assert not torch.equal(torch.cat(first), torch.cat(other))


@pytest.mark.parametrize(
    "positions", [CLASSES == 1, torch.tensor([1.0]), torch.tensor([6]), torch.tensor([-1]), torch.tensor(1), [1]]
)
def test_positions_that_are_none_are_refused(positions):
    with pytest.raises(TrainingError, match=r"int64.*0 to 5"):
        rows_at(ROWS, positions)
