"""A graph whose rows are dispatched, cut where the dispatch is: dense encoders, and the fusion of what they give.

An engine that cannot hold tensors whose size depends on the data cannot gather the rows that are present. The parts
have no such tensor: each encoder runs on every row, and the fusion takes its features only where the row is present.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass, ShapeInferencePass, TopologicalSortPass

from onepath.contract.engines import FEATURES, FUSION, features_name
from onepath.contract.errors import UnsupportedModuleError
from onepath.contract.tensors import TensorSpec
from onepath.export.engine.dispatches import Dispatch, dispatches_of

_ROWS = "rows"  # the name that the export gives the symbolic number of rows
_ADVICE = "serve this bundle's ONNX graph, or report the graph"


@dataclass(frozen=True)
class SplitGraph:
    """A graph in parts.

    Attributes:
        encoders: modality to a graph from its values `(rows, …)` to `features`, float32 `(rows, …)`.
        fusion: the graph from every modality's features and states to the outputs.
        features: the features of one row, named as the modality.
    """

    encoders: Mapping[str, ir.Model]
    fusion: ir.Model
    features: tuple[TensorSpec, ...]


def split_graph(model: ir.Model, modalities: Iterable[str]) -> SplitGraph:
    """Return the parts of a dispatched graph, which together give what it gives.

    Args:
        model: the graph, with types and shapes or without; it is left as it is.
        modalities: the names of its value inputs.

    Raises:
        UnsupportedModuleError: a modality's rows are not dispatched as onepath's export does it, or a part would need
            more than its own inputs.
    """
    names = tuple(modalities)
    if FUSION in names:
        raise UnsupportedModuleError(f"the modality {FUSION}", "the fusion's own part is named so", "rename it")
    typed = model.clone()
    ShapeInferencePass()(typed)
    dispatches = dispatches_of(typed, names)
    specs = tuple(_features_of(dispatches[name]) for name in names)
    encoders = {name: _encoder(typed, dispatches[name]) for name in names}
    return SplitGraph(encoders, _fusion(typed, dispatches, specs), specs)


def _features_of(dispatch: Dispatch) -> TensorSpec:
    shapes = [shape for shape in (dispatch.encoded.shape, dispatch.absent.shape) if shape is not None]
    sizes = [[size for size in dims if isinstance(size, int)] for dims in zip(*(s[1:] for s in shapes), strict=True)]
    if not shapes or not all(sizes) or dispatch.encoded.dtype is None:
        problem = "the shape or the type of its features cannot be told from the graph"
        raise UnsupportedModuleError(f"the encoder of {dispatch.modality}", problem, _ADVICE)
    return TensorSpec(name=dispatch.modality, dtype="float32", shape=tuple(known[0] for known in sizes))


def _encoder(model: ir.Model, dispatch: Dispatch) -> ir.Model:
    """Return the graph between the rows that are picked and their place in the table, of every row."""
    part = model.clone()
    graph, here = part.graph, _values(part.graph)
    values = next(value for value in graph.inputs if value.name == dispatch.modality)
    for picked in dispatch.picked:
        here[_name(picked)].replace_all_uses_with(_cast_as(graph, values, picked.dtype))
    _index_every_row(graph, values, here[_name(dispatch.index)])
    features = _cast_as(graph, here[_name(dispatch.encoded)], ir.DataType.FLOAT, copy=True)
    features.name = FEATURES
    graph.outputs[:] = [features]
    graph.inputs[:] = [values]
    return _pruned(part, f"the encoder of {dispatch.modality}")


def _fusion(model: ir.Model, dispatches: Mapping[str, Dispatch], specs: Iterable[TensorSpec]) -> ir.Model:
    """Return the graph in which each table takes the encoded row where it is present, and else the absent value."""
    part = model.clone()
    graph, here = part.graph, _values(part.graph)
    new = []
    for spec in specs:
        dispatch = dispatches[spec.name]
        shape = ir.Shape([_ROWS, *spec.shape])
        features = ir.Value(name=features_name(spec.name), shape=shape, type=ir.TensorType(ir.DataType.FLOAT))
        new.append(features)
        axes = _constant(graph, f"{spec.name}.axes", ir.tensor(list(range(1, len(spec.shape) + 1)), ir.DataType.INT64))
        mask = _cast_as(graph, here[_name(dispatch.mask)], ir.DataType.BOOL)
        present = _add(graph, "Unsqueeze", [mask, axes])
        encoded = _cast_as(graph, features, dispatch.encoded.dtype)
        table = _add(graph, "Where", [present, encoded, here[_name(dispatch.absent)]])
        here[_name(dispatch.table)].replace_all_uses_with(table, replace_graph_outputs=True)
    states = [value for value in graph.inputs if value.name not in dispatches]
    graph.inputs[:] = [*new, *states]
    return _pruned(part, "the fusion")


def _index_every_row(graph: ir.Graph, values: ir.Value, index: ir.Value) -> None:
    """Put the numbers of all rows `(1, rows)` in the place of those of the present ones, for what asks how many."""
    zero, one = (_constant(graph, f"split.{n}", ir.tensor(n, ir.DataType.INT64)) for n in (0, 1))
    axis = _constant(graph, "split.axis", ir.tensor([0], ir.DataType.INT64))
    size = _add(graph, "Shape", [values], start=0, end=1)
    numbers = _add(graph, "Range", [zero, _add(graph, "Squeeze", [size, axis]), one])
    index.replace_all_uses_with(_add(graph, "Unsqueeze", [numbers, axis]))


def _cast_as(graph: ir.Graph, value: ir.Value, dtype: ir.DataType | None, *, copy: bool = False) -> ir.Value:
    """Return a value in a type; itself where it has the type already, unless a copy of it is wanted."""
    if dtype in (None, value.dtype):
        return _add(graph, "Identity", [value], dtype=value.dtype) if copy else value
    return _add(graph, "Cast", [value], dtype=dtype, to=dtype)


def _add(
    graph: ir.Graph, operator: str, inputs: list[ir.Value], *, dtype: ir.DataType | None = None, **attributes: int
) -> ir.Value:
    node = ir.node(operator, inputs, attributes or None)
    graph.append(node)
    output: ir.Value = node.outputs[0]
    output.name = f"split.{operator}.{graph.num_nodes()}"
    if dtype is not None:
        output.dtype = dtype
    return output


def _constant(graph: ir.Graph, name: str, tensor: ir.TensorProtocol) -> ir.Value:
    if name in graph.initializers:
        return graph.initializers[name]
    value = ir.Value(
        name=name, const_value=tensor, type=ir.TensorType(tensor.dtype), shape=ir.Shape(tensor.numpy().shape)
    )
    graph.register_initializer(value)
    return value


def _pruned(part: ir.Model, name: str) -> ir.Model:
    """Return a part without what none of its outputs needs, after checking that it needs no other input."""
    RemoveUnusedNodesPass()(part)
    TopologicalSortPass()(part)
    known = {id(value) for value in (*part.graph.inputs, *part.graph.initializers.values())}
    for node in part.graph:
        for value in node.inputs:
            if value is not None and value.producer() is None and id(value) not in known:
                raise UnsupportedModuleError(name, f"it needs {value.name} as well ({node.op_type})", _ADVICE)
        if node.op_type == "NonZero":
            raise UnsupportedModuleError(name, "the size of a tensor in it depends on the data (NonZero)", _ADVICE)
    return part


def _values(graph: ir.Graph) -> dict[str, ir.Value]:
    made = [output for node in graph for output in node.outputs]
    return {_name(value): value for value in (*graph.inputs, *graph.initializers.values(), *made)}


def _name(value: ir.Value) -> str:
    return str(value.name)
