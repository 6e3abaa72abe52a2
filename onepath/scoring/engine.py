"""The engine in this process: payloads through the modalities' processors and the bundle's graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from onepath.contract.bundle import Bundle
from onepath.contract.errors import ScoringError
from onepath.contract.manifest import Manifest
from onepath.contract.status import Status
from onepath.contract.tensors import PRESENCE, ROW_STATUS, state_name
from onepath.modalities import processor_from_entry
from onepath.scoring.payloads import Payload, decode_payloads
from onepath.scoring.pipeline import Pipeline, pipeline_from_bundle
from onepath.scoring.session import open_session
from onepath.scoring.settings import EngineSettings

Arrays = dict[str, NDArray[np.generic]]
Statuses = Mapping[str, Sequence[Status | None]]


@dataclass(frozen=True)
class PreparedRows:
    """Decoded rows, ready for the graph.

    Attributes:
        feeds: the graph's inputs by name, `(rows, …)`.
        statuses: modality to one status a row, None where the payload was used or is absent.
        rows: how many rows there are.
    """

    feeds: Arrays
    statuses: Statuses
    rows: int


@dataclass(frozen=True)
class ScoredRows:
    """The answers for some rows.

    Attributes:
        outputs: the task's outputs by name, `(rows, …)`; zeros where a row failed or is empty.
        presence: uint8 `(rows, modalities)`, 1 where the modality was used.
        row_status: uint8 `(rows,)`, see `onepath.contract.presence.ROW_STATUS_TEXT`.
        statuses: modality to one status a row, None where the payload was used or is absent.
    """

    outputs: Arrays
    presence: NDArray[np.uint8]
    row_status: NDArray[np.uint8]
    statuses: Statuses


class LocalEngine:
    """Scores rows in this process; a context manager, since it holds threads and the graph's session.

    Args:
        source: an opened bundle, or the parts of one.
        settings: how it uses the machine.

    Raises:
        MissingExtraError: onnxruntime or a decoder is not installed.
        ScoringError: an execution provider is not available here.
    """

    def __init__(self, source: Bundle | Pipeline, settings: EngineSettings | None = None) -> None:
        settings = settings or EngineSettings()
        self.pipeline = pipeline_from_bundle(source) if isinstance(source, Bundle) else source
        self._processors = {
            entry.name: processor_from_entry(entry, self.pipeline.assets[entry.name])
            for entry in self.manifest.modalities
        }
        self._session = open_session(self.pipeline.graph_path, settings)
        self.pool = ThreadPoolExecutor(settings.decode_threads, thread_name_prefix="decode")

    @property
    def manifest(self) -> Manifest:
        """What the bundle says of itself."""
        return self.pipeline.manifest

    def __enter__(self) -> LocalEngine:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads."""
        self.close()

    def close(self) -> None:
        """End the threads; the engine cannot be used any more."""
        self.pool.shutdown(cancel_futures=True)

    def run(self, columns: Mapping[str, Sequence[Payload]]) -> ScoredRows:
        """Return the answers for rows of any number.

        Args:
            columns: modality to one payload a row, empty where absent; a modality that is not here is absent in every
                row. A status in the place of a payload says why there is none.

        Raises:
            ScoringError: a modality is unknown, or the columns differ in length.
        """
        return self.infer(self.prepare(columns))

    def prepare(self, columns: Mapping[str, Sequence[Payload]]) -> PreparedRows:
        """Return rows decoded for the graph; see `run`. It may run beside `infer` of other rows."""
        rows = self._row_count(columns)
        feeds: Arrays = {}
        statuses: dict[str, Sequence[Status | None]] = {}
        for entry in self.manifest.modalities:
            payloads = columns.get(entry.name) or [b""] * rows
            decoded = decode_payloads(self._processors[entry.name], payloads, entry, pool=self.pool)
            feeds[entry.name] = decoded.values
            feeds[state_name(entry.name)] = decoded.states.reshape(rows, 1)
            statuses[entry.name] = decoded.statuses
        return PreparedRows(feeds, statuses, rows)

    def infer(self, prepared: PreparedRows) -> ScoredRows:
        """Return the graph's answers for decoded rows, in runs of at most the batch size that parity was proved for."""
        largest = self.manifest.graph.max_batch_size
        names = [*(spec.name for spec in self.manifest.outputs), PRESENCE, ROW_STATUS]
        runs = [
            self._session.run(names, {name: array[start : start + largest] for name, array in prepared.feeds.items()})
            for start in range(0, prepared.rows, largest)
        ]
        arrays = {name: np.concatenate(parts) for name, parts in zip(names, zip(*runs, strict=True), strict=True)}
        presence, row_status = arrays.pop(PRESENCE), arrays.pop(ROW_STATUS).reshape(prepared.rows)
        return ScoredRows(arrays, presence, row_status, prepared.statuses)

    def _row_count(self, columns: Mapping[str, Sequence[Payload]]) -> int:
        known = self.manifest.modality_names
        unknown = sorted(set(columns) - set(known))
        if unknown:
            raise ScoringError(f"{self.manifest.name} has no modality {unknown[0]!r}; it has {', '.join(known)}")
        lengths = {len(payloads) for payloads in columns.values()}
        if len(lengths) != 1 or lengths == {0}:
            raise ScoringError(f"cannot score columns of {sorted(lengths)} rows; give each modality one payload a row")
        return lengths.pop()
