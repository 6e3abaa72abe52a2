"""Which block of the auxiliary goes with which block of the target, where their numbers may differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from onepath.contract.errors import UnsupportedModuleError

Depth = Literal["same", "truncate", "stretch", "reverse"] | Mapping[int, int]
"""`same` refuses different numbers; `truncate` pairs as many as both have; `stretch` takes the auxiliary's block at the
same relative depth, round(i·(Da−1)/(Dt−1)), a half to the even one; `reverse` pairs the first with the last of as many;
a mapping gives the auxiliary's block for each of the target's that is to have one."""


def block_pairs(mine: Sequence[int], theirs: Sequence[int], depth: Depth, *, name: str) -> list[tuple[int, int]]:
    """Return pairs of block indices, the target's first, in its order.

    Args:
        mine: indices of the target's blocks, ascending.
        theirs: indices of the auxiliary's blocks, ascending.
        depth: the policy.
        name: of the layers in question, for the message.

    Raises:
        UnsupportedModuleError: the policy does not fit the numbers of blocks, or is unknown.

    >>> block_pairs(range(4), range(3), "stretch", name="mlp.fc1")
    [(0, 0), (1, 1), (2, 1), (3, 2)]
    """
    check_depth(depth)
    if isinstance(depth, Mapping):
        return _mapped(mine, theirs, depth, name)
    if depth == "truncate":
        return list(zip(mine, theirs, strict=False))
    if depth == "stretch":
        steps, last = max(len(mine) - 1, 1), len(theirs) - 1
        return [(index, theirs[round(position * last / steps)]) for position, index in enumerate(mine)]
    if list(mine) != list(theirs):
        raise _different(mine, theirs, name)
    return list(zip(mine, theirs if depth == "same" else reversed(theirs), strict=True))


def check_depth(depth: Depth) -> None:
    """Refuse what is no depth policy.

    Raises:
        UnsupportedModuleError: it is none.
    """
    if not isinstance(depth, Mapping) and depth not in ("same", "truncate", "stretch", "reverse"):
        raise UnsupportedModuleError(
            f"the depth policy {depth!r}", "it is unknown", "choose same, truncate, stretch, reverse or a mapping"
        )


def _mapped(mine: Sequence[int], theirs: Sequence[int], depth: Mapping[int, int], name: str) -> list[tuple[int, int]]:
    unknown = [("target", i) for i in depth if i not in mine]
    unknown += [("auxiliary", i) for i in depth.values() if i not in theirs]
    for role, index in unknown:
        raise UnsupportedModuleError(
            f"the depth mapping for {name}", f"the {role} has no block {index}", "map blocks that both models have"
        )
    return [(index, depth[index]) for index in mine if index in depth]


def _different(mine: Sequence[int], theirs: Sequence[int], name: str) -> UnsupportedModuleError:
    reason = f"the target has {len(mine)} such blocks and the auxiliary {len(theirs)}"
    if len(mine) == len(theirs):
        reason = f"the target's blocks are {_listed(mine)} and the auxiliary's {_listed(theirs)}"
    return UnsupportedModuleError(
        name, reason, 'choose depth="truncate", "stretch" or {target block: auxiliary block}, or map layer by layer'
    )


def _listed(indices: Sequence[int]) -> str:
    return ", ".join(str(index) for index in indices)
