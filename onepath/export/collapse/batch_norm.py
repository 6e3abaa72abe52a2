"""The collapse rule for batch normalization: its running statistics become part of a neighbour's weight and bias."""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse.affine import Affine, affine_from_norm, after_layer, before_layer, pads_with_zeros
from onepath.export.collapse.dataflow import Flow, does_nothing, flow_of
from onepath.export.collapse.positions import has_positions
from onepath.export.collapse.refusals import refusal
from onepath.export.collapse.report import FoldedLayer, LeftLayer
from onepath.export.collapse.rules import Folding, across_layers
from onepath.export.collapse.storing import Exact, Layer, channels_in, channels_out, numbers, put, store
from onepath.merging.presets.batch_norm import BatchNorm

RULE = "batch_norm"
_DIMENSIONS: tuple[tuple[type[nn.Module], tuple[type[Layer], ...]], ...] = (
    (nn.BatchNorm1d, (nn.Linear, nn.Conv1d, nn.ConvTranspose1d)),
    (nn.BatchNorm2d, (nn.Conv2d, nn.ConvTranspose2d)),
    (nn.BatchNorm3d, (nn.Conv3d, nn.ConvTranspose3d)),
    (nn.SyncBatchNorm, (nn.Linear, _ConvNd)),
    (BatchNorm, (nn.Linear,)),
)


@across_layers(_BatchNorm)
def batch_norm(module: nn.Module) -> Folding | None:
    """Fold batch normalizations below a module into the convolution or linear layer before them, else after them.

    Requires: eval mode and running statistics; a layer before it whose output nothing else reads, or layers after it
    that are the only ones to read its output and pad with no zeros; none of them shared, tied, parametrised or hooked.
    Rows that go from a linear layer to the norm, or back, are `(rows, features)`.

    The batch normalization of `onepath.merging.presets`, over the last axis, is folded into linear layers alike.

    Ensures: the layers keep their class, and get a bias if they had none; in the place of the norm is an `nn.Identity`,
    or what the norm's own class does afterwards, such as an activation. One that cannot be folded is left. Training
    mode is left too: it normalises by the batch.

    Raises:
        UnsupportedModuleError: a batch normalization has no running statistics, so that rows depend on each other.
    """
    norms = {path: part for path, part in module.named_modules() if isinstance(part, _BatchNorm)}
    for path, norm in norms.items():
        _refuse_batch_statistics(path, norm)
    written_out = any(isinstance(part, BatchNorm) for part in module.modules())
    flow = flow_of(module, (BatchNorm,) if written_out else ()) if norms else None
    if flow is None:
        return None
    walk = _Norms(module, flow)
    walk.fold()
    return Folding(module, tuple(walk.layers), tuple(walk.left)) if walk.layers or walk.left else None


