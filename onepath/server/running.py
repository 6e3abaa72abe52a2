"""A server that was started: where it listens, and how it ends."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from onepath.contract.errors import ServerUnavailableError
from onepath.server.control import unload_models
from onepath.server.logs import reason_from_log
from onepath.server.probes import ProbeReport
from onepath.server.process import ServerProcess

logger = logging.getLogger(__name__)

_SHARED_MEMORY = Path("/dev/shm")
_END_S = 10.0
"""How long a server without requests may take to end; its Python processes alone take 2 to 3 s."""
_SIGNAL_POLL_S = 0.2


class Endpoints(NamedTuple):
    """Where a server listens, each `host:port`."""

    grpc: str
    http: str
    metrics: str


class RunningServer:
    """A running Triton; as a context manager it is drained in the end.

    Attributes:
        front_doors: names of the pipelines that it serves.
        grpc_address: `host:port` of gRPC.
        http_address: `host:port` of HTTP.
        metrics_address: `host:port` of Prometheus metrics, under `/metrics`.
        admin_token: value of the header that opens the restricted interfaces.
        models: names of their inner models.
        reports: how the pipelines answered their probes when the server became ready.
    """

    def __init__(
        self,
        process: ServerProcess,
        *,
        workspace: Path,
        front_doors: tuple[str, ...],
        models: tuple[str, ...],
        endpoints: Endpoints,
        admin_token: str,
        drain_timeout_s: float,
    ) -> None:
        self.front_doors, self.models = front_doors, models
        self.grpc_address, self.http_address, self.metrics_address = endpoints
        self.admin_token = admin_token
        self.reports: tuple[ProbeReport, ...] = ()
        self._drained: bool | None = None
        self._process, self._workspace, self._drain_timeout_s = process, workspace, drain_timeout_s

    @property
    def pid(self) -> int:
        """The process id of `tritonserver`."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.running

    @property
    def log_file(self) -> Path:
        """Where Triton's output goes."""
        return self._process.log

    def drain(self, timeout_s: float | None = None) -> bool:
        """Stop accepting requests, finish those in flight, and end; return whether it did so without force.

        Args:
            timeout_s: how long the requests in flight may take; the settings' `drain_timeout_s` unless given.
        """
        if self._drained is not None or not self.running:
            self.abandon()  # nothing is left to drain
            return bool(self._drained)
        finished = self._finish_requests(self._drain_timeout_s if timeout_s is None else timeout_s)
        ended = self._process.end(_END_S)
        if not (finished and ended):
            logger.warning("the server was ended before it had finished; its log is %s", self.log_file)
        self._drained = finished and ended
        self._remove_leftovers(keep_log=not self._drained)
        return self._drained

    def abandon(self) -> None:
        """End a server that is of no use, and keep its log unless it was drained before."""
        self._process.end(_END_S)
        self._remove_leftovers(keep_log=not self._drained)

    def wait(self) -> None:
        """Return once the server was drained, which SIGTERM and Ctrl-C to this process ask for.

        Use the server as a context manager around this, so that a Ctrl-C just before drains it as well.

        Raises:
            ServerUnavailableError: the server ended by itself.
        """
        with _stop_requested() as stop:
            while self.running and not stop.is_set():
                self._process.wait(_SIGNAL_POLL_S)
        if not stop.is_set():
            reason, code = reason_from_log(self.log_file), self._process.exit_code
            self.abandon()
            raise ServerUnavailableError(
                f"the server ended by itself with code {code}: {reason} (its log is {self.log_file}); start it again",
                exit_code=code,
            )
        self.drain()

    def __enter__(self) -> RunningServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.drain()

    def _finish_requests(self, timeout_s: float) -> bool:
        # A SIGTERM alone would fail them: Triton then refuses the steps that a running ensemble has still to make.
        try:
            return unload_models(self.http_address, self.admin_token, self.front_doors, timeout_s=timeout_s)
        except ServerUnavailableError as error:
            logger.warning("cannot drain the server: %s", error)
            return False

    def _remove_leftovers(self, *, keep_log: bool) -> None:
        # A Python process of Triton that was killed leaves its shared memory behind.
        for region in _SHARED_MEMORY.glob(f"{self._workspace.name}*"):
            region.unlink(missing_ok=True)
        keeps = keep_log and self.log_file.parent == self._workspace
        shutil.rmtree(self._workspace / "backends" if keeps else self._workspace, ignore_errors=True)


@contextmanager
def _stop_requested() -> Iterator[threading.Event]:
    """Give an event that SIGTERM and SIGINT set; a second one has its usual effect once the context has ended."""
    stop = threading.Event()

    def request(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():  # only that one may handle signals
        yield stop
        return
    usual = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
