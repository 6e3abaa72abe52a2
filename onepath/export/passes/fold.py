"""Constants folded, dead nodes and unread weights left out, equal nodes and equal weights merged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript.optimizer import fold_constants_ir

from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.graphs.parts import weights_of
from onepath.export.passes.rewriting import rewritten

_ANY_SIZE_BYTES = 1 << 62


def fold(file: OnnxFile, path: Path) -> OnnxFile:
    """Return a graph in which everything that does not depend on the input was computed beforehand.

    Requires: a graph that ONNX's checker accepts. Ensures: the same inputs and outputs; results within rounding, as a
    constant is computed here rather than by the engine.

    Args:
        file: the graph.
        path: where to write the other one; its folder is there.
    """
    return rewritten(file, path, _fold)


def _fold(model: ir.Model) -> None:
    fold_constants_ir(model, onnx_shape_inference=True)
    ir.passes.Sequential(
        common.IdentityEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    )(model)
    _lay_out(model)
    ir.passes.Sequential(
        common.DeduplicateHashedInitializersPass(size_limit=_ANY_SIZE_BYTES),
        common.CommonSubexpressionEliminationPass(),
        common.RemoveUnusedNodesPass(),
        common.RemoveUnusedOpsetsPass(),
    )(model)


def _lay_out(model: ir.Model) -> None:
    """Store folded weights row by row: a transposed one is a view, which cannot be hashed."""
    for value in weights_of(model):
        tensor = value.const_value
        if isinstance(tensor, ir.Tensor) and not tensor.numpy().flags.c_contiguous:
            value.const_value = ir.Tensor(np.ascontiguousarray(tensor.numpy()), dtype=tensor.dtype, name=tensor.name)