class _Norms:
    """The batch normalizations of a flow, one after the other; of a chain, each round of the verb folds the first."""

    def __init__(self, root: nn.Module, flow: Flow) -> None:
        self._root, self._flow = root, flow
        self.layers: list[FoldedLayer] = []
        self.left: list[LeftLayer] = []

    def fold(self) -> None:
        for path in self._flow.paths(_BatchNorm, BatchNorm):
            reason = self._folded(path)
            if reason is not None:
                self.left.append(LeftLayer(path, RULE, reason))

    def _folded(self, path: str) -> str | None:
        """Fold a norm, or return why it is left."""
        norm = self._flow.module(path)
        if norm.training:
            return "it is in training mode, where it normalises by the batch"
        reason = self._flow.obstacle(path)
        if reason is not None or self._flow.tail(path) is None:
            return reason or "its forward does more than normalise"
        before = self._into_previous(path, norm)
        if before is None:
            return None
        after = self._into_next(path, norm)
        return None if after is None else f"{before}, and {after}"

    def _into_previous(self, path: str, norm: nn.Module) -> str | None:
        source = self._flow.producer(path)
        if source is None:
            return "no single layer is before it"
        layer = self._root.get_submodule(source)
        reason = self._unfit(source, norm, layer) or self._unfit_outputs(source, layer, norm)
        if reason is not None:
            return reason
        exact = after_layer(cast(Layer, layer), affine_from_norm(_statistics(norm)))
        if not exact.fits(cast(Layer, layer).weight.dtype):
            return f"the weight of {source} would not be finite in its precision"
        self._store(path, norm, {source: exact})
        return None

    def _unfit_outputs(self, source: str, layer: nn.Module, norm: nn.Module) -> str | None:
        if self._flow.takers(source) is None or len(self._flow.takers(source) or ()) > 1:
            return f"the output of {source} is also read elsewhere"
        channels, own = channels_out(layer), _statistics(norm).num_features
        return None if channels == own else f"{source} has {channels} channels, and it {own}"

    def _into_next(self, path: str, norm: nn.Module) -> str | None:
        takers = self._flow.takers(path) or []
        if not takers:
            return "what is after it is no layer, or is not alone"
        affine = affine_from_norm(_statistics(norm))
        folded: dict[str, Exact] = {}
        for taker in takers:
            layer = self._root.get_submodule(taker)
            reason = self._unfit(taker, norm, layer) or _unfit_inputs(taker, layer, affine)
            if reason is not None:
                return reason
            folded[taker] = before_layer(cast(Layer, layer), affine)
            if not folded[taker].fits(cast(Layer, layer).weight.dtype):
                return f"the weight of {taker} would not be finite in its precision"
        self._store(path, norm, folded)
        return None

    def _unfit(self, path: str, norm: nn.Module, layer: nn.Module) -> str | None:
        kinds = next((layers for kind, layers in _DIMENSIONS if isinstance(norm, kind)), ())
        if not isinstance(layer, kinds):
            return f"{path} is a {type(layer).__name__}"
        reason = refusal(self._flow, path, title="cannot take it")
        if reason is not None:
            return reason
        if isinstance(layer, nn.Linear) and has_positions(norm):
            return f"the features of {path} are in the last axis, and its own channels are not"
        weight = layer.weight
        if not weight.is_floating_point() or weight.device != cast(Tensor, _statistics(norm).running_var).device:
            return f"the weight of {path} is {weight.dtype} on {weight.device}"
        return None

    def _store(self, path: str, norm: nn.Module, exact: dict[str, Exact]) -> None:
        for target, values in exact.items():
            layer = cast(Layer, self._root.get_submodule(target))
            before = numbers(norm, layer)
            stored = store(layer, values)
            self.layers.append(
                FoldedLayer(
                    target,
                    RULE,
                    f"batch normalization {path} into the {type(layer).__name__}",
                    stored.relative_change,
                    parts=(path,),
                    error=stored.error,
                    parameters_before=before,
                    parameters_after=numbers(layer),
                )
            )
        put(self._root, path, self._rest(path, norm))

    def _rest(self, path: str, norm: nn.Module) -> nn.Module:
        names = [part.removeprefix(f"{path}.") for part in self._flow.tail(path) or ()]
        parts = OrderedDict((name, norm.get_submodule(name)) for name in names)
        kept = OrderedDict((name, part) for name, part in parts.items() if not does_nothing(part))
        return nn.Sequential(kept) if kept else nn.Identity()


def _statistics(norm: nn.Module) -> _BatchNorm:
    return cast(_BatchNorm, norm.statistics if isinstance(norm, BatchNorm) else norm)


def _unfit_inputs(path: str, layer: nn.Module, affine: Affine) -> str | None:
    if isinstance(layer, _ConvTransposeNd):
        return f"{path} is a transposed convolution, whose borders get less of the shift"
    channels = channels_in(layer)
    if channels != affine.scale.numel():
        return f"{path} takes {channels} channels, and it has {affine.scale.numel()}"
    if isinstance(layer, _ConvNd) and pads_with_zeros(layer) and bool(torch.any(affine.shift != 0)):
        return f"{path} pads with zeros, which the shift would have to change"
    return None


def _refuse_batch_statistics(path: str, norm: _BatchNorm) -> None:
    if norm.running_mean is None or norm.running_var is None:
        raise UnsupportedModuleError(
            f"the {type(norm).__name__} {path}".rstrip(),
            "it has no running statistics, so that a row's result depends on the other rows of its batch",
            "build it with track_running_stats=True, and train it so",
        )
