"""Write `docs/benchmarks.md` from the figures in `benchmarks/results/`."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path
from typing import Any

from merging_sections import baselines_lines, lego_lines, overlap_lines
from paired import RESULTS, machine

PROJECT = Path(__file__).parents[1]
PAGE = PROJECT / "docs" / "benchmarks.md"
DEMO = PROJECT / "build" / "demo"


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
        f"The image encoder's part of the released digits graph at batch {record['batch']}, CPU time of one thread,",
        "as a share of the time with no image missing in the same run. Limits were set before measuring.",
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
    sizes = f"width {record['width']}, {record['depth']} layers, {record['tokens']} tokens"
    return [
        "## A collapsed encoder costs what a plain one costs",
        "",
        f"A transformer encoder in torch ({sizes}):",
        "CPU time of one thread relative to the plain class, median of paired rounds, with an auxiliary's weights",
        "attached (as training leaves it) and collapsed. The collapsed weights load into the plain class strictly.",
        "",
        "| | plain | attached | collapsed |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        f"{origin('collapse')}.",
    ]


def digits_lines() -> list[str]:
    """Return the section on the demo: accuracy of each model for each presence pattern."""
    record = result("digits")
    models = list(record["accuracy"]["image+audio+text"])
    with_pathway = _percent(record["training"]["test_accuracy"]["image"])
    without = _percent(record["training"]["image_test_accuracy_without_pathway"])
    rows = [
        " | ".join([f"| {pattern}", *(_percent(cells.get(model)) for model in models)]) + " |"
        for pattern, cells in record["accuracy"].items()
    ]
    return [
        "## The digits, seen, heard and written",
        "",
        f"Accuracy in % on {record['rows']} held-out rows, through the running server, for each presence pattern.",
        "`digits` is merged without paired data; `digits-stack` and `digits-weave` are fused and tuned on paired",
        "rows; the other three are single encoders. The demo's difficulty and sizes were settled while looking at",
        "these rows, so the differences between columns, not their height, are the finding.",
        f"One row is {100 / record['rows']:.2f} points. The pathway from audio to image did not help here: the image",
        f"encoder has {with_pathway} % with it, and {without} % trained as long without it.",
        "",
        "| present | " + " | ".join(models) + " |",
        "| --- " * (len(models) + 1) + "|",
        *rows,
        "",
        "![Accuracy, latency and throughput of each presence pattern](digits.png)",
        "",
        f"`make demo`, {record['date']}, {record['machine']['cores']} cores of {record['machine']['cpu']}, in",
        f"{record['seconds']['whole demo']:.0f} s. Latency and throughput are those of that machine, clients included.",
    ]


def _percent(accuracy: float | None) -> str:
    return "–" if accuracy is None else f"{100 * accuracy:.1f}"


def keep_demo() -> None:
    """Keep the figures and the picture of the last demo, where one was run here."""
    if not (DEMO / "digits.json").is_file():
        return
    figures = json.loads((DEMO / "digits.json").read_text(encoding="utf-8"))
    made = date.fromtimestamp((DEMO / "digits.json").stat().st_mtime).isoformat()
    record = {"date": made, "machine": machine(), **figures}
    (RESULTS / "digits.json").write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.copyfile(DEMO / "digits.png", PAGE.with_name("digits.png"))


def main() -> None:
    """Write the page."""
    keep_demo()
    head = [
        "# Benchmarks",
        "",
        "Made by `make bench`, which measures everything anew on your machine and rewrites this page.",
        "",
    ]
    merging = [lines(result, origin) for lines in (lego_lines, baselines_lines, overlap_lines)]
    sections = [digits_lines(), dispatch_lines(), collapse_lines(), *merging]
    PAGE.write_text("\n".join([*head, *(line for section in sections for line in [*section, ""])]), encoding="utf-8")


if __name__ == "__main__":
    main()
