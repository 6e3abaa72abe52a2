"""Bodies of the HTTP protocol's binary extension: a JSON header, then the tensors' bytes one after another.

Reference: Triton's "Binary Tensor Data Extension" of the Open Inference Protocol, version 2.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onepath.clients.transport import Arrays
from onepath.contract.dtypes import dtype_from_triton

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The HTTP header that holds the size of the JSON part in bytes."""


def body_from_inputs(inputs: Arrays) -> tuple[bytes, int]:
    """Return the body that carries BYTES tensors, and the size of its JSON header in bytes.

    Args:
        inputs: BYTES tensors, object arrays of `bytes`.
    """
    packed = {name: packed_from_bytes(array) for name, array in inputs.items()}
    header = {
        "inputs": [
            {
                "name": name,
                "shape": list(array.shape),
                "datatype": "BYTES",
                "parameters": {"binary_data_size": len(packed[name])},
            }
            for name, array in inputs.items()
        ],
        "parameters": {"binary_data_output": True},
    }
    encoded = json.dumps(header, separators=(",", ":")).encode()
    return b"".join([encoded, *packed.values()]), len(encoded)


def outputs_from_body(body: bytes, header_length: int | None) -> dict[str, NDArray[Any]]:
    """Return the tensors that a body carries.

    Args:
        body: the whole body.
        header_length: the size of its JSON header, or None if the body is JSON alone.

    Raises:
        ValueError: the body is not what its header says.
    """
    end = len(body) if header_length is None else header_length
    outputs: dict[str, NDArray[Any]] = {}
    for described in json.loads(body[:end])["outputs"]:
        size = described.get("parameters", {}).get("binary_data_size")
        dtype = dtype_from_triton(described["datatype"])
        if size is None:
            flat = _array_from_json(described["data"], dtype)
        else:
            flat = _array_from_bytes(body[end : end + size], dtype)
            end += size
        outputs[described["name"]] = flat.reshape(described["shape"])
    return outputs


def packed_from_bytes(array: NDArray[Any]) -> bytes:
    r"""Return a BYTES tensor's elements, each after its size as 4 bytes, little-endian.

    >>> packed_from_bytes(np.array([b"ab", b""], dtype=object))
    b'\x02\x00\x00\x00ab\x00\x00\x00\x00'
    """
    return b"".join(part for element in array.ravel().tolist() for part in (struct.pack("<I", len(element)), element))


def bytes_from_packed(packed: bytes) -> NDArray[np.object_]:
    """Return the elements that `packed_from_bytes` wrote, an object array `(elements,)`.

    Raises:
        ValueError: an element is longer than what is left.
    """
    elements, offset = [], 0
    while offset < len(packed):
        if len(packed) - offset < 4:
            raise ValueError("a BYTES tensor ends within the size of an element")
        (size,) = struct.unpack_from("<I", packed, offset)
        offset += 4 + size
        if offset > len(packed):
            raise ValueError("a BYTES tensor ends within an element")
        elements.append(packed[offset - size : offset])
    return _object_array(elements)


def _array_from_bytes(data: bytes, dtype: np.dtype[Any]) -> NDArray[Any]:
    return bytes_from_packed(data) if dtype.hasobject else np.frombuffer(data, dtype=dtype.newbyteorder("<"))


def _array_from_json(data: list[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.hasobject:
        return _object_array([text.encode() for text in data])
    return np.array(data, dtype=dtype)


def _object_array(elements: list[bytes]) -> NDArray[np.object_]:
    array = np.empty(len(elements), dtype=np.object_)
    array[:] = elements
    return array


def json_object(body: bytes) -> Mapping[str, Any]:
    """Return the JSON object of a body, or an empty one where the body holds none."""
    try:
        data = json.loads(body)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
