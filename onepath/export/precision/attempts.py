"""Attempts at one wanted graph: each form made and judged, what harms left out, what passes timed against float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.precision.forms import Form, forms_of
from onepath.export.precision.gates import PrecisionGate, PrecisionGates
from onepath.export.precision.harm import Group, by_harm, groups_of, to_leave_out
from onepath.export.precision.held_out import Answered, HeldOut, Split, answers, split_rows, whole_batch
from onepath.export.precision.judging import Judgement, judge
from onepath.export.precision.making import EMULATED, Made, Maker
from onepath.export.precision.sessions import Run, is_at_hand, run_from_graph
from onepath.export.precision.speed import Speed, measured_speeds
from onepath.export.recipe.precision import WantedGraph
from onepath.export.targets import TargetProfile, check_graph

EVEN = 1.1
"""Two forms whose speeds differ by less than this factor are taken as equally fast."""


@dataclass(frozen=True)
class Attempt:
    """One form of a wanted graph.

    Attributes:
        form: how it was made.
        made: the graph; None where it could not be made. Of one that fails the files are gone.
        judgement: what the gate found; None where it could not be run.
        problem: why it cannot be used; empty if it passes.
        parity: how the gate was measured, where not with the graph itself.
        speed: against float32 on the machine that it must pay on; None where it was not timed.
        untimed: why it was not.
        runs: whether this machine runs it, if it is the one that it must pay on.
    """

    form: Form
    made: Made | None = None
    judgement: Judgement | None = None
    problem: str = ""
    parity: str = ""
    speed: Speed | None = None
    untimed: str = ""
    runs: bool = True

    @property
    def pays(self) -> bool:
        """Whether it is measured to be faster than float32."""
        return self.speed is not None and self.speed.pays


@dataclass(frozen=True)
class Bench:
    """What one wanted graph is made of, and measured on.

    Attributes:
        wanted: its precisions, one of them other than float32.
        name: its file's name in the bundle.
        reference: the float32 graph.
        maker: makes others of it.
        held_out: the rows.
        gates: of each precision.
        seed: decides which rows are for what.
        targets: the servers that must be able to load the graph.
    """

    wanted: WantedGraph
    name: str
    reference: OnnxFile
    maker: Maker
    held_out: HeldOut
    gates: PrecisionGates
    seed: int
    targets: Sequence[TargetProfile] = ()

    @cached_property
    def split(self) -> Split:
        """The rows to measure on, and those to calibrate on."""
        return split_rows(
            len(self.held_out.source.rows),
            calibration=self.wanted.calibration_rows,
            gate=self.gates.rows,
            seed=self.seed,
        )

    @property
    def gate(self) -> PrecisionGate:
        """The limits."""
        return self.gates.gate(self.wanted.precisions)

    @property
    def limits_on_rows(self) -> tuple[float, ...]:
        """The limits on shares of rows that are measured: of flips and, where there are targets, of accuracy."""
        if self.held_out.task != "classification":
            return ()
        return (self.gate.flips, *([self.gate.accuracy_loss] if len(self.held_out.targets) else []))

    def attempts(self) -> list[Attempt]:
        """Return every attempt, in the order in which they were made; those that pass are timed in one run."""
        tried = [attempt for form in forms_of(self.wanted) for attempt in self._attempts(form)]
        if not is_at_hand(self.wanted.target):
            untimed = f"not measured here: there is no {self.wanted.target.upper()} that ONNX Runtime can use"
            return [replace(attempt, untimed=untimed) for attempt in tried]
        return self._timed(tried)

    def _attempts(self, form: Form) -> Iterator[Attempt]:
        """Yield a form, and while it fails the same with what harms most in float32."""
        attempt = self._tried(form)
        yield attempt
        if not attempt.problem or attempt.judgement is None or attempt.made is None:
            return
        products = [name for names in attempt.made.computed.values() for name in names]
        for names in to_leave_out(self._ranked(form, products)):
            attempt = self._tried(replace(form, without=names))
            yield attempt
            if not attempt.problem:
                return

    def _tried(self, form: Form) -> Attempt:
        made: Made | None = None
        try:
            made = self.maker.make(self.wanted, form, self.split, name=self.name)
            check_graph(made.file, self.targets)
            run, parity = self._measurable(made)
            judgement = self._judged(run, self.split.gate, self._expected)
        except OSError:  # of a disk that is full, say, which is no property of the graph
            raise
        except Exception as error:  # noqa: BLE001 - of quantiser, checker and engine; it becomes the reason
            if made is not None:
                made.remove()
            return Attempt(form, made, problem=" ".join(f"{error}".split())[:400] or type(error).__name__)
        if not judgement.passes:
            made.remove()
        return Attempt(form, made, judgement, judgement.reason, parity)

    def _measurable(self, made: Made) -> tuple[Run, str]:
        """Return what the gate is measured with, and how, where that is not the graph itself on a CPU."""
        if made.emulated is None:
            return run_from_graph(made.file.path), ""
        if self.wanted.target == "gpu" and is_at_hand("gpu"):
            return run_from_graph(made.file.path, "gpu"), "on a GPU"
        return run_from_graph(made.emulated.path), EMULATED

    @cached_property
    def _expected(self) -> Answered:
        return self._answers(run_from_graph(self.reference.path), self.split.gate)

    def _answers(self, run: Run, rows: Sequence[int]) -> Answered:
        return answers(run, self.held_out, rows, batch_size=self.maker.batch_size, seed=self.seed)

    def _judged(self, run: Run, rows: Sequence[int], expected: Answered) -> Judgement:
        targets = [self.held_out.targets[row] for row in rows] if len(self.held_out.targets) else []
        found = self._answers(run, rows)
        return judge(expected, found, targets=targets, task=self.held_out.task, gate=self.gate)

    def _ranked(self, form: Form, products: Sequence[str]) -> list[Group]:
        """Return groups of products, the most harmful first, by the rows that nothing is measured on."""
        rows = self.split.calibration
        expected = self._answers(run_from_graph(self.reference.path), rows)

        def judged(group: Group) -> Judgement | None:
            try:
                made = self._alone(form, frozenset(products) - {*group})
                judgement = self._judged(self._measurable(made)[0], rows, expected)
            except OSError:
                raise
            except Exception:  # noqa: BLE001 - as above; what cannot be run is the first to leave out
                return None
            made.remove()
            return judgement

        return by_harm(groups_of(products), judged)

    def _alone(self, form: Form, without: frozenset[str]) -> Made:
        """Return a graph with all but a few products in float32: with dynamic ranges if it can be, which is quicker."""
        quick = replace(form, ranges=form.ranges and "dynamic", without=without)
        try:
            return self.maker.make(self.wanted, quick, self.split, name=self.name, partial=True)
        except UnsupportedModuleError:  # of a convolution
            own = replace(form, without=without)
            return self.maker.make(self.wanted, own, self.split, name=self.name, partial=True)

    def _timed(self, tried: Sequence[Attempt]) -> list[Attempt]:
        runs: dict[str, Run] = {}
        opened = [self._opened(attempt, runs) for attempt in tried]
        if not runs:
            return opened
        batches = {size: whole_batch(self.held_out.source, size) for size in sorted({1, self.maker.batch_size})}
        reference = run_from_graph(self.reference.path, self.wanted.target)
        speeds = measured_speeds(reference, runs, batches, machine=self.wanted.target)
        return [replace(attempt, speed=speeds.get(attempt.form.words)) for attempt in opened]

    def _opened(self, attempt: Attempt, runs: dict[str, Run]) -> Attempt:
        if attempt.problem or attempt.made is None:
            return attempt
        try:
            runs[attempt.form.words] = run_from_graph(attempt.made.file.path, self.wanted.target)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's own, of several types; it becomes the reason
            reason = " ".join(f"{error}".split())[:200]
            untimed = f"ONNX Runtime does not run it on this {self.wanted.target.upper()}: {reason}"
            return replace(attempt, untimed=untimed, runs=False)
        return attempt


def best_of(attempts: Sequence[Attempt]) -> Attempt | None:
    """Return the attempt to keep: of those that pass, the fastest, one that pays before one that does not.

    Static ranges count as faster by `EVEN`: with them a row's answer does not depend on its company, and what was
    measured is what is served.
    """
    passing = [attempt for attempt in attempts if not attempt.problem]
    return max(passing, key=_rank, default=None)


def _rank(attempt: Attempt) -> tuple[bool, float]:
    gain = attempt.speed.gain if attempt.speed else 0.0
    return attempt.pays, gain * EVEN if attempt.form.ranges == "static" else gain


def effective(wanted: Sequence[WantedGraph], modalities: Sequence[str]) -> Iterator[WantedGraph]:
    """Yield wanted graphs for a bundle that has some of a recipe's modalities, each once."""
    seen: set[str] = set()
    for graph in wanted:
        overrides = {name: kind for name, kind in graph.overrides.items() if name in modalities}
        here = graph.model_copy(update={"modalities": overrides})
        if here.words not in seen:
            seen.add(here.words)
            yield here
