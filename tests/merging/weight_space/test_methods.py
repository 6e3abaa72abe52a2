"""Each method against its formula written out for single numbers."""

import numpy as np
import pytest
import torch

from onepath.contract.plugins import known_plugins, load_plugin
from onepath.merging.weight_space.dare import dare_linear, dare_ties
from onepath.merging.weight_space.linear import linear
from onepath.merging.weight_space.slerp import slerp
from onepath.merging.weight_space.task_arithmetic import task_arithmetic
from onepath.merging.weight_space.tensors import drawing
from onepath.merging.weight_space.ties import ties
from tests.merging.weight_space import naive

WEIGHTS = [0.5, 0.2, 0.8]


def arrays(count: int = 3, shape: tuple[int, ...] = (4, 3)) -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(size=(count, *shape)))


def tensors(values: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(value) for value in values]


def generators() -> list[torch.Generator]:
    return [drawing(0, "w", model) for model in "abc"]


def masks(density: float) -> list[np.ndarray]:
    return [(torch.rand((4, 3), generator=generator) < density).numpy() for generator in generators()]


def close(result: torch.Tensor, expected: np.ndarray) -> bool:
    return bool(np.allclose(result.numpy(), expected, rtol=0, atol=1e-12))


def test_linear_is_the_weighted_mean() -> None:
    result = linear(tensors(arrays()), WEIGHTS)
    assert close(result, naive.linear(arrays(), WEIGHTS))
    assert not close(result, naive.linear(arrays(), [0.5, 0.2, 0.7]))


def test_linear_without_normalising_is_the_weighted_sum() -> None:
    result = linear(tensors(arrays()), WEIGHTS, normalise=False)
    assert close(result, 1.5 * naive.linear(arrays(), WEIGHTS))
    assert not close(result, naive.linear(arrays(), WEIGHTS))


@pytest.mark.parametrize("t", [0.0, 0.3, 1.0])
def test_slerp_of_two_takes_the_share_of_the_second(t: float) -> None:
    result = slerp(tensors(arrays(2)), [2 * (1 - t), 2 * t])
    assert close(result, naive.slerp(*arrays(2), t))
    assert not close(result, naive.slerp(*arrays(2), t + 0.01))


def test_slerp_of_many_lies_between_them_in_norm_whatever_their_lengths() -> None:
    many = [array * size for array, size in zip(arrays(), (0.01, 1, 100), strict=True)]
    expected = float(np.mean([np.linalg.norm(array) for array in many]))
    assert float(slerp(tensors(many), [1, 1, 1]).norm()) == pytest.approx(expected, rel=1e-12)
    assert float(linear(tensors(many), [1, 1, 1]).norm()) != pytest.approx(expected, rel=1e-2)


def log_map(point: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the arc from a point on the sphere to another, as a tangent vector."""
    towards = other - (point * other).sum() * point
    return np.arccos((point * other).sum()) * towards / np.linalg.norm(towards)


def test_at_the_spherical_mean_the_weighted_arcs_to_the_operands_cancel() -> None:
    def pull(mean: torch.Tensor) -> float:
        point = mean.numpy() / np.linalg.norm(mean.numpy())
        arcs = [w * log_map(point, array / np.linalg.norm(array)) for w, array in zip(WEIGHTS, arrays(), strict=True)]
        return float(np.linalg.norm(sum(arcs)))

    assert pull(slerp(tensors(arrays()), WEIGHTS)) < 1e-9
    assert pull(slerp(tensors(arrays()), [0.5, 0.2, 0.7])) > 1e-2


@pytest.mark.parametrize("second", [[0.0, 0, 0], [-1, -2, -3], [2, 4, 6]])
def test_slerp_of_degenerate_operands_is_the_weighted_mean(second: list[float]) -> None:
    first, last = torch.tensor([1.0, 2, 3], dtype=torch.float64), torch.tensor(second, dtype=torch.float64)
    torch.testing.assert_close(slerp([first, last], [0.25, 0.75]), 0.25 * first + 0.75 * last, rtol=0, atol=1e-12)


def test_slerp_takes_a_matrix_as_one_vector() -> None:
    matrices = tensors(arrays(2))
    rows = torch.stack([slerp([a, b], [1, 1]) for a, b in zip(*matrices, strict=True)])
    assert (slerp(matrices, [1, 1]) - rows).abs().max() > 1e-3


def test_slerp_of_empty_tensors_is_empty() -> None:
    assert slerp([torch.zeros(0, 3), torch.zeros(0, 3)], [1, 1]).shape == (0, 3)


def test_task_arithmetic_adds_weighted_differences() -> None:
    base, *models = arrays(4)
    result = task_arithmetic(tensors(models), WEIGHTS, base=torch.from_numpy(base))
    assert close(result, naive.task_arithmetic(models, WEIGHTS, base))
    assert not close(result, naive.linear(models, WEIGHTS))


@pytest.mark.parametrize("density", [0.1, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("weights", [WEIGHTS, [1, 1, 1]])
def test_ties_trims_elects_and_averages(density: float, weights: list[float]) -> None:
    base, *models = arrays(4)
    result = ties(tensors(models), weights, base=torch.from_numpy(base), density=density, scale=0.7)
    assert close(result, naive.ties(models, weights, base, density=density, scale=0.7))
    assert not close(result, naive.ties(models, weights, base, density=density, scale=0.8))


def test_ties_keeps_the_base_where_both_signs_have_the_same_mass() -> None:
    base = torch.tensor([1.0, 1.0])
    result = ties([base + torch.tensor([2.0, 2]), base - torch.tensor([2.0, 4])], [1, 1], base=base, density=1.0)
    assert result.tolist() == [1, -3]


def test_ties_keeps_equally_large_changes_together() -> None:
    changed = torch.tensor([3.0, -2, 2, 1])
    assert ties([changed], [1], base=torch.zeros(4), density=0.5).tolist() == [3, -2, 2, 0]


@pytest.mark.parametrize("density", [0.3, 0.9])
def test_dare_linear_adds_the_kept_changes_rescaled(density: float) -> None:
    base, *models = arrays(4)
    result = dare_linear(
        tensors(models), WEIGHTS, base=torch.from_numpy(base), generators=generators(), density=density
    )
    thinned = naive.dare(models, base, masks(density), density)
    assert close(result, base + sum(w * change for w, change in zip(WEIGHTS, thinned, strict=True)))
    assert not close(result, naive.task_arithmetic(models, WEIGHTS, base))


def test_dare_ties_elects_among_the_kept_changes() -> None:
    base, *models = arrays(4)
    result = dare_ties(
        tensors(models), WEIGHTS, base=torch.from_numpy(base), generators=generators(), density=0.6, scale=1.2
    )
    thinned = naive.dare(models, base, masks(0.6), 0.6)
    assert close(result, base + 1.2 * naive.agreed_mean(thinned, WEIGHTS))
    assert not close(result, base + 1.2 * naive.agreed_mean(thinned, [1, 1, 1]))


@pytest.mark.parametrize("name", known_plugins("onepath.weight_merges"))
def test_a_method_leaves_its_operands_as_they_are(name: str) -> None:
    base, *models = tensors(arrays(4))
    before = [tensor.clone() for tensor in (base, *models)]
    method = load_plugin("onepath.weight_merges", name)
    asked = {"base": base, "generators": generators()}
    method(models, WEIGHTS, **{key: asked[key] for key in asked if key in method.__annotations__})
    assert all(torch.equal(old, new) for old, new in zip(before, (base, *models), strict=True))
