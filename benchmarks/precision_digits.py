"""The digits bundle in float32 and in int8, the whole pipeline through Triton: accuracy, latency and throughput."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onepath.cli.progress import shown_progress
from onepath.clients import Client
from onepath.contract.bundle import Bundle
from onepath.contract.graphs import Precision
from onepath.contract.presence import pattern_name
from onepath.export.build import build
from onepath.export.precision.variants import REPORT
from onepath.export.recipe import recipe_from_file
from onepath.export.robustness.intervals import bonett_price
from onepath.server.launch import start_server
from onepath.server.repository import deploy
from onepath.server.settings import DeploySettings, ServerSettings

PROJECT = Path(__file__).parents[1]
DIGITS = PROJECT / "export" / "digits"
BUILD = PROJECT / "build" / "precision"
PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")
ROUNDS = 3
"""Turns of each server in the timings, of which the median counts."""
_CLIENTS, _CHUNK = 4, 64

sys.path.insert(0, str(DIGITS))

from digits_settings import DigitsSettings  # noqa: E402 - the demo's own modules lie in its folder
from paired_rows import Rows, test_rows_from_seed  # noqa: E402
from served_accuracy import PATTERNS  # noqa: E402
from served_models import MERGED, ask  # noqa: E402
from served_speed import CLIENTS, Speed, speeds  # noqa: E402


def figures() -> dict[str, Any]:  # JSON
    """Return the gate's report, and for each presence pattern both precisions' accuracy and speed as they are served.

    Raises:
        MissingVariantError: int8 did not pass its gate; the report that says why is in the bundle.
    """
    bundle = digits_bundle()
    recipe = recipe_from_file(DIGITS / "recipe.yaml")
    rows = test_rows_from_seed(recipe.seed, renderings=DigitsSettings.model_validate(recipe.settings).renderings)
    with ExitStack() as servers:
        addresses = {}
        for precision in PRECISIONS:
            repository = BUILD / f"model_repository_{precision}"
            deploy(bundle, repository, DeploySettings(precision=precision))
            server = start_server(repository, ServerSettings(grpc_port=None, http_port=None, metrics_port=None))
            addresses[precision] = servers.enter_context(server).grpc_address
        accuracy = {pattern_name(pattern): _accuracy(addresses, rows, pattern) for pattern in PATTERNS}
        speed = _speeds(addresses, rows)
    report = json.loads((bundle.path / REPORT).read_text(encoding="utf-8"))
    return {
        "rows": len(rows),
        "clients": CLIENTS,
        "deployed": bundle.manifest.graph.precisions,
        "size_bytes": {graph.precisions: _size_bytes(bundle, graph.files) for graph in bundle.manifest.graphs},
        "gate": next(graph for graph in report["graphs"] if graph["precision"] == "int8"),
        "accuracy": accuracy,
        "speed": speed,
    }


def digits_bundle() -> Bundle:
    """Return the merged digits bundle, built with int8 wanted."""
    with shown_progress() as progress:
        bundles = build(DIGITS / "recipe.yaml", BUILD, progress, precision="int8")
    return next(bundle for bundle in bundles if bundle.manifest.name == MERGED.name)


def _size_bytes(bundle: Bundle, files: Sequence[str]) -> int:
    return sum(bundle.manifest.files[file].size_bytes for file in files)


def _accuracy(addresses: dict[Precision, str], rows: Rows, pattern: tuple[str, ...]) -> dict[str, Any]:  # JSON
    right = {precision: _right(address, rows, pattern) for precision, address in addresses.items()}
    lost = int((right["fp32"] & ~right["int8"]).sum())
    gained = int((right["int8"] & ~right["fp32"]).sum())
    return {
        **{precision: float(each.mean()) for precision, each in right.items()},
        "loss": (lost - gained) / len(rows),
        "interval": bonett_price(lost, gained, len(rows)),
    }


def _right(address: str, rows: Rows, pattern: tuple[str, ...]) -> NDArray[np.bool_]:
    """Return whether each row of a pattern is answered correctly, bool `(rows,)`."""
    starts = range(0, len(rows), _CHUNK)
    with Client(address) as client, ThreadPoolExecutor(_CLIENTS) as pool:
        answers = pool.map(lambda start: ask(client, MERGED, rows.payloads[start : start + _CHUNK], pattern), starts)
        labels = [row.label for predictions in answers for row in predictions]
    return np.array([label == str(digit) for label, digit in zip(labels, rows.digits, strict=True)])


def _speeds(addresses: dict[Precision, str], rows: Rows) -> dict[str, Any]:  # JSON
    """Return pattern to precision to speed, the median of rounds in which the servers take turns."""
    found: dict[str, dict[str, list[Speed]]] = {}
    for number in range(ROUNDS):
        for precision in PRECISIONS if number % 2 else reversed(PRECISIONS):
            for pattern, speed in speeds(addresses[precision], rows.payloads, lambda: None).items():
                found.setdefault(pattern, {}).setdefault(precision, []).append(speed)
    return {
        pattern: {precision: _median(turns) for precision, turns in each.items()} for pattern, each in found.items()
    }


def _median(turns: Sequence[Speed]) -> dict[str, float]:
    every = [asdict(turn) for turn in turns]
    return {name: statistics.median(turn[name] for turn in every) for name in every[0]}
