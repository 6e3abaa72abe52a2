"""What a bundle's reports say, as tables for a person; reports of forms that are not known are named and left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from onepath.cli.cells import figure_text, print_if_any, settings_text, value_text, wrapped, wrapped_pattern
from onepath.cli.collapse_tables import print_collapse
from onepath.cli.tables import size_text
from onepath.contract.bundle import Bundle
from onepath.contract.strict_json import json_from_bytes

Rows = Sequence[Sequence[str]]
_PREFIX, _SUFFIX = "reports/", ".json"


def reports_of(bundle: Bundle) -> dict[str, Any]:  # JSON
    """Return every JSON report of a bundle, by its name without folder and suffix; None for one that cannot be read."""
    names = [name for name in sorted(bundle.manifest.files) if name.startswith(_PREFIX) and name.endswith(_SUFFIX)]
    return {name.removeprefix(_PREFIX).removesuffix(_SUFFIX): _json(bundle, name) for name in names}


def _json(bundle: Bundle, name: str) -> Any:  # JSON
    try:
        return json_from_bytes((bundle.path / name).read_bytes())
    except ValueError:  # of no format of ours: the bundle may hold what it likes there
        return None


def print_reports(bundle: Bundle) -> None:
    """Print what is known of collapse, merges, passes, precisions, tuning, missing modalities and deployment."""
    reports = reports_of(bundle)
    for name, show in _SHOWN.items():
        if name not in reports:
            continue
        try:
            show(reports[name])
        except (AttributeError, KeyError, TypeError, ValueError):
            typer.echo(f"{_PREFIX}{name}{_SUFFIX} is in a form that this onepath does not show\n")
    _print_robustness(bundle)
    settings = [(name, value_text(value)) for name, value in bundle.manifest.deployment.items() if value is not None]
    print_if_any("Deployment settings", ("setting", "value"), settings)


def _print_merges(report: Mapping[str, Any]) -> None:  # JSON
    for name, merge in report.items():
        rows = [
            (
                wrapped(tensor["name"], 44),
                tensor["method"],
                figure_text(tensor["relative_change"], ".2g"),
                wrapped(settings_text(tensor["coefficients"]), 30),
            )
            for tensor in merge.get("tensors", ())
        ]
        print_if_any(f"Merge {name} ({merge['method']})", ("tensor", "method", "‖ΔW‖/‖W‖", "coefficients"), rows)
        scales = [
            (auxiliary["model"], layer, value_text(scale))
            for auxiliary in merge.get("auxiliaries", ())
            for layer, scale in auxiliary["scales"].items()
        ]
        print_if_any(f"Merge {name} ({merge['method']}): scales", ("auxiliary", "layer", "λ"), scales)


def _print_lint(report: Mapping[str, Any]) -> None:  # JSON
    rows = [
        (model, finding["level"], finding["tensor"], finding["message"])
        for model, findings in report.items()
        for finding in findings or ({"level": "", "tensor": "", "message": "nothing was found"},)
    ]
    print_if_any("What a look over the weights found", ("model", "", "tensor", "what"), rows)


def _print_passes(report: Sequence[Mapping[str, Any]]) -> None:  # JSON
    rows = [
        (
            each["pass"],
            "kept" if each["kept"] else "dropped",
            _sizes(each, "nodes", "{:,}".format),
            _sizes(each, "bytes", size_text),
            each["reason"],
        )
        for each in report
    ]
    print_if_any("Passes over the graph", ("pass", "", "nodes", "weights", "why"), rows)


def _sizes(result: Mapping[str, Any], figure: str, text: Callable[[int], str]) -> str:
    """Return a size before and after a pass; before it alone, of one that made no graph."""
    sizes = [result.get(f"{figure}_{when}") for when in ("before", "after")]
    return " to ".join(text(size) for size in dict.fromkeys(sizes) if size is not None)


def _print_precision(report: Mapping[str, Any]) -> None:  # JSON
    rows = []
    for graph in report["graphs"]:
        speeds = [
            f"{each['ratio']:.2f} × at {each['rows']}"
            for attempt in graph["attempts"]
            if attempt["form"] == graph["form"]
            for each in attempt["speed"]
        ]
        problems = [f"{attempt['form']}: {attempt['problem']}" for attempt in graph["attempts"] if attempt["problem"]]
        why = "" if graph["form"] else "; ".join(problems)
        rows.append((graph["precision"], graph["outcome"], graph["form"] or "", wrapped(", ".join(speeds) or why, 50)))
    headings = ("precision", "outcome", "form", "speed against float32, at rows")
    print_if_any(f"Precisions, on {report['machine']['cpu']}", headings, rows)


def _print_tuning(report: Mapping[str, Any]) -> None:  # JSON
    rows = [
        (
            wrapped(each["name"], 44),
            figure_text(each["ratio"], ".2f"),
            "chosen" if each["is_chosen"] else "on the front" if each["is_on_front"] else "",
        )
        for each in report["measured"]
        if each["is_chosen"] or each["is_default"] or each["is_on_front"]
    ]
    print_if_any("Tuning", ("settings", "rows/s against the default", ""), rows)


def _print_robustness(bundle: Bundle) -> None:
    from onepath.contract.robustness import robustness_from_bundle, table_headings, table_rows

    report = robustness_from_bundle(bundle.path)
    if report is not None:
        headings = [wrapped(heading, 16) for heading in table_headings(report)]
        rows = [[wrapped_pattern(pattern), *map(_in_lines, cells)] for pattern, *cells in table_rows(report)]
        print_if_any(f"With modalities missing, on {report.rows} rows", headings, rows)
        left_out = list(report.encoders_left_out.items())
        print_if_any("Encoders that it was not compared with", ("modality", "why"), left_out)
        told = [tuple(each.split(": ", 1)) for each in report.notes.get("encoders", "").split("; ") if ": " in each]
        print_if_any("Single encoders that it was compared with", ("modality", "what it is"), told)


def _in_lines(estimate: str) -> str:
    """Return a figure with its interval, and whose it is, below it."""
    return estimate.replace(" (", "\n(").replace("), ", ")\n")


_SHOWN: dict[str, Callable[[Any], None]] = {  # JSON
    "collapse": print_collapse,
    "merges": _print_merges,
    "lint": _print_lint,
    "passes": _print_passes,
    "precision": _print_precision,
    "tuning": _print_tuning,
}
