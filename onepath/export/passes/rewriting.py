"""A graph read, changed by a library's passes, and written without what they leave behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import onnx_ir as ir

from onepath.export.graphs.onnx_file import EXTERNAL_OVER_BYTES, OnnxFile, cleaned, onnx_file_from_model


def rewritten(file: OnnxFile, path: Path, change: Callable[[ir.Model], None]) -> OnnxFile:
    """Return a graph changed and written to a file, its weights beside it if they were beside it before.

    Args:
        file: the graph; it is left as it is.
        path: where to write the other one; its folder is there.
        change: changes it in place.
    """
    model = file.lazy_model()
    change(model)
    limit = EXTERNAL_OVER_BYTES if file.data_path is None else 0
    other = onnx_file_from_model(cleaned(model), path, external_over_bytes=limit)
    onnx.checker.check_model(str(other.path))
    return other
