"""Answers as Arrow columns: what an output file adds to its input's columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onepath.contract.manifest import Manifest
from onepath.contract.presence import ROW_OK, ROW_STATUS_TEXT, pattern_from_presence, pattern_name
from onepath.contract.status import bytes_from_status
from onepath.contract.tensors import status_name
from onepath.scoring.engine import ScoredRows

LABEL, SCORE = "label", "score"
ROW_STATUS_COLUMN, PRESENCE_COLUMN, BUNDLE_COLUMN = "_status", "_presence", "_bundle"

Array = Any  # pyarrow has no types
Fields = dict[str, Any]  # pyarrow has no types
"""Column to its `pyarrow.DataType`."""


def result_fields(manifest: Manifest) -> Fields:
    """Return the columns that an output adds, in order, and their Arrow types."""
    import pyarrow as pa

    classified = {LABEL: pa.string(), SCORE: pa.float32()} if manifest.task == "classification" else {}
    outputs = {spec.name: pa.list_(pa.from_numpy_dtype(np.dtype(spec.dtype))) for spec in manifest.outputs}
    statuses = {status_name(name): pa.string() for name in manifest.modality_names}
    of_the_row = {name: pa.string() for name in (ROW_STATUS_COLUMN, PRESENCE_COLUMN, BUNDLE_COLUMN)}
    return classified | outputs | statuses | of_the_row


def result_arrays(scored: ScoredRows, manifest: Manifest, bundle_id: str) -> dict[str, Array]:
    """Return the columns of `result_fields` for some rows.

    A row that is empty or failed has no label and no score, zeros in its outputs, and its `_status`; `_status` is null
    in a row that is fine, and so is a modality's status where its payload was used or is absent.
    """
    import pyarrow as pa

    rows = len(scored.row_status)
    columns = _classified(scored, manifest) if manifest.task == "classification" else {}
    columns |= {name: _lists(array) for name, array in scored.outputs.items()}
    for name, statuses in scored.statuses.items():
        texts = [bytes_from_status(status).decode() or None for status in statuses]
        columns[status_name(name)] = pa.array(texts, pa.string())
    columns[ROW_STATUS_COLUMN] = pa.array(
        [ROW_STATUS_TEXT[int(code)] or None for code in scored.row_status], pa.string()
    )
    columns[PRESENCE_COLUMN] = pa.array(presence_names(scored, manifest), pa.string())
    columns[BUNDLE_COLUMN] = pa.repeat(bundle_id, rows)
    return columns


def presence_names(scored: ScoredRows, manifest: Manifest) -> list[str]:
    """Return the name of each row's presence pattern, such as `image+text`."""
    return [pattern_name(pattern_from_presence(row, manifest.modality_names)) for row in scored.presence.tolist()]


def _classified(scored: ScoredRows, manifest: Manifest) -> dict[str, Array]:
    import pyarrow as pa

    scores = scored.outputs[manifest.outputs[0].name]
    best = scores.argmax(axis=1)
    unusable = scored.row_status != ROW_OK
    labels = [manifest.labels[index] for index in best]
    return {
        LABEL: pa.array(labels, pa.string(), mask=unusable),
        SCORE: pa.array(scores[np.arange(len(best)), best], pa.float32(), mask=unusable),
    }


def _lists(array: NDArray[np.generic]) -> Array:
    import pyarrow as pa

    flat = array.reshape(len(array), -1)
    offsets = np.arange(0, flat.size + 1, flat.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(offsets, pa.array(flat.reshape(-1)))
