"""The figures of one measurement, from the latencies of its requests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from onepath.contract.tensors import Closed
from onepath.tuning.settings import Goal, Percentile


class Figures(Closed):
    """How fast a pipeline answered.

    Attributes:
        rows_per_s: rows answered in a second, by all clients together.
        p50_ms: the median latency of a request.
        p95_ms: the latency that 95 of 100 requests stay under.
        p99_ms: the latency that 99 of 100 requests stay under.
        cpu_ms_per_row: CPU time of the server's processes, all cores together, by rows answered.
    """

    rows_per_s: float = Field(gt=0)
    p50_ms: float = Field(gt=0)
    p95_ms: float = Field(gt=0)
    p99_ms: float = Field(gt=0)
    cpu_ms_per_row: float = Field(ge=0)

    def latency_ms(self, percentile: Percentile) -> float:
        """Return one of the latencies."""
        return {"p50": self.p50_ms, "p95": self.p95_ms, "p99": self.p99_ms}[percentile]

    def score(self, goal: Goal) -> float:
        """Return what is compared, higher being better: rows a second, or requests a second of one client.

        >>> figures = Figures(rows_per_s=80, p50_ms=20, p95_ms=40, p99_ms=50, cpu_ms_per_row=9)
        >>> figures.score(Goal()), figures.score(Goal(objective="latency"))
        (80.0, 25.0)
        """
        return self.rows_per_s if goal.objective == "throughput" else 1e3 / self.latency_ms(goal.percentile)


def figures_from_latencies(latencies_s: Sequence[float], *, rows: int, window_s: float, cpu_s: float) -> Figures:
    """Return the figures of the requests that were answered within a window.

    >>> figures_from_latencies([0.01, 0.02, 0.03], rows=2, window_s=0.5, cpu_s=0.3)
    Figures(rows_per_s=12.0, p50_ms=20.0, p95_ms=29.0, p99_ms=29.8, cpu_ms_per_row=50.0)

    Args:
        latencies_s: of each request, at least one.
        rows: of each request.
        window_s: how long answers were counted.
        cpu_s: CPU time that the server took meanwhile.
    """
    p50, p95, p99 = (round(1e3 * float(value), 3) for value in np.percentile(latencies_s, [50, 95, 99]))
    answered = rows * len(latencies_s)
    return Figures(
        rows_per_s=round(answered / window_s, 3),
        p50_ms=p50,
        p95_ms=p95,
        p99_ms=p99,
        cpu_ms_per_row=round(1e3 * cpu_s / answered, 3),
    )
