"""The sections of `docs/benchmarks.md` on merging: speed of a collapsed merge, overlap of modalities, other methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Result = Callable[[str], dict[str, Any]]  # JSON
Origin = Callable[[str], str]


def lego_lines(result: Result, origin: Origin) -> list[str]:
    """Return the section on the speed of a collapsed LegoMerge."""
    record = result("lego")
    batches = [name for name in record if name.startswith("batch ")]
    forms = list(record[batches[0]]["published_relative_to"])
    limits = record["least_published_relative_to_served"]
    rows = [
        [name.removeprefix("batch ")]
        + [f"{record[name]['published_relative_to'][form]:.2f}" for form in forms]
        + [f"{record[name]['many_paths_relative_to'][form]:.2f}" for form in forms]
        + [str(limits.get(name, ""))]
        for name in batches
    ]
    head = [
        "batch",
        *(f"published ÷ {form}" for form in forms),
        *(f"uncollapsed ÷ {form}" for form in forms),
        "least published ÷ served",
    ]
    return [
        "## A collapsed LegoMerge",
        "",
        f"Two blocks, a table of {record['columns']} columns and a bag of {record['instances']} instances of width "
        f"{record['width']}, merged by `sum`;",
        "CPU time of one thread, in one run, relative to the published form's eager forward (encoders run at every",
        "depth) and to our own uncollapsed form. `collapsed` runs in torch, `served` is its graph in ONNX Runtime.",
        "",
        *table(head, rows),
        "",
        f"{origin('lego')}.",
    ]


def overlap_lines(result: Result, origin: Origin) -> list[str]:
    """Return the section on modalities that share only a part of their rows."""
    record = result("overlap")
    first = record["results"][0]
    merges, blocks = list(first["merged"]), list(first["blocks"])
    head = ["rows in common", *merges, "ensemble", *(f"{name} alone" for name in blocks)]
    rows = [
        [
            f"{100 * entry['overlap']:.0f} %",
            *(_share(entry["merged"][name]) for name in merges),
            _share(entry["ensemble"]),
            *(_share(entry["blocks"][name]) for name in blocks),
        ]
        for entry in record["results"]
    ]
    return [
        "## Modalities that share only a part of their rows",
        "",
        "Digits cut into two halves, a block trained on each half's own rows, merged without more training. Accuracy",
        f"in % on {record['settings']['evaluation_rows']} paired rows that neither saw, mean ± standard deviation of "
        f"{len(record['settings']['seeds'])} seeds.",
        "The ensemble is the mean of the blocks' logits.",
        "",
        *table(head, rows),
        "",
        f"{origin('overlap')}.",
    ]


def baselines_lines(result: Result, origin: Origin) -> list[str]:
    """Return the section on other fusion methods."""
    record = result("baselines")
    patterns = list(next(iter(record["results"].values()))["accuracy"])
    rows = [
        [name, *(_share(entry["accuracy"][pattern]) for pattern in patterns), f"{entry['parameters']:,}"]
        for name, entry in record["results"].items()
    ]
    sizes = record["rows"]
    return [
        "## Merged models and other fusion methods",
        "",
        "Digits cut into two halves; accuracy in % for each presence pattern, mean ± standard deviation of "
        f"{len(record['seeds'])} seeds, on",
        f"{sizes['test']} rows that were not used before, after training on {sizes['train']} rows by one trainer with "
        "one budget.",
        "LegoMerge and the ensemble never see a paired row; the others are trained on pairs.",
        "",
        *table(["method", *patterns, "parameters"], rows),
        "",
        f"{origin('baselines')}.",
    ]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]


def _share(figure: Mapping[str, float]) -> str:
    return f"{100 * figure['mean']:.1f} ± {100 * figure['std']:.1f}"
