"""Finding the repeated blocks of a known family in a model, by the paths of its parameters alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.families import FAMILIES, Family
from onepath.merging.reparameterization.plan import Role
from onepath.merging.reparameterization.rows import Rows
from onepath.merging.reparameterization.slices import PROJECTIONS, rows_of
from onepath.merging.reparameterization.weights import WeightAddress, weights_of


@dataclass(frozen=True)
class BlockList:
    """The blocks of one encoder in a model.

    Attributes:
        path: of the list, such as `vision_model.encoder.layers`; empty if the model is the list.
        family: that its layers are named after.
        blocks: the weights of each block by role, by the block's index, ascending.
    """

    path: str
    family: Family
    blocks: Mapping[int, Mapping[Role, WeightAddress]]

    @property
    def is_fused(self) -> bool:
        """Whether one weight makes queries, keys and values."""
        return "qkv" in self.family.layers

    def part(self, index: int, role: Role) -> tuple[WeightAddress, Rows | None]:
        """Return the weight of a role in a block, and its rows where it is a part of a fused projection.

        Raises:
            UnsupportedModuleError: the fused projection is not three blocks of rows of one size.
        """
        if self.is_fused and role in PROJECTIONS:
            address = self.blocks[index]["qkv"]
            return address, rows_of(address, role)
        return self.blocks[index][role], None


@dataclass(frozen=True)
class Place:
    """Where in a model a weight is: the path of its block list, the block's index, and its role there."""

    blocks: str
    block: int
    role: Role


def block_lists(model: nn.Module) -> tuple[BlockList, ...]:
    """Return every list of blocks of a known family, in the order of the model."""
    known = weights_of(model)
    found = [blocks for family in FAMILIES for blocks in _of_family(family, known)]
    order = {path: position for position, path in enumerate(known)}
    return tuple(sorted(found, key=lambda blocks: order[_any_path(blocks)]))


def places(lists: Iterable[BlockList]) -> dict[str, Place]:
    """Return where each weight of the block lists is, by its path."""
    return {
        address.path: Place(blocks.path, index, role)
        for blocks in lists
        for index, layers in blocks.blocks.items()
        for role, address in layers.items()
    }


def chosen_lists(lists: tuple[BlockList, ...], path: str | None, *, role: str) -> tuple[BlockList, ...]:
    """Return the block list of a path; all of them without one.

    Raises:
        UnsupportedModuleError: there is none of this path.
    """
    if path is None:
        return lists
    chosen = tuple(blocks for blocks in lists if blocks.path == path)
    if not chosen:
        raise UnsupportedModuleError(
            f"the blocks {path!r}",
            f"the {role} has no blocks of a known family there",
            f"choose among {listed(lists)}, or map the layers with layers={{…}}",
        )
    return chosen


def listed(lists: Iterable[BlockList]) -> str:
    """Return the paths of block lists for a message."""
    return ", ".join(repr(blocks.path) for blocks in lists) or "none"


def _of_family(family: Family, known: Mapping[str, WeightAddress]) -> Iterator[BlockList]:
    witness = re.compile(r"(?:(.+)\.)?(\d+)\." + re.escape(family.layers["fc1"]) + r"(?:\.weight)?")
    found: dict[str, list[int]] = {}
    for match in filter(None, map(witness.fullmatch, known)):
        found.setdefault(match[1] or "", []).append(int(match[2]))
    for path, indices in found.items():
        blocks = {index: _layers(family, f"{path}.{index}" if path else str(index), known) for index in sorted(indices)}
        if all(len(layers) == len(family.layers) for layers in blocks.values()):
            yield BlockList(path, family, blocks)


def _layers(family: Family, block: str, known: Mapping[str, WeightAddress]) -> dict[Role, WeightAddress]:
    paths = {role: (f"{block}.{name}.weight", f"{block}.{name}") for role, name in family.layers.items()}
    return {role: known[path] for role, both in paths.items() for path in both if path in known}


def _any_path(blocks: BlockList) -> str:
    return next(iter(next(iter(blocks.blocks.values())).values())).path
