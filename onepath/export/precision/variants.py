"""The graphs that a recipe wants beside the float32 one: made, gated, timed, and one of them chosen where it pays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path, PurePosixPath
from typing import Any

import onnxruntime as ort

from onepath.contract.graphs import GraphEntry
from onepath.contract.proofs import ProofStep
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.precision.attempts import Attempt, Bench, best_of, effective
from onepath.export.precision.gates import PrecisionGates
from onepath.export.precision.held_out import HeldOut
from onepath.export.precision.making import Maker
from onepath.export.precision.report import NOTES, attempt_json, machine, rows_json
from onepath.export.recipe.precision import WantedGraph
from onepath.export.targets import targets_from_names

REPORT = "reports/precision.json"
"""Where a bundle has the report."""
_ANYHOW = "choose: passing in the recipe chooses it all the same"


@dataclass(frozen=True)
class Variant:
    """A graph that passed the gate of its precision.

    Attributes:
        entry: what the manifest says of it.
        file: the graph, under the name that its entry has.
        proof: how far it is from the float32 graph.
        chosen: whether it is the one to deploy.
        emulated: one that gives the same with operators that a CPU has; None where the graph itself runs on one.
    """

    entry: GraphEntry
    file: OnnxFile
    proof: ProofStep
    chosen: bool
    emulated: OnnxFile | None = None


@dataclass(frozen=True)
class PrecisionOutcome:
    """What became of the graphs that a recipe wants.

    Attributes:
        variants: those that passed, in the recipe's order; one at most is chosen.
        dropped: those that did not: the precision in words, to the measured reason.
        report: every attempt and figure, as JSON; of timings, so that no two runs have the same.
        warnings: what a person should know, a sentence each.
    """

    variants: tuple[Variant, ...]
    dropped: Mapping[str, str]
    report: Mapping[str, Any]  # JSON
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Result:
    bench: Bench
    attempts: Sequence[Attempt]
    best: Attempt | None

    @property
    def wanted(self) -> WantedGraph:
        return self.bench.wanted

    @property
    def may_be_chosen(self) -> bool:
        if self.best is None or not self.best.runs:
            return False
        return self.best.pays or self.wanted.choose == "passing"

    @property
    def reason(self) -> str:
        """Why no attempt passed: the problem of the last one of each kind."""
        last = {attempt.form.kind: f"{attempt.form.words}: {attempt.problem}" for attempt in self.attempts}
        return "; ".join(last.values())


def precision_variants(
    reference: OnnxFile,
    plan: Sequence[WantedGraph],
    *,
    entry: GraphEntry,
    held_out: HeldOut,
    gates: PrecisionGates,
    seed: int,
    work: Path,
) -> PrecisionOutcome:
    """Return the graphs in the precisions that a recipe wants, each within its gate.

    A graph that fails its gate, or cannot be made, is dropped with the measured reason. One that passes is a variant,
    and the fastest of those that are measured to pay beside the float32 graph is chosen. Nothing is raised for a
    graph that does not come off: the float32 graph is always there.

    Args:
        reference: the float32 graph.
        plan: the wanted graphs, as `wanted_graphs` gives them; one in float32 is the reference itself.
        entry: what the manifest says of the reference.
        held_out: rows to calibrate on, to measure and to time.
        gates: of each precision, chosen beforehand.
        seed: decides which rows are for what.
        work: a folder for files, those of the variants among them; it must outlive the outcome.
    """
    work.mkdir(parents=True, exist_ok=True)
    maker = Maker(reference, held_out.source, entry.max_batch_size, work)
    targets = targets_from_names(entry.targets)
    results = []
    for wanted in effective(plan, held_out.source.names):
        if wanted.precisions != {"fp32"}:
            name = PurePosixPath(_path(entry, wanted)).name
            results.append(_result(Bench(wanted, name, reference, maker, held_out, gates, seed, targets)))
    chosen = max((each for each in results if each.may_be_chosen), key=_gain, default=None)
    return PrecisionOutcome(
        variants=tuple(_variant(each, reference, entry, chosen=each is chosen) for each in results if each.best),
        dropped={each.wanted.words: each.reason for each in results if each.best is None},
        report=_report(results, chosen, reference),
        warnings=(
            *(warning for each in results if (warning := _warning(each, chosen))),
            *_too_few_rows([each.bench for each in results]),
        ),
    )


def _gain(result: _Result) -> float:
    return result.best.speed.gain if result.best and result.best.speed else 0.0


def _path(entry: GraphEntry, wanted: WantedGraph) -> str:
    """Return where the bundle has a wanted graph: the reference's path with the precisions in its name."""
    path = PurePosixPath(entry.file)
    slug = wanted.words.replace(", ", "-").replace(" ", "_")
    return str(path.with_name(f"{path.stem}.{slug}{path.suffix}"))


