"""Golden probes against a running server: ready means that it answers them correctly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onepath.contract.errors import ServerUnavailableError
from onepath.contract.manifest import Manifest
from onepath.contract.presence import PRESENT, ROW_EMPTY, ROW_OK, pattern_name
from onepath.contract.probe_tolerances import probe_tolerance
from onepath.contract.probes import Probe, ProbeSet
from onepath.contract.tensors import PRESENCE, ROW_STATUS, status_name

Answer = Mapping[str, NDArray[Any]]
"""Output name to `(rows, …)`."""
NumberedProbe = tuple[int, Probe]
"""A probe and its place in the probe set."""
Send = Callable[[Mapping[str, NDArray[np.object_]]], Answer]


@dataclass(frozen=True)
class ProbeReport:
    """How a pipeline answered its probes.

    Attributes:
        front_door: the pipeline.
        rows: how many probes there are.
        max_abs_error: the largest difference from a stored answer.
        tolerance: what it may be.
        alone_latency_ms: the median time of a request of one row.
        together_latency_ms: the median time of a request of rows of mixed presence, as many as it may have.
    """

    front_door: str
    rows: int
    max_abs_error: float
    tolerance: float
    alone_latency_ms: float
    together_latency_ms: float


def check_probes(
    address: str, front_door: str, probes: ProbeSet, manifest: Manifest, *, timeout_s: float = 30.0
) -> ProbeReport:
    """Return how a pipeline answered its probes: together, in batches of mixed presence, and each row alone.

    Args:
        address: `host:port` of the server's gRPC.
        front_door: the pipeline's name.
        probes: rows with their answers.
        manifest: the pipeline's, as deployed.
        timeout_s: how long each request may take.

    Raises:
        ServerUnavailableError: naming the probe and its presence pattern that was answered wrongly or not at all.
    """
    if not probes.rows:
        raise _failure(front_door, "file", "holds no row, so that nothing shows that its answers are right")
    rows = list(enumerate(probes.rows))
    alone = [[row] for row in rows]
    together = list(_batches(rows, manifest.graph.max_batch_size))
    with _Connection(address, front_door, timeout_s) as connection:
        first = [_checked(connection.send, batch, front_door, probes=probes, manifest=manifest) for batch in together]
        second = [_checked(connection.send, batch, front_door, probes=probes, manifest=manifest) for batch in alone]
    return ProbeReport(
        front_door=front_door,
        rows=len(probes.rows),
        max_abs_error=max(error for error, _ in first + second),
        tolerance=_tolerance(probes, manifest),
        alone_latency_ms=median(latency for _, latency in second),
        together_latency_ms=median(latency for _, latency in first),
    )


class _Connection:
    """A gRPC connection to one model."""

    def __init__(self, address: str, front_door: str, timeout_s: float) -> None:
        from tritonclient import grpc  # 0.8 s to import

        self._grpc, self._front_door, self._timeout_s = grpc, front_door, timeout_s
        self._client = grpc.InferenceServerClient(address)

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(self, payloads: Mapping[str, NDArray[np.object_]]) -> Answer:
        """Return every output of the model for payloads, each `(rows, 1)`."""
        inputs = []
        for name, column in payloads.items():
            inputs.append(self._grpc.InferInput(name, column.shape, "BYTES"))
            inputs[-1].set_data_from_numpy(column)
        result = self._client.infer(self._front_door, inputs, client_timeout=self._timeout_s)
        return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def _batches(rows: Sequence[NumberedProbe], size: int) -> Iterator[Sequence[NumberedProbe]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _checked(
    send: Send, rows: Sequence[NumberedProbe], front_door: str, *, probes: ProbeSet, manifest: Manifest
) -> tuple[float, float]:
    """Return the largest error and the latency in milliseconds of one request, whose rows are all answered well."""
    from tritonclient.utils import InferenceServerException

    payloads = {name: _column([row for _, row in rows], name) for name in manifest.modality_names}
    began = time.perf_counter()
    try:
        answer = send(payloads)
    except InferenceServerException as error:
        patterns = ", ".join(dict.fromkeys(_pattern(row, manifest) for _, row in rows))
        raise _failure(front_door, patterns, f"was not answered ({error.message()})") from error
    latency_ms = 1e3 * (time.perf_counter() - began)
    errors = [
        _row_error(
            {name: array[index] for name, array in answer.items()}, row, front_door, probes=probes, manifest=manifest
        )
        for index, row in enumerate(rows)
    ]
    return max(errors), latency_ms


def _row_error(
    answer: Answer, numbered: NumberedProbe, front_door: str, *, probes: ProbeSet, manifest: Manifest
) -> float:
    """Return how far the answer to one row is from the stored one."""
    number, row = numbered
    where = f"{number} ({_pattern(row, manifest)})"
    present = [PRESENT * (name in row.payloads) for name in manifest.modality_names]
    if answer[PRESENCE].tolist() != present:
        statuses = {name: answer[status_name(name)].item().decode() for name in manifest.modality_names}
        said = "; ".join(f"{name}: {status}" for name, status in statuses.items() if status)
        raise _failure(front_door, where, f"was answered for presence {answer[PRESENCE].tolist()} ({said or 'unsaid'})")
    if answer[ROW_STATUS].item() != (ROW_OK if row.payloads else ROW_EMPTY):
        raise _failure(front_door, where, f"was answered with row status {answer[ROW_STATUS].item()}")
    got, expected = answer[probes.output].ravel().astype(np.float64), np.array(row.expected)
    if got.shape != expected.shape:
        raise _failure(front_door, where, f"was answered with {got.size} values instead of {expected.size}")
    error = float(np.abs(got - expected).max())
    if not error <= (tolerance := _tolerance(probes, manifest)):
        problem = f"is off by {error:.3g}, over {tolerance:.3g}"
        raise _failure(front_door, where, problem)
    return error


def _tolerance(probes: ProbeSet, manifest: Manifest) -> float:
    numbers = np.abs([value for row in probes.rows for value in row.expected])
    return probe_tolerance(manifest, float(numbers.max(initial=0.0, where=np.isfinite(numbers))))


def _column(rows: Sequence[Probe], modality: str) -> NDArray[np.object_]:
    column = np.empty((len(rows), 1), dtype=np.object_)
    column[:, 0] = [row.payloads.get(modality, b"") for row in rows]
    return column


def _pattern(row: Probe, manifest: Manifest) -> str:
    return pattern_name(name for name in manifest.modality_names if name in row.payloads)


def _failure(front_door: str, where: str, problem: str) -> ServerUnavailableError:
    return ServerUnavailableError(
        f"{front_door} does not pass its probes: probe {where} {problem}; look at the server's log, and deploy a "
        "bundle that was built and verified for this kind of machine",
        front_door=front_door,
        probe=where,
    )
