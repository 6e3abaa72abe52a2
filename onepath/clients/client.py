"""The clients: one set of methods, over gRPC or HTTP."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

from onepath.clients.cards import card_from_json, card_from_metadata
from onepath.clients.deadline import Deadline, deadline_from_timeout
from onepath.clients.requests import columns_from_arguments, requests_from_columns
from onepath.clients.responses import Predictions, predictions_from_answers
from onepath.clients.transport import ModelConfig, Transport
from onepath.contract.deployment import PipelineCard
from onepath.contract.errors import DeadlineExceededError, OnepathError, RequestError, ServerUnavailableError
from onepath.contract.nearest import did_you_mean

if TYPE_CHECKING:
    from typing_extensions import Self

CARD_AGE_S = 5.0
"""How long a pipeline's card is trusted before it is read again: a new bundle may be published under the same name."""

TIMEOUT_S = 30.0
"""How long a call may take where the caller does not say."""


class PipelineClient:
    """What `Client` and `HttpClient` share: everything but the transport. Threads may share one client.

    Args:
        transport: the connection; the client closes it.
        timeout_s: how long a call may take unless it says otherwise.
    """

    def __init__(self, transport: Transport, timeout_s: float) -> None:
        deadline_from_timeout(transport.address, timeout_s)  # refuses a timeout that cannot be used
        self._transport = transport
        self._timeout_s = timeout_s
        self._cards: dict[str, tuple[float, PipelineCard]] = {}

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self.close()

    def close(self) -> None:
        """Close the connection; the client cannot be used afterwards."""
        self._transport.close()

    def ready(self, model: str | None = None, *, timeout_s: float | None = None) -> bool:
        """Return whether the server, or one of its models, says that it is ready; False if it does not answer.

        Args:
            model: the name of a model, or None for the server as a whole.
            timeout_s: how long to wait for the answer; the client's own timeout if None.
        """
        try:
            return self._transport.is_ready(model, self._deadline(timeout_s))
        except (ServerUnavailableError, DeadlineExceededError):
            return False

    def pipeline(self, model: str, *, timeout_s: float | None = None) -> PipelineCard:
        """Return what a pipeline takes and gives.

        A server without onepath's card is described by its tensors: BYTES inputs are modalities, labels are numbers.

        Args:
            model: the name of the pipeline.
            timeout_s: how long the call may take; the client's own timeout if None.

        Raises:
            RequestError: the server has no such model ready; the message lists those that are.
            DeadlineExceededError: no answer came in time.
            ServerUnavailableError: the server cannot be reached, or its card cannot be read.
        """
        return self._read_card(model, self._deadline(timeout_s))

    def pipelines(self, *, timeout_s: float | None = None) -> dict[str, PipelineCard]:
        """Return the cards of the pipelines that are ready, by name; models without a card are left out.

        Args:
            timeout_s: how long the call may take; the client's own timeout if None.

        Raises:
            DeadlineExceededError: no answer came in time.
            ServerUnavailableError: the server cannot be reached, or a card cannot be read.
        """
        deadline = self._deadline(timeout_s)
        configs = self._configs(deadline)
        return {model: card_from_json(found.card_json, model) for model, found in configs.items() if found.card_json}

    def predict(self, model: str, /, *, timeout_s: float | None = None, **modalities: Any) -> Predictions:
        """Return a prediction for each row, with whatever modalities the row has.

            client.predict("digits", image=["seven.png", None], audio=["seven.wav", "two.wav"])

        Each modality is a list with one value a row, or one value for a single row. None marks a modality that the row
        lacks; a modality that is not given is absent from every row. `onepath.clients.payloads.payload_from_value` says
        which values each kind takes. An empty text is refused, because on the wire it means absent. One row of a table
        is a dict or an array; a list is a column of rows.

        More rows than the pipeline's batch size are sent as several requests, one after another.

        Args:
            model: the name of the pipeline.
            timeout_s: how long the whole call may take; the client's own timeout if None.
            **modalities: modality to values. Any: each kind has its own.

        Raises:
            RequestError: an unknown pipeline or modality, columns of different lengths, nothing given, or a value that
                cannot be used, naming its row and modality.
            DeadlineExceededError: no answer came in time.
            ServerUnavailableError: the server cannot be reached, or failed.
            MissingExtraError: a value needs a package that is not installed.
        """
        deadline = self._deadline(timeout_s)
        card = self._card(model, deadline)
        columns = columns_from_arguments(card, modalities)
        try:
            return predictions_from_answers(
                card,
                (
                    (inputs, self._transport.infer(model, inputs, deadline))
                    for inputs in requests_from_columns(card, columns)
                ),
            )
        except (RequestError, ServerUnavailableError):
            self._cards.pop(model, None)  # what the card says may be out of date
            raise

    def _deadline(self, timeout_s: float | None) -> Deadline:
        return deadline_from_timeout(self._transport.address, self._timeout_s if timeout_s is None else timeout_s)

    def _card(self, model: str, deadline: Deadline) -> PipelineCard:
        read_at_s, card = self._cards.get(model, (float("-inf"), None))
        if card is None or time.monotonic() - read_at_s > CARD_AGE_S:
            card = self._read_card(model, deadline)
            self._cards[model] = (time.monotonic(), card)
        return card

    def _read_card(self, model: str, deadline: Deadline) -> PipelineCard:
        try:
            config = self._transport.config(model, deadline)
            if config.card_json:
                return card_from_json(config.card_json, model)
            max_batch_size = config.max_batch_size
        except RequestError:  # the server has no such model, or no configurations at all
            max_batch_size = 0
        try:
            return card_from_metadata(self._transport.metadata(model, deadline), max_batch_size)
        except RequestError as error:
            raise self._unknown_model(model, deadline, error) from error

    def _configs(self, deadline: Deadline) -> dict[str, ModelConfig]:
        return {model: self._transport.config(model, deadline) for model in self._transport.ready_models(deadline)}

    def _unknown_model(self, model: str, deadline: Deadline, error: RequestError) -> RequestError:
        try:
            configs = self._configs(deadline)
        except OnepathError:  # a server that does not list its models: its own words must do
            return error
        known = [name for name, config in configs.items() if config.card_json] or list(configs)
        meant, listed = did_you_mean(model, known), ", ".join(known) or "none"
        return RequestError(
            f"the server at {self._transport.address} has no pipeline {model!r} that is ready{meant}; ready: {listed}",
            name=model,
            known=tuple(known),
        )


class Client(PipelineClient):
    """Calls pipelines over gRPC.

    Args:
        address: host and port, without a scheme.
        timeout_s: how long a call may take unless it says otherwise.
    """

    def __init__(self, address: str = "127.0.0.1:8001", *, timeout_s: float = TIMEOUT_S) -> None:
        from onepath.clients.grpc_transport import GrpcTransport

        super().__init__(GrpcTransport(address), timeout_s)


class HttpClient(PipelineClient):
    """Calls pipelines over HTTP, with binary tensors.

    Args:
        address: host and port, with a base path if need be; `https://` in front for an encrypted connection.
        timeout_s: how long a call may take unless it says otherwise.
    """

    def __init__(self, address: str = "127.0.0.1:8000", *, timeout_s: float = TIMEOUT_S) -> None:
        from onepath.clients.http_transport import HttpTransport

        super().__init__(HttpTransport(address), timeout_s)
