"""Write `docs/benchmarks.md` from the figures in `benchmarks/results/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from paired import RESULTS

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"


def result(name: str) -> dict[str, Any]:  # JSON
    """Return what a benchmark saved."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def origin(name: str) -> str:
    """Return the line that says where and when figures were measured."""
    record = result(name)
    machine = record["machine"]
    versions = ", ".join(f"{tool} {machine[tool]}" for tool in ("onnxruntime", "torch"))
    place = f"{machine['cores']} cores of {machine['cpu']}, {versions}"
    return f"`python benchmarks/{name}.py`, {record['date']}, {place}"


def dispatch_lines() -> list[str]:
    """Return the section on absent rows."""
    record = result("dispatch")
    rows = [
        f"| {name} | {share:.3f} | {record['limits'].get(name, '')} |"
        for name, share in record["share_of_none_missing"].items()
    ]
    return [
        "## An absent row runs no encoder",
        "",
        f"The image encoder's part of the released digits graph at batch {record['batch']}, CPU time of one thread, as a",
        "share of the time with no image missing in the same run. Limits were set before measuring.",
        "",
        "| images | share | limit |",
        "| --- | --- | --- |",
        *rows,
        "",
        f"{origin('dispatch')}.",
    ]


def collapse_lines() -> list[str]:
    """Return the section on collapsed encoders."""
    record = result("collapse")
    rows = [
        f"| {batch} | 1 | {ratios['attached']:.2f} | {ratios['collapsed']:.2f} |"
        for batch, ratios in record["time_relative_to_plain"].items()
    ]
    return [
        "## A collapsed encoder costs what a plain one costs",
        "",
        f"A transformer encoder (width {record['width']}, {record['depth']} layers, {record['tokens']} tokens) in torch:",
        "CPU time of one thread relative to the plain class, median of paired rounds, with an auxiliary's weights attached",
        "(as training leaves it) and collapsed. The collapsed weights load into the plain class with `strict=True`.",
        "",
        "| | plain | attached | collapsed |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        f"{origin('collapse')}.",
    ]


def main() -> None:
    """Write the page."""
    head = [
        "# Benchmarks",
        "",
        "Made by `make bench`, which measures everything anew on your machine and rewrites this page.",
        "",
    ]
    PAGE.write_text("\n".join([*head, *dispatch_lines(), "", *collapse_lines(), ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
