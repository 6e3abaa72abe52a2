"""What a person chooses when deploying and when starting a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from onepath.contract.graphs import Precision
from onepath.contract.tensors import Closed


def usable_cores() -> int:
    """Return how many cores this process may run on, at least 1."""
    return len(os.sched_getaffinity(0))


class DeploySettings(Closed):
    """Which of a bundle's graphs is deployed and how it uses the machine; fixed in the pipeline's `config.pbtxt` files.

    Attributes:
        kind: where the graph runs; preprocessing always runs on the CPU.
        precision: of the graph; that of the bundle's own choice unless given.
        engine: whether TensorRT engines run in the place of the graph: `auto` where the bundle has one for every GPU of
            this machine, `never`, or `require`, which fails where there is none.
        preprocess_instances: processes per preprocessing model; one per usable core unless given.
        graph_instances: concurrent runs of the graph; unless given, one per usable core on a CPU and one on a GPU.
        intra_op_threads: threads of one graph run; more instances of one thread beat fewer of many.
        inter_op_threads: threads across the operators of one graph run.
        allow_spinning: whether idle threads of ONNX Runtime spin; they take the cores from preprocessing if they do.
        max_queue_delay_us: how long the first request of a batch may wait for company.
        preferred_batch_sizes: rows of batches that leave at once; any number does when it is empty.
    """

    kind: Literal["cpu", "gpu"] = "cpu"
    precision: Precision | None = None
    engine: Literal["auto", "never", "require"] = "auto"
    preprocess_instances: int | None = Field(default=None, ge=1)
    graph_instances: int | None = Field(default=None, ge=1)
    intra_op_threads: int = Field(default=1, ge=1)
    inter_op_threads: int = Field(default=1, ge=1)
    allow_spinning: bool = False
    max_queue_delay_us: int = Field(default=0, ge=0)
    preferred_batch_sizes: tuple[Annotated[int, Field(ge=1)], ...] = ()

    def resolved(self) -> DeploySettings:
        """Return the same settings with the numbers of this machine in the place of those that were not given."""
        counts = {"preprocess_instances": self.preprocess_count, "graph_instances": self.graph_count}
        return self.model_copy(update=counts)

    @property
    def preprocess_count(self) -> int:
        """The number of processes of a preprocessing model."""
        return self.preprocess_instances or usable_cores()

    @property
    def graph_count(self) -> int:
        """The number of instances of the graph."""
        return self.graph_instances or (1 if self.kind == "gpu" else usable_cores())


class ServerSettings(Closed):
    """How one server listens, logs and ends.

    Attributes:
        host: the address to listen on; loopback unless you mean to be called from elsewhere.
        grpc_port: port of gRPC; None chooses a free one.
        http_port: port of HTTP; None chooses a free one.
        metrics_port: port of Prometheus metrics; None chooses a free one.
        start_timeout_s: how long models may take to load and probes to pass.
        drain_timeout_s: how long requests in flight may take once the server is asked to end.
        log_file: where Triton's output goes; a temporary file unless given, kept when something went wrong.
        log_verbose: Triton's verbosity, 0 for none.
    """

    host: str = "127.0.0.1"
    grpc_port: int | None = Field(default=8001, ge=1, le=65535)
    http_port: int | None = Field(default=8000, ge=1, le=65535)
    metrics_port: int | None = Field(default=8002, ge=1, le=65535)
    start_timeout_s: float = Field(default=120.0, gt=0)
    drain_timeout_s: float = Field(default=30.0, gt=0)
    log_file: Path | None = None
    log_verbose: int = Field(default=0, ge=0)
