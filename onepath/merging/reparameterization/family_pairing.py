"""Pairing weights by what they do in their blocks, between any two known families."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple, get_args

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.depths import Depth, block_pairs
from onepath.merging.reparameterization.family_detection import BlockList, listed
from onepath.merging.reparameterization.plan import Role
from onepath.merging.reparameterization.rows import Rows
from onepath.merging.reparameterization.scale_names import ScalePer
from onepath.merging.reparameterization.slices import PROJECTIONS
from onepath.merging.reparameterization.weights import WeightAddress

ROLES: tuple[Role, ...] = get_args(Role)


class Match(NamedTuple):
    """Two weights that belong together, and the output rows of each; None for all."""

    target: WeightAddress
    auxiliary: WeightAddress
    target_rows: Rows | None = None
    auxiliary_rows: Rows | None = None
    role: Role | None = None


@dataclass(frozen=True)
class FamilyPairing:
    """How blocks of known families are paired.

    Attributes:
        depth: the policy for different numbers of blocks.
        roles: those to pair, all without it; `qkv` stands for the three.
        scale_per: `projection` keeps q, k and v of a fused projection apart.
    """

    depth: Depth
    roles: Collection[Role] | None
    scale_per: ScalePer

    def matches(self, mine: BlockList, theirs: BlockList) -> Iterator[Match]:
        """Yield what belongs together in two lists of blocks, block by block.

        Raises:
            UnsupportedModuleError: the numbers of blocks do not fit the depth policy; a fused projection cannot be cut.
        """
        pairs = block_pairs(tuple(mine.blocks), tuple(theirs.blocks), self.depth, name=mine.path or "the blocks")
        for index, other in pairs:
            for role in self._parts(mine, theirs):
                (weight, rows), (added, added_rows) = mine.part(index, role), theirs.part(other, role)
                yield Match(weight, added, rows, added_rows, role)

    def _parts(self, mine: BlockList, theirs: BlockList) -> list[Role]:
        wanted = self._wanted()
        are_whole = mine.is_fused and theirs.is_fused and self.scale_per != "projection"
        if are_whole and wanted.issuperset(PROJECTIONS):
            wanted = wanted.difference(PROJECTIONS) | {"qkv"}
        return [role for role in ROLES if role in wanted]

    def _wanted(self) -> set[Role]:
        roles = set(ROLES if self.roles is None else self.roles)
        for role in roles.difference(ROLES):
            raise UnsupportedModuleError(f"the role {role!r}", "it is unknown", f"choose among {', '.join(ROLES)}")
        if "qkv" in roles:
            roles.update(PROJECTIONS)
        return roles - {"qkv"}


def paired_lists(mine: tuple[BlockList, ...], theirs: tuple[BlockList, ...]) -> list[tuple[BlockList, BlockList]]:
    """Return which lists of blocks belong together: those of one path, or the only one with the only one.

    Returns:
        Nothing if one of the models has no blocks of a known family.

    Raises:
        UnsupportedModuleError: a model has several, and it is not clear which is meant.
    """
    by_path = {blocks.path: blocks for blocks in theirs}
    same = [(blocks, by_path[blocks.path]) for blocks in mine if blocks.path in by_path]
    if same or not (mine and theirs):
        return same
    if len(mine) == len(theirs) == 1:
        return [(mine[0], theirs[0])]
    raise UnsupportedModuleError(
        "this pair of models",
        f"the target has the blocks {listed(mine)} and the auxiliary {listed(theirs)}, and which belong together is "
        "not clear",
        "name them with target_blocks=… and auxiliary_blocks=…",
    )
