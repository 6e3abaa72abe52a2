"""The one table of tolerances: how far each proof step may be from its source, chosen before anything is measured."""

from __future__ import annotations

from pydantic import Field

from onepath.contract.tensors import Closed


class Tolerances(Closed):
    """The largest difference that each step may make.

    Attributes:
        merge: between the merged model on a presence pattern and the model merged from only those blocks, in float64,
            relative to the largest output.
        collapse: between the multi-path and the collapsed model in float64, relative to the largest output.
        cast: between the collapsed model in float64 and in float32, absolute, on the served outputs.
        onnx: between torch and ONNX Runtime in float32, absolute, on the served outputs of held-out rows.
        onnx_random: the same on random rows, which lie far from the data; `cast` is allowed as much.
        probe: between a serving engine's answer to a golden probe and the stored one, absolute.
    """

    merge: float = Field(default=1e-10, gt=0)
    collapse: float = Field(default=1e-10, gt=0)
    cast: float = Field(default=1e-4, gt=0)
    onnx: float = Field(default=1e-5, gt=0)
    onnx_random: float = Field(default=1e-4, gt=0)
    probe: float = Field(default=1e-4, gt=0)
