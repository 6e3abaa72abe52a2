"""Held-out rows from a file, for recipes without training code: a column a modality, and the target."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from onepath.contract.errors import MissingExtraError, OnepathError, RecipeError
from onepath.contract.status import Status
from onepath.export.recipe import Recipe
from onepath.export.trained import Row, Trained
from onepath.scoring.columns import Reader, reader_from_type
from onepath.scoring.media import MediaFolder

TARGET = "target"
_LITERAL_KINDS = ("text", "tabular")  # a string is the value itself, and for other kinds the path of a file

Problem = tuple[str, str]
Payloads = list[bytes | Status]


def rows_from_file(path: Path, recipe: Recipe) -> Trained:
    """Return the held-out rows and targets of a Parquet or JSON Lines file, and nothing trained.

    In Parquet, columns are as offline scoring takes them. In JSON Lines, each line is an object: texts are strings,
    tables objects or lists, and other modalities paths relative to the file.

    Args:
        path: the file, its name ending in `.parquet` or `.jsonl`.
        recipe: names the modalities and the labels.

    Raises:
        RecipeError: the file is neither, is damaged, lacks a column, or names files or labels that are not known.
        MissingExtraError: pyarrow is not installed.
    """
    read = {".parquet": _from_parquet, ".jsonl": _from_json_lines}.get(path.suffix)
    if read is None:
        raise RecipeError(str(path), [("rows", "is neither a .parquet nor a .jsonl file")])
    columns, targets = read(path, recipe)
    problems = [*_unread(columns), *_unknown_targets(targets, recipe.labels)]
    if problems:
        raise RecipeError(str(path), problems)
    rows = [dict(zip(columns, payloads, strict=True)) for payloads in zip(*columns.values(), strict=True)]
    indices = [_index(target, recipe.labels) for target in targets] if recipe.labels else []
    return Trained({}, rows=[_present(row) for row in rows], targets=indices)


def _from_parquet(path: Path, recipe: Recipe) -> tuple[dict[str, Payloads], list[Any]]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingExtraError("pyarrow", "serve", purpose="reading held-out rows from Parquet") from error
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RecipeError(
            str(path), [("rows", f"cannot be read as Parquet: {' '.join(str(error).split())}")]
        ) from error
    _refuse_missing(path, recipe, table.column_names)
    folder = MediaFolder(path.parent)
    with ThreadPoolExecutor(4) as pool:
        columns = {
            name: _reader(path, name, modality.kind, table, folder)(table[name].combine_chunks(), pool)
            for name, modality in recipe.modalities.items()
        }
    return columns, table[TARGET].to_pylist() if TARGET in table.column_names else []


def _reader(path: Path, name: str, kind: str, table: Any, folder: MediaFolder) -> Reader:  # a pyarrow.Table
    try:
        return reader_from_type(kind, table.schema.field(name).type, column=name, folder=folder)
    except OnepathError as error:
        raise RecipeError(str(path), [(f"rows.{name}", str(error))]) from error


def _from_json_lines(path: Path, recipe: Recipe) -> tuple[dict[str, Payloads], list[Any]]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise RecipeError(str(path), [("rows", f"cannot be read as JSON Lines: {error}")]) from error
    if not rows:
        raise RecipeError(str(path), [("rows", "has no rows to prove the bundles on")])
    if not all(isinstance(row, dict) for row in rows):
        raise RecipeError(str(path), [("rows", "has a line that is no JSON object")])
    _refuse_missing(path, recipe, {name for row in rows for name in row})
    folder = MediaFolder(path.parent)
    columns = {
        name: [_payload(row.get(name), modality.kind, folder) for row in rows]
        for name, modality in recipe.modalities.items()
    }
    return columns, [row.get(TARGET) for row in rows] if any(TARGET in row for row in rows) else []


def _payload(value: Any, kind: str, folder: MediaFolder) -> bytes | Status:  # value: JSON
    if value is None:
        return b""
    if kind not in _LITERAL_KINDS:
        return folder.read(value) if isinstance(value, str) else Status("bad_value", f"{value!r} is not a path")
    return value.encode() if isinstance(value, str) else json.dumps(value, ensure_ascii=False).encode()


def _refuse_missing(path: Path, recipe: Recipe, present: Sequence[str] | set[str]) -> None:
    problems = [(f"rows.{name}", "is no column of the file") for name in recipe.modalities if name not in present]
    if problems:
        raise RecipeError(str(path), problems)


def _unread(columns: Mapping[str, Payloads]) -> list[Problem]:
    """Return the first payload of each modality that could not even be read."""
    bad = [
        [(f"rows.{index}.{name}", each.message) for index, each in enumerate(payloads) if isinstance(each, Status)]
        for name, payloads in columns.items()
    ]
    return [problems[0] for problems in bad if problems]


def _unknown_targets(targets: Sequence[Any], labels: Sequence[str]) -> list[Problem]:
    if not labels:
        return []
    bad = [(index, target) for index, target in enumerate(targets) if _index(target, labels) < 0]
    return [(f"rows.{index}.{TARGET}", f"{target!r} is no label and no index of one") for index, target in bad[:1]]


def _index(target: Any, labels: Sequence[str]) -> int:  # target: JSON or a cell of Parquet
    """Return the index that a target names, by label or by number; -1 if it names none."""
    if isinstance(target, str):
        return labels.index(target) if target in labels else -1
    known = isinstance(target, int) and not isinstance(target, bool) and 0 <= target < len(labels)
    return target if known else -1


def _present(row: Mapping[str, bytes | Status]) -> Row:
    return {name: payload for name, payload in row.items() if isinstance(payload, bytes) and payload}
