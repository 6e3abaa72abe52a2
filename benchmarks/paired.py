"""Paired timings: the variants take turns in a random order, so that a drift of the machine touches them alike."""

from __future__ import annotations

import json
import os
import random
import statistics
import time
from collections.abc import Callable, Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from onepath.contract.processor import this_processor

RESULTS = Path(__file__).parent / "results"


def thread_seconds(
    variants: Mapping[str, Callable[[], object]], *, rounds: int, runs: int = 1
) -> dict[str, list[float]]:
    """Return CPU seconds of one thread per run of each variant, one figure a round.

    Args:
        variants: name to what is timed; each must do its work on the calling thread.
        rounds: how often the variants take turns, after one round that is not counted.
        runs: runs of a variant in one turn.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    order = list(variants)
    for turn in range(rounds + 1):
        random.Random(turn).shuffle(order)
        for name in order:
            begin = time.thread_time()
            for _ in range(runs):
                variants[name]()
            if turn:
                seconds[name].append((time.thread_time() - begin) / runs)
    return seconds


def median_ratio(seconds: Mapping[str, list[float]], name: str, reference: str) -> float:
    """Return the median over rounds of one variant's time divided by another's in the same round."""
    return statistics.median(a / b for a, b in zip(seconds[name], seconds[reference], strict=True))


def machine() -> dict[str, str]:
    """Return the processor, cores, system and the versions that matter."""
    tools = {name: version(name) for name in ("onepath", "numpy", "onnxruntime", "torch")}
    return {"cpu": this_processor().name, "cores": str(os.cpu_count()), **tools}


def save(name: str, figures: Mapping[str, Any]) -> None:  # figures: JSON
    """Write figures with machine and date to `benchmarks/results/<name>.json`, and print them."""
    RESULTS.mkdir(exist_ok=True)
    record = {"date": date.today().isoformat(), "machine": machine(), **figures}
    text = json.dumps(record, indent=2, ensure_ascii=False)
    (RESULTS / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    print(text)
