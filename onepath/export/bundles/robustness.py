"""How good a bundle is when modalities are missing: its report, and whether the recipe's gates are passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from onepath.contract.robustness import RobustnessReport
from onepath.export.bundles.assembled import Assembled
from onepath.export.bundles.precisions import Precisions
from onepath.export.bundles.sources import Sources
from onepath.export.precision.making import EMULATED
from onepath.export.recipe import Recipe
from onepath.export.recipe.bundles import MergedBundle
from onepath.export.recipe.gates import named_patterns
from onepath.export.robustness import ReportSettings, check_gates, files_of_report, robustness_report


@dataclass(frozen=True)
class Robustness:
    """The files of a report, and figures for people."""

    files: Mapping[str, bytes]
    details: Mapping[str, Any]  # JSON


def robustness_of_bundle(
    name: str, made: Precisions, assembled: Assembled, recipe: Recipe, sources: Sources
) -> Robustness:
    """Return the report of the graph that a bundle deploys.

    Args:
        name: the bundle's.
        made: has the graph that is deployed.
        assembled: its model and rows.
        recipe: has the gates.
        sources: has the targets, and the encoders to compare with.

    Raises:
        GateError: it is not as good with some presence pattern as the recipe asks.
    """
    modalities = [*recipe.modalities]
    report = robustness_report(
        made.runnable_file.path,
        source=assembled.source,
        targets=sources.trained.targets,
        task=recipe.task,
        encoders=_encoders(name, assembled, recipe, sources),
        settings=ReportSettings(
            max_batch_size=recipe.export.max_batch_size,
            seed=recipe.seed,
            rows=recipe.export.report_rows,
            always=named_patterns(recipe.gates, modalities),
        ),
    )
    report = report.model_copy(update={"notes": report.notes | {"graph": _graph_note(made)}})
    check_gates(report, recipe.gates, name, modalities=modalities)
    return Robustness(files_of_report(report, name=name), _details(report, recipe))


def _encoders(name: str, assembled: Assembled, recipe: Recipe, sources: Sources) -> dict[str, nn.Module]:
    """Return each modality's model alone, as it was trained: what a caller who has only this modality would use."""
    bundle, trained = recipe.bundles[name], sources.trained
    blocks = bundle.blocks if isinstance(bundle, MergedBundle) else {}
    found = {}
    for modality in assembled.source.names:
        if modality in trained.encoders:
            found[modality] = trained.encoders[modality]
        elif modality in blocks or modality in trained.blocks:
            found[modality] = sources.block(modality, blocks)
    return found


def _graph_note(made: Precisions) -> str:
    """Return which graph was measured: another may be deployed later, which is worse by what its own gate allows."""
    measured = f"the figures are those of the graph in {made.graph.precisions}{_how(made)}"
    others = "; ".join(entry.precisions for entry in made.variants)
    return f"{measured}, and not of the others, in {others}" if others else measured


def _how(made: Precisions) -> str:
    return f", {EMULATED}" if made.emulated else ""


def _details(report: RobustnessReport, recipe: Recipe) -> dict[str, Any]:  # JSON
    """Return the accuracy on a file of rows that has targets; training code reports its own."""
    if recipe.rows is None or report.metric == "agreement":
        return {}
    return {"test_rows": report.rows, f"test_{report.metric}": report.full.metric.value}
