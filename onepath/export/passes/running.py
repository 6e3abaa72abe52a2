"""Passes run one after another: kept where they are proved and pay, dropped with the reason otherwise."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onepath.contract.errors import OnepathError, ParityError
from onepath.contract.proofs import Measurement, ProofStep
from onepath.export.diagnosis import check_graph_is_clean
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.passes.results import GraphPass, GraphSize, PassResult, pays, size_of
from onepath.export.targets import TargetProfile, check_graph

_LOG = logging.getLogger(__name__)
_NOTHING = "it finds nothing to gain"

Prove = Callable[[OnnxFile, OnnxFile], tuple[Measurement, ...]]
"""Measures how far the second graph is from the first; raises `ParityError` where it is too far."""


def run_passes(
    file: OnnxFile,
    passes: Sequence[GraphPass],
    *,
    prove: Prove,
    work: Path,
    pays: Callable[[GraphSize, GraphSize], bool] = pays,
    targets: Sequence[TargetProfile] = (),
    notes: Mapping[str, str | int | float] | None = None,
) -> list[PassResult]:
    """Return what became of each pass; the last result's file is the graph after all of them.

    A pass is left out, with a warning in the log, where it fails, changes inputs or outputs, makes what engines treat
    differently or what a target cannot load, does not pay, or does not pass its proof. One that finds nothing to change
    is left out too, which is no warning.

    Args:
        file: the exported graph.
        passes: in the order of the proof chain, each name once.
        prove: measures a pass against the graph before it.
        work: a folder to write the graphs to; each keeps the name of the file.
        pays: whether a pass is worth it.
        targets: the servers that must still be able to load the graph.
        notes: kept with every proof, such as the engine's name.
    """
    results: list[PassResult] = []
    for each in passes:
        folder = work / each.name
        folder.mkdir(parents=True, exist_ok=True)
        result = _Attempt(each, file, prove, pays, targets, notes or {}).result(folder / file.path.name)
        if not result.kept:
            level = logging.INFO if result.reason.startswith(_NOTHING) else logging.WARNING
            _LOG.log(level, "the pass %s over the graph is left out: %s", result.name, result.reason)
        results.append(result)
        file = result.file
    return results


@dataclass(frozen=True)
class _Attempt:
    """One pass over one graph."""

    graph_pass: GraphPass
    file: OnnxFile
    prove: Prove
    pays: Callable[[GraphSize, GraphSize], bool]
    targets: Sequence[TargetProfile]
    notes: Mapping[str, str | int | float]

    def result(self, path: Path) -> PassResult:
        before = size_of(self.file)
        try:
            other = self.graph_pass.run(self.file, path)
            after = size_of(other)
        except Exception as error:  # noqa: BLE001 - of whatever library the pass is; it becomes the reason
            return self._dropped(f"it failed: {_line(error)}", before)
        reason = self._obstacle(other, before, after)
        if reason is not None:
            return self._dropped(reason, before, after)
        try:
            measurements = self.prove(self.file, other)
        except ParityError as error:
            reason = f"it changes the result by {error.error:.3g} and may by {error.tolerance:.3g}: {error}"
            return self._dropped(reason, before, after)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors have no common base
            return self._dropped(f"its graph does not run: {_line(error)}", before, after)
        proof = self._proof(other, measurements, before, after)
        return PassResult(self.graph_pass.name, True, _sizes(before, after), other, proof, before, after)

    def _obstacle(self, other: OnnxFile, before: GraphSize, after: GraphSize) -> str | None:
        """Return why a graph cannot take the place of the one before, found without running it."""
        if _interface(other) != _interface(self.file):
            return "it changes the graph's inputs or outputs"
        try:
            check_graph_is_clean(other.lazy_model())
            check_graph(other, self.targets)
        except OnepathError as error:
            return str(error)
        if before == after:
            return f"{_NOTHING} in {before}"
        return None if self.pays(before, after) else f"it does not pay: {_sizes(before, after)}"

    def _dropped(self, reason: str, before: GraphSize, after: GraphSize | None = None) -> PassResult:
        return PassResult(self.graph_pass.name, False, reason, self.file, None, before, after)

    def _proof(
        self, other: OnnxFile, measurements: tuple[Measurement, ...], before: GraphSize, after: GraphSize
    ) -> ProofStep:
        return ProofStep(
            step=self.graph_pass.name,
            subject="graph",
            reads=self.file.digest,
            writes=other.digest,
            measurements=measurements,
            notes={**self.notes, "nodes_before": before.nodes, "nodes_after": after.nodes},
        )


def _interface(file: OnnxFile) -> list[tuple[str, str, str]]:
    """Return the names, types and shapes of a graph's inputs and then of its outputs."""
    graph = file.lazy_model().graph
    values = (*graph.inputs, *graph.outputs)
    return [(value.name or "", str(value.type), str(value.shape)) for value in values]


def _sizes(before: GraphSize, after: GraphSize) -> str:
    return f"{after} after it, {before} before"


def _line(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
