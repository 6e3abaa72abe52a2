"""What will be read and written, settled and checked for every file before the first row is scored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onepath.contract.errors import ScoringError
from onepath.contract.manifest import Manifest
from onepath.scoring.columns import Reader, holds_media_bytes, reader_from_type
from onepath.scoring.inputs import InputFile
from onepath.scoring.media import MAX_FILE_BYTES, MediaFolder
from onepath.scoring.pipeline import Pipeline
from onepath.scoring.results import result_fields
from onepath.scoring.settings import ScoreSettings
from onepath.scoring.table import Schema, Table, open_table


@dataclass(frozen=True)
class Job:
    """One input file and its output.

    Attributes:
        table: what is read.
        readers: modality to the function that turns its column into payloads.
        kept: the input's columns that the output repeats.
        target: what is written.
        schema: the `pyarrow.Schema` of the output.
    """

    table: Table
    readers: Mapping[str, Reader]
    kept: Sequence[str]
    target: Path
    schema: Schema


def plan_jobs(pipeline: Pipeline, files: Sequence[InputFile], output: Path, settings: ScoreSettings) -> tuple[Job, ...]:
    """Return one job a file.

    Args:
        pipeline: what scores.
        files: what is read.
        output: the folder that is written to.
        settings: how files are read and written.

    Raises:
        ScoringError: an output exists or is an input, a file cannot be scored, or two columns would have one name.
    """
    _check_targets(files, output, overwrite=settings.overwrite)
    return tuple(_job(pipeline, file, output / file.name, settings) for file in files)


def notes_from_jobs(jobs: Sequence[Job], manifest: Manifest) -> list[str]:
    """Return a sentence for each modality that some file has no column for."""
    notes = []
    for name in manifest.modality_names:
        without = [job.table.path for job in jobs if name not in job.table.columns]
        if without:
            where = f"{without[0]}" if len(without) == 1 else f"{len(without)} of {len(jobs)} files"
            notes.append(f"{name} is absent in every row of {where}, which has no column {name!r}")
    return notes


def _check_targets(files: Sequence[InputFile], output: Path, *, overwrite: bool) -> None:
    if output.exists() and not output.is_dir():
        raise ScoringError(f"the output {output} is not a folder; each input gets a file of its own name in a folder")
    sources = {file.path.resolve() for file in files}
    for file in files:
        target = output / file.name
        if target.resolve() in sources:
            raise ScoringError(f"the output {target} would replace an input; choose another output folder")
        if target.exists() and not overwrite:
            raise ScoringError(f"the output {target} exists; replace it with --overwrite, or choose another folder")


def _job(pipeline: Pipeline, file: InputFile, target: Path, settings: ScoreSettings) -> Job:
    manifest = pipeline.manifest
    table = open_table(file.path, manifest, settings.columns)
    dropped = set() if settings.keep_payloads else set(_media_columns(table, manifest))
    kept = [name for name in table.schema.names if name not in dropped]
    return Job(
        table=table,
        readers=_readers(table, manifest, settings.media_root),
        kept=kept,
        target=target,
        schema=_schema(table, kept, pipeline, settings.prefix),
    )


def _media_columns(table: Table, manifest: Manifest) -> Iterable[str]:
    for entry in manifest.modalities:
        column = table.columns.get(entry.name)
        if column is not None and holds_media_bytes(entry.kind, table.schema.field(column).type):
            yield column


def _readers(table: Table, manifest: Manifest, media_root: Path | None) -> dict[str, Reader]:
    readers = {}
    for entry in manifest.modalities:
        column = table.columns.get(entry.name)
        if column is not None:
            limit = min(int(entry.limits.get("max_bytes", MAX_FILE_BYTES)), MAX_FILE_BYTES)
            folder = MediaFolder(media_root or table.path.parent, confined=media_root is not None, max_bytes=limit)
            dtype = table.schema.field(column).type
            readers[entry.name] = reader_from_type(entry.kind, dtype, column=column, folder=folder)
    return readers


def _schema(table: Table, kept: Sequence[str], pipeline: Pipeline, prefix: str) -> Schema:
    import pyarrow as pa

    added = {f"{prefix}{name}": dtype for name, dtype in result_fields(pipeline.manifest).items()}
    clashes = [name for name in kept if name in added]
    if clashes:
        raise ScoringError(
            f"{table.path} has a column {clashes[0]!r}, which the output adds; "
            "give the added columns another name, such as --prefix predicted_"
        )
    fields = [table.schema.field(name) for name in kept] + [pa.field(name, dtype) for name, dtype in added.items()]
    return pa.schema(fields, metadata={"onepath.model": pipeline.manifest.name, "onepath.bundle": pipeline.id})
