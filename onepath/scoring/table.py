"""One Parquet file as it is read: checked before the first row, then batch by batch in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onepath.contract.errors import MissingExtraError, ScoringError
from onepath.contract.manifest import Manifest

_READ_BUFFER_BYTES = 1 << 20

Schema = Any  # pyarrow has no types
RecordBatch = Any  # pyarrow has no types


@dataclass(frozen=True)
class Table:
    """A Parquet file that can be scored.

    Attributes:
        path: where it is.
        schema: its `pyarrow.Schema`.
        rows: how many rows it has.
        columns: modality to the column that holds it; a modality that is not here is absent in every row.
    """

    path: Path
    schema: Schema
    rows: int
    columns: Mapping[str, str]

    def batches(self, rows: int) -> Iterator[RecordBatch]:
        """Yield record batches of at most so many rows.

        Raises:
            ScoringError: the file's data are damaged.
        """
        import pyarrow as pa

        try:
            with _opened(self.path) as file:
                yield from file.iter_batches(batch_size=rows, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self.path, error) from error


def open_table(path: Path, manifest: Manifest, columns: Mapping[str, str]) -> Table:
    """Return a file's schema and size, after checking that it holds something to score.

    Args:
        path: a Parquet file.
        manifest: names the modalities.
        columns: modality to column, where the column's name is not the modality's.

    Raises:
        MissingExtraError: pyarrow is not installed.
        ScoringError: the file is not Parquet, names a column twice, or lacks a column that was asked for, every
            modality, or one that the model requires.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MissingExtraError("pyarrow", "serve", purpose="scoring Parquet files") from error
    try:
        with _opened(path) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    twice = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twice:
        raise ScoringError(f"{path} has more than one column {twice[0]!r}; rename all but one of them")
    return Table(path, schema, rows, _columns(path, schema.names, manifest, columns))


def _columns(path: Path, present: list[str], manifest: Manifest, asked: Mapping[str, str]) -> dict[str, str]:
    known = manifest.modality_names
    for modality, column in asked.items():
        if modality not in known:
            raise ScoringError(f"{manifest.name} has no modality {modality!r}; it has {', '.join(known)}")
        if column not in present:
            raise ScoringError(f"{path} has no column {column!r} for {modality}; its columns are {', '.join(present)}")
    found = {name: asked.get(name, name) for name in known if asked.get(name, name) in present}
    if not found:
        raise ScoringError(
            f"{path} has no column for any of {', '.join(known)}; its columns are {', '.join(present)}; "
            f"name one with --column {known[0]}=…"
        )
    for entry in manifest.modalities:
        if entry.absent == "required" and entry.name not in found:
            raise ScoringError(
                f"{path} has no column {entry.name!r}, which {manifest.name} requires in every row; "
                f"name another with --column {entry.name}=…"
            )
    return found


def _opened(path: Path) -> Any:  # pyarrow has no types
    from pyarrow.parquet import ParquetFile

    return ParquetFile(path, buffer_size=_READ_BUFFER_BYTES, pre_buffer=False)


def _unreadable(path: Path, error: Exception) -> ScoringError:
    reason = " ".join(str(error).split())[:300]
    return ScoringError(f"cannot read {path} as Parquet: {reason}; write the file again, or leave it out")
