"""A batch of payloads of one modality to arrays and states, the same wherever rows are decoded."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from onepath.contract.errors import OnepathError, PayloadError
from onepath.contract.manifest import AbsentRule, BadPayloadRule
from onepath.contract.modality import Processor
from onepath.contract.presence import ABSENT, FAILED, PRESENT, States
from onepath.contract.status import Status
from onepath.modalities.errors import DecoderFailedError, RequiredPayloadError

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class DecodedRows:
    """One modality of a batch, decoded.

    Attributes:
        values: `(rows, *shape)` of the processor's dtype; zeros in rows that are not PRESENT.
        states: uint8 `(rows,)`, each ABSENT, PRESENT or FAILED.
        statuses: per row, why its payload was not used; None for one that was, or that was never sent.
    """

    values: NDArray[np.generic]
    states: States
    statuses: list[Status | None]


def decode_rows(
    processor: Processor,
    payloads: Sequence[bytes],
    *,
    absent: AbsentRule,
    on_bad_payload: BadPayloadRule,
    pool: Executor | None = None,
) -> DecodedRows:
    """Return every row decoded; a payload that cannot be used gets a status and leaves its neighbours as they were.

    Args:
        processor: the modality's processor.
        payloads: one per row; an empty one is absent.
        absent: what absence means; with `required`, an absent row is FAILED.
        on_bad_payload: whether a payload that cannot be decoded counts as absent or fails its row.
        pool: decodes rows in parallel; decoding happens in the calling thread where there is none.

    Raises:
        OnepathError: the fault is not the payload's, such as a `MissingExtraError`.
    """
    sent = [row for row, payload in enumerate(payloads) if payload]
    values = np.zeros((len(payloads), *processor.shape), dtype=processor.dtype)
    unsent = FAILED if absent == "required" else ABSENT
    states = np.full(len(payloads), unsent, dtype=np.uint8)
    statuses = [None if absent != "required" else _status(RequiredPayloadError())] * len(payloads)
    for row, outcome in zip(sent, _outcomes(processor, [payloads[row] for row in sent], pool), strict=True):
        if isinstance(outcome, Status):
            states[row] = FAILED if on_bad_payload == "fail" else unsent
            statuses[row] = outcome
        else:
            values[row], states[row], statuses[row] = outcome, PRESENT, None
    return DecodedRows(values=values, states=states, statuses=statuses)


def _outcomes(
    processor: Processor, payloads: Sequence[bytes], pool: Executor | None
) -> Iterable[NDArray[np.generic] | Status]:
    decode = partial(_decoded_or_status, processor)
    # One row gains nothing from a hop to another thread.
    return map(decode, payloads) if pool is None or len(payloads) < 2 else pool.map(decode, payloads)


def _decoded_or_status(processor: Processor, payload: bytes) -> NDArray[np.generic] | Status:
    try:
        return _decoded(processor, payload)
    except PayloadError as error:
        return _status(error)


def _decoded(processor: Processor, payload: bytes) -> NDArray[np.generic]:
    try:
        values = processor.decode(payload)
    except OnepathError:
        raise
    except Exception as error:
        _LOGGER.exception("%s raised something other than a PayloadError", type(processor).__name__)
        raise DecoderFailedError(f"{type(error).__name__}: {error}") from error
    if not isinstance(values, np.ndarray) or values.shape != processor.shape or values.dtype != processor.dtype:
        raise DecoderFailedError(f"it did not make {processor.dtype} {list(processor.shape)}")
    return values


def _status(error: PayloadError) -> Status:
    status = Status.from_error(error)
    # A plug-in may quote its payload; what is no valid Unicode could not be sent.
    return Status(code=status.code, message=status.message.encode(errors="replace").decode())
