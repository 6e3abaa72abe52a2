"""Scoring Parquet files: one output for each input, batch by batch, decoding ahead while the graph runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from onepath.contract.bundle import Bundle
from onepath.scoring.engine import LocalEngine, PreparedRows, ScoredRows
from onepath.scoring.inputs import input_files
from onepath.scoring.pipeline import Pipeline, pipeline_from_bundle
from onepath.scoring.plan import Job, notes_from_jobs, plan_jobs
from onepath.scoring.report import ScoreReport, Tally
from onepath.scoring.results import result_arrays
from onepath.scoring.settings import ScoreSettings
from onepath.scoring.table import RecordBatch
from onepath.scoring.writer import published

logger = logging.getLogger(__name__)

Advance = Callable[[int, int], None]
"""Told after every batch: the rows that are done, and the rows that there are."""

_T = TypeVar("_T")


def score(
    source: Bundle | Pipeline,
    inputs: Iterable[str | Path],
    output: Path,
    settings: ScoreSettings | None = None,
    advance: Advance | None = None,
) -> ScoreReport:
    """Score Parquet files into Parquet files of the same names in another folder, and return what was done.

    Every file is checked before the first row is scored, each output appears only when it is whole, and what is wrong
    with a row is said in that row. An output has the input's columns but media bytes, then `label` and `score`, the
    model's outputs, `<modality>_status`, `_status`, `_presence` and `_bundle`.

    Args:
        source: an opened bundle, or the parts of one.
        inputs: Parquet files, folders of them, or patterns.
        output: the folder that is written to; made where missing.
        settings: how files are read and written.
        advance: told of every batch.

    Raises:
        MissingExtraError: pyarrow, onnxruntime or a decoder is not installed.
        ScoringError: a file cannot be scored or written; outputs of the files before it stay.
    """
    settings = settings or ScoreSettings()
    pipeline = pipeline_from_bundle(source) if isinstance(source, Bundle) else source
    jobs = plan_jobs(pipeline, input_files(inputs), output, settings)
    notes = notes_from_jobs(jobs, pipeline.manifest)
    for note in notes:
        logger.info(note)
    rows = settings.batch_rows or pipeline.manifest.graph.max_batch_size
    total, tally = sum(job.table.rows for job in jobs), Tally(pipeline.manifest)

    def count(scored: ScoredRows) -> None:
        tally.add(scored)
        if advance:
            advance(tally.rows, total)

    with LocalEngine(pipeline, settings.engine) as engine:
        start = time.perf_counter()
        for job in jobs:
            _score_file(engine, job, rows, count)
        seconds = time.perf_counter() - start
    return tally.report([job.target for job in jobs], seconds, notes)


def _score_file(engine: LocalEngine, job: Job, rows: int, count: Callable[[ScoredRows], None]) -> None:
    with published(job.target, job.schema) as groups, closing(_one_ahead(_prepared(engine, job, rows))) as prepared:
        for batch, feeds in prepared:
            scored = engine.infer(feeds)
            groups.add(_output_batch(batch, scored, job, engine.pipeline))
            count(scored)


def _prepared(engine: LocalEngine, job: Job, rows: int) -> Iterator[tuple[RecordBatch, PreparedRows]]:
    columns = job.table.columns
    for batch in job.table.batches(rows):
        payloads = {name: reader(batch.column(columns[name]), engine.pool) for name, reader in job.readers.items()}
        yield batch.select(job.kept), engine.prepare(payloads)


def _one_ahead(items: Iterator[_T]) -> Generator[_T, None, None]:
    """Yield items, making the next one in a thread while the caller works on the last."""
    with ThreadPoolExecutor(1, thread_name_prefix="read") as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


def _output_batch(batch: RecordBatch, scored: ScoredRows, job: Job, pipeline: Pipeline) -> RecordBatch:
    import pyarrow as pa

    added = result_arrays(scored, pipeline.manifest, pipeline.id)
    return pa.record_batch([*batch.columns, *added.values()], schema=job.schema)
