"""Writing a Parquet file that appears under its name only when it is whole."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onepath.contract.errors import ScoringError

_GROUP_ROWS = 65_536
_GROUP_BYTES = 64 << 20

RecordBatch = Any  # pyarrow has no types
Schema = Any  # pyarrow has no types


class RowGroups:
    """Collects batches and writes them as row groups of a useful size."""

    def __init__(self, writer: Any) -> None:  # a pyarrow.parquet.ParquetWriter
        self._writer = writer
        self._batches: list[RecordBatch] = []
        self._rows = self._bytes = 0

    def add(self, batch: RecordBatch) -> None:
        """Write a batch, now or with those that follow."""
        self._batches.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        if self._rows >= _GROUP_ROWS or self._bytes >= _GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was collected."""
        import pyarrow as pa

        if self._batches:
            self._writer.write_table(pa.Table.from_batches(self._batches))
        self._batches, self._rows, self._bytes = [], 0, 0


@contextmanager
def published(path: Path, schema: Schema) -> Iterator[RowGroups]:
    """Give a writer whose file takes its name when the context ends, and never exists if it ends by an error.

    Args:
        path: the file; its folder is made where missing.
        schema: the batches' `pyarrow.Schema`.

    Raises:
        ScoringError: the file cannot be written.
    """
    import pyarrow.parquet as pq

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with _naming_the_file(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        try:
            with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
                groups = RowGroups(writer)
                yield groups
                groups.flush()
            _flush_to_disk(temporary)
            temporary.replace(path)
            _flush_to_disk(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove what writers of this file left when they were killed."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        writer = left.name.removesuffix(".tmp").rpartition(".")[2]
        if writer.isdigit() and not Path(f"/proc/{writer}").exists():
            left.unlink(missing_ok=True)


@contextmanager
def _naming_the_file(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise ScoringError(f"cannot write {path}: {reason}; choose another output folder, or make room") from error


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
