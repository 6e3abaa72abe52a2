"""The one table of element types: numpy's name, Triton's name in requests, and its name in `config.pbtxt`."""

from __future__ import annotations

from typing import Literal

import numpy as np

DType = Literal["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]

_TRITON: dict[str, str] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
}
_NUMPY = {triton: name for name, triton in _TRITON.items()}


def triton_from_dtype(dtype: DType) -> str:
    """Return Triton's request name of a type, for example `FP32` for `float32`."""
    return _TRITON[dtype]


def config_from_dtype(dtype: DType) -> str:
    """Return the enum name that `config.pbtxt` uses, for example `TYPE_FP32` for `float32`."""
    return f"TYPE_{_TRITON[dtype]}"


def dtype_from_triton(name: str) -> np.dtype[np.generic]:
    """Return the numpy type of a Triton request type; `BYTES` is an object array of bytes."""
    return np.dtype(object) if name == "BYTES" else np.dtype(_NUMPY[name])
