"""What a person chooses when tuning: the load that is offered, what counts as best, and how long it may take."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from onepath.contract.tensors import Closed

Percentile = Literal["p50", "p95", "p99"]
Objective = Literal["throughput", "latency"]
Kind = Literal["cpu", "gpu"]


class Load(Closed):
    """What the clients do while a candidate is measured; figures of different loads are never compared.

    Attributes:
        rows: rows of one request.
        concurrency: clients; each sends its next request once the last one is answered.
        pattern: the presence pattern of every row, such as `image+text`; every pattern equally often unless given.
        warm_up_s: how long the clients ask before anything counts.
        window_s: how long answers are counted; longer where they are slow, up to three times as long.
    """

    rows: int = Field(default=1, ge=1)
    concurrency: int = Field(default=4, ge=1)
    pattern: str | None = None
    warm_up_s: float = Field(default=1.0, ge=0)
    window_s: float = Field(default=4.0, gt=0)


class Goal(Closed):
    """What is best.

    Attributes:
        objective: the highest throughput, or the lowest latency, of those within both bounds.
        percentile: which latency counts.
        latency_ms: the most that it may be.
        min_rows_per_s: the least that the throughput may be.
    """

    objective: Objective = "throughput"
    percentile: Percentile = "p95"
    latency_ms: float = Field(default=50.0, gt=0)
    min_rows_per_s: float = Field(default=0.0, ge=0)


class TuneSettings(Closed):
    """A tuning run.

    Attributes:
        load: what the clients do.
        goal: what is best.
        minutes: no candidate is started that would not end within this time; the default settings, one candidate, and
            the default again, are measured all the same.
        kind: where the graph runs.
    """

    load: Load = Load()
    goal: Goal = Goal()
    minutes: float = Field(default=5.0, gt=0)
    kind: Kind = "cpu"
