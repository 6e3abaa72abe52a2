"""The collapse rule for parallel branches: convolutions, or linear layers, on one input and added, as one layer."""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from onepath.export.collapse.branches import Branches, branches_of
from onepath.export.collapse.dataflow import Flow, does_nothing, flow_of, obstacle_within
from onepath.export.collapse.embedding import Branch, misfit, summed, widest
from onepath.export.collapse.positions import has_positions
from onepath.export.collapse.products import like_layer
from onepath.export.collapse.refusals import refusal
from onepath.export.collapse.report import FoldedLayer, LeftLayer
from onepath.export.collapse.rules import Folding, across_layers
from onepath.export.collapse.storing import numbers, put, rounding
from onepath.export.collapse.usage import tensors_of

RULE = "parallel_branches"


@across_layers(nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
def parallel_branches(module: nn.Module) -> Folding | None:
    """Fold each module that adds branches of its input, as RepVGG's and MobileOne's blocks do, into one layer.

    A branch is a convolution, or a linear layer, or nothing, each with or without batch normalizations after it.

    Requires: eval mode and running statistics; kernels that look at the same positions, with equal strides and groups;
    a module that does nothing else with its input, and applies single modules or activations to the sum; nothing in it
    is shared, tied, parametrised or hooked. Rows of linear layers with batch normalization are `(rows, features)`.

    Ensures: in the place of the module is an `nn.Sequential` of the merged layer, `merged`, whose smaller kernels are
    padded with zeros and whose identity is a one in the middle, and of what the module does with the sum, by its names.
    A sum that is not such a module is left.
    """
    flow = flow_of(module)
    if flow is None:
        return None
    walk = _Sums(module, flow)
    result = walk.folded()
    return Folding(result, tuple(walk.layers), tuple(walk.left)) if walk.layers or walk.left else None


class _Sums:
    """The sums of parallel branches of a flow, in the order of the forward."""

    def __init__(self, root: nn.Module, flow: Flow) -> None:
        self._root, self._flow = root, flow
        self.layers: list[FoldedLayer] = []
        self.left: list[LeftLayer] = []

    def folded(self) -> nn.Module:
        """Return the root with every block merged that can be; another module if it is a block itself."""
        for found in branches_of(self._flow):
            if any(_holds(found.module, entry.layer) for entry in self.layers):
                continue  # it is another module now; the next round sees it
            branches = [self._branch(paths) for paths in found.branches]
            reason = self._obstacle(found) or misfit(branches)
            if reason is not None:
                self.left.append(LeftLayer(found.module, RULE, f"in its sum of branches, {reason}"))
                continue
            merged = self._merged(found, branches)
            if not found.module:
                return merged
            put(self._root, found.module, merged)
        return self._root

    def _obstacle(self, found: Branches) -> str | None:
        if found.tail is None:
            return "it does more than add them, and apply single modules to the sum"
        block = self._flow.module(found.module)
        reason = obstacle_within(self._root, block)
        if reason is not None:
            return reason
        for path in (path for paths in found.branches for path in paths):
            reason = refusal(self._flow, path, partial(self._norm_obstacle, path))
            if reason is not None:
                return reason
        if any(not tensor.is_floating_point() for _, tensor in tensors_of(block) if tensor.ndim > 0):
            return "not all its numbers are floating-point numbers"
        parts = [self._flow.module(path) for paths in found.branches for path in paths]
        if any(isinstance(part, nn.Linear) for part in parts) and any(map(has_positions, parts)):
            return "a norm's channels are not in the last axis, where a linear layer's are"
        several = any(self._has_late_layer(paths) for paths in found.branches)
        return "a branch has more than one layer, or a norm before its layer" if several else None

    def _has_late_layer(self, paths: tuple[str, ...]) -> bool:
        acting = [module for path in paths if not does_nothing(module := self._flow.module(path))]
        return any(isinstance(module, (nn.Linear, _ConvNd)) for module in acting[1:])

    def _norm_obstacle(self, path: str, norm: nn.Module) -> str | None:
        if not isinstance(norm, _BatchNorm):
            return None
        if norm.training:
            return "it is in training mode, where it normalises by the batch"
        if norm.running_mean is None:
            return "it has no running statistics"
        return None if self._flow.tail(path) is not None else "its forward does more than normalise"

    def _branch(self, paths: tuple[str, ...]) -> Branch:
        modules = [self._flow.module(path) for path in paths]
        layers = [module for module in modules if isinstance(module, (nn.Linear, _ConvNd))]
        norms = tuple(module for module in modules if isinstance(module, _BatchNorm))
        return Branch(paths[0] if paths else "the input", next(iter(layers), None), norms)

    def _merged(self, found: Branches, branches: list[Branch]) -> nn.Module:
        block, main, exact = self._flow.module(found.module), widest(branches), summed(branches)
        layer = like_layer(main, exact)
        layer.requires_grad_(any(parameter.requires_grad for parameter in block.parameters()))
        merged = nn.Sequential(OrderedDict([("merged", layer), *(found.tail or ())]))
        for part in merged.modules():
            if all(part is not own for own in block.modules()):
                part.training = block.training
        entry = FoldedLayer(
            found.module,
            RULE,
            f"{len(branches)} branches into one {type(layer).__name__}",
            error=rounding(layer, exact),
            parameters_before=numbers(block),
            parameters_after=numbers(merged),
        )
        self.layers.append(entry)
        return merged


def _holds(module: str, part: str) -> bool:
    return not module or part == module or part.startswith(f"{module}.")