def _variant(result: _Result, reference: OnnxFile, entry: GraphEntry, *, chosen: bool) -> Variant:
    best = result.best
    if best is None or best.made is None or best.judgement is None:
        raise ValueError(f"{result.wanted.words} has no graph that passes")
    file, path = best.made.file, _path(entry, result.wanted)
    own = entry.model_copy(
        update={
            "file": path,
            "data": None if file.data_path is None else f"{path}.data",
            "precision": result.wanted.default,
            "modality_precision": result.wanted.overrides,
        }
    )
    notes = {"form": best.form.words, "engine": f"onnxruntime {ort.__version__}", **best.made.notes}
    proof = ProofStep(
        step="precision",
        subject=own.precisions,
        reads=reference.digest,
        writes=file.digest,
        measurements=best.judgement.measurements(),
        notes=notes | ({"parity": best.parity} if best.parity else {}),
    )
    return Variant(own, file, proof, chosen, best.made.emulated)


def _warning(result: _Result, chosen: _Result | None) -> str:
    """Return what a person should know of a result, or nothing."""
    words, best = result.wanted.words, result.best
    if best is None:
        return f"{words} was dropped: {result.reason}"
    if result is chosen:
        slower = best.untimed or (f"it {best.speed.problem}" if best.speed else "")
        return "" if best.pays else f"{words} passes its gate and is deployed, as choose: passing wants; {slower}"
    if best.untimed:
        return f"{words} passes its gate and is kept as a variant; {best.untimed}"
    if best.speed is not None and best.speed.problem:
        hint = "" if result.wanted.choose == "passing" else f"; {_ANYHOW}"
        return f"{words} passes its gate and {best.speed.problem}: kept, not chosen{hint}"
    return ""


def _too_few_rows(benches: Sequence[Bench]) -> Iterator[str]:
    """Yield what to do where a limit on rows is so tight for so few of them that a single one decides."""
    limits = [(limit, bench) for bench in benches for limit in bench.limits_on_rows if limit > 0]
    limit, bench = min(limits, key=lambda each: each[0], default=(1.0, None))
    if bench is not None and limit * (rows := len(bench.split.gate)) < 1:
        yield (
            f"precisions were measured on {rows} held-out row{'s' * (rows > 1)} of each presence pattern; one row is "
            f"{100 / rows:.1f} points, where the gate is {100 * limit:g}: give at least {ceil(1 / limit)} rows beside "
            f"the {len(bench.split.calibration)} to calibrate on"
        )


def _result(bench: Bench) -> _Result:
    attempts = bench.attempts()
    return _Result(bench, attempts, best_of(attempts))


def _report(results: Sequence[_Result], chosen: _Result | None, reference: OnnxFile) -> dict[str, Any]:  # JSON
    return {
        "machine": machine(),
        "notes": NOTES,
        "reference": reference.digest,
        "graphs": [_result_json(each, chosen=each is chosen) for each in results],
    }


def _result_json(result: _Result, *, chosen: bool) -> dict[str, Any]:  # JSON
    kept = "chosen" if chosen else "kept"
    return {
        "precision": result.wanted.words,
        "must_pay_on": result.wanted.target,
        "gate": result.bench.gate.model_dump(mode="json"),
        "rows": rows_json(result.bench.split),
        "outcome": "dropped" if result.best is None else kept,
        "form": result.best.form.words if result.best else None,
        "attempts": [attempt_json(attempt) for attempt in result.attempts],
    }
