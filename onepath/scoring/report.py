"""What a scoring run did, counted while it runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onepath.contract.manifest import Manifest
from onepath.contract.presence import ROW_OK, ROW_STATUS_TEXT
from onepath.scoring.engine import ScoredRows
from onepath.scoring.results import presence_names


@dataclass(frozen=True)
class ScoreReport:
    """What a run did.

    Attributes:
        files: the output files, in the order of the inputs.
        rows: how many rows they have.
        seconds: how long it took, without opening the model.
        presence: presence pattern to how many rows have it.
        unusable: row status to how many rows have it, for rows without an answer.
        bad_payloads: modality to how many of its payloads could not be used.
        notes: what a person should know, such as a modality without a column.
    """

    files: tuple[Path, ...]
    rows: int
    seconds: float
    presence: dict[str, int]
    unusable: dict[str, int]
    bad_payloads: dict[str, int]
    notes: tuple[str, ...] = ()

    @property
    def rows_per_s(self) -> float:
        """Rows a second; 0 where there were none."""
        return self.rows / self.seconds if self.rows else 0.0


class Tally:
    """Counts the rows of a run."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self.rows = 0
        self._presence: Counter[str] = Counter()
        self._unusable: Counter[str] = Counter()
        self._bad: Counter[str] = Counter()

    def add(self, scored: ScoredRows) -> None:
        """Count some rows."""
        self.rows += len(scored.row_status)
        self._presence.update(presence_names(scored, self._manifest))
        self._unusable.update(ROW_STATUS_TEXT[code] for code in scored.row_status.tolist() if code != ROW_OK)
        for name, statuses in scored.statuses.items():
            self._bad[name] += sum(status is not None for status in statuses)

    def report(self, files: Sequence[Path], seconds: float, notes: Sequence[str]) -> ScoreReport:
        """Return what was counted."""
        return ScoreReport(
            files=tuple(files),
            rows=self.rows,
            seconds=seconds,
            presence=dict(self._presence.most_common()),
            unusable=dict(self._unusable.most_common()),
            bad_payloads={name: count for name, count in self._bad.items() if count},
            notes=tuple(notes),
        )
