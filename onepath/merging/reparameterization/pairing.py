"""Making a plan: an explicit map, patterns with a block index, names, or every linear layer that both models have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.checks import check_plan
from onepath.merging.reparameterization.plan import Pair, Plan
from onepath.merging.reparameterization.weights import (
    WeightAddress,
    block_index,
    block_template,
    find_weight,
    linear_weights_of,
    weights_of,
)

Layers = Mapping[str, str] | Sequence[str]
"""Target layer to auxiliary layer, with `{i}` for a block index in both or neither; or names that both models have."""


def plan_reparameterization(target: nn.Module, auxiliary: nn.Module, *, layers: Layers | None = None) -> Plan:
    """Return the checked plan that pairs the weights of two models; neither is changed.

    Args:
        target: the model to extend.
        auxiliary: the model whose weights are added.
        layers: a mapping `{"blocks.{i}.attn.qkv": "layers.{i}.self_attn.in_proj_weight"}`, where `{i}` stands for every
            block index; or a list of layer names, whole or from after the block index, where `*` stands for anything.
            Without it, every linear layer in a repeated block that both models have under one name (every such linear
            layer at all, if there are no repeated blocks).

    Raises:
        UnsupportedModuleError: nothing matches, or a pair cannot be treated exactly; see `check_plan`.
    """
    if target is auxiliary:
        raise UnsupportedModuleError(
            "the target as its own auxiliary", "both are the same object", "give a second model, or a deep copy"
        )
    found = list(_pairs(target, auxiliary, layers))
    plan = Plan(tuple(Pair(mine.path, theirs.path, tuple(mine.value.shape)) for mine, theirs in found))
    check_plan(plan, target, auxiliary)
    return plan


def _pairs(
    target: nn.Module, auxiliary: nn.Module, layers: Layers | None
) -> Iterator[tuple[WeightAddress, WeightAddress]]:
    if isinstance(layers, Mapping):
        for mine, theirs in layers.items():
            yield from _mapped(target, auxiliary, mine, theirs)
        return
    known, others = linear_weights_of(target), linear_weights_of(auxiliary)
    names = _default_names(known, others) if layers is None else _listed_names(known, layers)
    _check_depth(names, known, others)
    for name in names:
        yield known[name], find_weight(auxiliary, name, role="auxiliary")


def _mapped(
    target: nn.Module, auxiliary: nn.Module, mine: str, theirs: str
) -> Iterator[tuple[WeightAddress, WeightAddress]]:
    if ("{i}" in mine) != ("{i}" in theirs):
        raise UnsupportedModuleError(
            f"{mine} -> {theirs}", "only one of the two has {i}", "write {i} in both, or a pair for each block"
        )
    if "{i}" not in mine:
        yield find_weight(target, mine, role="target"), find_weight(auxiliary, theirs, role="auxiliary")
        return
    indices, others = _indices(target, mine), _indices(auxiliary, theirs)
    if not indices:
        raise UnsupportedModuleError(mine, "no layer of the target matches", "take a path from named_parameters()")
    _refuse_depth(mine, indices, theirs, others)
    for index in sorted(indices):
        yield (
            find_weight(target, mine.replace("{i}", str(index)), role="target"),
            find_weight(auxiliary, theirs.replace("{i}", str(index)), role="auxiliary"),
        )


def _indices(model: nn.Module, pattern: str) -> set[int]:
    expression = re.compile(re.escape(pattern).replace(r"\{i\}", r"(\d+)") + r"(?:\.(?:weight|in_proj_weight))?")
    matches = (expression.fullmatch(path) for path in weights_of(model))
    return {int(match.group(1)) for match in matches if match}


def _default_names(known: Mapping[str, WeightAddress], others: Mapping[str, WeightAddress]) -> list[str]:
    both = {block_template(name) for name in known} & {block_template(name) for name in others}
    shared = [name for name in known if block_template(name) in both]
    repeated = [name for name in shared if block_index(name) is not None]
    chosen = repeated or [name for name in shared if known[name].value.shape == others[name].value.shape]
    if not chosen:
        raise UnsupportedModuleError(
            "this pair of models",
            "no linear layer has the same name in both",
            'say which belong together, such as layers={"blocks.{i}.mlp.fc1": "layers.{i}.linear1"}',
        )
    return chosen


def _listed_names(known: Mapping[str, WeightAddress], layers: Sequence[str]) -> list[str]:
    if isinstance(layers, str):
        layers = [layers]
    for pattern in layers:
        if not any(_matches(address, pattern) for address in known.values()):
            raise UnsupportedModuleError(
                f"the layer name {pattern!r}",
                "no linear layer of the target has it",
                f"use some of {', '.join(sorted({block_template(a.layer) for a in known.values()})[:8])}",
            )
    return [name for name, address in known.items() if any(_matches(address, pattern) for pattern in layers)]


def _matches(address: WeightAddress, pattern: str) -> bool:
    template = block_template(address.layer)
    after_index = template.partition("{i}.")[2]
    return any(fnmatchcase(name, pattern) for name in (address.layer, template, after_index) if name)


def _check_depth(names: Iterable[str], known: Mapping[str, WeightAddress], others: Mapping[str, WeightAddress]) -> None:
    for template in dict.fromkeys(block_template(name) for name in names):
        if "{i}" in template:
            mine, theirs = (_having(template, paths) for paths in (known, others))
            if theirs:
                _refuse_depth(template, mine, template, theirs)


def _having(template: str, paths: Iterable[str]) -> set[int]:
    return {block_index(path) or 0 for path in paths if block_template(path) == template}


def _refuse_depth(mine: str, indices: set[int], theirs: str, others: set[int]) -> None:
    if indices != others:
        raise UnsupportedModuleError(
            f"{mine} with the auxiliary's {theirs}",
            f"the target has {len(indices)} such blocks and the auxiliary {len(others)}",
            "map the blocks one by one with layers={target layer: auxiliary layer}",
        )
