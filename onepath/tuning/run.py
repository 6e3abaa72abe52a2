"""A tuning run: candidate after candidate until nothing is left or the time is up; each is in the journal at once."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from onepath.contract.bundle import Bundle
from onepath.contract.publication import publish_file
from onepath.server.settings import usable_cores
from onepath.server.triton import find_triton
from onepath.tuning.amending import PICTURE, REPORT, id_without_tuning, report_bytes
from onepath.tuning.candidates import Candidate, Space, space_from_manifest
from onepath.tuning.errors import TuningError
from onepath.tuning.journal import Context, Entry, Journal
from onepath.tuning.machine import this_machine
from onepath.tuning.measuring import Bench, measure
from onepath.tuning.picture import check_matplotlib, draw
from onepath.tuning.report import TuningReport, report_from_entries
from onepath.tuning.settings import TuneSettings
from onepath.tuning.strategy import default_is_due, default_is_due_at_the_end, next_candidate
from onepath.tuning.workload import requests_from_probes

logger = logging.getLogger(__name__)

Watch = Callable[[Entry, str], None]
"""Is told of each measurement, and of the candidate in words."""


def tune(
    bundle: Bundle,
    settings: TuneSettings,
    folder: Path,
    *,
    space: Space | None = None,
    fresh: bool = False,
    watch: Watch | None = None,
) -> TuningReport:
    """Return what was found; the report and its picture are in the folder, and the bundle is as it was.

    Args:
        bundle: what to tune.
        settings: the load, the goal, and the time.
        folder: where the journal is and the results go; what the journal holds of this bundle, machine and load is not
            measured again.
        space: the candidates; those worth it on this machine unless given.
        fresh: whether to put an older journal aside.
        watch: told of each measurement.

    Raises:
        MissingExtraError: there is no matplotlib to draw with; nothing was measured.
        ServerUnavailableError: there is no Triton.
        TuningError: the load does not fit the bundle, or another run uses the folder.
    """
    check_matplotlib()
    space = space or space_from_manifest(bundle.manifest, settings, usable_cores())
    bench = _bench(bundle, settings, folder, (space.default.rows, *space.rows))
    with Journal(folder, bench.context, fresh=fresh) as journal:
        try:
            finished = _measure_all(bench, journal, space, settings, watch=watch or _watch_nothing)
        finally:
            shutil.rmtree(bench.repository, ignore_errors=True)
        report = report_from_entries(
            bundle.manifest.name,
            bench.context,
            journal.entries,
            default=space.default,
            goal=settings.goal,
            finished=finished,
        )
        publish_file(folder / REPORT, report_bytes(report))
        draw(folder / PICTURE, report)
    return report


def time_is_up(entries: Sequence[Entry], default: Candidate, left_s: float) -> bool:
    """Return whether the next measurement would not end in time; never before the default and another are measured.

    Args:
        entries: what was measured.
        default: the default.
        left_s: the seconds that are left.
    """
    enough = any(entry.candidate != default for entry in entries)
    return enough and max(entry.wall_s for entry in entries[-3:]) > left_s


def _bench(bundle: Bundle, settings: TuneSettings, folder: Path, rows: Sequence[int]) -> Bench:
    manifest, load, installation = bundle.manifest, settings.load, find_triton()
    if load.rows > manifest.graph.max_batch_size:
        largest = manifest.graph.max_batch_size
        raise TuningError(
            f"a request of {load.rows} rows is more than the bundle's batch of {largest}; give fewer --rows"
        )
    context = Context(
        bundle_id=id_without_tuning(manifest), machine=this_machine(installation), load=load, kind=settings.kind
    )
    requests = {
        count: requests_from_probes(bundle.probes, manifest.modality_names, load.model_copy(update={"rows": count}))
        for count in dict.fromkeys(rows)
    }
    return Bench(bundle, context, requests, folder, installation)


def _measure_all(bench: Bench, journal: Journal, space: Space, settings: TuneSettings, *, watch: Watch) -> bool:
    """Return whether nothing was left to measure when it ended."""

    def measured(candidate: Candidate) -> None:
        entry = measure(bench, candidate)
        journal.append(entry)
        logger.info("%s: %s", candidate.words(space.default), entry.failure or entry.figures)
        watch(entry, candidate.words(space.default))

    ends = time.monotonic() + 60 * settings.minutes
    while (candidate := next_candidate(space, journal.entries, settings.goal)) is not None:
        if time_is_up(journal.entries, space.default, ends - time.monotonic()):
            break
        measured(space.default if default_is_due(journal.entries, space.default, time.time()) else candidate)
    if default_is_due_at_the_end(journal.entries, space.default):
        measured(space.default)
    return candidate is None


def _watch_nothing(_entry: Entry, _name: str) -> None:
    pass
