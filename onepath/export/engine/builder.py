"""What builds and runs an engine, whichever library it is; `tensorrt_builder` is the one that onepath brings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from onepath.contract.errors import OnepathError

Tensors = Mapping[str, NDArray[np.generic]]
"""Name to array, rows first."""
Run = Callable[[Tensors], Tensors]
"""Gives an engine's outputs for its inputs, all on the host."""


@dataclass(frozen=True)
class Device:
    """The GPU that engines are built on.

    Attributes:
        name: as the driver reports it.
        compute_capability: such as `9.0`.
    """

    name: str
    compute_capability: str


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is built.

    Attributes:
        opt_rows: the number of rows that it is tuned for.
        max_rows: the most rows of one run; the fewest are 1, since no request has none.
        workspace_bytes: the most memory that a layer may use on the side.
        timing_cache: a file of measured times, read where it is there and written afterwards.
    """

    opt_rows: int
    max_rows: int
    workspace_bytes: int
    timing_cache: Path | None = None


class EngineBuilder(Protocol):
    """Builds engines for the GPU of this machine."""

    @property
    def version(self) -> str:
        """The library's version, which an engine can be loaded by."""

    @property
    def device(self) -> Device:
        """The GPU."""

    def build(self, graph: Path, options: BuildOptions) -> bytes:
        """Return the engine of an ONNX graph, whose every tensor has the type that the graph gives it.

        Raises:
            EngineRefusedError: the library cannot take the graph.
        """

    def inspect(self, engine: bytes) -> str:
        """Return what the library says of an engine's layers, in the JSON of TensorRT's engine inspector."""

    def load(self, engine: bytes) -> Run:
        """Return what runs an engine."""


class EngineRefusedError(OnepathError):
    """A graph that a library cannot make an engine of; `problems` lists why, each with the node where it is known."""

    problems: tuple[str, ...]

    def __init__(self, problems: Sequence[str], *, library: str) -> None:
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(
            f"{library} cannot make an engine of the graph:\n{lines}\n"
            "Serve the ONNX graph, or export the model without what is named here",
            problems=tuple(problems),
            library=library,
        )
