"""Whether a bundle is as good with each presence pattern as its recipe's gates ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onepath.contract.errors import GateError
from onepath.contract.presence import pattern_name
from onepath.contract.robustness import Estimate, PatternResult, RobustnessReport, number_text
from onepath.export.recipe.gates import ANY, GATES, GateName, Gates, pattern_from_key

Missed = tuple[str, str]
"""A gate with its pattern, and what was found instead."""


def check_gates(report: RobustnessReport, gates: Gates, bundle: str, *, modalities: Sequence[str]) -> None:
    """Check that a report passes gates; a pattern that the bundle has not is skipped.

    Args:
        report: the bundle's, which has every pattern that the gates name.
        gates: the recipe's.
        bundle: its name.
        modalities: the recipe's, of which the bundle may have some.

    Raises:
        GateError: some are missed, or cannot be measured; every one is listed.
    """
    if gates.bundles and bundle not in gates.bundles:
        return
    missed = [each for gate in GATES for each in _missed(gate, gates, report, modalities)]
    if missed:
        raise GateError(bundle, missed)


def _missed(gate: GateName, gates: Gates, report: RobustnessReport, modalities: Sequence[str]) -> Iterator[Missed]:
    limits = gates.limits(gate)
    if not limits:
        return
    reason = _unmeasured(gate, report)
    if reason:
        yield gate, f"cannot be measured: {reason}"
        return
    for key in limits:
        problem = None if key == ANY else _unmeasured_key(gate, pattern_from_key(key, modalities), report)
        if problem:
            yield f"{gate}.{key}", f"cannot be measured: {problem}"
    for result in report.patterns:
        limit = gates.limit(gate, result.present, modalities)
        finding = None if limit is None else _finding(gate, limit, result, report, confident=gates.confident)
        if finding:
            yield f"{gate}.{pattern_name(result.present)}", finding


def _unmeasured(gate: GateName, report: RobustnessReport) -> str | None:
    """Return why a gate can be measured on no pattern of a report, or None."""
    if gate in ("min_accuracy", "max_loss_against_encoder") and report.metric == "agreement":
        return "the held-out rows have no targets"
    if gate == "max_loss_against_encoder" and not report.encoders:
        why = "; ".join(f"{name}'s was left out since {reason}" for name, reason in report.encoders_left_out.items())
        return f"there is no encoder to compare with{f' ({why})' if why else ''}; name other bundles in gates.bundles"
    return None


def _unmeasured_key(gate: GateName, present: Sequence[str], report: RobustnessReport) -> str | None:
    """Return why a pattern that a gate names was not measured, or None if it was, or if the bundle has it not."""
    if not {*present} <= {*report.modalities}:
        return None
    if report.pattern(present) is None:
        return "the model does not accept this pattern, or it is none of those that were sampled"
    if gate == "max_loss_against_encoder" and not {*present} & {*report.encoders, *report.encoders_left_out}:
        return f"there is no encoder of {pattern_name(present)}"
    return None


def _finding(
    gate: GateName, limit: float, result: PatternResult, report: RobustnessReport, *, confident: bool
) -> str | None:
    """Return what is wrong with a pattern by a gate, or None."""
    if gate == "max_loss_against_encoder" and len(result.present) == 1:
        (name,) = result.present
        if name in report.encoders_left_out:
            return f"cannot be measured: the encoder was left out since {report.encoders_left_out[name]}"
    measured = _measured(gate, result)
    if measured is None:
        return None
    wanted = -limit if gate == "max_loss_against_encoder" else limit
    if (measured.low if confident else measured.value) >= wanted:
        return None
    return _text(gate, measured, wanted, report, confident=confident)


def _measured(gate: GateName, result: PatternResult) -> Estimate | None:
    """Return the figure that a gate looks at, where the pattern has it."""
    if gate == "min_accuracy":
        return result.metric
    if gate == "max_loss_against_encoder":
        return result.gain_over_encoder.get(result.present[0]) if len(result.present) == 1 else None
    if gate == "min_gain_over_zero_filling":
        return result.zero_filling.gain if result.zero_filling else None
    return result.agreement if result.zero_filling else None  # with nothing missing, it is 1


_FIGURES: dict[GateName, str] = {
    "max_loss_against_encoder": "against the encoder alone",
    "min_gain_over_zero_filling": "against zero-filling",
    "min_agreement": "agreement",
}


def _text(gate: GateName, measured: Estimate, wanted: float, report: RobustnessReport, *, confident: bool) -> str:
    is_gain = gate in ("max_loss_against_encoder", "min_gain_over_zero_filling")
    is_share = report.is_share("agreement" if gate == "min_agreement" else report.metric)
    unit = "" if not is_share else " points" if is_gain else " %"

    def shown(value: float) -> str:
        return number_text(value, is_share=is_share, signed=is_gain)

    figure = _FIGURES.get(gate, report.metric.replace("_", " "))
    interval = f"95 % interval {shown(measured.low)} to {shown(measured.high)}, {report.rows} rows"
    end = " of the interval's lower end" if confident else ""
    return f"{figure} is {shown(measured.value)}{unit} ({interval}), and at least {shown(wanted)}{unit} is asked{end}"
