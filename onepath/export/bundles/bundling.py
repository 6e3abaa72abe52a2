"""One bundle: its model collapsed, exported and probed, and everything written with its proofs."""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from onepath.contract.answers import ANSWERS
from onepath.contract.bundle import Bundle
from onepath.contract.manifest import FileEntry, Manifest
from onepath.contract.writing import write_bundle
from onepath.export.bundles.assembled import Assembled, assemble
from onepath.export.bundles.exporting import PROBES, WEIGHTS, Exported, export_model
from onepath.export.bundles.sources import Sources
from onepath.export.diagnosis import failures_told_by_line
from onepath.export.progress import Stage, Steps
from onepath.export.recipe import Recipe
from onepath.export.recipe.bundles import models_of
from onepath.export.rows import RowSource

STEPS = 8
"""How many steps `make_bundle` reports."""

_TOOLS = ("onepath", "torch", "onnx", "onnxscript", "onnxruntime", "safetensors", "numpy", "matplotlib")


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
    step = Steps(stage)
    with tempfile.TemporaryDirectory(prefix=".onepath-build-", dir=path.parent) as work, failures_told_by_line():
        assembled = step("merge", lambda: assemble(name, recipe, sources, rows))
        exported = export_model(name, assembled, recipe, sources, work=Path(work), step=step)
        names = [source for _, source in models_of(recipe.bundles[name])]
        contents = {**exported.files, **sources.reports(names, recipe)}
        return step(
            "write",
            lambda: write_bundle(
                path,
                contents,
                lambda files: _manifest(name, recipe, sources, assembled=assembled, exported=exported, files=files),
            ),
        )


def _manifest(
    name: str,
    recipe: Recipe,
    sources: Sources,
    *,
    assembled: Assembled,
    exported: Exported,
    files: Mapping[str, FileEntry],
) -> Manifest:
    return Manifest(
        name=name,
        description=recipe.description,
        task=recipe.task,
        labels=recipe.labels,
        modalities=tuple(assembled.source.modalities),
        outputs=tuple(exported.outputs),
        graph=exported.graph,
        variants=exported.variants,
        weights=WEIGHTS,
        probes=PROBES,
        answers=ANSWERS,
        probe_tolerance=recipe.tolerances.probe,
        proofs=exported.chain,
        files=dict(files),
        tools=_versions(),
        licence=recipe.licence,
        details={"recipe": recipe.name}
        | dict(assembled.details)
        | dict(exported.details)
        | dict(sources.trained.details),
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for tool in _TOOLS:
        with suppress(PackageNotFoundError):  # matplotlib may be missing: the report then has no picture
            found[tool] = version(tool)
    return found
