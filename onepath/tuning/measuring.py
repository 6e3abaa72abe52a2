"""One measurement: a candidate is deployed, served by a real Triton, asked by clients, and ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from onepath.clients.transport import Arrays, Transport
from onepath.contract.bundle import Bundle
from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.errors import ServerUnavailableError
from onepath.server.fitting import UnfitSettingsError
from onepath.server.launch import start_server
from onepath.server.repository import deploy
from onepath.server.settings import ServerSettings
from onepath.server.triton import TritonInstallation
from onepath.tuning.candidates import Candidate
from onepath.tuning.closed_loop import Answered, offer_load
from onepath.tuning.cpu_time import session_cpu_s
from onepath.tuning.figures import figures_from_latencies
from onepath.tuning.journal import Context, Entry
from onepath.tuning.settings import Load

_DRAIN_S = 5.0
_SHOWN = 400


@dataclass(frozen=True)
class Bench:
    """What every candidate is measured with.

    Attributes:
        bundle: what is measured.
        context: of which its measurements are.
        requests: what clients send, for each number of rows that a request may have.
        folder: where the model repository and the logs of servers that failed are.
        installation: the Triton.
    """

    bundle: Bundle
    context: Context
    requests: Mapping[int, Sequence[Arrays]]
    folder: Path
    installation: TritonInstallation

    @property
    def repository(self) -> Path:
        """The model repository, in which each candidate takes the place of the one before it."""
        return self.folder / "repository"


def measure(bench: Bench, candidate: Candidate) -> Entry:
    """Return the measurement of a candidate; one that does not start or answer has its reason in the place of figures.

    Raises:
        BundleIntegrityError: the bundle is not what it was when it was opened.
    """
    began = time.perf_counter()
    log = bench.folder / f"server-{_digits(candidate)}.log"
    log.unlink(missing_ok=True)
    load = bench.context.load.model_copy(update={"rows": candidate.rows})
    at_s = time.time()
    try:
        deploy(bench.bundle, bench.repository, candidate.settings)
        settings = ServerSettings(
            grpc_port=None, http_port=None, metrics_port=None, drain_timeout_s=_DRAIN_S, log_file=log
        )
        with start_server(bench.repository, settings, installation=bench.installation) as server:
            at_s = time.time()
            answered = _answered(server.grpc_address, server.pid, bench, load)
    except (ServerUnavailableError, UnfitSettingsError) as error:
        wall_s = time.perf_counter() - began
        return Entry(context=bench.context, candidate=candidate, at_s=at_s, wall_s=wall_s, failure=_short(str(error)))
    entry = _entry(bench.context, candidate, answered, at_s=at_s, wall_s=time.perf_counter() - began)
    if entry.failure is None:
        log.unlink(missing_ok=True)
    return entry


def _answered(address: str, pid: int, bench: Bench, load: Load) -> Answered:
    def connect() -> Transport:
        from onepath.clients.grpc_transport import GrpcTransport

        return GrpcTransport(address)

    front_door, requests = bench.bundle.manifest.name, bench.requests[load.rows]
    return offer_load(connect, front_door, requests, load, cpu_s=lambda: session_cpu_s(pid))


def _entry(context: Context, candidate: Candidate, answered: Answered, *, at_s: float, wall_s: float) -> Entry:
    good, bad = len(answered.latencies_s), len(answered.problems)
    entry = Entry(context=context, candidate=candidate, at_s=at_s, wall_s=wall_s, requests=good, errors=bad)
    if bad:
        failure = f"{bad} requests failed beside {good} that were answered: {answered.problems[0]}"
        return entry.model_copy(update={"failure": _short(failure)})
    if not good:
        return entry.model_copy(update={"failure": f"no request was answered within {answered.window_s:.1f} s"})
    figures = figures_from_latencies(
        answered.latencies_s, rows=candidate.rows, window_s=answered.window_s, cpu_s=answered.cpu_s
    )
    return entry.model_copy(update={"figures": figures})


def _digits(candidate: Candidate) -> str:
    return sha256_from_bytes(canonical_json(candidate.model_dump(mode="json")))[:8]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]} …"
