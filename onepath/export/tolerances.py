"""The one table of tolerances: how far each proof step may be from its source, chosen before anything is measured."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from onepath.contract.proofs import LOOSEST_IN_FLOAT32, LOOSEST_IN_FLOAT64
from onepath.contract.tensors import Closed
from onepath.export.precision.gates import PrecisionGates

InFloat64 = Annotated[float, Field(gt=0, le=LOOSEST_IN_FLOAT64)]
InFloat32 = Annotated[float, Field(gt=0, le=LOOSEST_IN_FLOAT32)]


class Tolerances(Closed):
    """The largest difference that each step may make.

    Attributes:
        merge: between the merged model on a presence pattern and the model merged from only those blocks, or a merge
            and the same made again, in float64, relative to the largest output.
        collapse: between the multi-path and the collapsed model in float64, relative to the largest output; up to 2e-15
            was seen, in a ViT-B/16 with pathways in every layer.
        cast: between the collapsed model in float64 and in float32, relative to the largest output.
        onnx: between torch and ONNX Runtime in float32, absolute, on the served outputs of held-out rows.
        onnx_random: the same on random rows, which lie far from the data; `cast` is allowed as much.
        probe: between a serving engine's answer to a golden probe and the stored one, absolute.
        precision: how far graphs in other precisions than float32 may be from the float32 one.
    """

    merge: InFloat64 = 1e-12
    collapse: InFloat64 = 1e-12
    cast: InFloat32 = 1e-4
    onnx: InFloat32 = 1e-5
    onnx_random: InFloat32 = 1e-4
    probe: InFloat32 = 1e-4
    precision: PrecisionGates = PrecisionGates()
