"""A plan of a re-parameterisation: which weight gets which auxiliary weight, before anything is changed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.rows import Rows

Role = Literal["qkv", "q", "k", "v", "out", "fc1", "fc2"]
"""What a layer does in its block: a projection of the attention, all three at once, its output, or the feed-forward."""

_CLOSED = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class Pair:
    """One weight, or some output rows of it, and what is added to it.

    Attributes:
        target: path of the target's parameter.
        auxiliary: path of the auxiliary's parameter.
        shape: of what is added, as it lies in the target.
        target_rows: the output rows that are added to, from the first to before the last; None for all.
        auxiliary_rows: the output rows that are added; None for all.
        transposed: whether one of the two is kept (inputs, outputs) and the other (outputs, inputs).
        block: index of the target's block; None outside of blocks.
        role: what the layer does in its block, where its family is known.
        scale: name of λ, that pairs share by giving one name; the target's path without it.
    """

    target: str
    auxiliary: str
    shape: tuple[int, ...]
    target_rows: Rows | None = None
    auxiliary_rows: Rows | None = None
    transposed: bool = False
    block: int | None = None
    role: Role | None = None
    scale: str | None = None

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    @property
    def scale_name(self) -> str:
        """The name of λ."""
        return self.scale or self.target

    @property
    def left(self) -> str:
        """The target's parameter with its rows, as a user writes it."""
        return self.target + _brackets(self.target_rows)

    @property
    def right(self) -> str:
        """The auxiliary's parameter with its rows, `ᵀ` where it is transposed."""
        return self.auxiliary + _brackets(self.auxiliary_rows) + ("ᵀ" if self.transposed else "")


@dataclass(frozen=True)
class Plan:
    """Every pair, in the order of the target. `print(plan)` shows it."""

    pairs: tuple[Pair, ...]

    __pydantic_config__: ClassVar[ConfigDict] = _CLOSED

    def to_json(self) -> str:
        """Return the plan as JSON; `plan_from_json` reads it."""
        return json.dumps(asdict(self), indent=2)

    def __str__(self) -> str:
        """Return a line for each pair; a λ that is not the target's own is shown by its name."""
        width = max((len(pair.left) for pair in self.pairs), default=0)
        return "\n".join(f"{p.left:<{width}} += {_scale(p)} · {p.right} {p.shape}" for p in self.pairs)


def plan_from_json(text: str) -> Plan:
    """Return the plan that `Plan.to_json` wrote.

    Raises:
        UnsupportedModuleError: the text is not a plan.
    """
    try:
        return TypeAdapter(Plan).validate_json(text)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise UnsupportedModuleError(
            "the plan",
            f"it is not what Plan.to_json writes ({where or 'top'}: {error.errors()[0]['msg']})",
            "write it anew",
        ) from error


def _scale(pair: Pair) -> str:
    return "λ" if pair.scale_name == pair.target else f"λ[{pair.scale_name}]"


def _brackets(rows: Rows | None) -> str:
    return "" if rows is None else f"[{rows[0]}:{rows[1]}]"
