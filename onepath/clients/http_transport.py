"""HTTP: the Open Inference Protocol with binary tensors, over connections that are kept open."""

from __future__ import annotations

import http.client
import threading
from typing import Any
from urllib.parse import quote, urlsplit

from numpy.typing import NDArray

from onepath.clients.deadline import Deadline
from onepath.clients.http_body import HEADER_LENGTH, body_from_inputs, json_object, outputs_from_body
from onepath.clients.transport import Arrays, ModelConfig, ModelMetadata, broken, refused, unreachable
from onepath.contract.deployment import CONFIG_PARAMETER
from onepath.contract.errors import OnepathError, RequestError

_CHUNK_BYTES = 1 << 20
_Answer = tuple[int, dict[str, str], bytes]


class HttpTransport:
    """One server's HTTP end; a request takes an idle connection or opens one, so that threads need not wait."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address if "://" in address else f"http://{address}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise RequestError(
                f"{address!r} is no HTTP address; give host:port or http(s)://host:port", address=address
            )
        self._address = address
        self._connection = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._host, self._port, self._base = parts.hostname, parts.port, parts.path.rstrip("/")
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """The server's address, as the caller gave it."""
        return self._address

    def is_ready(self, model: str | None, deadline: Deadline) -> bool:
        """Return whether the server, or one of its models, says that it is ready."""
        path = "/v2/health/ready" if model is None else f"/v2/models/{quote(model, safe='')}/ready"
        return self._send("GET", path, deadline)[0] == http.HTTPStatus.OK

    def ready_models(self, deadline: Deadline) -> list[str]:
        """Return the names of the models that are ready."""
        # Statistics list them as well as the repository's index, which a server may keep to its supervisor.
        listed = json_object(self._checked("GET", "/v2/models/stats", deadline)[1]).get("model_stats", ())
        return sorted({model["name"] for model in listed})

    def config(self, model: str, deadline: Deadline) -> ModelConfig:
        """Return what a model's configuration says."""
        data = json_object(self._checked("GET", f"/v2/models/{quote(model, safe='')}/config", deadline)[1])
        card = data.get("parameters", {}).get(CONFIG_PARAMETER, {}).get("string_value")
        return ModelConfig(card_json=card, max_batch_size=int(data.get("max_batch_size", 0)))

    def metadata(self, model: str, deadline: Deadline) -> ModelMetadata:
        """Return a model's tensors."""
        data = json_object(self._checked("GET", f"/v2/models/{quote(model, safe='')}", deadline)[1])
        return ModelMetadata(
            inputs=tuple((tensor["name"], tensor["datatype"]) for tensor in data.get("inputs", ())),
            outputs=tuple(tensor["name"] for tensor in data.get("outputs", ())),
        )

    def infer(self, model: str, inputs: Arrays, deadline: Deadline) -> dict[str, NDArray[Any]]:
        """Return the outputs of a model for BYTES inputs `(rows, 1)`."""
        body, header_length = body_from_inputs(inputs)
        headers = {HEADER_LENGTH: str(header_length), "Content-Type": "application/octet-stream"}
        path = f"/v2/models/{quote(model, safe='')}/infer"
        answered, content = self._checked("POST", path, deadline, body=body, headers=headers)
        length = answered.get(HEADER_LENGTH.lower())
        try:
            return outputs_from_body(content, None if length is None else int(length))
        except (ValueError, KeyError) as error:
            raise broken(self._address, f"its answer cannot be read ({error!r})") from error

    def close(self) -> None:
        """Close the connections that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _checked(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[dict[str, str], bytes]:
        status, answered, content = self._send(method, path, deadline, body=body, headers=headers)
        if status != http.HTTPStatus.OK:
            raise self._error(status, str(json_object(content).get("error", f"HTTP status {status}")))
        return answered, content

    def _error(self, status: int, reason: str) -> OnepathError:
        if status >= http.HTTPStatus.INTERNAL_SERVER_ERROR and status != http.HTTPStatus.NOT_IMPLEMENTED:
            return broken(self._address, reason)
        return refused(self._address, reason)

    def _send(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> _Answer:
        request = (method, self._base + path, body, headers or {})
        try:
            with self._lock:
                kept = self._idle.pop() if self._idle else None
            if kept is not None:
                try:
                    return self._exchange(kept, request, deadline)
                except (ConnectionError, http.client.BadStatusLine):
                    pass  # the server closed it while it was idle; inference may be asked twice
            return self._exchange(self._connection(self._host, self._port), request, deadline)
        except TimeoutError as error:
            raise deadline.exceeded() from error
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self._address, str(error) or type(error).__name__) from error

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        request: tuple[str, str, bytes | None, dict[str, str]],
        deadline: Deadline,
    ) -> _Answer:
        try:
            _allow(connection, deadline)
            connection.request(*request)
            _allow(connection, deadline)
            response = connection.getresponse()
            content = _content(connection, response, deadline)
        except BaseException:
            connection.close()  # half an answer may be on its way
            raise
        if response.will_close:
            connection.close()
        else:
            with self._lock:
                self._idle.append(connection)
        return response.status, {name.lower(): value for name, value in response.getheaders()}, content


def _content(connection: http.client.HTTPConnection, response: http.client.HTTPResponse, deadline: Deadline) -> bytes:
    chunks = []
    while chunk := response.read1(_CHUNK_BYTES):
        chunks.append(chunk)
        _allow(connection, deadline)
    if response.length:
        raise http.client.IncompleteRead(b"".join(chunks), response.length)
    response.close()  # read1 itself does not notice the end, and the connection is to be used again
    return b"".join(chunks)


def _allow(connection: http.client.HTTPConnection, deadline: Deadline) -> None:
    connection.timeout = deadline.left_s()
    if connection.sock is not None:
        connection.sock.settimeout(connection.timeout)
