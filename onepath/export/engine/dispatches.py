"""Where a graph picks the rows that are present, and where it puts what was made of them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from onepath.contract.errors import UnsupportedModuleError

_RESHAPING = frozenset({"Transpose", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Identity", "Cast"})
_RENAMING = frozenset({"Identity", "Cast"})


@dataclass(frozen=True)
class Dispatch:
    """The dispatch of one modality's rows.

    Attributes:
        modality: its name, which is that of the graph's input.
        mask: bool `(rows,)`, which rows are present.
        index: the numbers of these rows, int64 `(1, present)`.
        picked: these rows of the modality's values.
        encoded: what the encoder makes of them.
        absent: the table `(rows, …)` of absent values that they are put into.
        table: the table with them in their places.
    """

    modality: str
    mask: ir.Value
    index: ir.Value
    picked: tuple[ir.Value, ...]
    encoded: ir.Value
    absent: ir.Value
    table: ir.Value


def dispatches_of(model: ir.Model, modalities: Sequence[str]) -> dict[str, Dispatch]:
    """Return the dispatch of every modality.

    Raises:
        UnsupportedModuleError: the graph has none for a modality, or not the one that onepath's export makes.
    """
    found = [_dispatch(node, modalities) for node in model.graph if node.op_type == "NonZero"]
    dispatches = {dispatch.modality: dispatch for dispatch in found if dispatch is not None}
    missing = [name for name in modalities if name not in dispatches]
    if missing or len(found) != len(modalities):
        problem = f"no dispatch of the rows of {missing[0]} was found in it" if missing else "it has further NonZero"
        raise UnsupportedModuleError("the graph in parts", problem, "export it with onepath, or serve it as it is")
    return dispatches


def _dispatch(nonzero: ir.Node, modalities: Sequence[str]) -> Dispatch | None:
    index = nonzero.outputs[0]
    numbers = _reshaped(index)
    users = [(usage.node, usage.idx) for value in numbers for usage in value.uses()]
    picks = [node for node, place in users if (node.op_type, place) == ("Gather", 1)]
    puts = [node for node, place in users if (node.op_type, place) == ("ScatterND", 1)]
    sources = {_source(node.inputs[0]) for node in picks}
    if len(sources) != 1 or len(puts) != 1 or not sources <= {*modalities} or not all(_on_rows(node) for node in picks):
        return None
    (put,) = puts
    absent, _, encoded = put.inputs
    mask = nonzero.inputs[0]
    if absent is None or encoded is None or mask is None:
        return None
    picked = tuple(node.outputs[0] for node in picks)
    return Dispatch(str(sources.pop()), mask, index, picked, encoded, absent, put.outputs[0])


def _reshaped(value: ir.Value) -> list[ir.Value]:
    """Return a value, and all that only give it another shape or type."""
    found, waiting = [value], [value]
    while waiting:
        for usage in waiting.pop().uses():
            if usage.node.op_type in _RESHAPING and usage.idx == 0:
                found.append(usage.node.outputs[0])
                waiting.append(usage.node.outputs[0])
    return found


def _source(value: ir.Value | None) -> str | None:
    """Return the graph's input that a value is, in whatever type."""
    while value is not None:
        node = value.producer()
        if node is None:
            return value.name if value.is_graph_input() else None
        if node.op_type not in _RENAMING:
            return None
        value = node.inputs[0]
    return None


def _on_rows(gather: ir.Node) -> bool:
    axis = gather.attributes.get("axis")
    return axis is None or axis.as_int() == 0
