"""Plain tritonclient calls, and the names that the wire has for things."""

import time

import numpy as np
import tritonclient.grpc
import tritonclient.http

from tests.server.bundles import payloads_from_row

STATUSES = ("image_status", "text_status")


def wait_until(condition, timeout_s=15.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def column(payloads):
    """Return payloads as `(rows, 1)`; None is absent."""
    array = np.empty((len(payloads), 1), dtype=object)
    array[:, 0] = [payload or b"" for payload in payloads]
    return array


def columns(rows):
    """Return the columns of rows given by level and text."""
    encoded = [payloads_from_row(**row) for row in rows]
    return {name: [row.get(name) for row in encoded] for name in ("image", "text")}


def ask(library, client, model, payloads):
    """Return every output by name."""
    inputs = []
    for name, values in payloads.items():
        array = column(values)
        inputs.append(library.InferInput(name, list(array.shape), "BYTES"))
        inputs[-1].set_data_from_numpy(array)
    result = client.infer(model, inputs)
    response = result.get_response()
    outputs = response["outputs"] if isinstance(response, dict) else [{"name": each.name} for each in response.outputs]
    return {output["name"]: result.as_numpy(output["name"]) for output in outputs}


def ask_grpc(server, payloads, model="tiny"):
    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as client:
        return ask(tritonclient.grpc, client, model, payloads)


def ask_http(server, payloads, model="tiny"):
    with tritonclient.http.InferenceServerClient(server.http_address) as client:
        return ask(tritonclient.http, client, model, payloads)
