"""Clients in a closed loop: each sends its next request as soon as its last one is answered."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from onepath.clients.deadline import deadline_from_timeout
from onepath.clients.transport import Arrays, Transport
from onepath.contract.errors import OnepathError
from onepath.contract.presence import ROW_OK
from onepath.contract.tensors import ROW_STATUS
from onepath.tuning.settings import Load

_TIMEOUT_S = 30.0
_FEWEST = 40
"""A window is prolonged until so many requests were answered, for the percentiles to mean something."""
_LONGEST = 3
"""A window is at most so many times as long as asked for."""
_POLL_S = 0.05
_PAUSE_S = 0.2
"""How long a client waits after a failed request, so as not to keep a broken server busy."""


@dataclass(frozen=True)
class Answered:
    """What the clients saw: answers within the window, and every problem.

    Attributes:
        latencies_s: of each request that was answered.
        problems: why others were not, at any time: a client that cannot connect fails before the window, and one that
            hangs behind it.
        window_s: how long answers were counted.
        cpu_s: CPU time that the server took meanwhile.
    """

    latencies_s: tuple[float, ...]
    problems: tuple[str, ...]
    window_s: float
    cpu_s: float


@dataclass
class _Log:
    """What the clients report; appending to a list is safe from several threads."""

    answers: list[tuple[float, float]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)


def offer_load(
    connect: Callable[[], Transport],
    model: str,
    requests: Sequence[Arrays],
    load: Load,
    *,
    cpu_s: Callable[[], float],
) -> Answered:
    """Return what clients saw of a server, after their warm-up.

    Args:
        connect: makes a client's own connection.
        model: the pipeline's name.
        requests: what each client sends in turn, each starting at another one.
        load: how many clients there are, and for how long they ask.
        cpu_s: how much CPU time the server has taken so far.
    """
    log = _Log()
    with ThreadPoolExecutor(load.concurrency, thread_name_prefix="client") as pool:
        try:
            starts = [number * len(requests) // load.concurrency for number in range(load.concurrency)]
            orders = [[*requests[start:], *requests[:start]] for start in starts]
            clients = [pool.submit(_ask, connect, model, order, log) for order in orders]
            time.sleep(load.warm_up_s)
            began, cpu_before = time.perf_counter(), cpu_s()
            _wait(log, began, load.window_s)
            ended, cpu_after = time.perf_counter(), cpu_s()
        finally:
            log.stop.set()  # also on Ctrl-C: the pool waits for its threads
        for client in clients:
            client.result()
    return Answered(
        latencies_s=tuple(latency for at, latency in log.answers if began <= at <= ended),
        problems=tuple(log.problems),
        window_s=ended - began,
        cpu_s=cpu_after - cpu_before,
    )


def _wait(log: _Log, began: float, window_s: float) -> None:
    answered = len(log.answers)
    while True:
        elapsed = time.perf_counter() - began
        enough = len(log.answers) - answered >= _FEWEST or elapsed >= _LONGEST * window_s
        if elapsed >= window_s and enough:
            return
        time.sleep(_POLL_S if elapsed >= window_s else min(_POLL_S, window_s - elapsed))


def _ask(connect: Callable[[], Transport], model: str, requests: Sequence[Arrays], log: _Log) -> None:
    try:
        transport = connect()
    except OnepathError as error:
        log.problems.append(str(error))
        return
    sent = 0
    try:
        while not log.stop.is_set():
            began = time.perf_counter()
            problem = _problem(transport, model, requests[sent % len(requests)])
            ended, sent = time.perf_counter(), sent + 1
            if problem is None:
                log.answers.append((ended, ended - began))
            else:
                log.problems.append(problem)
                log.stop.wait(_PAUSE_S)
    finally:
        transport.close()


def _problem(transport: Transport, model: str, request: Arrays) -> str | None:
    """Return why a request was not answered as it should, or None."""
    try:
        answer = transport.infer(model, request, deadline_from_timeout(transport.address, _TIMEOUT_S))
    except OnepathError as error:
        return str(error)
    statuses = answer[ROW_STATUS].ravel()
    return None if (statuses == ROW_OK).all() else f"a row was answered with row status {statuses.max()}"
