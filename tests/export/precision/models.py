"""A small two-modality transformer with row dispatch, written in ONNX's own text, and rows for it."""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

from onepath.contract.graphs import GraphEntry
from onepath.contract.manifest import ModalityEntry
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.precision.held_out import HeldOut
from onepath.export.rows import RowSource
from onepath.modalities import settings_in_full, tensor_from_settings

NAMES = ("left", "right")
COLUMNS, TOKENS, WIDTH, CLASSES = 16, 4, 32, 4
BATCH = 8

_TEXT = """
<ir_version: 10, opset_import: ["": 20]>
two_modalities (float[rows, 16] left, float[rows, 16] right, uint8[rows, 1] left_state, uint8[rows, 1] right_state)
    => (float[rows, 4] scores, uint8[rows, 2] presence, uint8[rows, 1] row_status)
<int64[1] one = {{1}}, int64[1] all = {{-1}}, int64[3] tokens = {{-1, 4, 32}},
 uint8[1] is_there = {{1}}, float[1] none = {{0}}, float[1] scale = {{0.1767767}}>
{{
    {left}
    {right}
    sum = Add(left_features, right_features)
    logits = Gemm <transB = 1> (sum, head_weight, head_bias)
    probabilities = Softmax <axis = -1> (logits)
    usable = Or(left_here, right_here)
    scores = Where(usable, probabilities, none)
    present = Concat <axis = 1> (left_here, right_here)
    presence = Cast <to = 2> (present)
    empty = Not(usable)
    row_status = Cast <to = 2> (empty)
}}
"""
_DISPATCH = """
    {m}_here = Equal({m}_state, is_there)
    {m}_flags = Reshape({m}_here, all)
    {m}_indices = NonZero({m}_flags)
    {m}_index = Transpose <perm = [1, 0]> ({m}_indices)
    {m}_rows = Reshape({m}_index, all)
    {m}_values = Gather <axis = 0> ({m}, {m}_rows)
    {encoder}
    {m}_count = Shape({m}_flags)
    {m}_width = Constant <value_ints = [32]> ()
    {m}_shape = Concat <axis = 0> ({m}_count, {m}_width)
    {m}_table = Expand(none, {m}_shape)
    {m}_features = ScatterND({m}_table, {m}_index, {m}_encoded)
"""
_TRANSFORMER = """
    {m}_embedded = Gemm <transB = 1> ({m}_values, {m}_embed, {m}_embed_bias)
    {m}_x = Reshape({m}_embedded, tokens)
    {m}_norm1 = LayerNormalization ({m}_x, {m}_gain1)
    {m}_product = MatMul({m}_norm1, {m}_qkv)
    {m}_biased = Add({m}_product, {m}_qkv_bias)
    {m}_q, {m}_k, {m}_v = Split <axis = 2, num_outputs = 3> ({m}_biased)
    {m}_kt = Transpose <perm = [0, 2, 1]> ({m}_k)
    {m}_similar = MatMul({m}_q, {m}_kt)
    {m}_scaled = Mul({m}_similar, scale)
    {m}_attention = Softmax <axis = -1> ({m}_scaled)
    {m}_mixed = MatMul({m}_attention, {m}_v)
    {m}_projected = MatMul({m}_mixed, {m}_proj)
    {m}_y = Add({m}_x, {m}_projected)
    {m}_norm2 = LayerNormalization ({m}_y, {m}_gain2)
    {m}_hidden = MatMul({m}_norm2, {m}_fc1)
    {m}_hidden_biased = Add({m}_hidden, {m}_fc1_bias)
    {m}_active = Gelu({m}_hidden_biased)
    {m}_narrow = MatMul({m}_active, {m}_fc2)
    {m}_z = Add({m}_y, {m}_narrow)
    {m}_encoded = ReduceMean <keepdims = 0> ({m}_z, one)
"""
_SPECTRUM = """
    {m}_offset = Add({m}_values, {m}_level)
    {m}_bands = MatMul({m}_offset, {m}_differences)
    {m}_power = Mul({m}_bands, {m}_bands)
    {m}_floored = Add({m}_power, small)
    {m}_logarithm = Log({m}_floored)
    {m}_encoded = MatMul({m}_logarithm, {m}_last)
"""
_SHAPES = {
    "embed": (TOKENS * WIDTH, COLUMNS),
    "embed_bias": (TOKENS * WIDTH,),
    "qkv": (WIDTH, 3 * WIDTH),
    "qkv_bias": (3 * WIDTH,),
    "proj": (WIDTH, WIDTH),
    "fc1": (WIDTH, 2 * WIDTH),
    "fc1_bias": (2 * WIDTH,),
    "fc2": (2 * WIDTH, WIDTH),
}


