"""Making a plan: an explicit map, patterns with a block index, known families, or one name and shape in both models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.biases import with_biases
from onepath.merging.reparameterization.checks import check_plan, check_shapes_known
from onepath.merging.reparameterization.depths import Depth, check_depth
from onepath.merging.reparameterization.family_detection import (
    BlockList,
    Place,
    block_lists,
    chosen_lists,
    places,
)
from onepath.merging.reparameterization.family_pairing import FamilyPairing, Match, paired_lists
from onepath.merging.reparameterization.heads import check_heads
from onepath.merging.reparameterization.name_pairing import (
    are_numbered_alike,
    listed_names,
    mapped,
    name_matches,
    of_one_name,
    of_one_shape,
    shared_names,
)
from onepath.merging.reparameterization.plan import Pair, Plan, Role
from onepath.merging.reparameterization.rows import taken_rows
from onepath.merging.reparameterization.scale_names import ScalePer, with_scale_names
from onepath.merging.reparameterization.weights import (
    block_index,
    computed_layers,
    linear_weights_of,
    refuse_computed,
)

if TYPE_CHECKING:
    from typing_extensions import Unpack

Layers = Mapping[str, str] | Sequence[str]
"""Target layer to auxiliary layer, with `{i}` for a block index in both or neither; or names of the target's layers."""


class PairingOptions(TypedDict, total=False):
    """What else `plan_reparameterization` may be told.

    Attributes:
        roles: of the blocks' layers, only these, such as `["qkv", "fc2"]`; the families must be known.
        depth: what to do where the numbers of blocks differ; refuse it by default, see `Depth`.
        target_blocks: path of the target's block list, where it has several, as both towers of CLIP are.
        auxiliary_blocks: the same of the auxiliary.
        biases: add the auxiliary's biases too, by the λ of their weights: b̂ = b + Σ λ·b'.
        scale_per: how many λ the queries, keys and values of a block have, see `ScalePer`.
        strict: refuse what is otherwise warned of: attention layers with different numbers of heads.
    """

    roles: Sequence[Role] | None
    depth: Depth
    target_blocks: str | None
    auxiliary_blocks: str | None
    biases: bool
    scale_per: ScalePer
    strict: bool


def plan_reparameterization(
    target: nn.Module, auxiliary: nn.Module, *, layers: Layers | None = None, **options: Unpack[PairingOptions]
) -> Plan:
    """Return the checked plan that pairs the weights of two models; neither is changed.

    Args:
        target: the model to extend.
        auxiliary: the model whose weights are added.
        layers: a mapping `{"blocks.{i}.attn.qkv": "layers.{i}.self_attn.in_proj_weight"}`, where `{i}` stands for every
            block index, and `[k]` or `[0:64]` at the end of a name for some of its output rows; a pair that is written
            out goes before a pattern. Or a list of the target's layers, whole or from after the block index, where `*`
            stands for anything. Without it, every linear layer of the blocks that both models have. Where both are of
            known families, the layers of self-attention and feed-forward are paired by what they do in a block, fused
            queries, keys and values with separate ones too; otherwise layers by name, and models without a common name
            by position and shape. `print` the plan to see what it leaves out.
        options: see `PairingOptions`.

    Raises:
        UnsupportedModuleError: nothing matches, what matches is not clear, or a pair cannot be treated exactly; see
            `check_plan`.
    """
    if target is auxiliary:
        raise UnsupportedModuleError(
            "the target as its own auxiliary", "both are the same object", "give a second model, or a deep copy"
        )
    _check_options(layers, options)
    check_shapes_known(target, role="target")
    check_shapes_known(auxiliary, role="auxiliary")
    pairing = _Pairing(target, auxiliary, options)
    pairs = pairing.pairs(pairing.matches(layers))
    plan = Plan(tuple(with_biases(pairs, target, auxiliary) if options.get("biases") else pairs))
    check_plan(plan, target, auxiliary)
    check_heads(plan, target, auxiliary, strict=options.get("strict", False))
    return plan


