"""Which products a precision harms most: found by computing few of them in it, and all others in float32."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from onepath.export.precision.judging import Judgement

MOST_GROUPS = 24
"""So many graphs are made and run at most: products beyond are taken together with their neighbours."""

Group = tuple[str, ...]


def groups_of(products: Sequence[str]) -> list[Group]:
    """Return products in groups of neighbours, all of a size but the last.

    >>> groups_of(["a", "b"])
    [('a',), ('b',)]
    """
    size = -(-len(products) // MOST_GROUPS)
    return [tuple(products[start : start + size]) for start in range(0, len(products), max(size, 1))]


def by_harm(groups: Sequence[Group], judged: Callable[[Group], Judgement | None]) -> list[Group]:
    """Return groups of products, that which does most harm alone first.

    Args:
        groups: of products.
        judged: what the gate finds of a graph in which one group alone has its precision; None where there is none.
    """
    harm = {group: _harm(judged(group)) for group in groups}
    return sorted(groups, key=lambda group: -harm[group])


def to_leave_out(ranked: Sequence[Group]) -> Iterator[frozenset[str]]:
    """Yield what to leave in float32: the worst group, the two worst, four, and so on up to half of all.

    >>> [sorted(names) for names in to_leave_out([("a",), ("b",), ("c",), ("d",)])]
    [['a'], ['a', 'b']]
    """
    count = 1
    while count <= len(ranked) // 2:
        yield frozenset(name for group in ranked[:count] for name in group)
        count *= 2


def _harm(judgement: Judgement | None) -> float:
    """Return the largest share of a limit that an error has; flips and accuracy are too coarse for a single product."""
    if judgement is None or judgement.problems:
        return float("inf")
    smooth = [measured for measured in judgement.measured if measured.metric not in ("flips", "accuracy_loss")]
    return max(measured.error / max(measured.limit, 1e-12) for measured in smooth)
