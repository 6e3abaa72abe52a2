"""Golden probes: encoded rows with the outputs that they must give, for every presence pattern."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, PlainSerializer

from onepath.contract.tensors import Closed


def _bytes_from_base64(value: str | bytes) -> bytes:
    return base64.b64decode(value) if isinstance(value, str) else value


Payload = Annotated[
    bytes, BeforeValidator(_bytes_from_base64), PlainSerializer(lambda data: base64.b64encode(data).decode())
]
"""Bytes that JSON holds as base64."""


class Probe(Closed):
    """One row and its answer.

    Attributes:
        payloads: modality to encoded bytes; a modality that is not here is absent.
        expected: the first output of the graph for this row, flattened.
    """

    payloads: dict[str, Payload]
    expected: tuple[float, ...]


class ProbeSet(Closed):
    """The probes of a bundle: at least one row for each presence pattern that the model accepts."""

    output: str
    rows: tuple[Probe, ...]

    def expected(self) -> NDArray[np.float32]:
        """Return the expected output, float32 `(rows, width)`."""
        return np.array([row.expected for row in self.rows], dtype=np.float32)


def probes_from_file(path: Path) -> ProbeSet:
    """Return the probe set that a file of a bundle holds."""
    return ProbeSet.model_validate_json(path.read_bytes())
