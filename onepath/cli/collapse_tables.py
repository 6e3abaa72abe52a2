"""What the report of a collapse says, as tables for a person: what was folded, its figures, and what was left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from onepath.cli.cells import LINE, figure_text, names_text, print_if_any, wrapped

_Entry = Mapping[str, Any]  # JSON
_FIGURES = ("‖ΔW‖/‖W‖", "error", "λ", "parameters", "FLOPs")


def print_collapse(report: Mapping[str, Any]) -> None:  # JSON
    """Print a collapse: the whole model's sizes, a table for each kind of fold, and what was left as it was."""
    typer.echo(wrapped(_summary(report), LINE) + "\n")
    for (rule, folded), layers in _grouped(report["layers"], "rule", "folded").items():
        _print_folds(rule, folded, layers)
    left = [
        (rule, names_text([each["layer"] or "the model" for each in entries]), reason)
        for (rule, reason), entries in _grouped(report.get("left", ()), "rule", "reason").items()
    ]
    print_if_any("Left as it was", ("rule", "layer", "why"), left)


def _summary(report: Mapping[str, Any]) -> str:
    sizes = [f"{_pair(report, 'parameters', ' to ')} parameters"]
    if report.get("flops_before") is not None:
        sizes.append(f"{_pair(report, 'flops', ' to ')} FLOPs on one row")
    nothing = "" if report["layers"] else "; nothing was to be folded"
    return f"Collapse: {', '.join(sizes)}{nothing}"


def _print_folds(rule: str, folded: str, layers: Sequence[_Entry]) -> None:
    names = [layer["layer"] or "the model" for layer in layers]
    prefix = _common(names)
    rows = [(name.removeprefix(prefix), *_figures(layer)) for name, layer in zip(names, layers, strict=True)]
    shown = [0, *(number for number in range(1, 6) if any(row[number] for row in rows))]
    place = f" in {prefix.removesuffix('.')}" if prefix else ""
    print_if_any(
        f"{rule}{place}: {folded}",
        [("layer", *_FIGURES)[number] for number in shown],
        [[row[number] for number in shown] for row in rows],
    )


def _figures(layer: _Entry) -> tuple[str, ...]:
    return (
        figure_text(layer["relative_change"], ".2g"),
        "0" if layer.get("error") == 0 else figure_text(layer.get("error"), ".1e"),
        _scales(layer),
        _pair(layer, "parameters", "\nto "),
        _pair(layer, "flops", "\nto "),
    )


def _scales(layer: _Entry) -> str:
    """Return each λ with the name of its auxiliary; older reports name none."""
    names = layer.get("auxiliaries") or [None] * len(layer["scales"])
    return "\n".join(
        f"{scale:.3g}" if name is None else f"{scale:.3g} of {name}"
        for scale, name in zip(layer["scales"], names, strict=True)
    )


def _pair(entry: _Entry, figure: str, between: str) -> str:
    before, after = entry.get(f"{figure}_before"), entry.get(f"{figure}_after")
    if before is None or after is None:
        return ""
    more = ", more" if figure == "flops" and after > before else ""
    return f"{before:,}" if before == after else f"{before:,}{between}{after:,}{more}"


def _common(names: Sequence[str]) -> str:
    """Return the modules that all of several names begin with, with the dot behind; nothing for one name."""
    if len(names) < 2:
        return ""
    parts = [name.split(".")[:-1] for name in names]
    same = next((number for number, here in enumerate(zip(*parts, strict=False)) if len(set(here)) > 1), None)
    common = parts[0][: min(map(len, parts)) if same is None else same]
    return "".join(f"{part}." for part in common)


def _grouped(entries: Sequence[_Entry], *fields: str) -> dict[tuple[str, ...], list[_Entry]]:
    groups = dict[tuple[str, ...], list[_Entry]]()
    for entry in entries:
        groups.setdefault(tuple(entry[field] for field in fields), []).append(entry)
    return groups
