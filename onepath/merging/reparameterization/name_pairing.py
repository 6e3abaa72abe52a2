"""Pairing weights by name: an explicit map, patterns with a block index, one name in both models, or one shape."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.depths import Depth, block_pairs
from onepath.merging.reparameterization.family_pairing import Match
from onepath.merging.reparameterization.slices import SlicedName, rows_of, sliced_name
from onepath.merging.reparameterization.weights import (
    WeightAddress,
    block_index,
    block_template,
    find_weight,
    linear_weights_of,
    refuse_computed,
    weights_of,
)

Known = Mapping[str, WeightAddress]


def mapped(target: nn.Module, auxiliary: nn.Module, layers: Mapping[str, str], depth: Depth) -> list[Match]:
    """Return what a mapping of layer names pairs; a pair that is written out goes before what a pattern says of it.

    Raises:
        UnsupportedModuleError: a name is unknown; a pattern matches nothing; the numbers of blocks do not fit.
    """
    named = {mine: theirs for mine, theirs in layers.items() if not _is_pattern(mine, theirs)}
    explicit = [_named_match(target, auxiliary, mine, theirs) for mine, theirs in named.items()]
    taken = {(match.target.path, match.target_rows) for match in explicit}
    patterns = {mine: theirs for mine, theirs in layers.items() if mine not in named}
    expanded = [
        match for pattern in patterns.items() for match in _pattern_matches(target, auxiliary, *pattern, depth=depth)
    ]
    return explicit + [match for match in expanded if (match.target.path, match.target_rows) not in taken]


def listed_names(known: Known, layers: Sequence[str] | str) -> list[str]:
    """Return the paths of the target's linear weights that a list of names selects, in the target's order.

    Raises:
        UnsupportedModuleError: a name matches nothing.
    """
    patterns = [layers] if isinstance(layers, str) else layers
    for pattern in patterns:
        if not any(name_matches(address.layer, pattern) for address in known.values()):
            raise UnsupportedModuleError(
                f"the layer name {pattern!r}",
                "no linear layer of the target has it",
                f"use some of {', '.join(sorted({block_template(a.layer) for a in known.values()})[:8])}",
            )
    return [path for path, a in known.items() if any(name_matches(a.layer, pattern) for pattern in patterns)]


def name_matches(layer: str, pattern: str) -> bool:
    """Return whether a layer's path, whole or from after the block index, is what a pattern with `*` says."""
    template = block_template(layer)
    after_index = template.partition("{i}.")[2]
    return any(fnmatchcase(name, pattern) for name in (layer, template, after_index) if name)


def of_one_name(target: nn.Module, auxiliary: nn.Module, names: Iterable[str], depth: Depth) -> Iterator[Match]:
    """Yield the target's linear weights of these paths with those that the auxiliary has under the same names.

    Raises:
        UnsupportedModuleError: the auxiliary has none of a name; the numbers of blocks do not fit the depth policy.
    """
    known, others, wanted = linear_weights_of(target), linear_weights_of(auxiliary), list(names)
    counterparts: dict[str, str] = {}
    for template in dict.fromkeys(block_template(name) for name in wanted):
        counterparts |= _counterparts(template, known, others, depth)
    for name in wanted:
        if name in counterparts:
            yield Match(known[name], find_weight(auxiliary, counterparts[name], role="auxiliary"))


def shared_names(known: Known, others: Known) -> list[str]:
    """Return the paths that both models have: those in repeated blocks; without any, those of the same shape."""
    both = {block_template(name) for name in known} & {block_template(name) for name in others}
    shared = [name for name in known if block_template(name) in both]
    repeated = [name for name in shared if block_index(name) is not None]
    return repeated or [name for name in shared if known[name].value.shape == others[name].value.shape]


