"""A bundle's graphs run on its golden probes, here and now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onepath.contract.bundle import Bundle
from onepath.contract.errors import BundleIntegrityError, ScoringError
from onepath.contract.graphs import GraphEntry
from onepath.contract.presence import PRESENT, ROW_OK, ROW_STATUS_TEXT, pattern_name
from onepath.contract.probes import Probe, ProbeSet
from onepath.scoring.engine import LocalEngine, PreparedRows, ScoredRows
from onepath.scoring.pipeline import pipeline_from_bundle
from onepath.scoring.settings import EngineSettings


@dataclass(frozen=True)
class ProbeAnswers:
    """What a graph answers to probes.

    Attributes:
        once: to each of them, in as few runs as it takes, float64 `(probes, width)`.
        in_batches: rows of a run to the answers of runs of exactly so many, one after the other, float64
            `(rows, width)`; the probes are repeated in turn until the last run is full.
    """

    once: NDArray[np.float64]
    in_batches: Mapping[int, NDArray[np.float64]]


def answers_now(
    bundle: Bundle, probes: ProbeSet, graph: GraphEntry, settings: EngineSettings | None = None
) -> ProbeAnswers:
    """Return what a graph of a bundle answers to its probes, and to them in batches of the sizes at its ends.

    The payloads are decoded once, by the bundle's own processors, as the server decodes them.

    Args:
        bundle: an opened one.
        probes: the bundle's.
        graph: one of the bundle's.
        settings: how ONNX Runtime uses the machine.

    Raises:
        BundleIntegrityError: a probe cannot be decoded, or the graph takes it for another presence pattern.
        MissingExtraError: onnxruntime or a decoder is not installed.
        ScoringError: the graph cannot be loaded or run.
    """
    with engine_of_graph(bundle, graph, settings) as engine:
        prepared = prepared_probes(engine, probes)
        scored = infer(engine, prepared, f"{graph.file} on the probes")
        for index, row in enumerate(probes.rows):
            _check_row(index, row, scored, bundle)
        if probes.output not in scored.outputs:
            problem = f"names {probes.output!r}, which is no output of the graph"
            raise BundleIntegrityError(bundle.manifest.probes, problem)
        sizes = batch_sizes(graph.max_batch_size)
        in_batches = {rows: _in_batches(engine, prepared, rows, probes.output) for rows in sizes}
    return ProbeAnswers(_of_output(scored, probes.output), in_batches)


def batch_sizes(most_rows: int) -> list[int]:
    """Return the batch sizes at the ends of what a graph takes.

    >>> batch_sizes(32), batch_sizes(2), batch_sizes(1)
    ([1, 2, 31, 32], [1, 2], [1])
    """
    return sorted({rows for rows in (1, 2, most_rows - 1, most_rows) if 1 <= rows <= most_rows})


def engine_of_graph(bundle: Bundle, graph: GraphEntry, settings: EngineSettings | None = None) -> LocalEngine:
    """Return the engine that runs one of a bundle's graphs; see `LocalEngine`."""
    manifest = bundle.manifest.model_copy(update={"graph": graph})
    pipeline = replace(pipeline_from_bundle(bundle), manifest=manifest, graph_path=bundle.path / graph.file)
    return LocalEngine(pipeline, settings)


def prepared_probes(engine: LocalEngine, probes: ProbeSet) -> PreparedRows:
    """Return golden probes decoded for a graph."""
    names = engine.manifest.modality_names
    return engine.prepare({name: [row.payloads.get(name, b"") for row in probes.rows] for name in names})


def infer(engine: LocalEngine, prepared: PreparedRows, what: str) -> ScoredRows:
    """Return a graph's answers.

    Args:
        engine: runs the graph.
        prepared: the rows.
        what: the graph and the rows, in words.

    Raises:
        ScoringError: ONNX Runtime cannot run the graph on them.
    """
    try:
        return engine.infer(prepared)
    except Exception as error:  # the errors of onnxruntime have no common base
        said = " ".join(str(error).split())[:300]
        raise ScoringError(f"ONNX Runtime cannot run {what}: {said}; build it again") from error


def _in_batches(engine: LocalEngine, prepared: PreparedRows, rows: int, output: str) -> NDArray[np.float64]:
    """Return an output of runs of so many rows, as many as it takes for each prepared row to be in one."""
    what = f"{engine.manifest.graph.file} on the probes in batches of {rows}"
    answers = []
    for start in range(0, prepared.rows, rows):
        turn = np.arange(start, start + rows) % prepared.rows
        feeds = {name: array[turn] for name, array in prepared.feeds.items()}
        answers.append(_of_output(infer(engine, PreparedRows(feeds, {}, rows), what), output))
    return np.concatenate(answers)


def _of_output(scored: ScoredRows, output: str) -> NDArray[np.float64]:
    answers = scored.outputs[output]
    return answers.reshape(len(answers), -1).astype(np.float64)


def _check_row(index: int, row: Probe, scored: ScoredRows, bundle: Bundle) -> None:
    names = bundle.manifest.modality_names
    used = pattern_name(name for name, bit in zip(names, scored.presence[index], strict=True) if bit == PRESENT)
    sent = pattern_name(name for name in names if name in row.payloads)
    statuses = {name: column[index] for name, column in scored.statuses.items()}
    said = [f"{name}: {status.message}" for name, status in statuses.items() if status is not None]
    if used != sent or scored.row_status[index] != ROW_OK:
        why = "; ".join(said) or ROW_STATUS_TEXT.get(int(scored.row_status[index]), "unknown status") or "unsaid"
        problem = f"has a probe {index} of {sent}, which is answered as {used} ({why})"
        raise BundleIntegrityError(bundle.manifest.probes, problem, root=str(bundle.path))
