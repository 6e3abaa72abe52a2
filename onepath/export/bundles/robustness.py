"""How good a bundle is when modalities are missing: its report, and whether the recipe's gates are passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onepath.contract.robustness import RobustnessReport
from onepath.export.bundles.assembled import Assembled
from onepath.export.bundles.precisions import Precisions
from onepath.export.bundles.single_encoders import SingleEncoders, single_encoders
from onepath.export.bundles.sources import Sources
from onepath.export.precision.making import EMULATED
from onepath.export.recipe import Recipe
from onepath.export.recipe.gates import named_patterns
from onepath.export.robustness import ReportSettings, check_gates, files_of_report, robustness_report


@dataclass(frozen=True)
class Robustness:
    """The files of a report, and figures for people."""

    files: Mapping[str, bytes]
    details: Mapping[str, Any]  # JSON


def robustness_of_bundle(
    name: str, recipe: Recipe, sources: Sources, *, assembled: Assembled, made: Precisions
) -> Robustness:
    """Return the report of the graph that a bundle deploys.

    Args:
        name: the bundle's.
        recipe: has the gates.
        sources: has the targets, and the encoders to compare with.
        assembled: its model and rows.
        made: has the graph that is deployed.

    Raises:
        GateError: it is not as good with some presence pattern as the recipe asks.
    """
    modalities = [*recipe.modalities]
    alone = single_encoders(name, assembled.source.names, recipe, sources)
    report = robustness_report(
        made.runnable_file.path,
        source=assembled.source,
        targets=sources.trained.targets,
        task=recipe.task,
        encoders=alone.encoders,
        settings=ReportSettings(
            max_batch_size=recipe.export.max_batch_size,
            seed=recipe.seed,
            rows=recipe.export.report_rows,
            always=named_patterns(recipe.gates, modalities),
        ),
        without_encoder=alone.left_out,
    )
    report = report.model_copy(update={"notes": report.notes | _notes(made, alone)})
    check_gates(report, recipe.gates, name, modalities=modalities)
    return Robustness(files_of_report(report, name=name), _details(report, recipe))


def _notes(made: Precisions, alone: SingleEncoders) -> dict[str, str]:
    """Return what was measured, and what it was compared with."""
    origins = "; ".join(f"{modality}: {origin}" for modality, origin in alone.origins.items())
    return {"graph": _graph_note(made)} | ({"encoders": origins} if origins else {})


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
