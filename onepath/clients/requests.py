"""Building requests: from values to the BYTES columns of the wire. No I/O but reading the files that values name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from onepath.clients.payloads import is_one_value, payload_from_value
from onepath.clients.transport import Arrays, bytes_column
from onepath.contract.deployment import PipelineCard
from onepath.contract.errors import PayloadError, RequestError
from onepath.contract.nearest import did_you_mean

Column = Sequence[Any]
"""The values of one modality, one a row; None where the row lacks it."""


def columns_from_arguments(card: PipelineCard, arguments: Mapping[str, Any]) -> dict[str, Column]:
    """Return one column for each modality that was given, all of one length; a single value is a column of one row.

    Args:
        card: what the pipeline takes.
        arguments: modality to a sequence of values or one value, as `payload_from_value` takes them.

    Raises:
        RequestError: a name that the pipeline does not have, columns of different lengths, or no rows at all.
    """
    kinds = {modality.name: modality.kind for modality in card.modalities}
    for name in arguments:
        if name not in kinds:
            raise RequestError(_unknown_modality(name, list(kinds)), name=name, known=tuple(kinds))
    columns: dict[str, Column] = {
        name: [value] if is_one_value(value, kinds[name]) else value for name, value in arguments.items()
    }
    _check_lengths(columns, list(kinds))
    return columns


def requests_from_columns(card: PipelineCard, columns: Mapping[str, Column]) -> Iterator[Arrays]:
    """Yield the inputs of each request: every modality of the pipeline, at most `card.max_batch_size` rows at a time.

    Values are encoded as their request is asked for, so that a long call holds one request's payloads in memory.

    Args:
        card: what the pipeline takes.
        columns: modality to values, all of one length; a modality that is not here is absent from every row.

    Raises:
        RequestError: a value that cannot be encoded, naming its row and modality.
        MissingExtraError: a value needs a package that is not installed.
    """
    rows = _row_count(columns)
    step = card.max_batch_size or rows
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        yield {
            modality.name: bytes_column(
                [_payload(columns, row, name=modality.name, kind=modality.kind) for row in range(start, stop)]
            )
            for modality in card.modalities
        }


def _payload(columns: Mapping[str, Column], row: int, *, name: str, kind: str) -> bytes:
    value = columns[name][row] if name in columns else None
    if value is None:
        return b""
    try:
        return payload_from_value(value, kind)
    except PayloadError as error:
        raise RequestError(f"row {row} of {name}: {error}", row=row, modality=name) from error


def _check_lengths(columns: Mapping[str, Column], known: Sequence[str]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise RequestError(
            f"the modalities have different numbers of rows: {listed}; give every modality one value a row, None where "
            f"a row lacks it",
            lengths=lengths,
        )
    if not _row_count(columns):
        raise RequestError(f"nothing was given; give values for at least one of {', '.join(known)}", known=tuple(known))


def _row_count(columns: Mapping[str, Column]) -> int:
    return len(next(iter(columns.values()), ()))


def _unknown_modality(name: str, known: Sequence[str]) -> str:
    return f"the pipeline has no modality {name!r}{did_you_mean(name, known)}; it has: {', '.join(known)}"