def _check_options(layers: Layers | None, options: PairingOptions) -> None:
    known = sorted(PairingOptions.__annotations__)
    for name in options:
        if name not in known:
            raise UnsupportedModuleError(f"the option {name!r}", "it is unknown", f"choose among {', '.join(known)}")
    check_depth(options.get("depth", "same"))
    if layers is not None and options.get("roles") is not None:
        raise UnsupportedModuleError("layers and roles together", "each says what to pair", "give one of them")
    paths = {"target_blocks": options.get("target_blocks"), "auxiliary_blocks": options.get("auxiliary_blocks")}
    for name, path in paths.items():
        if isinstance(layers, Mapping) and path is not None:
            raise UnsupportedModuleError(
                f"layers as a map and {name} together", "the map says where the layers are", f"leave {name} out"
            )


@dataclass(frozen=True)
class _Pairing:
    target: nn.Module
    auxiliary: nn.Module
    options: PairingOptions

    @property
    def depth(self) -> Depth:
        return self.options.get("depth", "same")

    def matches(self, layers: Layers | None) -> list[Match]:
        if isinstance(layers, Mapping):
            return mapped(self.target, self.auxiliary, layers, self.depth)
        return self._default() if layers is None else self._listed(layers)

    def _default(self) -> list[Match]:
        lists = self._block_lists()
        self._refuse_computed([f"{mine.path}.*" if mine.path else "*" for mine, _ in lists] or ["*"])
        by_family = self._by_family(lists)
        if by_family:
            return by_family
        if self.options.get("roles") is not None:
            raise UnsupportedModuleError(
                "roles", "one of the models has no blocks of a known family", "map the layers with layers={…}"
            )
        known, others = linear_weights_of(self.target), linear_weights_of(self.auxiliary)
        shared = [] if are_numbered_alike(known, others) else shared_names(known, others)
        if shared:
            return list(of_one_name(self.target, self.auxiliary, shared, self.depth))
        matches = of_one_shape(known, others)
        if not matches:
            raise _nothing_shared()
        return matches

    def _listed(self, layers: Sequence[str]) -> list[Match]:
        self._refuse_computed([layers] if isinstance(layers, str) else layers)
        known, lists = linear_weights_of(self.target), self._block_lists()
        names = listed_names(known, layers)
        in_blocks = {path for blocks, _ in lists for path in places([blocks])}
        matches = [match for match in self._by_family(lists) if match.target.path in names]
        matches += of_one_name(self.target, self.auxiliary, [n for n in names if n not in in_blocks], self.depth)
        return sorted(matches, key=lambda match: names.index(match.target.path))

    def _block_lists(self) -> list[tuple[BlockList, BlockList]]:
        mine = chosen_lists(block_lists(self.target), self.options.get("target_blocks"), role="target")
        theirs = chosen_lists(block_lists(self.auxiliary), self.options.get("auxiliary_blocks"), role="auxiliary")
        return paired_lists(mine, theirs)

    def _by_family(self, lists: list[tuple[BlockList, BlockList]]) -> list[Match]:
        rule = FamilyPairing(self.depth, self.options.get("roles"), self.options.get("scale_per", "layer"))
        return [match for mine, theirs in lists for match in rule.matches(mine, theirs)]

    def _refuse_computed(self, patterns: Sequence[str]) -> None:
        for layer in computed_layers(self.target):
            if any(name_matches(layer, pattern) for pattern in patterns):
                refuse_computed(self.target, layer)

    def pairs(self, matches: list[Match]) -> list[Pair]:
        known = places(block_lists(self.target))
        pairs = [_pair(match, known.get(match.target.path)) for match in matches]
        return with_scale_names(pairs, known, self.options.get("scale_per", "layer"))


def _pair(match: Match, place: Place | None) -> Pair:
    mine, theirs = match.target, match.auxiliary
    return Pair(
        mine.path,
        theirs.path,
        tuple(taken_rows(mine.value, match.target_rows, axis=mine.output_axis).shape),
        target_rows=match.target_rows,
        auxiliary_rows=match.auxiliary_rows,
        transposed=mine.output_axis != theirs.output_axis,
        block=place.block if place else block_index(mine.path),
        role=match.role or (place.role if place else None),
    )


def _nothing_shared() -> UnsupportedModuleError:
    return UnsupportedModuleError(
        "this pair of models",
        "no linear layer has the same name, or a shape of its own, in both",
        'say which belong together, such as layers={"blocks.{i}.mlp.fc1": "layers.{i}.linear1"}',
    )
