"""What a modality plug-in is: typed settings and limits, and a function from encoded bytes to one array."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel

from onepath.contract.dtypes import DType


class Processor(Protocol):
    """Turns one payload into the array of one row. A plug-in of the group `onepath.modalities` is such a class.

    Attributes:
        settings_type: the pydantic model of what the model fixed (sizes, rates, alphabets).
        limits_type: the pydantic model of what a payload may cost (bytes, pixels, seconds, characters).
        dtype: the element type of the array.
        shape: the shape of the array of one row.
    """

    settings_type: ClassVar[type[BaseModel]]
    limits_type: ClassVar[type[BaseModel]]

    def __init__(self, settings: Any, limits: Any, assets: Path) -> None:  # an instance of each type above
        """Prepare to decode; `assets` is the folder that file names in the settings are relative to."""

    @property
    def dtype(self) -> DType:
        """The element type of a decoded row."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of a decoded row."""

    def decode(self, payload: bytes) -> NDArray[np.generic]:
        """Return the array of one row.

        Raises:
            PayloadError: the payload cannot be used; its `code` says in which way.
        """
