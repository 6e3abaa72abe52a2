"""The comparisons that a bundle keeps besides its golden probes, made again: the float32 graph on the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from onepath.contract.bundle import Bundle
from onepath.contract.comparisons import COMPARISONS, Comparison, Comparisons, comparisons_from_bundle
from onepath.contract.distances import distance_of_outputs, largest
from onepath.contract.drawn_rows import Arrays
from onepath.contract.errors import BundleIntegrityError, ScoringError
from onepath.contract.manifest import Manifest
from onepath.contract.presence import ROW_OK
from onepath.contract.probes import ProbeSet
from onepath.contract.proofs import BOUNDS, LOOSEST_IN_FLOAT64, MAIN_LINE, ORDER, Measurement, ProofStep, Step
from onepath.contract.stages import GRAPH_STEPS
from onepath.contract.tensors import PRESENCE, ROW_STATUS
from onepath.scoring.checks import Check, compared, judged
from onepath.scoring.engine import LocalEngine, PreparedRows
from onepath.scoring.probe_runs import engine_of_graph, infer, prepared_probes
from onepath.scoring.served import SERVED_ROUNDING, as_served
from onepath.scoring.settings import EngineSettings

_ROWS = 16  # a proof of several rows has so many, whatever the graph's runs have
_CAST = "float32 against float64, "  # what the titles of a cast's comparisons begin with
_LESS_THAN_FLOAT64 = frozenset({"float16", "float32"})
_OTHER_NUMPY = "the numpy that is installed here draws other random rows from their seed"


def comparisons_again(bundle: Bundle, probes: ProbeSet, settings: EngineSettings | None = None) -> list[Check]:
    """Return a check of each comparison that a bundle keeps, in their order; none where it keeps none.

    Where the float32 graph was judged it is run now, within the tolerance that the proof had. What steps before it
    answered is taken as it is stored, has to be as far off as the proof recorded, and to start where another one ends.

    Args:
        bundle: an opened one.
        probes: the bundle's.
        settings: how ONNX Runtime uses the machine.

    Raises:
        BundleIntegrityError: the file does not hold comparisons of this bundle.
        MissingExtraError: onnxruntime or a decoder is not installed.
    """
    kept = comparisons_from_bundle(bundle.manifest, bundle.path)
    if kept is None:
        return []
    manifest = bundle.manifest
    try:
        with engine_of_graph(bundle, manifest.reference, settings) as engine:
            decoded = prepared_probes(engine, probes).feeds
            rerun = _Rerun(kept, manifest, engine, {name: decoded[name] for name in manifest.modality_names})
            return list(rerun.checks())
    except ScoringError as error:
        return [Check(manifest.reference.file, "run now on other rows", "broken", note=str(error))]
    except ValueError as error:
        problem = f"does not hold the comparisons of this bundle: {error}"
        raise BundleIntegrityError(COMPARISONS, problem, root=str(bundle.path)) from error


@dataclass(frozen=True)
class _Rerun:
    """Comparisons, and what they are made again with: the golden probes' values are by modality."""

    kept: Comparisons
    manifest: Manifest
    engine: LocalEngine
    probes: Arrays
    answers: dict[int, Arrays | None] = field(default_factory=dict)  # what the graph answered to a batch already

    def checks(self) -> Iterator[Check]:
        """Yield a check of each comparison.

        Raises:
            ScoringError: the graph cannot be run.
            ValueError: a comparison is not one of this bundle.
        """
        steps = [proof.step for proof in self.manifest.proofs if proof.step in MAIN_LINE]
        for comparison in sorted(self.kept.compared, key=lambda each: ORDER.index(each.step)):
            proved = _measurement(comparison, self.manifest)
            if (comparison.found is None) != (comparison.step == steps[-1]):
                raise ValueError(f"its comparison on {comparison.inputs} is not of what {steps[-1]} made")
            self._refuse_others(comparison, proved)
            self._refuse_another_start(comparison, proved, steps)
            if comparison.found is None:
                yield self._check_now(comparison, proved)
            else:
                yield from self._checks_as_stored(comparison, proved, self.kept.outputs(comparison.found))

    def _refuse_others(self, comparison: Comparison, proved: Measurement) -> None:
        """Refuse answers that are not of the graph's outputs, before any is unpacked, or in less than the proof says.

        Raises:
            ValueError: they are.
        """
        known = {*(output.name for output in self.manifest.outputs), PRESENCE, ROW_STATUS}
        sides = [comparison.expected, comparison.expected if comparison.found is None else comparison.found]
        if {*sides[0]} != {*sides[1]} or not {*sides[0]} <= known:
            raise ValueError(f"its comparison on {comparison.inputs} is of {', '.join(sorted(sides[0]))[:100]}")
        kinds = {self.kept.dtype(number) for side in sides for number in side.values()}
        if proved.computed_in == "float64" and kinds & _LESS_THAN_FLOAT64:
            raise ValueError(f"its comparison on {comparison.inputs} is not in float64, as the proof says")

    def _refuse_another_start(self, comparison: Comparison, proved: Measurement, steps: Sequence[Step]) -> None:
        """Refuse a reference that is not what the form before it answered to the same rows, where that is kept.

        Raises:
            ValueError: it is not.
        """
        if (comparison.step, proved.computed_in) == ("collapse", "float32"):
            before, tolerance = self._ends.get(("collapse", comparison.batch)), LOOSEST_IN_FLOAT64
        elif comparison.step in GRAPH_STEPS[1:]:
            step = steps[steps.index(comparison.step) - 1]
            before, tolerance = self._ends.get((step, comparison.batch)), proved.tolerance
        else:
            return
        expected = self.kept.outputs(comparison.expected)
        found = expected if before is None else self.kept.outputs({name: before.get(name, -1) for name in expected})
        if not distance_of_outputs(expected, found, "max_relative") <= tolerance:
            raise ValueError(f"its comparison on {comparison.inputs} does not start where the one before it ends")

    @cached_property
    def _ends(self) -> dict[tuple[Step, int], dict[str, int]]:
        """Return step and batch to what its form answered, of a collapse before it was cast."""
        return {
            (each.step, each.batch): each.found
            for each in self.kept.compared
            if each.found is not None
            and (each.step != "collapse" or _measurement(each, self.manifest).computed_in == "float64")
        }

    def _check_now(self, comparison: Comparison, proved: Measurement) -> Check:
        """Return the check of the graph against what it was made of."""
        now = self._answers(comparison.batch)
        if now is None:
            return Check(comparison.step, comparison.inputs, "not measured", proved.metric, note=_OTHER_NUMPY)
        return replace(self._check(comparison, proved, now), recorded=proved.error)

    def _checks_as_stored(self, comparison: Comparison, proved: Measurement, found: Arrays) -> Iterator[Check]:
        """Yield the check of a step before the graph, and of the graph against the last one of these."""
        yield self._check(comparison, proved, found, recorded=proved.error)
        if (comparison.step, proved.computed_in) == ("collapse", "float32"):
            now = self._answers(comparison.batch)
            if now is not None:
                yield from self._served_check(comparison, found, now)

    def _check(
        self, comparison: Comparison, proved: Measurement, found: Arrays, *, recorded: float | None = None
    ) -> Check:
        if {*comparison.expected} != {*found}:
            raise ValueError(f"its comparison on {comparison.inputs} is of {', '.join(comparison.expected)}")
        expected = self.kept.outputs(comparison.expected)
        error = distance_of_outputs(expected, {name: found[name] for name in expected}, proved.metric)
        step, title, metric, tolerance = comparison.step, comparison.inputs, proved.metric, proved.tolerance
        return judged(step, title, error, tolerance=tolerance, metric=metric, recorded=recorded)

    def _served_check(self, comparison: Comparison, cast: Arrays, now: Arrays) -> Iterator[Check]:
        """Yield the check of the graph against the model that was cast before it was exported, on rows with answers."""
        name = self.manifest.outputs[0].name
        if name not in cast or len(cast[name]) != len(now[name]):
            raise ValueError(f"its comparison on {comparison.inputs} is of {', '.join(cast)}")
        usable = now[ROW_STATUS].ravel() == ROW_OK
        if not usable.any():
            return
        raw, served = (each[name].reshape(len(usable), -1)[usable].astype(np.float64) for each in (cast, now))
        expected = as_served(raw, self.manifest)
        tolerance = SERVED_ROUNDING * largest(expected) + sum(map(_loosest, self.manifest.proofs))
        measured = f"now to cast, {comparison.inputs.removeprefix(_CAST)}"
        yield compared(self.manifest.reference.file, measured, (expected, served), tolerance=tolerance)

    def _answers(self, batch: int) -> Arrays | None:
        """Return what the graph answers to a batch now, or None where its rows cannot be drawn again."""
        if batch not in self.answers:
            specs = [entry.tensor for entry in self.manifest.modalities]
            most_rows = max(_ROWS, self.manifest.reference.max_batch_size)
            feeds = self.kept.feeds(batch, specs, self.probes, most_rows=most_rows)
            self.answers[batch] = None if feeds is None else self._run(feeds)
        return self.answers[batch]

    def _run(self, feeds: Arrays) -> Arrays:
        rows = len(next(iter(feeds.values())))
        what = f"{self.manifest.reference.file} on {rows} rows"
        scored = infer(self.engine, PreparedRows(dict(feeds), {}, rows), what)
        return {**scored.outputs, PRESENCE: scored.presence, ROW_STATUS: scored.row_status.reshape(rows, 1)}


def _loosest(proof: ProofStep) -> float:
    """Return the largest difference that a step between torch and the float32 graph may make; none for others."""
    bounds = [each.tolerance for each in proof.measurements if each.metric == "max_abs"]
    return max(bounds, default=0.0) if proof.step in GRAPH_STEPS else 0.0


def _measurement(comparison: Comparison, manifest: Manifest) -> Measurement:
    """Return what the proof says of a comparison."""
    proofs = [proof for proof in manifest.proofs if proof.step == comparison.step]
    found = [each for proof in proofs for each in proof.measurements if each.inputs == comparison.inputs]
    bounds = [each for each in found if each.metric in BOUNDS]
    if len(bounds) != 1:
        raise ValueError(f"its comparison on {comparison.inputs} is none of the proof of {comparison.step}")
    return bounds[0]
