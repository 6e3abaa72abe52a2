import threading
import time

import numpy as np
import pytest

from onepath.clients.transport import bytes_column
from onepath.contract.errors import ServerUnavailableError
from onepath.tuning.closed_loop import offer_load
from onepath.tuning.settings import Load

REQUESTS = [{"image": bytes_column([bytes([number])])} for number in range(6)]
LOAD = Load(concurrency=3, warm_up_s=0.1, window_s=0.3)


class Server:
    """Answers after a fixed time, with a row status; what it was asked is kept."""

    address = "nowhere"

    def __init__(self, delay_s=0.02, row_status=0, failing_after=None):
        self.delay_s, self.row_status, self.failing_after = delay_s, row_status, failing_after
        self.asked, self.closed, self._lock = [], 0, threading.Lock()
        self.first_of_client, self.active, self.most_at_once = {}, 0, 0

    def infer(self, model, inputs, deadline):
        payload = inputs["image"].item()
        with self._lock:
            self.asked.append((model, payload))
            number = len(self.asked)
            self.first_of_client.setdefault(threading.get_ident(), payload)
            self.active += 1
            self.most_at_once = max(self.most_at_once, self.active)
        time.sleep(self.delay_s)
        with self._lock:
            self.active -= 1
        if self.failing_after is not None and number > self.failing_after:
            raise ServerUnavailableError("it is gone")
        return {"row_status": np.full((1, 1), self.row_status, np.uint8)}

    def close(self):
        self.closed += 1


def offer(server, load=LOAD, cpu_s=lambda: 0.0):
    return offer_load(lambda: server, "tiny", REQUESTS, load, cpu_s=cpu_s)


def test_each_client_waits_for_its_answer_before_it_asks_on():
    server = Server(delay_s=0.02)
    found = offer(server)
    assert found.problems == ()
    assert server.most_at_once == 3
    assert len(found.latencies_s) <= 3 * (found.window_s / 0.02 + 1)
    assert min(found.latencies_s) >= 0.02


def test_the_warm_up_does_not_count():
    server, began = Server(), time.perf_counter()
    found = offer(server, LOAD.model_copy(update={"warm_up_s": 0.4}))
    assert time.perf_counter() - began >= found.window_s + 0.4
    assert len(server.asked) > len(found.latencies_s) + 3  # more than those that were under way at the end


def test_clients_begin_at_different_requests_and_send_all_of_them():
    server = Server()
    offer(server)
    assert sorted(server.first_of_client.values()) == [b"\0", b"\2", b"\4"]
    assert {payload for _, payload in server.asked} == {bytes([number]) for number in range(6)}


def test_a_window_with_too_few_answers_is_prolonged_but_not_for_ever():
    found = offer(Server(delay_s=0.1), Load(concurrency=1, warm_up_s=0, window_s=0.2))
    assert found.window_s >= 0.6
    assert len(found.latencies_s) < 20


def test_a_request_that_fails_is_a_problem_and_not_a_latency():
    found = offer(Server(failing_after=0))
    assert found.latencies_s == ()
    assert set(found.problems) == {"it is gone"}


def test_a_failed_row_is_a_problem():
    found = offer(Server(row_status=2))
    assert found.latencies_s == ()
    assert set(found.problems) == {"a row was answered with row status 2"}


def test_a_client_that_cannot_connect_is_a_problem_and_not_a_smaller_load():
    servers = iter([Server(), None, Server()])

    def connect():
        server = next(servers)
        if server is None:
            raise ServerUnavailableError("it refuses")
        return server

    assert offer_load(connect, "tiny", REQUESTS, LOAD, cpu_s=lambda: 0.0).problems == ("it refuses",)


def test_a_request_that_fails_only_after_the_window_is_a_problem_too():
    hangs, began = threading.Lock(), time.monotonic()

    class Hanging(Server):
        def infer(self, model, inputs, deadline):
            if time.monotonic() - began > 0.2 and hangs.acquire(blocking=False):  # one client, within the window
                time.sleep(0.8)  # beyond the end of the window
                raise ServerUnavailableError("it hangs")
            return super().infer(model, inputs, deadline)

    assert offer(Hanging(delay_s=0.005)).problems == ("it hangs",)


def test_cpu_time_is_that_of_the_window():
    readings = iter([4.0, 4.75])
    assert offer(Server(), cpu_s=lambda: next(readings)).cpu_s == 0.75


def test_every_connection_is_closed_also_where_the_window_is_interrupted():
    server = Server()

    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        offer(server, cpu_s=interrupted)
    assert server.closed == 3


def test_a_defect_of_a_client_is_not_taken_for_a_slow_server():
    class WithoutStatus(Server):
        def infer(self, model, inputs, deadline):
            return {}

    with pytest.raises(KeyError, match="row_status"):
        offer(WithoutStatus())
