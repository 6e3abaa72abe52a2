"""gRPC: the Open Inference Protocol through tritonclient, which is imported when the first transport is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numpy.typing import NDArray

from onepath.clients.deadline import Deadline
from onepath.clients.transport import Arrays, ModelConfig, ModelMetadata, broken, refused, unreachable
from onepath.contract.deployment import CONFIG_PARAMETER
from onepath.contract.errors import OnepathError, RequestError

_T = TypeVar("_T")

_CHANNEL = [
    ("grpc.max_send_message_length", 2**31 - 1),
    ("grpc.max_receive_message_length", 2**31 - 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),  # by default a client stays away for up to 2 min after a server restarts
]
_NOT_CONNECTED = ("failed to connect", "DNS resolution")
_REFUSED = {"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "UNIMPLEMENTED", "OUT_OF_RANGE", "PERMISSION_DENIED"}


class GrpcTransport:
    """One server's gRPC end: a channel, which threads may share."""

    def __init__(self, address: str) -> None:
        from tritonclient import grpc
        from tritonclient.utils import InferenceServerException

        if not address or "/" in address:
            raise RequestError(f"{address!r} is no gRPC address; give host:port", address=address)
        self._address = address
        self._grpc = grpc
        self._failure = InferenceServerException
        self._client = grpc.InferenceServerClient(address, channel_args=_CHANNEL)

    @property
    def address(self) -> str:
        """The server's address, as the caller gave it."""
        return self._address

    def is_ready(self, model: str | None, deadline: Deadline) -> bool:
        """Return whether the server, or one of its models, says that it is ready."""
        if model is None:
            return bool(self._call(deadline, self._client.is_server_ready))
        return bool(self._call(deadline, self._client.is_model_ready, model))

    def ready_models(self, deadline: Deadline) -> list[str]:
        """Return the names of the models that are ready."""
        # Statistics list them as well as the repository's index, which a server may keep to its supervisor.
        listed = self._call(deadline, self._client.get_inference_statistics, "")
        return sorted({model.name for model in listed.model_stats})

    def config(self, model: str, deadline: Deadline) -> ModelConfig:
        """Return what a model's configuration says."""
        config = self._call(deadline, self._client.get_model_config, model).config
        card = config.parameters[CONFIG_PARAMETER].string_value if CONFIG_PARAMETER in config.parameters else None
        return ModelConfig(card_json=card, max_batch_size=config.max_batch_size)

    def metadata(self, model: str, deadline: Deadline) -> ModelMetadata:
        """Return a model's tensors."""
        data = self._call(deadline, self._client.get_model_metadata, model)
        return ModelMetadata(
            inputs=tuple((tensor.name, tensor.datatype) for tensor in data.inputs),
            outputs=tuple(tensor.name for tensor in data.outputs),
        )

    def infer(self, model: str, inputs: Arrays, deadline: Deadline) -> dict[str, NDArray[Any]]:
        """Return the outputs of a model for BYTES inputs `(rows, 1)`."""
        result = self._call(deadline, self._client.infer, model, [self._input(*item) for item in inputs.items()])
        return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}

    def close(self) -> None:
        """Close the channel."""
        self._client.close()

    def _input(self, name: str, array: NDArray[Any]) -> Any:  # Any: tritonclient has no types
        tensor = self._grpc.InferInput(name, list(array.shape), "BYTES")
        tensor.set_data_from_numpy(array)
        return tensor

    def _call(self, deadline: Deadline, method: Callable[..., Any], *arguments: object) -> Any:  # Any: as above
        try:
            return method(*arguments, client_timeout=deadline.left_s())
        except self._failure as error:
            raise self._error(error, deadline) from error

    def _error(self, failure: Any, deadline: Deadline) -> OnepathError:  # Any: as above
        status, reason = str(failure.status()).removeprefix("StatusCode."), str(failure.message())
        if status == "DEADLINE_EXCEEDED":
            return deadline.exceeded()
        if status == "UNAVAILABLE" and reason.startswith(_NOT_CONNECTED):  # a server's full queue is UNAVAILABLE too
            return unreachable(self._address, reason)
        if status in _REFUSED:
            return refused(self._address, reason)
        return broken(self._address, reason)
