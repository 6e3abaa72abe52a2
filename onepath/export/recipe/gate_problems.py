"""What is wrong with a recipe's gates: patterns that are not known, and what can never be measured or never fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from onepath.contract.nearest import did_you_mean
from onepath.contract.presence import pattern_name
from onepath.export.recipe.bundles import EncoderBundle, FusedBundle
from onepath.export.recipe.gates import ALL, ANY, GATES, GateName, Gates, pattern_from_key
from onepath.export.recipe.names import encoded_modality
from onepath.export.recipe.parts import RecipeParts

Problem = tuple[str, str]
"""Path in the recipe and what is wrong there."""

_NEED_TARGETS: tuple[GateName, ...] = ("min_accuracy", "max_loss_against_encoder")
_WHY_NONE: dict[GateName, str] = {
    "min_accuracy": "none has a pattern",
    "max_loss_against_encoder": "it is for patterns of one modality, and none has one",
    "min_gain_over_zero_filling": "it is for patterns that lack something, and none has one",
    "min_agreement": "it is for patterns that lack something, and none has one",
}


def gates_problems(
    gates: Gates,
    recipe: RecipeParts,
    *,
    fused: Mapping[str, Sequence[str]] | None = None,
    has_targets: bool | None = None,
) -> list[Problem]:
    """Return everything that is wrong with gates, each with its path in the recipe.

    Args:
        gates: the recipe's.
        recipe: the rest of it, which holds together.
        fused: the modalities of fused models by name, once they are trained; until then, they may have any.
        has_targets: whether the held-out rows have targets, once that is known.
    """
    problems = [
        (f"gates.bundles.{index}", f"{name!r} is no bundle{did_you_mean(name, recipe.bundles)}")
        for index, name in enumerate(gates.bundles)
        if name not in recipe.bundles
    ]
    named = [name for name in gates.bundles if name in recipe.bundles] or [*recipe.bundles]
    bundles = [_gated(name, recipe, fused or {}) for name in named]
    for gate in GATES:
        problems += _gate_problems(gate, gates, recipe, bundles)
    if has_targets is False or (recipe.rows is not None and not recipe.labels):
        advice = "cannot be measured: the held-out rows have no targets; give them, or leave the gate out"
        problems += [(f"gates.{gate}", advice) for gate in _NEED_TARGETS if gates.limits(gate)]
    return problems


@dataclass(frozen=True)
class _Gated:
    """A bundle that gates hold for: its modalities, and those of them that no row may lack."""

    modalities: frozenset[str]
    required: frozenset[str]

    def measures(self, gate: GateName, pattern: frozenset[str]) -> bool:
        """Return whether a gate can be measured on a pattern of this bundle, and can fail there."""
        if not self.required <= pattern <= self.modalities:
            return False
        if gate == "max_loss_against_encoder":
            return len(pattern) == 1
        return gate == "min_accuracy" or pattern < self.modalities

    def measures_any(self, gate: GateName) -> bool:
        """Return whether there is a pattern on which it can."""
        if gate == "max_loss_against_encoder":
            return len(self.required) <= 1
        return gate == "min_accuracy" or (len(self.modalities) > 1 and self.required < self.modalities)


def _gated(name: str, recipe: RecipeParts, fused: Mapping[str, Sequence[str]]) -> _Gated:
    bundle = recipe.bundles[name]
    modalities = frozenset(recipe.modalities)
    if isinstance(bundle, EncoderBundle):
        modalities &= {encoded_modality(bundle, recipe)}
    elif isinstance(bundle, FusedBundle):
        modalities &= {*fused.get(bundle.source, modalities)}
    required = {name for name in modalities if recipe.modalities[name].absent == "required"}
    return _Gated(modalities, frozenset(required))


def _gate_problems(gate: GateName, gates: Gates, recipe: RecipeParts, bundles: Sequence[_Gated]) -> Iterator[Problem]:
    seen: dict[frozenset[str], str] = {}
    is_mapping = isinstance(getattr(gates, gate), Mapping)
    for key in gates.limits(gate):
        pattern = frozenset(pattern_from_key(key, [*recipe.modalities]))
        problem = _key_problem(key, recipe) or _twice(key, seen.setdefault(pattern, key))
        if problem is None:
            problem = _nowhere_problem(gate, key, recipe, bundles)
        if problem:
            yield f"gates.{gate}.{key}" if is_mapping else f"gates.{gate}", problem


def _key_problem(key: str, recipe: RecipeParts) -> str | None:
    if key in (ALL, ANY):
        return f"is a modality's name too; rename the modality {key!r}" if key in recipe.modalities else None
    names = pattern_from_key(key, [])
    for name in names:
        if name not in recipe.modalities:
            known = ", ".join(recipe.modalities)
            return f"{name!r} is not one of the modalities{did_you_mean(name, recipe.modalities)}; known: {known}"
    return None if len({*names}) == len(names) else "names a modality twice"


def _twice(key: str, first: str) -> str | None:
    return None if key == first else f"is the same pattern as {first!r}; keep one of them"


def _nowhere_problem(gate: GateName, key: str, recipe: RecipeParts, bundles: Sequence[_Gated]) -> str | None:
    """Return why a gate is measured on no bundle, or None if it is on one."""
    if key == ANY:
        fine = any(bundle.measures_any(gate) for bundle in bundles)
        return None if fine else f"holds for no bundle: {_WHY_NONE[gate]}; leave it out"
    pattern = frozenset(pattern_from_key(key, [*recipe.modalities]))
    if any(bundle.measures(gate, pattern) for bundle in bundles):
        return None
    return f"holds for no bundle: {_why_nowhere(gate, pattern, recipe, bundles)}; leave it out"


def _why_nowhere(gate: GateName, pattern: frozenset[str], recipe: RecipeParts, bundles: Sequence[_Gated]) -> str:
    having = [bundle for bundle in bundles if pattern <= bundle.modalities]
    name = pattern_name(modality for modality in recipe.modalities if modality in pattern)
    if not having:
        return f"none has {name}"
    lacking = sorted({modality for bundle in having for modality in bundle.required} - pattern)
    if lacking:
        return f"{', '.join(lacking)} is required, and a row with {name} alone fails"
    if gate == "max_loss_against_encoder":
        return f"it is for patterns of one modality, and {name} has {len(pattern)}"
    return f"it is for patterns that lack something, and {name} lacks nothing"
