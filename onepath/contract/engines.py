"""What those who build an engine and those who serve it agree on: element types, parts, and the names of files."""

from __future__ import annotations

from typing import Final

from onepath.contract.dtypes import DType
from onepath.contract.graphs import Precision

GRAPH: Final = "graph"
"""The only part of an engine that holds the whole graph."""
FUSION: Final = "fusion"
"""The part that fuses what the encoders give; the other parts are named as the modalities that they encode."""
FEATURES: Final = "features"
"""The output of an encoder's engine, float32 `(rows, …)`."""

_WIDENED: dict[DType, DType] = {"int8": "int32", "int16": "int32"}


def engine_dtype(dtype: DType) -> DType:
    """Return the element type in which an engine takes an input, which holds every value of the graph's type.

    TensorRT has no 16-bit integers, and its 8-bit signed ones stand for quantised floats.

    >>> engine_dtype("int16"), engine_dtype("uint8")
    ('int32', 'uint8')
    """
    return _WIDENED.get(dtype, dtype)


def features_name(modality: str) -> str:
    """Return the name of the fusion's input that takes a modality's features.

    >>> features_name("image")
    'image.features'
    """
    return f"{modality}.{FEATURES}"


def architecture(compute_capability: str) -> str:
    """Return the name that file names have for a compute capability.

    >>> architecture("9.0")
    'sm90'
    """
    return f"sm{compute_capability.replace('.', '')}"


def engine_folder(compute_capability: str, precision: Precision) -> str:
    """Return the folder of a bundle that holds the engine for one kind of GPU in one precision.

    >>> engine_folder("9.0", "bf16")
    'engines/sm90/bf16'
    """
    return f"engines/{architecture(compute_capability)}/{precision}"
