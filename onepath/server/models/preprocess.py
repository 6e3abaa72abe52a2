"""The Triton model that decodes the payloads of one modality: BYTES in; values, states and statuses out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from onepath.contract.dtypes import dtype_from_triton
from onepath.contract.manifest import ModalityEntry
from onepath.contract.status import bytes_from_status
from onepath.modalities import DecodedRows, decode_rows, processor_from_entry
from onepath.server.names import MODALITY, PAYLOAD, STATE, STATUS, VALUES

Request = Any  # Triton's classes have no types
Response = Any
Payloads = list[bytes]


class TritonPythonModel:
    """One process of a modality's preprocessing."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the modality beside `model.py` and prepare its processor.

        Args:
            args: Triton's: the model's folder, version and configuration among them.
        """
        folder = Path(args["model_repository"]) / args["model_version"]
        self.entry = ModalityEntry.model_validate(json.loads((folder / MODALITY).read_bytes()))
        self.processor = processor_from_entry(self.entry, folder)
        self.dtype = dtype_of_values(json.loads(args["model_config"]))

    def execute(self, requests: Sequence[Request]) -> list[Response]:
        """Return a response per request; the rows of all of them are decoded together."""
        payloads = [payloads_from_request(request) for request in requests]
        try:
            decoded = self._decode([payload for rows in payloads for payload in rows])
        except Exception:  # noqa: BLE001 - each request is then answered for itself
            return [self._answer_alone(rows) for rows in payloads]
        ends = np.cumsum([len(rows) for rows in payloads]).tolist()
        return [response_from_rows(decoded, end - len(rows), end) for rows, end in zip(payloads, ends, strict=True)]

    def _decode(self, payloads: Payloads) -> DecodedRows:
        entry = self.entry
        rows = decode_rows(self.processor, payloads, absent=entry.absent, on_bad_payload=entry.on_bad_payload)
        return replace(rows, values=rows.values.astype(self.dtype, copy=False))

    def _answer_alone(self, payloads: Payloads) -> Response:
        try:
            return response_from_rows(self._decode(payloads), 0, len(payloads))
        except Exception as error:  # noqa: BLE001 - raising out of execute leaks shared memory
            text = f"preprocessing of {self.entry.name} failed: {type(error).__name__}: {error}"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(text))


def dtype_of_values(config: Mapping[str, Any]) -> np.dtype[np.generic]:
    """Return the type in which a model's configuration has the values; an engine may want a wider one than the graph.

    >>> dtype_of_values({"output": [{"name": "values", "data_type": "TYPE_INT32"}]})
    dtype('int32')
    """
    (name,) = (tensor["data_type"] for tensor in config["output"] if tensor["name"] == VALUES)
    return dtype_from_triton(name.removeprefix("TYPE_"))


def payloads_from_request(request: Request) -> Payloads:
    """Return the payload of each row; an empty one is an absent row."""
    tensor = pb_utils.get_input_tensor_by_name(request, PAYLOAD)
    return [bytes(payload) for payload in tensor.as_numpy().reshape(-1)]


def response_from_rows(decoded: DecodedRows, start: int, end: int) -> Response:
    """Return the response that holds some of the decoded rows.

    Args:
        decoded: the rows of a whole batch.
        start: the first row of the request.
        end: the row after its last.
    """
    statuses = [bytes_from_status(status) for status in decoded.statuses[start:end]]
    tensors: dict[str, NDArray[Any]] = {
        VALUES: decoded.values[start:end],
        STATE: decoded.states[start:end, np.newaxis],
        STATUS: np.array(statuses, dtype=np.object_)[:, np.newaxis],
    }
    return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor(name, array) for name, array in tensors.items()])