def two_modalities(*, spectrum: bool = False) -> onnx.ModelProto:
    """A graph of seeded weights. With `spectrum`, the right encoder is the logarithm of a power spectrum.

    That spectrum's bands are differences of numbers near 100, which a step of 1/255 of their range hides.
    """
    random = np.random.default_rng(0)
    encoders = {"left": _TRANSFORMER, "right": _SPECTRUM if spectrum else _TRANSFORMER}
    text = {m: _DISPATCH.format(m=m, encoder=encoder.format(m=m)) for m, encoder in encoders.items()}
    weights = {"head_weight": random.normal(size=(CLASSES, WIDTH)), "head_bias": np.zeros(CLASSES)}
    for m, encoder in encoders.items():
        if encoder is _SPECTRUM:
            differences = random.normal(size=(COLUMNS, COLUMNS))
            weights |= {
                "small": np.full(1, 1e-3),
                f"{m}_level": np.full(1, 100.0),
                f"{m}_differences": differences - differences.mean(axis=0),
            }
            weights |= {f"{m}_last": random.normal(size=(COLUMNS, WIDTH)) / 8}
        else:
            drawn = {name: random.normal(size=shape) / np.sqrt(shape[-1]) for name, shape in _SHAPES.items()}
            weights |= {f"{m}_{name}": array for name, array in drawn.items()}
            weights |= {f"{m}_gain{place}": np.ones(WIDTH) for place in (1, 2)}
    model = parser.parse_model(_TEXT.format(**text))
    model.graph.initializer.extend(
        numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()
    )
    for node in model.graph.node:
        node.name = f"make_{node.output[0]}"
    onnx.checker.check_model(model, full_check=True)
    return model


def entries() -> list[ModalityEntry]:
    """Two tables of numbers."""
    given = {"columns": [{"name": f"c{index}"} for index in range(COLUMNS)]}
    settings, limits = settings_in_full("left", "tabular", given, {})
    tensors = {name: tensor_from_settings(name, "tabular", settings, limits, Path()) for name in NAMES}
    return [
        ModalityEntry(name=name, kind="tabular", settings=settings, limits=limits, tensor=tensors[name])
        for name in NAMES
    ]


def written(model: onnx.ModelProto, path: Path) -> OnnxFile:
    """The graph in a file."""
    path.write_bytes(model.SerializeToString(deterministic=True))
    return OnnxFile(path)


def source(rows: int, seed: int = 0) -> RowSource:
    """Rows of two tables, each a normal number a column."""
    numbers = np.random.default_rng(seed).normal(size=(rows, 2, COLUMNS)).round(4)
    encoded = [
        {
            name: json.dumps(dict(zip((f"c{i}" for i in range(COLUMNS)), row[place].tolist(), strict=True))).encode()
            for place, name in enumerate(NAMES)
        }
        for row in numbers
    ]
    return RowSource(entries(), Path(), encoded)


def held_out(rows: int, targets: list[int] | None = None) -> HeldOut:
    """Rows of a classifier, with targets or without."""
    return HeldOut(source(rows), targets or [], "classification")


def entry(**changes) -> GraphEntry:
    """What a manifest says of the graph."""
    settings = {"file": "graphs/model.onnx", "opset": 20, "ir_version": 10, "max_batch_size": BATCH}
    return GraphEntry(**{**settings, **changes})


def model_of(nodes, inputs, outputs, weights=(), opset=20) -> onnx.ModelProto:
    """A checked graph of a few nodes; inputs and outputs are name to shape, float32."""
    infos = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in each.items()]
        for each in (inputs, outputs)
    ]
    tensors = [numpy_helper.from_array(array, name) for name, array in dict(weights).items()]
    graph = helper.make_graph(nodes, "small", *infos, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model
