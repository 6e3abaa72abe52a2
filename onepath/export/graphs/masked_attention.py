"""Attention under a mask of bools, without the test for NaN that torch's exporter writes behind its softmax."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir


def without_nan_guards(model: ir.Model) -> None:
    """Write attention under a mask of bools so that it does not depend on NaN, in place.

    The exporter adds the lowest number, or −inf, where the mask says no, and makes zeros of what is NaN after the
    softmax. Here the softmax is zero where the mask says no instead: for a row with anything left that is what it is
    already, to the bit; where nothing is left it is what torch answers, and what the guard of the exporter is for.
    """
    for node in list(model.graph):
        mask = _mask_of_guard(node)
        if mask is None:
            continue
        test, zero, weights = node.inputs
        for index, value in enumerate((mask, weights, zero)):
            node.replace_input_with(index, value)
        guard = test.producer() if test is not None else None
        if guard is not None and not guard.outputs[0].uses():
            model.graph.remove(guard, safe=True)


def _mask_of_guard(node: ir.Node) -> ir.Value | None:
    """Return the mask of `Where(IsNaN(p), 0, p)` with `p = Softmax(scores + Where(mask, 0, lowest))`, or None."""
    if node.op_type != "Where" or not _is_number(node.inputs[1], 0.0):
        return None
    test, softmax = _made_by(node.inputs[0], "IsNaN"), _made_by(node.inputs[2], "Softmax")
    if test is None or softmax is None or test.inputs[0] is not node.inputs[2]:
        return None
    added = _made_by(softmax.inputs[0], "Add")
    for value in added.inputs if added is not None else ():
        bias = _made_by(value, "Where")
        if bias is not None and _is_number(bias.inputs[1], 0.0) and _is_lowest(bias.inputs[2]):
            return bias.inputs[0]
    return None


def _made_by(value: ir.Value | None, operator: str) -> ir.Node | None:
    producer = None if value is None else value.producer()
    return producer if producer is not None and producer.op_type == operator else None


def _is_number(value: ir.Value | None, number: float) -> bool:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    return tensor is not None and tensor.size == 1 and float(tensor.numpy().item()) == number


def _is_lowest(value: ir.Value | None) -> bool:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    if tensor is None or tensor.size != 1 or not tensor.dtype.is_floating_point():
        return False
    return float(tensor.numpy().item()) <= float(np.finfo(tensor.numpy().dtype).min)
