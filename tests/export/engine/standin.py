"""An engine builder made of ONNX Runtime: its engines are ONNX files, and its layers those of the given graph."""

import json

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, numpy_helper, shape_inference

from onepath.export.engine import BuildOptions, Device, EngineRefusedError

_INSPECTED = {TensorProto.FLOAT: "Float", TensorProto.FLOAT16: "Half", TensorProto.BFLOAT16: "BFloat16"}
_PRODUCTS = {"MatMul": "gemm", "Gemm": "gemm", "Conv": "CaskConvolution"}


class StandIn:
    """Keeps what it was asked to build in `built`, by part.

    Args:
        compute_capability: of the GPU that it has not.
        refuses: an operator that it takes no graph with.
        spoils: changes a graph before it is built, as a faulty library would.
    """

    version = "10.14.1"

    def __init__(self, compute_capability="9.0", *, refuses=None, spoils=lambda model: None):
        self.device = Device(f"GPU {compute_capability}", compute_capability)
        self.built: dict[str, tuple[onnx.ModelProto, BuildOptions]] = {}
        self._refuses, self._spoils = refuses, spoils

    def build(self, graph, options):
        model = onnx.load(graph)
        problems = [f"node {n.name} ({n.op_type}): not here" for n in model.graph.node if n.op_type == self._refuses]
        if problems:
            raise EngineRefusedError(problems, library="the stand-in")
        self._spoils(model)
        self.built[graph.stem] = (model, options)
        return model.SerializeToString()

    def inspect(self, engine):
        graph = shape_inference.infer_shapes(onnx.load_from_string(engine)).graph
        known = {tensor.name: tensor.type.tensor_type.elem_type for tensor in (*graph.value_info, *graph.input)}
        layers = [
            {
                "Name": f"{node.output[0]}_myl0_{place}",
                "LayerType": _PRODUCTS.get(node.op_type, "kgen"),
                "Inputs": [
                    {"Name": node.input[0], "Format/Datatype": _INSPECTED.get(known.get(node.input[0]), "Int32")}
                ],
                "Outputs": [],
            }
            for place, node in enumerate(graph.node)
        ]
        return json.dumps({"Layers": layers, "Bindings": []})

    def load(self, engine):
        session = ort.InferenceSession(engine)
        names = [output.name for output in session.get_outputs()]
        return lambda feeds: dict(zip(names, session.run(None, dict(feeds)), strict=True))


def into_float32(model):
    """Make a graph in 16 bits one in float32, as a library does that has no 16-bit kernels and says nothing."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT


def shifted(name, by):
    """Return what adds a number to a weight."""

    def shift(model):
        for tensor in model.graph.initializer:
            if tensor.name == name:
                values = (numpy_helper.to_array(tensor) + by).astype(np.float32)
                tensor.CopyFrom(numpy_helper.from_array(values, name))

    return shift
