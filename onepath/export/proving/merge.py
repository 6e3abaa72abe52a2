"""The proof of a merge: each presence pattern gives what merging only the present blocks would have given."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from onepath.contract.presence import pattern_name
from onepath.contract.proofs import Measurement, ProofStep
from onepath.export.proofs import Arrays, Batch, Seen, compare, digest_from_model
from onepath.export.proving.probes import first_output, part_of
from onepath.export.proving.running import in_float64, run_every_row, tensors_from_arrays
from onepath.export.rows import RowSource

_Rows = NDArray[np.float64]


def prove_merge(
    merged: nn.Module,
    parents: Mapping[str, nn.Module],
    merged_from: Callable[[tuple[str, ...]], nn.Module],
    *,
    source: RowSource,
    tolerance: float,
    seen: list[Seen] | None = None,
) -> ProofStep:
    """Return the proof that every presence pattern gives what merging only the present blocks would have given.

    A pattern of one modality is held against the block itself, as it was trained.

    Args:
        merged: the model merged from all blocks.
        parents: modality to block.
        merged_from: merges the blocks of a pattern alone.
        source: held-out rows.
        tolerance: relative, in float64.
        seen: is given what was compared, where it is to be kept.
    """
    wide = in_float64(merged)
    measurements: list[Measurement] = []
    for pattern in source.patterns:
        alone = _alone(pattern, parents, merged_from)
        batch = source.decoded(f"float64, only {pattern_name(pattern)}", source.pattern_rows(pattern, 4))
        measurements += compare(
            "merge",
            reference=alone,
            candidate=partial(run_every_row, wide),
            batches=[batch],
            tolerance=tolerance,
            relative=True,
            computed_in="float64",
            seen=seen,
        )
    return ProofStep(
        step="merge",
        subject="+".join(parents),
        reads=digest_from_model(*parents.values()),
        writes=digest_from_model(merged),
        measurements=tuple(measurements),
    )


def answers_of_merge(merged: nn.Module, probes: Batch) -> _Rows:
    """Return what a merged model answers to the golden probes in float64 with every encoder run, `(probes, width)`."""
    return first_output(run_every_row(in_float64(merged), probes))


def answers_of_blocks(
    parents: Mapping[str, nn.Module],
    merged_from: Callable[[tuple[str, ...]], nn.Module],
    *,
    patterns: Sequence[tuple[str, ...]],
    probes: Batch,
) -> _Rows:
    """Return what merging only the blocks of each golden probe's pattern answers to it in float64, `(probes, width)`.

    Args:
        parents: modality to block.
        merged_from: merges the blocks of a pattern alone.
        patterns: the probes', in their order; each has as many probes as the others.
        probes: the golden probes.
    """
    per_pattern = probes.rows // len(patterns)
    answers = [
        first_output(
            _alone(pattern, parents, merged_from)(
                part_of(probes, slice(index * per_pattern, (index + 1) * per_pattern), pattern)
            )
        )
        for index, pattern in enumerate(patterns)
    ]
    return np.concatenate(answers)


def _alone(
    pattern: tuple[str, ...], parents: Mapping[str, nn.Module], merged_from: Callable[[tuple[str, ...]], nn.Module]
) -> Callable[[Batch], Arrays]:
    if len(pattern) > 1:
        return partial(run_every_row, in_float64(merged_from(pattern)))
    block = copy.deepcopy(parents[pattern[0]]).double().eval()

    @torch.inference_mode()
    def logits(batch: Batch) -> Arrays:
        return {"scores": block(tensors_from_arrays(batch.values)[pattern[0]]).numpy()}

    return logits
