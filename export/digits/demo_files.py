"""The files that the demo leaves to play with: a picture and a recording of a seven, and rows to score offline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from paired_rows import MODALITIES, Rows
from served_accuracy import PATTERNS

_SHOWN = 7


def write_examples(folder: Path, rows: Rows) -> list[Path]:
    """Write `seven.png`, `seven.wav` and `rows.parquet`, and return their paths.

    Args:
        folder: exists.
        rows: test rows; the Parquet file has them all, with one presence pattern after another.
    """
    first = rows.payloads[int(np.flatnonzero(rows.digits == _SHOWN)[0])]
    paths = [folder / "seven.png", folder / "seven.wav", folder / "rows.parquet"]
    paths[0].write_bytes(first["image"])
    paths[1].write_bytes(first["audio"])
    _write_parquet(paths[2], rows)
    return paths


def _write_parquet(path: Path, rows: Rows) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept = [PATTERNS[index % len(PATTERNS)] for index in range(len(rows))]
    columns = {
        name: [row[name] if name in pattern else None for row, pattern in zip(rows.payloads, kept, strict=True)]
        for name in MODALITIES
    }
    texts = [None if text is None else text.decode() for text in columns["text"]]
    table = {
        "digit": pa.array(rows.digits, pa.int8()),
        "image": pa.array(columns["image"], pa.binary()),
        "audio": pa.array(columns["audio"], pa.binary()),
        "text": pa.array(texts, pa.string()),
    }
    pq.write_table(pa.table(table), path)
