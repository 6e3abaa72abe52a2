"""One bundle: its model collapsed, exported and probed, and everything written with its proofs."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from onepath.contract.bundle import Bundle
from onepath.contract.digests import canonical_json
from onepath.contract.graphs import GraphEntry
from onepath.contract.manifest import FileEntry, Manifest
from onepath.contract.probes import Probe, ProbeSet
from onepath.contract.proofs import ProofStep
from onepath.contract.tensors import TensorSpec
from onepath.contract.writing import write_bundle
from onepath.export.assemble import Assembled, assemble
from onepath.export.dispatch import PresenceGraph
from onepath.export.graph import onnx_from_graph
from onepath.export.held_out_accuracy import accuracy_on_rows
from onepath.export.outputs import outputs_of_graph
from onepath.export.progress import Stage
from onepath.export.proofs import Batch
from onepath.export.proving import prove_collapse, prove_onnx, run_graph
from onepath.export.recipe import Recipe
from onepath.export.recipe.bundles import models_of
from onepath.export.rows import RowSource
from onepath.export.sources import Sources
from onepath.export.trained import Trained

WEIGHTS = "weights/model.safetensors"
GRAPH = "graphs/model.onnx"
PROBES = "probes.json"
REPORT = "reports/collapse.json"
STEPS = 5
"""How many steps `make_bundle` reports."""

_T = TypeVar("_T")
_TOOLS = ("onepath", "torch", "onnx", "onnxscript", "onnxruntime", "safetensors", "numpy")


@dataclass(frozen=True)
class _Exported:
    outputs: Sequence[TensorSpec]
    chain: tuple[ProofStep, ...]
    files: Mapping[str, bytes]
    details: Mapping[str, Any]  # JSON


def make_bundle(
    name: str,
    recipe: Recipe,
    sources: Sources,
    rows: RowSource,
    *,
    path: Path,
    stage: Stage,
) -> Bundle:
    """Return one bundle of a recipe, proved at every step and written to a folder.

    Args:
        name: one of the recipe's bundles.
        recipe: the recipe.
        sources: what its models are made of.
        rows: held-out ones of the recipe's modalities.
        path: the folder to write.
        stage: told of each of the `STEPS` steps.
    """
    with_step = _Steps(stage)
    assembled = with_step("merge", lambda: assemble(name, recipe, sources, rows))
    exported = _export(assembled, recipe, sources.trained, with_step)
    names = [source for _, source in models_of(recipe.bundles[name])]
    files = dict(exported.files) | sources.reports(names, recipe)
    return with_step(
        "write",
        lambda: write_bundle(path, files, lambda files: _manifest(name, recipe, sources, assembled, exported, files)),
    )


class _Steps:
    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __call__(self, title: str, work: Callable[[], _T]) -> _T:
        self._stage.note(title)
        done = work()
        self._stage.advance()
        return done


def _export(assembled: Assembled, recipe: Recipe, trained: Trained, step: _Steps) -> _Exported:
    source, export, tolerances = assembled.source, recipe.export, recipe.tolerances
    collapsed = step(
        "collapse",
        lambda: prove_collapse(assembled.model, source=source, tolerances=tolerances, seed=recipe.seed),
    )
    graph = PresenceGraph(collapsed.model, recipe.task).eval()
    outputs = outputs_of_graph(graph, source, recipe)
    onnx_bytes = step(
        "export",
        lambda: onnx_from_graph(
            graph,
            [entry.tensor for entry in source.modalities],
            outputs=[spec.name for spec in outputs],
            opset=export.opset,
            ir_version=export.ir_version,
        ),
    )
    proof = step(
        "parity",
        lambda: prove_onnx(
            graph,
            onnx_bytes,
            source=source,
            max_batch_size=export.max_batch_size,
            tolerances=tolerances,
            seed=recipe.seed,
        ),
    )
    probes = _probes(source, export.probes_per_pattern, lambda batch: run_graph(graph, batch)[outputs[0].name])
    files = {
        WEIGHTS: collapsed.weights,
        GRAPH: onnx_bytes,
        PROBES: canonical_json(ProbeSet(output=outputs[0].name, rows=probes).model_dump(mode="json")),
        REPORT: canonical_json(collapsed.report.as_json()),
    }
    chain = (*assembled.proofs, collapsed.proof, proof)
    return _Exported(
        outputs, chain, files | _asset_files(source.assets, source.names), _accuracy(recipe, graph, source, trained)
    )


def _accuracy(recipe: Recipe, graph: PresenceGraph, source: RowSource, trained: Trained) -> dict[str, Any]:  # JSON
    """Return the accuracy on a file of rows that has targets; training code reports its own."""
    if recipe.rows is None or not trained.targets:
        return {}
    accuracy = accuracy_on_rows(graph, source, trained.targets, batch=recipe.export.max_batch_size)
    return {"test_rows": len(trained.rows), "test_accuracy": accuracy}


def _probes(source: RowSource, per_pattern: int, answer: Callable[[Batch], NDArray[np.generic]]) -> tuple[Probe, ...]:
    rows = [row for pattern in source.patterns for row in source.pattern_rows(pattern, per_pattern)]
    answers = answer(source.decoded("probes", rows)).reshape(len(rows), -1)
    return tuple(
        Probe(payloads=dict(row), expected=tuple(float(value) for value in expected))
        for row, expected in zip(rows, answers, strict=True)
    )


def _asset_files(assets: Path, modalities: Sequence[str]) -> dict[str, bytes]:
    return {
        f"assets/{path.relative_to(assets).as_posix()}": path.read_bytes()
        for modality in modalities
        for path in sorted((assets / modality).rglob("*"))
        if path.is_file()
    }


def _manifest(
    name: str,
    recipe: Recipe,
    sources: Sources,
    assembled: Assembled,
    exported: _Exported,
    files: Mapping[str, FileEntry],
) -> Manifest:
    export = recipe.export
    return Manifest(
        name=name,
        description=recipe.description,
        task=recipe.task,
        labels=recipe.labels,
        modalities=tuple(assembled.source.modalities),
        outputs=tuple(exported.outputs),
        graph=GraphEntry(
            file=GRAPH, opset=export.opset, ir_version=export.ir_version, max_batch_size=export.max_batch_size
        ),
        weights=WEIGHTS,
        probes=PROBES,
        probe_tolerance=recipe.tolerances.probe,
        proofs=exported.chain,
        files=dict(files),
        tools={tool: version(tool) for tool in _TOOLS} | {"python": platform.python_version()},
        licence=recipe.licence,
        details={"recipe": recipe.name}
        | dict(assembled.details)
        | dict(exported.details)
        | dict(sources.trained.details),
    )
