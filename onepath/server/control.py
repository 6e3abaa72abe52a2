"""Triton's interface for loading and unloading models, which is closed to all but the holder of the server's token."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence

from onepath.contract.errors import ServerUnavailableError

ADMIN_HEADER = "onepath-admin"
"""The header that opens the restricted interfaces; gRPC puts `triton-grpc-protocol-` in front of it."""
RESTRICTED = "model-repository,shared-memory,trace,logging"
"""The interfaces that change the server or its memory."""

_GONE = ("", "UNAVAILABLE")
_POLL_S = 0.05
_TIMEOUT_S = 10.0


def unload_models(address: str, token: str, models: Sequence[str], *, timeout_s: float) -> bool:
    """Close models to new requests and return whether those in flight were answered within the time.

    An ensemble's inner models stay, so that requests that are under way in it can be finished.

    Args:
        address: `host:port` of the server's HTTP.
        token: the server's.
        models: their names.
        timeout_s: how long the requests in flight may take.

    Raises:
        ServerUnavailableError: the server does not answer, or refuses.
    """
    deadline = time.monotonic() + timeout_s
    for model in models:
        _post(address, token, f"/v2/repository/models/{model}/unload")
    while any(state not in _GONE for state in _states(address, token, models)):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def is_ready(address: str) -> bool:
    """Return whether a server says over HTTP that all of its models are loaded; not that they answer correctly."""
    connection = http.client.HTTPConnection(address, timeout=1.0)
    try:
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _states(address: str, token: str, models: Sequence[str]) -> list[str]:
    """Return the state of each version of the models, empty for one that is not loaded."""
    index = json.loads(_post(address, token, "/v2/repository/index"))
    return [entry.get("state", "") for entry in index if entry["name"] in models]


def _post(address: str, token: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(address, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", path, body=b"{}", headers={ADMIN_HEADER: token})
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise ServerUnavailableError(f"the server at {address} does not answer {path}: {error}") from error
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        raise ServerUnavailableError(f"the server at {address} refused {path}: {body.decode(errors='replace')[:200]}")
    return body