def are_numbered_alike(known: Known, others: Known) -> bool:
    """Return whether two plain models have layers of the same shapes in order, and no layer of one name but a number.

    Their numbers do not matter then: one `nn.Sequential` may have activations where another has none.
    """
    has_blocks = any(block_template(path).partition("{i}.")[2] not in ("", "weight") for path in (*known, *others))
    has_names = any(path in others and block_index(path) is None for path in known)
    return not has_blocks and not has_names and _shapes(known) == _shapes(others)


def of_one_shape(known: Known, others: Known) -> list[Match]:
    """Return the linear weights paired by position if all shapes agree in order, else by shapes that only one has.

    Raises:
        UnsupportedModuleError: no shape agrees, or several weights have one.
    """
    mine, theirs = list(known.values()), list(others.values())
    if _shapes(known) == _shapes(others):
        return [Match(*both) for both in zip(mine, theirs, strict=True)]
    matches = [Match(address, other) for address in mine for other in theirs if _shape(address) == _shape(other)]
    for match in matches:
        rivals = [m for m in matches if m.target is match.target or m.auxiliary is match.auxiliary]
        if len(rivals) > 1:
            raise UnsupportedModuleError(
                match.target.layer,
                f"{len(rivals)} pairs of linear layers have its shape {tuple(match.target.value.shape)}, and which "
                "belong together is not clear",
                f'say it, such as layers={{"{match.target.layer}": "{match.auxiliary.layer}"}}',
            )
    return matches


def _shapes(known: Known) -> list[tuple[int, ...]]:
    return [_shape(address) for address in known.values()]


def _counterparts(template: str, known: Known, others: Known, depth: Depth) -> dict[str, str]:
    mine, theirs = _having(template, known), _having(template, others)
    is_repeated = "{i}" in template and theirs
    pairs = block_pairs(mine, theirs, depth, name=template) if is_repeated else [(index, index) for index in mine]
    return {_at(template, index): _at(template, other) for index, other in pairs}


def _shape(address: WeightAddress) -> tuple[int, ...]:
    shape = tuple(address.value.shape)
    return shape[::-1] if address.output_axis else shape


def _is_pattern(mine: str, theirs: str) -> bool:
    if ("{i}" in mine) != ("{i}" in theirs):
        raise UnsupportedModuleError(
            f"{mine} -> {theirs}", "only one of the two has {i}", "write {i} in both, or a pair for each block"
        )
    return "{i}" in mine


def _named_match(target: nn.Module, auxiliary: nn.Module, mine: str, theirs: str) -> Match:
    left, right = sliced_name(mine), sliced_name(theirs)
    refuse_computed(target, left.path)
    weight, added = find_weight(target, left.path, role="target"), find_weight(auxiliary, right.path, role="auxiliary")
    role = left.part if isinstance(left.part, str) else None
    return Match(weight, added, rows_of(weight, left.part), rows_of(added, right.part), role)


def _pattern_matches(
    target: nn.Module, auxiliary: nn.Module, mine: str, theirs: str, *, depth: Depth
) -> Iterator[Match]:
    indices, others = _indices(target, sliced_name(mine)), _indices(auxiliary, sliced_name(theirs))
    for role, pattern, found in (("target", mine, indices), ("auxiliary", theirs, others)):
        if not found:
            raise UnsupportedModuleError(
                pattern, f"no layer of the {role} matches", "take a path from named_parameters()"
            )
    for index, other in block_pairs(indices, others, depth, name=f"{mine} with the auxiliary's {theirs}"):
        yield _named_match(target, auxiliary, _at(mine, index), _at(theirs, other))


def _indices(model: nn.Module, name: SlicedName) -> list[int]:
    expression = re.compile(re.escape(name.path).replace(r"\{i\}", r"(\d+)") + r"(?:\.(?:weight|in_proj_weight))?")
    matches = (expression.fullmatch(path) for path in weights_of(model))
    return sorted({int(match.group(1)) for match in matches if match})


def _at(template: str, index: int) -> str:
    return template.replace("{i}", str(index))


def _having(template: str, paths: Iterable[str]) -> list[int]:
    return sorted({block_index(path) or 0 for path in paths if block_template(path) == template})
