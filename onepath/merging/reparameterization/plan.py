"""A plan of a re-parameterisation: which weight gets which auxiliary weight, before anything is changed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from onepath.contract.errors import UnsupportedModuleError


@dataclass(frozen=True)
class Pair:
    """One weight and its auxiliary.

    Attributes:
        target: path of the target's parameter.
        auxiliary: path of the auxiliary's parameter.
        shape: of both.
    """

    target: str
    auxiliary: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Every pair, in the order of the target. `print(plan)` shows it."""

    pairs: tuple[Pair, ...]

    def to_json(self) -> str:
        """Return the plan as JSON; `plan_from_json` reads it."""
        return json.dumps(asdict(self), indent=2)

    def __str__(self) -> str:
        """Return a line for each pair."""
        width = max((len(pair.target) for pair in self.pairs), default=0)
        return "\n".join(f"{pair.target:<{width}} += λ · {pair.auxiliary} {pair.shape}" for pair in self.pairs)


def plan_from_json(text: str) -> Plan:
    """Return the plan that `Plan.to_json` wrote.

    Raises:
        UnsupportedModuleError: the text is not a plan.
    """
    try:
        raw = json.loads(text)
        pairs = tuple(
            Pair(str(pair["target"]), str(pair["auxiliary"]), tuple(int(size) for size in pair["shape"]))
            for pair in raw["pairs"]
        )
    except (ValueError, KeyError, TypeError) as error:
        raise UnsupportedModuleError(
            "the plan", f"it is not what Plan.to_json writes ({error})", "write it anew"
        ) from error
    return Plan(pairs)
