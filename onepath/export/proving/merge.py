"""The proof of a merge: each presence pattern gives what merging only the present blocks would have given."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from torch import nn

from onepath.contract.answers import Answers
from onepath.contract.presence import pattern_name
from onepath.contract.proofs import Measurement, ProofStep
from onepath.contract.stages import MERGE_REFERENCE
from onepath.export.proofs import Arrays, Batch, compare, digest_from_model
from onepath.export.proving.probes import first_output, part_of, probe_batch
from onepath.export.proving.running import in_float64, run_every_row, tensors_from_arrays
from onepath.export.rows import RowSource


def prove_merge(
    merged: nn.Module,
    parents: Mapping[str, nn.Module],
    merged_from: Callable[[tuple[str, ...]], nn.Module],
    *,
    source: RowSource,
    tolerance: float,
) -> ProofStep:
    """Return the proof that every presence pattern gives what merging only the present blocks would have given.

    A pattern of one modality is held against the block itself, as it was trained.

    Args:
        merged: the model merged from all blocks.
        parents: modality to block.
        merged_from: merges the blocks of a pattern alone.
        source: held-out rows.
        tolerance: relative, in float64.
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
        )
    return ProofStep(
        step="merge",
        subject="+".join(parents),
        reads=digest_from_model(*parents.values()),
        writes=digest_from_model(merged),
        measurements=tuple(measurements),
    )


def merge_answers(
    merged: nn.Module,
    parents: Mapping[str, nn.Module],
    merged_from: Callable[[tuple[str, ...]], nn.Module],
    *,
    source: RowSource,
    per_pattern: int,
) -> Answers:
    """Return the answers to the golden probes of a merged model, and of merging only the blocks of each row's pattern.

    Args:
        merged: the model merged from all blocks.
        parents: modality to block.
        merged_from: merges the blocks of a pattern alone.
        source: the rows that the probes are drawn from.
        per_pattern: how many probes each pattern has.
    """
    probes = probe_batch(source, per_pattern)
    references = [
        first_output(
            _alone(pattern, parents, merged_from)(
                part_of(probes, slice(index * per_pattern, (index + 1) * per_pattern), pattern)
            )
        )
        for index, pattern in enumerate(source.patterns)
    ]
    answers = first_output(run_every_row(in_float64(merged), probes))
    return {MERGE_REFERENCE: np.concatenate(references), "merge": answers}


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
