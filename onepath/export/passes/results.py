"""What a pass over a graph is, what became of it, and whether it pays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from onepath.contract.proofs import ProofStep
from onepath.export.graphs.onnx_file import OnnxFile, weight_bytes
from onepath.export.graphs.parts import nodes_of

_MORE_BYTES = 1.01  # a folded constant may be larger than what it came from


@dataclass(frozen=True)
class GraphPass:
    """A pass over a graph.

    Attributes:
        name: the step of the proof chain that it is.
        run: writes the changed graph to a path.
    """

    name: Literal["fold", "fuse"]
    run: Callable[[OnnxFile, Path], OnnxFile]


@dataclass(frozen=True)
class GraphSize:
    """How large a graph is.

    Attributes:
        nodes: how many it has, with those of its sub-graphs.
        bytes: of its weights.
    """

    nodes: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.nodes} nodes and {self.bytes} bytes of weights"


@dataclass(frozen=True)
class PassResult:
    """What became of a pass.

    Attributes:
        name: the pass.
        kept: whether the graph is now the pass's.
        reason: why, in words.
        file: the graph after it: the one before it, if it was dropped.
        proof: the step of the proof chain, of a pass that was kept.
        before: the graph's size before it.
        after: its size after it, None where the pass made none.
    """

    name: str
    kept: bool
    reason: str
    file: OnnxFile
    proof: ProofStep | None
    before: GraphSize
    after: GraphSize | None

    def as_json(self) -> dict[str, Any]:  # JSON
        """Return what a report keeps of it."""
        sizes = {
            f"{field}_{when}": getattr(size, field)
            for when, size in (("before", self.before), ("after", self.after))
            for field in ("nodes", "bytes")
            if size is not None
        }
        return {"pass": self.name, "kept": self.kept, "reason": self.reason} | sizes


def size_of(file: OnnxFile) -> GraphSize:
    """Return how large a graph is; its weights are not read."""
    model = file.lazy_model()
    return GraphSize(sum(1 for _ in nodes_of(model)), weight_bytes(model))


def pays(before: GraphSize, after: GraphSize) -> bool:
    """Return whether a pass pays: fewer nodes and hardly more weights, or fewer bytes and no more nodes.

    Time is not measured, so that a build gives the same graph on every machine.

    >>> pays(GraphSize(10, 1000), GraphSize(9, 1000)), pays(GraphSize(10, 1000), GraphSize(9, 2000))
    (True, False)
    """
    leaner = after.nodes < before.nodes and after.bytes <= before.bytes * _MORE_BYTES
    return leaner or (after.bytes < before.bytes and after.nodes <= before.nodes)
