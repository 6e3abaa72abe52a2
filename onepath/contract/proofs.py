"""The proof chain: what a manifest says of each step, and whether the steps lead from one to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from onepath.contract.tensors import Closed

Step = Literal["merge", "collapse", "onnx", "fold", "fuse", "precision", "engine"]
"""The steps of a proof chain: a model that was not merged has no first one; `fold` and `fuse` are passes over the
graph; each `precision` starts from the last of these, and each `engine` from one of the graphs."""

MAIN_LINE: tuple[Step, ...] = ("merge", "collapse", "onnx", "fold", "fuse")
"""The steps of which each starts from the result of the one before it."""

ORDER: tuple[Step, ...] = (*MAIN_LINE, "precision", "engine")

Metric = Literal["max_abs", "max_relative", "mean_abs", "cosine_distance", "flips", "accuracy_loss"]
"""How two answers are compared: the largest absolute difference; the same divided by the largest output, if that is
above 1; the mean absolute difference; 1 − the smallest cosine of a row; the share of rows whose highest score is
another; and the share of rows that are answered correctly before and not after, less those the other way round."""

ComputedIn = Literal["float64", "float32"]
"""What a comparison was computed in: `float64` where both sides were, `float32` where one was in that or in less."""

LOOSEST = 1.0
"""No tolerance may be above this: a proof with it would prove nothing of probabilities."""
LOOSEST_IN_FLOAT64 = 1e-9
"""No comparison in float64 may have a tolerance above this for the largest difference: rounding is 1e-15 or so."""
LOOSEST_IN_FLOAT32 = 1e-2
"""No other one of the main line may have one above this: what float32 answers farther off is another model."""

BOUNDS: tuple[Metric, ...] = ("max_abs", "max_relative")
"""The metrics of the largest difference, which no step of the main line does without."""

_PROBES = "golden probes, "
_FLOAT64 = "float64"
"""What the title of a comparison in float64 begins with, wherever a title says it."""


def probes_title(before: str, after: str) -> str:
    """Return the words by which a measurement between two stages on the golden probes is known in its proof.

    >>> probes_title("collapse", "cast")
    'golden probes, collapse to cast'
    """
    return f"{_PROBES}{before} to {after}"


def is_fold_on_probes(inputs: str) -> bool:
    """Return whether a title is of the model before and after its collapse, on the golden probes.

    >>> is_fold_on_probes(probes_title("merge", "collapse"))
    True
    """
    return inputs.startswith(_PROBES) and inputs.endswith(" to collapse")


def is_titled_float64(inputs: str) -> bool:
    """Return whether a title says that both sides were computed in float64.

    >>> is_titled_float64("float64, two rows"), is_titled_float64("float32 against float64, two rows")
    (True, False)
    """
    return inputs.startswith(_FLOAT64)


class Measurement(Closed):
    """One comparison of a proof step.

    Attributes:
        inputs: what was compared on, in words.
        error: how far the two are apart, by the metric; an `accuracy_loss` below 0 is a gain.
        tolerance: what it may be, chosen before measuring.
        metric: how they are compared.
        computed_in: what both were computed in, or the less precise of the two.
        interval: the 95 % confidence interval of the error, where it is one of a sample of rows.
    """

    inputs: str = Field(min_length=1)
    error: float = Field(ge=-1, allow_inf_nan=False)
    tolerance: float = Field(ge=0, le=LOOSEST)
    metric: Metric = "max_abs"
    computed_in: ComputedIn = "float32"
    interval: tuple[float, float] | None = None


class ProofStep(Closed):
    """One link of the proof chain: what a step read, what it wrote, and how far the two are apart.

    Attributes:
        step: which step it proves.
        subject: the part of the model that it changed.
        reads: digest of what it started from.
        writes: digest of what it made.
        measurements: the comparisons; each is within its tolerance, or the bundle would not exist.
        notes: figures worth keeping, such as parameter counts.
    """

    step: Step
    subject: str
    reads: str = Field(pattern="^[0-9a-f]{64}$")
    writes: str = Field(pattern="^[0-9a-f]{64}$")
    measurements: tuple[Measurement, ...] = Field(min_length=1)
    notes: dict[str, str | int | float] = Field(default_factory=dict)


def steps_problem(proofs: Sequence[ProofStep]) -> str | None:
    """Return what is wrong with the order of a chain's steps, or None."""
    steps = [proof.step for proof in proofs]
    main = [step for step in steps if step in MAIN_LINE]
    once = all(main.count(step) == 1 for step in main)
    if not once or not {"collapse", "onnx"} <= {*main} or steps != sorted(steps, key=ORDER.index):
        return f"the proofs are of {', '.join(steps)}; they must be of {', '.join(ORDER)} in this order, once each but \
the last two, with collapse and onnx among them"
    return None


def broken_link(proofs: Sequence[ProofStep]) -> tuple[int, str] | None:
    """Return the index of the first step that proves too little or starts from nothing known, and why.

    Every comparison of a merge is of the largest difference in float64; a collapse has at least one such, and the one
    on the golden probes is among them, and all whose titles say so. Each other step of the main line has at least one
    of the largest difference.
    """
    trunk = [proof for proof in proofs if proof.step in MAIN_LINE]
    graphs = {trunk[-1].writes, *(proof.writes for proof in proofs if proof.step == "precision")}
    for index, proof in enumerate(proofs):
        problem = _out_of_tolerance(proof) or _lack_of_float64(proof)
        if problem is not None:
            return index, problem
        if proof.step == "engine":
            starts_well = proof.reads in graphs
        else:
            starts_well = index == 0 or proof.reads == trunk[min(index, len(trunk)) - 1].writes
        if not starts_well:
            return index, "does not start from the result of the step before it"
    return None


def _out_of_tolerance(proof: ProofStep) -> str | None:
    for measured in proof.measurements:
        if not measured.error <= measured.tolerance:
            return f"is off by {measured.error:.3g}, over {measured.tolerance:.3g}"
        if measured.tolerance > _loosest(proof.step, measured):
            return (
                f"has a tolerance of {measured.tolerance:.3g} in {measured.computed_in}, with which it would prove "
                "nothing"
            )
    return None


def _loosest(step: Step, measured: Measurement) -> float:
    """Return the largest tolerance of a comparison; a precision and its engines have gates, which a recipe chooses."""
    if measured.metric not in BOUNDS or step not in MAIN_LINE:
        return LOOSEST
    return LOOSEST_IN_FLOAT64 if measured.computed_in == "float64" else LOOSEST_IN_FLOAT32


def _lack_of_float64(proof: ProofStep) -> str | None:
    wide = [each for each in proof.measurements if each.computed_in == "float64" and each.metric in BOUNDS]
    others = [each for each in proof.measurements if each not in wide]
    if proof.step == "merge" and others:
        return f"does not compare the largest difference in float64 on {others[0].inputs}"
    if proof.step == "collapse" and not wide:
        return "has no comparison of the largest difference in float64"
    told = (each for each in others if is_fold_on_probes(each.inputs) or is_titled_float64(each.inputs))
    fold = next(told, None)
    if proof.step == "collapse" and fold is not None:
        return f"does not compare the largest difference in float64 on {fold.inputs}"
    if proof.step in MAIN_LINE and not any(each.metric in BOUNDS for each in proof.measurements):
        return "has no comparison of the largest difference"
    return None
