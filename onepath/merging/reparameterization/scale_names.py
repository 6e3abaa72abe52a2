"""How many scales λ an attention has: the names that pairs share one by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.family_detection import Place
from onepath.merging.reparameterization.plan import Pair
from onepath.merging.reparameterization.slices import PROJECTIONS

ScalePer = Literal["layer", "projection", "attention"]
"""How many λ the queries, keys and values of a block have: `layer` gives each of the target's layers one; `projection`
gives three, also where one layer makes them; `attention` gives one, also where three layers do."""


def with_scale_names(pairs: Sequence[Pair], places: Mapping[str, Place], scale_per: ScalePer) -> list[Pair]:
    """Return the pairs with the names of their λ.

    Args:
        pairs: without names.
        places: of the target's weights that are in blocks of a known family.
        scale_per: what has a λ of its own.

    Raises:
        UnsupportedModuleError: another λ than each layer's is asked for, and it is not known what q, k and v are.
    """
    if scale_per == "layer":
        return list(pairs)
    if scale_per not in ("projection", "attention"):
        raise UnsupportedModuleError(
            f"scale_per={scale_per!r}", "it is unknown", "choose layer, projection or attention"
        )
    named = [_per_projection(pair) for pair in pairs] if scale_per == "projection" else _per_attention(pairs, places)
    if not any(pair.role in (*PROJECTIONS, "qkv") for pair in named):
        raise UnsupportedModuleError(
            f"scale_per={scale_per!r}",
            "no pair is known to be of queries, keys or values",
            "use it with models of known families, or leave it out",
        )
    return named


def _per_projection(pair: Pair) -> Pair:
    if pair.role == "qkv":
        raise UnsupportedModuleError(
            pair.target,
            "queries, keys and values are paired as one, so that they cannot have a λ each",
            "pair them as [q], [k] and [v]",
        )
    is_part = pair.role in PROJECTIONS and pair.target_rows is not None
    return replace(pair, scale=f"{pair.target}[{pair.role}]") if is_part else pair


def _per_attention(pairs: Sequence[Pair], places: Mapping[str, Place]) -> list[Pair]:
    firsts: dict[tuple[str, int], str] = {}
    named = []
    for pair in pairs:
        place = places.get(pair.target)
        if place and place.role in PROJECTIONS:
            first = firsts.setdefault((place.blocks, place.block), pair.target)
            pair = pair if first == pair.target else replace(pair, scale=first)  # noqa: PLW2901
        named.append(pair)
    return named
