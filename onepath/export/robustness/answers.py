"""What a served graph answers to held-out rows: with each presence pattern, and with zeros filled in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onepath.contract.presence import ABSENT, PRESENT
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.proofs import Batch
from onepath.export.proving.sessions import GraphSession
from onepath.export.robustness.encoders import Encoder, EncoderRun
from onepath.export.robustness.metrics import Answer
from onepath.export.rows import RowSource

Pattern = tuple[str, ...]
_MOST_RUNS = 8  # at a time: each holds the activations of a batch


@dataclass(frozen=True)
class Answers:
    """Answers to the same rows.

    Attributes:
        patterns: presence pattern to the graph's first output.
        zero_filled: the same for patterns that lack something, whose missing values are zeros that count as present.
        encoders: modality to its encoder's output.
        left_out: modality to the reason why its encoder could not be run.
    """

    patterns: Mapping[Pattern, Answer]
    zero_filled: Mapping[Pattern, Answer]
    encoders: Mapping[str, Answer]
    left_out: Mapping[str, str]


def answers_to_rows(
    graph: Path,
    batches: Iterable[Batch],
    *,
    modalities: Sequence[str],
    patterns: Sequence[Pattern],
    encoders: Mapping[str, Encoder],
) -> Answers:
    """Return what a graph and encoders answer.

    Args:
        graph: the ONNX file; its external weights lie beside it.
        batches: the rows with every modality; none is kept, only the answers.
        modalities: the graph's.
        patterns: those to run; the cost is about that of all rows, twice a pattern.
        encoders: modality to encoder.
    """
    runs = [EncoderRun(name, encoders[name]) for name in modalities if name in encoders]
    fillings = [(pattern, ABSENT) for pattern in patterns]
    fillings += [(pattern, PRESENT) for pattern in patterns if len(pattern) < len(modalities)]
    parts: dict[tuple[Pattern, int], list[Answer]] = {filling: [] for filling in fillings}
    run = _runtime(graph)
    with ThreadPoolExecutor(min(_MOST_RUNS, len(os.sched_getaffinity(0))), thread_name_prefix="robustness") as pool:
        for batch in batches:
            for filling, answer in zip(fillings, pool.map(_run_on(run, batch), fillings), strict=True):
                parts[filling].append(answer)
            for each in runs:
                each.feed(batch.values)
    found = {filling: np.concatenate(answers) for filling, answers in parts.items()}
    return Answers(
        {pattern: answer for (pattern, missing), answer in found.items() if missing == ABSENT},
        {pattern: answer for (pattern, missing), answer in found.items() if missing == PRESENT},
        {each.modality: each.answer for each in runs if not each.problem},
        {each.modality: each.problem for each in runs if each.problem},
    )


def batches_of_rows(source: RowSource, rows: Sequence[int], size: int) -> Iterator[Batch]:
    """Yield held-out rows with every modality, each decoded once.

    Args:
        source: the rows.
        rows: indices of those to take.
        size: the most rows of a batch.
    """
    for start in range(0, len(rows), size):
        yield source.decoded("held-out rows", [source.rows[index] for index in rows[start : start + size]])


def only(batch: Batch, pattern: Pattern, *, missing: int) -> Batch:
    """Return a batch that keeps a pattern's values; all others are zeros, as they are served.

    Args:
        batch: with every modality.
        pattern: what to keep.
        missing: the state of the others: ABSENT, or PRESENT for zero-filling.
    """
    values = {name: array if name in pattern else np.zeros_like(array) for name, array in batch.values.items()}
    states = {name: array if name in pattern else np.full_like(array, missing) for name, array in batch.states.items()}
    return Batch(batch.title, values, states)


def _run_on(run: Callable[[Batch], Answer], batch: Batch) -> Callable[[tuple[Pattern, int]], Answer]:
    return lambda filling: run(only(batch, filling[0], missing=filling[1]))


def _runtime(graph: Path) -> Callable[[Batch], Answer]:
    """Return what runs a graph in one thread: its sums do not depend on the machine, and several run at a time."""
    session = GraphSession(OnnxFile(graph), threads=1, explains=False)

    def run(batch: Batch) -> Answer:
        output = session(batch)[session.outputs[0]]
        flat: Answer = output.reshape(len(output), -1).astype(np.float32, copy=False)
        return flat

    return run
