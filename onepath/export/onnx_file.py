"""An ONNX graph on disk, with its weights inside it, or beside it where one file could not hold them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from onepath.contract.digests import joined_digest, sha256_from_file

EXTERNAL_OVER_BYTES = (2 << 30) - (64 << 20)
"""Weights of more bytes go to a file of their own: one protobuf message holds less than 2 GiB."""


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX graph on disk.

    Attributes:
        path: the graph's file, `*.onnx`.
    """

    path: Path

    @property
    def data_path(self) -> Path | None:
        """The file of external weights, beside the graph; None where they are inside it."""
        path = self.path.with_name(f"{self.path.name}.data")
        return path if path.is_file() else None

    @property
    def paths(self) -> tuple[Path, ...]:
        """The graph's file, and that of its external weights where there is one."""
        return (self.path,) if self.data_path is None else (self.path, self.data_path)

    @property
    def digest(self) -> str:
        """The SHA-256 of the graph with its weights, as the proof chain has it."""
        return joined_digest(sha256_from_file(path) for path in self.paths)

    @property
    def size_bytes(self) -> int:
        """The bytes of its files."""
        return sum(path.stat().st_size for path in self.paths)

    def model(self) -> onnx.ModelProto:
        """Return the graph with all of its weights in memory."""
        return onnx.load(self.path)


def onnx_file_from_model(
    model: onnx.ModelProto, path: Path, *, external_over_bytes: int = EXTERNAL_OVER_BYTES
) -> OnnxFile:
    """Return a graph written to a new file, byte for byte the same for the same graph.

    Args:
        model: with its weights in memory.
        path: the graph's file, `*.onnx`; its folder is there.
        external_over_bytes: if the weights have more bytes than this, they go to `path` with `.data` behind it.
    """
    weights = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    if weights > external_over_bytes:
        data = f"{path.name}.data"
        onnx.save_model(model, path, save_as_external_data=True, location=data, size_threshold=1024)
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))
    return OnnxFile(path)
