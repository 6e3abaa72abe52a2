"""Decoding a column of payloads, some of which could not even be read."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from onepath.contract.manifest import ModalityEntry
from onepath.contract.modality import Processor
from onepath.contract.presence import ABSENT, FAILED
from onepath.contract.status import Status
from onepath.modalities import DecodedRows, decode_rows

Payload = bytes | Status
"""The encoded bytes of one row, empty where absent; or why there are none although the row names some."""


def decode_payloads(
    processor: Processor, payloads: Sequence[Payload], entry: ModalityEntry, *, pool: ThreadPoolExecutor
) -> DecodedRows:
    """Return a column decoded as the server decodes it; what could not be read counts as a payload that is bad.

    Args:
        processor: the modality's.
        payloads: one a row.
        entry: the modality, whose rules say what absent and bad payloads do.
        pool: threads to decode in.
    """
    unread = {row: payload for row, payload in enumerate(payloads) if isinstance(payload, Status)}
    decoded = decode_rows(
        processor,
        [b"" if isinstance(payload, Status) else payload for payload in payloads],
        absent=entry.absent,
        on_bad_payload=entry.on_bad_payload,
        pool=pool,
    )
    if not unread:
        return decoded
    states, statuses = decoded.states.copy(), list(decoded.statuses)
    for row, status in unread.items():
        fails = entry.on_bad_payload == "fail" or entry.absent == "required"
        states[row], statuses[row] = FAILED if fails else ABSENT, status
    return DecodedRows(values=decoded.values, states=states, statuses=statuses)
