"""What a transport does: carry arrays to a server that speaks the Open Inference Protocol, and bring its answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onepath.clients.deadline import Deadline
from onepath.contract.errors import RequestError, ServerUnavailableError

Arrays = Mapping[str, NDArray[Any]]  # Any: BYTES tensors are object arrays, the others have the types of their model
"""Tensors by name; a BYTES tensor is an object array of `bytes`."""


@dataclass(frozen=True)
class ModelConfig:
    """What a client reads from a model's configuration.

    Attributes:
        card_json: the `onepath` parameter, or None for a model that has none.
        max_batch_size: the most rows of one request; 0 where the server does not say.
    """

    card_json: str | None
    max_batch_size: int


@dataclass(frozen=True)
class ModelMetadata:
    """A model's tensors, as the protocol's metadata lists them.

    Attributes:
        inputs: name and protocol type, such as `("image", "BYTES")`.
        outputs: names.
    """

    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[str, ...]


class Transport(Protocol):
    """A connection to one server. Its methods may be called from several threads at once.

    Each method raises `DeadlineExceededError` when the deadline passes, `ServerUnavailableError` when the server cannot
    be reached or is broken, and `RequestError` when it refuses what was asked.
    """

    @property
    def address(self) -> str:
        """The server's address, as the caller gave it."""

    def is_ready(self, model: str | None, deadline: Deadline) -> bool:
        """Return whether the server, or one of its models, says that it is ready."""

    def ready_models(self, deadline: Deadline) -> list[str]:
        """Return the names of the models that are ready."""

    def config(self, model: str, deadline: Deadline) -> ModelConfig:
        """Return what a model's configuration says."""

    def metadata(self, model: str, deadline: Deadline) -> ModelMetadata:
        """Return a model's tensors."""

    def infer(self, model: str, inputs: Arrays, deadline: Deadline) -> dict[str, NDArray[Any]]:
        """Return the outputs of a model for BYTES inputs `(rows, 1)`."""

    def close(self) -> None:
        """Close the connection."""


def unreachable(address: str, reason: str) -> ServerUnavailableError:
    """Return the error of a server that does not answer at all."""
    return ServerUnavailableError(
        f"cannot reach a server at {address}: {_printable(reason)}; start one with `onepath serve`, or check the "
        "address (gRPC and HTTP have a port each)",
        address=address,
    )


def broken(address: str, reason: str) -> ServerUnavailableError:
    """Return the error of a server that answers, but cannot do its work."""
    return ServerUnavailableError(
        f"the server at {address} failed: {_printable(reason)}; check that the port is that of this protocol (gRPC and "
        "HTTP have one each), try again, and look at the server's log if that does not help",
        address=address,
    )


def _printable(reason: str) -> str:
    """Return a reason without what a terminal would not show, as when another protocol answers."""
    return "".join(character if character.isprintable() else "?" for character in reason)[:400]


def refused(address: str, reason: str) -> RequestError:
    """Return the error of a request that the server understood and turned down."""
    return RequestError(f"the server at {address} refused the request: {reason}", address=address, reason=reason)


def bytes_column(payloads: list[bytes]) -> NDArray[np.object_]:
    """Return payloads as the BYTES tensor `(rows, 1)` of the wire.

    >>> bytes_column([b"a", b""]).tolist()
    [[b'a'], [b'']]
    """
    column = np.empty((len(payloads), 1), dtype=np.object_)
    column[:, 0] = payloads
    return column
