"""Latency and throughput of the merged pipeline on every presence pattern, client and server on one machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from paired_rows import Row
from served_accuracy import PATTERNS
from served_models import MERGED, ask

from onepath.clients import Client
from onepath.contract.presence import pattern_name

CLIENTS = 8
_WARM_UP = 10
_REQUESTS = 100
_SECONDS = 1.5


@dataclass(frozen=True)
class Speed:
    """What one presence pattern costs.

    Attributes:
        latency_p50_ms: median time of a request of one row, one client asking at a time.
        latency_p95_ms: the time that 95 of 100 such requests stay under.
        rows_per_s: rows answered while `CLIENTS` clients ask at once, one row a request.
    """

    latency_p50_ms: float
    latency_p95_ms: float
    rows_per_s: float


def speeds(address: str, rows: Sequence[Row], advance: Callable[[], None]) -> dict[str, Speed]:
    """Return pattern to speed.

    Args:
        address: the server's, for gRPC.
        rows: rows with every modality present; only a pattern's are sent.
        advance: called after each of `len(PATTERNS)` patterns.
    """
    table = {}
    for pattern in PATTERNS:
        latencies_ms = _latencies_ms(address, rows, pattern)
        table[pattern_name(pattern)] = Speed(
            latency_p50_ms=statistics.median(latencies_ms),
            latency_p95_ms=statistics.quantiles(latencies_ms, n=20)[-1],
            rows_per_s=_rows_per_s(address, rows, pattern),
        )
        advance()
    return table


def _latencies_ms(address: str, rows: Sequence[Row], pattern: Sequence[str]) -> list[float]:
    latencies = []
    with Client(address) as client:
        for number in range(_WARM_UP + _REQUESTS):
            began = time.perf_counter()
            ask(client, MERGED, [rows[number % len(rows)]], pattern)
            latencies.append((time.perf_counter() - began) * 1000)
    return latencies[_WARM_UP:]


def _rows_per_s(address: str, rows: Sequence[Row], pattern: Sequence[str]) -> float:
    end = time.perf_counter() + _SECONDS

    def answered(first: int) -> int:
        count = 0
        with Client(address) as client:
            while time.perf_counter() < end:
                ask(client, MERGED, [rows[(first + count) % len(rows)]], pattern)
                count += 1
        return count

    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        total = sum(pool.map(answered, range(CLIENTS)))
    return total / (time.perf_counter() - began)
