"""What a collapsed Lego model does not compute: encoders again, queries of constants, transforms, unpooled rows."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from onepath.export.collapse import collapse
from onepath.export.collapse.flops import flops_by_module
from onepath.export.collapse.lego_block import lego_block
from onepath.export.collapse.lego_error import block_error, heads_error
from onepath.merging.lego import LegoFuse, LegoMerge
from tests.merging.lego.small_blocks import every_pattern, small_block, small_blocks, small_inputs

LATENTS, DISTINCT, WIDTH, HEADS, HEAD_WIDTH, TOKENS, KEYS, FEATURES = 6, 4, 8, 2, 4, 4, 3, 6
INNER, HIDDEN = HEADS * HEAD_WIDTH, 4 * WIDTH


def block_cost(depth: int) -> int:
    """Multiplications for one row of a collapsed block of four tokens, as its definition says."""
    encoder = 4 * FEATURES * TOKENS
    half_of_the_tokens_transform = KEYS * TOKENS * FEATURES
    reading = 2 * KEYS * FEATURES * INNER + 2 * HEADS * DISTINCT * KEYS * HEAD_WIDTH + DISTINCT * INNER * WIDTH
    expansion = DISTINCT * WIDTH * 2 * HIDDEN
    contraction = DISTINCT * HIDDEN * WIDTH
    queries = (depth - 1) * DISTINCT * WIDTH * INNER  # the first depth's are constants
    pooled = HIDDEN * WIDTH + WIDTH * 3  # the last contraction and the head see one vector
    total = encoder + half_of_the_tokens_transform + queries + pooled
    return total + depth * (reading + expansion) + (depth - 1) * contraction


@pytest.mark.parametrize("rows", [1, 4])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_collapsed_block_costs_what_its_definition_needs(depth: int, rows: int) -> None:
    block = small_block("b", depth=depth)
    _, report = collapse(block, example=(small_inputs(rows=rows)["b"],))
    assert report.flops_after == 2 * rows * block_cost(depth)
    assert report.flops_before > report.flops_after
    with_queries_each_time = block_cost(depth) + DISTINCT * WIDTH * INNER
    assert report.flops_after != 2 * rows * with_queries_each_time


@pytest.mark.parametrize("order", ["stack", "weave"])
def test_the_first_queries_of_a_chain_through_blocks_are_constants_and_later_ones_are_not(order: str) -> None:
    collapsed, _ = collapse(LegoFuse(small_blocks("bc"), order=order))
    readings = {f"{name}{i}": layer.reading for name in "bc" for i, layer in enumerate(collapsed.chains[name].layers)}
    assert [name for name, reading in readings.items() if reading.query is None] == ["b0"]
    assert readings["b0"].queries.shape == (1, DISTINCT, INNER)


def models() -> dict[str, nn.Module]:
    return {
        "sum": LegoMerge(small_blocks(depth=3), method="sum"),
        "harmonic": LegoMerge(small_blocks(depth=3), method="harmonic"),
        "stack": LegoFuse(small_blocks(depth=3), order="stack"),
        "weave": LegoFuse(small_blocks(depth=3), order="weave"),
    }


@pytest.mark.parametrize("kind", models())
def test_an_encoder_runs_once_however_many_depths_read_it(kind: str) -> None:
    collapsed, _ = collapse(models()[kind])
    encoders = [module for module in collapsed.modules() if hasattr(module, "runs")]
    assert [encoder.runs for encoder in encoders] == [0, 0, 0]
    collapsed(small_inputs(), every_pattern(3))
    assert [encoder.runs for encoder in encoders] == [1, 1, 1]


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names, self.complex = set(), False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.names.add(str(func))
        self.complex |= isinstance(result, torch.Tensor) and result.is_complex()
        return result


@pytest.mark.parametrize("kind", models())
def test_no_transform_and_no_complex_number_is_left(kind: str) -> None:
    collapsed, _ = collapse(models()[kind])
    with _Operations() as operations, torch.no_grad():
        collapsed(small_inputs(), every_pattern(3))
    assert any("mm" in name for name in operations.names)
    assert not any("fft" in name for name in operations.names)
    assert not operations.complex


@pytest.mark.parametrize(("method", "vectors"), [("sum", 1), ("mean", 1), ("harmonic", 2 * DISTINCT)])
def test_sum_and_mean_pool_each_modality_before_they_add_and_other_methods_do_not(method: str, vectors: int) -> None:
    collapsed, _ = collapse(LegoMerge(small_blocks("bc"), method=method))
    features = {name: collapsed.encoders[name](values) for name, values in small_inputs("bc", rows=3).items()}
    assert {feature.numel() for feature in features.values()} == {3 * vectors * WIDTH}


def test_a_collapsed_merge_costs_less_than_the_merge() -> None:
    model, inputs = LegoMerge(small_blocks("bc"), method="sum"), small_inputs("bc", rows=3)
    _, report = collapse(model, example=(inputs, every_pattern(2)))
    assert report.flops_after < report.flops_before
    assert flops_by_module(model, (inputs, every_pattern(2)))[""] == report.flops_before


@pytest.mark.parametrize("kind", models())
def test_the_entries_of_a_report_add_up_to_the_whole_model(kind: str) -> None:
    collapsed, report = collapse(models()[kind], example=(small_inputs(), every_pattern(3)))
    for figure in ("flops_before", "flops_after", "parameters_before", "parameters_after"):
        assert sum(getattr(entry, figure) for entry in report.layers) == getattr(report, figure)
    assert report.parameters_after == sum(value.numel() for value in collapsed.state_dict().values())


@pytest.mark.parametrize("kind", models())
def test_no_part_of_a_merged_model_costs_more_after_its_collapse(kind: str) -> None:
    _, report = collapse(models()[kind], example=(small_inputs(), every_pattern(3)))
    assert [entry.layer for entry in report.layers if entry.flops_after > entry.flops_before] == []


def test_a_part_that_takes_over_a_transform_costs_more_and_the_report_says_why() -> None:
    model = LegoFuse(small_blocks("ab", depth=1, fourier_dim=2))
    _, report = collapse(model, example=(small_inputs("ab", rows=1), every_pattern(2)[-1:]))
    token, tokens = report.layers[:2]
    assert token.flops_after < token.flops_before
    assert tokens.flops_after - tokens.flops_before == 2 * TOKENS * FEATURES**2  # the transform of its features
    assert "the transform of its features is its own, and no more the fusion's" in tokens.folded
    assert [", more than before" in line for line in str(report).splitlines()] == [False, True, False, False, False]


@pytest.mark.parametrize(("precision", "bound"), [(torch.float64, 1e-14), (torch.float32, 3e-7)])
@pytest.mark.parametrize("kind", ["block", *models()])
def test_the_error_of_every_part_is_that_of_its_rounding(kind: str, precision: torch.dtype, bound: float) -> None:
    model = small_block("b", depth=3) if kind == "block" else models()[kind]
    _, report = collapse(model.to(precision))
    errors = [entry.error for entry in report.layers]
    assert all(bound / 100 < error < bound for error in errors), errors


@pytest.mark.parametrize("name", ["a", "b", "m", "n"])
def test_the_error_of_a_block_tells_a_wrong_fold(name: str) -> None:
    block = small_block(name)
    folding = lego_block(block)
    assert folding is not None
    collapsed = folding.module
    parts = (collapsed.features, collapsed.chain, collapsed.head)
    assert block_error(block, *parts) < 1e-14
    collapsed.chain.shares.data = torch.full((DISTINCT,), 1 / DISTINCT, dtype=torch.float64)
    assert block_error(block, *parts) > 1e-3


def test_the_error_of_merged_heads_tells_a_wrong_fold() -> None:
    model = LegoMerge(small_blocks())
    collapsed, _ = collapse(model)
    collapsed.heads.bias.data[5] += 0.1
    assert heads_error(model, collapsed.heads) > 1e-3


class _Regrouped(nn.Module):
    """Values as tokens, with no number of its own."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.reshape(-1, TOKENS, FEATURES)


def test_a_block_whose_encoder_has_no_parameters_has_an_error_too() -> None:
    block = small_block("b", context_fft=False)
    block.encoder = _Regrouped()
    collapsed, report = collapse(block)
    assert 0 < report.layers[0].error < 1e-14
    values = torch.randn(2, TOKENS * FEATURES, dtype=torch.float64)
    assert torch.allclose(collapsed(values), block(values), rtol=0, atol=1e-12)
