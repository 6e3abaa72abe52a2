"""What int8 gives: a ViT-B/16 against torch, two paths against one in int8, and the digits bundle through Triton.

Usage: python benchmarks/precision.py [vit] [digits]; both without a word. Exits with 1 if a limit is missed.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping
from typing import Any

import precision_digits
import precision_vit
from onepath.contract.processor import this_processor
from onepath.export.precision.speed import median_interval
from paired import RESULTS, save
from precision_page import PAGE, page
from precision_vit import INT8, PLAIN, TWO_PATH, ratios

LIMITS = {("batch 1", PLAIN): 3.5, ("batch 8", PLAIN): 3.0, ("batch 1", TWO_PATH): 6.0}
"""Batch and form to how many times as fast the int8 graph must be on one thread, set before measuring."""
_FAST_INT8 = ("avx512_vnni", "avx_vnni", "amx_int8")


def main() -> None:
    """Measure, write the page, and end with 1 if a limit is missed."""
    wanted = sys.argv[1:] or ["vit", "digits"]
    parts: Mapping[str, Callable[[], dict[str, Any]]] = {"vit": vit, "digits": precision_digits.figures}
    for name in wanted:
        load = os.getloadavg()[0]  # of others, before anything is measured
        save(f"precision_{name}", {"load_before": round(load, 1), **parts[name]()})
    records = {name: _saved(name) for name in parts}
    PAGE.write_text(page(records["vit"], records["digits"]), encoding="utf-8")
    missed = [problem for name in wanted for problem in _missed(name, records[name] or {})]
    print("\n".join(missed) or "every limit is kept")
    sys.exit(1 if missed else 0)


def vit() -> dict[str, Any]:  # JSON
    """Return the ViT's figures with the limits and how they are met."""
    record = precision_vit.figures()
    times = record["wall_ms"]["1 thread"]
    limits = {}
    for (batch, form), limit in LIMITS.items():
        found = ratios(times[batch], form, INT8)
        figures = {"ratio": statistics.median(found), "interval": median_interval(found), "limit": limit}
        limits[f"int8 at {batch} against {form}"] = figures
    flags = this_processor().flags
    return {**record, "limits": limits, "limits_apply": any(flag in flags for flag in _FAST_INT8)}


def _saved(name: str) -> dict[str, Any] | None:  # JSON
    path = RESULTS / f"precision_{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _missed(name: str, record: Mapping[str, Any]) -> list[str]:  # JSON
    """Return the limits that figures miss, in words."""
    if name == "digits":
        limit = record["gate"]["gate"]["accuracy_loss"]
        losses = {pattern: each["loss"] for pattern, each in record["accuracy"].items()}
        return [f"{pattern} loses {loss:.4f}, over {limit:g}" for pattern, loss in losses.items() if loss > limit]
    if not record["limits_apply"]:
        return []
    return [
        f"{what}: {each['ratio']:.2f}, and at least {each['limit']:g} is asked"
        for what, each in record["limits"].items()
        if each["ratio"] < each["limit"]
    ]


if __name__ == "__main__":
    main()
