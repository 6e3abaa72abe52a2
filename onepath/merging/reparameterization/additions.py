"""What a plan adds to one weight: the auxiliary's rows, side by side where they share a λ."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.checks import added_part, by_target
from onepath.merging.reparameterization.parametrization import CrossModalWeight, new_scale
from onepath.merging.reparameterization.plan import Pair, Plan
from onepath.merging.reparameterization.rows import Rows
from onepath.merging.reparameterization.weights import WeightAddress, parametrizations_of, weights_of


@dataclass(frozen=True)
class Addition:
    """A tensor that is added to a weight.

    Attributes:
        address: the target's weight.
        rows: its output rows that are added to; None for all.
        auxiliary: laid out as the weight, in its precision and on its device.
        scale: λ.
    """

    address: WeightAddress
    rows: Rows | None
    auxiliary: Tensor
    scale: nn.Parameter

    def link(self, *, trainable: bool, name: str | None = None) -> CrossModalWeight:
        """Return the parametrisation that adds it, in the mode of the weight's module; see there."""
        link = CrossModalWeight(
            self.auxiliary,
            scale=self.scale,
            trainable=trainable,
            plain_order=_plain_order(self.address.module),
            rows=self.rows,
            axis=self.address.output_axis,
            name=name,
        )
        return link.train(self.address.module.training)


def additions(plan: Plan, target: nn.Module, auxiliary: nn.Module, *, share_storage: bool) -> list[Addition]:
    """Return what a checked plan adds to each weight, with a new λ for each name of one.

    Args:
        plan: that fits the two models.
        target: is not changed.
        auxiliary: its weights are copied, unless their storage is to be shared.
        share_storage: refuse to copy.

    Raises:
        UnsupportedModuleError: the storage cannot be shared.
    """
    mine, theirs = weights_of(target), weights_of(auxiliary)
    scales: dict[str, nn.Parameter] = {}
    found = []
    for path, pairs in by_target(plan.pairs).items():
        for joined in _joined(pairs):
            address, first = mine[path], joined[0]
            parts = [added_part(pair, address, theirs[pair.auxiliary]) for pair in joined]
            tensor = _shared(parts, address) if share_storage else _copied(parts, address)
            scale = scales.setdefault(first.scale_name, new_scale(address.value))
            found.append(Addition(address, _rows(joined, address), tensor, scale))
    return found


def link_counts(plan: Plan) -> dict[str, int]:
    """Return how many tensors a plan adds to each of the target's weights, by path."""
    return {path: sum(1 for _ in _joined(pairs)) for path, pairs in by_target(plan.pairs).items()}


def _joined(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Yield pairs whose rows follow each other and that share a λ together: one tensor holds what they add."""
    run: list[Pair] = []
    for pair in sorted(pairs, key=lambda pair: pair.target_rows or (0, 0)):
        follows = run and run[-1].scale_name == pair.scale_name
        if follows and run[-1].target_rows and pair.target_rows and run[-1].target_rows[1] == pair.target_rows[0]:
            run.append(pair)
            continue
        if run:
            yield run
        run = [pair]
    yield run


def _rows(pairs: Sequence[Pair], address: WeightAddress) -> Rows | None:
    first, last = pairs[0].target_rows, pairs[-1].target_rows
    if first is None or last is None:
        return None
    rows = first[0], last[1]
    return None if rows == (0, address.value.shape[address.output_axis]) else rows


def _copied(parts: Sequence[Tensor], address: WeightAddress) -> Tensor:
    weight = address.value
    moved = [part.detach().to(device=weight.device, dtype=weight.dtype) for part in parts]
    return torch.cat(moved, dim=address.output_axis).contiguous() if len(moved) > 1 else _cloned(moved[0])


def _cloned(tensor: Tensor) -> Tensor:
    return tensor.clone(memory_format=torch.contiguous_format)


def _shared(parts: Sequence[Tensor], address: WeightAddress) -> Tensor:
    weight, part = address.value, parts[0].detach()
    if len(parts) > 1 or (part.dtype, part.device) != (weight.dtype, weight.device):
        reason = "its rows come from several weights" if len(parts) > 1 else "its precision or device is another"
        raise UnsupportedModuleError(
            f"shared storage for {address.layer}", reason, "attach a copy, without share_storage"
        )
    return part


def _plain_order(module: nn.Module) -> tuple[str, ...]:
    links = [link for chain in parametrizations_of(module).values() for link in chain]
    orders = [link.plain_order for link in links if isinstance(link, CrossModalWeight)]
    return orders[0] if orders else tuple(module._parameters)
