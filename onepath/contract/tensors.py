"""The description of one tensor, and the names that tensors have on the wire and in the graph."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from onepath.contract.dtypes import DType

PRESENCE = "presence"
"""Output uint8 `(rows, modalities)`: 1 where the modality was used."""
ROW_STATUS = "row_status"
"""Output uint8 `(rows, 1)`: see `onepath.contract.presence.ROW_STATUS_TEXT`."""


class Closed(BaseModel):
    """A frozen pydantic model that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorSpec(Closed):
    """A tensor of one row; a batch adds the row axis in front.

    Attributes:
        name: its name in the graph.
        dtype: its element type, by numpy's name.
        shape: the shape of one row, without the row axis; all sizes are fixed.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]


def state_name(modality: str) -> str:
    """Return the name of the graph's state input of a modality, uint8 `(rows, 1)`.

    >>> state_name("image")
    'image_state'
    """
    return f"{modality}_state"


def status_name(modality: str) -> str:
    """Return the name of a modality's status output on the wire, BYTES `(rows, 1)`.

    >>> status_name("image")
    'image_status'
    """
    return f"{modality}_status"
