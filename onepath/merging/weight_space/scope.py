"""Which method, weights and options hold for which tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from pydantic import ValidationError

from onepath.contract.errors import UnknownPluginError
from onepath.contract.plugins import load_plugin
from onepath.merging.weight_space.method import WeightMergeMethod, checked_settings, needs

KEEP = "keep:"
"""A rule's method that takes one model's tensors as they are: `keep:<model>`."""

Problems = list[tuple[str, str]]


@dataclass(frozen=True)
class ScopeRule:
    """What is different for some of the tensors.

    Attributes:
        pattern: tensor names, where `*` stands for anything, `?` for one character and `[…]` for one of these; the
            first rule that matches a tensor counts.
        weights: all the weights for them; without it, those of the merge.
        options: options for them, beside those of the merge; instead of those, where `method` is given.
        method: another method for them, or `keep:<model>` to take one model's tensors as they are.
    """

    pattern: str
    weights: Mapping[str, float] | None = None
    options: Mapping[str, Any] | None = None  # the method's own
    method: str | None = None


@dataclass(frozen=True)
class Treatment:
    """How some tensors are merged, checked and complete.

    Attributes:
        method: its name, or `keep:<model>`.
        function: None where one model's tensors are kept.
        weights: by model, as they were given; none where tensors are kept.
        coefficients: the weights as they apply: with sum 1 where only their ratios count.
        options: all of the method's.
    """

    method: str
    function: WeightMergeMethod | None
    weights: Mapping[str, float] = field(default_factory=dict)
    coefficients: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kept(self) -> str | None:
        """The model whose tensors are kept; None where they are merged."""
        return self.method.removeprefix(KEEP) if self.function is None else None

    @property
    def uses_base(self) -> bool:
        """Whether the method merges differences from a base."""
        return self.function is not None and needs(self.function, "base")

    def sources(self, base: str | None) -> list[str]:
        """Return the names of the models that the result depends on."""
        named = [self.kept] if self.kept is not None else list(self.weights)
        return named + ([base] if self.uses_base and base is not None and base not in named else [])


def keep(model: str) -> Treatment:
    """Return the treatment that takes one model's tensors as they are."""
    return Treatment(f"{KEEP}{model}", None)


def treatments_of(
    default: ScopeRule, scope: Sequence[ScopeRule], models: Sequence[str]
) -> tuple[list[Treatment], Problems]:
    """Return the treatment of each rule, the default's first, without those that are wrong; and what is wrong.

    Args:
        default: with a method, weights and options.
        scope: exceptions.
        models: names.
    """
    treatments: list[Treatment] = []
    problems: Problems = []
    for place, rule in [("", default), *((f"scope.{i}.", rule) for i, rule in enumerate(scope))]:
        problems += [(f"{place}weights.{n}", unknown_model(n, models)) for n in rule.weights or () if n not in models]
        found = _treatment(_completed(rule, default), place, models)
        if isinstance(found, Treatment):
            treatments.append(found)
        else:
            problems += found
    return treatments, problems


def assigned(names: Iterable[str], scope: Sequence[ScopeRule]) -> dict[str, int]:
    """Return the number of the rule that counts for each tensor, 0 for none of them."""
    return {
        name: next((i for i, rule in enumerate(scope, start=1) if fnmatchcase(name, rule.pattern)), 0) for name in names
    }


def _completed(rule: ScopeRule, default: ScopeRule) -> ScopeRule:
    method = rule.method or default.method
    if method is not None and method.startswith(KEEP):
        return replace(rule, method=method)
    inherited = default.options if rule.method in (None, default.method) else None
    weights = default.weights if rule.weights is None else rule.weights
    return ScopeRule(rule.pattern, weights, {**(inherited or {}), **(rule.options or {})}, method)


def _treatment(rule: ScopeRule, place: str, models: Sequence[str]) -> Treatment | Problems:
    method, weights = rule.method or "", dict(rule.weights or {})
    if method.startswith(KEEP):
        return _kept(rule, place, models)
    try:
        function = load_plugin("onepath.weight_merges", method)
        applied, options = checked_settings(function, list(weights.values()), rule.options or {})
    except UnknownPluginError as error:
        return [(f"{place}method", str(error))]
    except ValidationError as error:
        return [_problem(dict(found), place, list(weights)) for found in error.errors()]
    except ValueError as error:
        return [(f"{place}weights", str(error))]
    return Treatment(method, function, weights, dict(zip(weights, applied, strict=True)), options)


def _kept(rule: ScopeRule, place: str, models: Sequence[str]) -> Treatment | Problems:
    model = (rule.method or "").removeprefix(KEEP)
    problems = [(f"{place}method", unknown_model(model, models))] if model not in models else []
    for name, given in (("weights", rule.weights), ("options", rule.options)):
        if given:
            problems.append((f"{place}{name}", f"tensors that are kept have no {name}; leave them out"))
    return problems or keep(model)


def unknown_model(name: str, models: Sequence[str]) -> str:
    """Return the problem of a name that no model has."""
    return f"there is no model {name!r}; there are {', '.join(models) or 'none'}"


def _problem(found: Mapping[str, Any], place: str, names: Sequence[str]) -> tuple[str, str]:
    """Return one of pydantic's problems with the model's name in the place of its number."""
    first, *rest = found["loc"]
    inner = [names[part] if first == "weights" and isinstance(part, int) else str(part) for part in rest]
    where = ".".join([first if first == "weights" else f"options.{first}", *inner])
    return f"{place}{where}", str(found["msg"]).removeprefix("Value error, ")
