"""The collapse rule for the gain and bias of a norm: they become part of the linear layers that read the norm."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from onepath.export.collapse.dataflow import Flow, flow_of, obstacle_within
from onepath.export.collapse.refusals import refusal
from onepath.export.collapse.report import FoldedLayer, LeftLayer
from onepath.export.collapse.rules import Folding, across_layers
from onepath.export.collapse.storing import numbers, relative, wide

RULE = "norm_into_linear"
_NORMS = (nn.LayerNorm, nn.RMSNorm)


@across_layers(*_NORMS)
def norm_into_linear(module: nn.Module) -> Folding | None:
    """Fold the gain and bias of layer and RMS norms below a module into what reads them; a rule of `OPT_IN`.

    What reads a norm may be linear layers and the packed projection of an `nn.MultiheadAttention` that takes it as
    query, key and value; the two norms of an `nn.TransformerEncoderLayer` with `norm_first` are folded as well.

    Requires: a norm over the last dimension with a gain; nothing else reads it; no layer is shared, tied, parametrised
    or hooked; a bias in every layer that reads it, unless the norm has none, or only zeros.

    Ensures: every class and key stays, so that the state dict loads into the plain class with `strict=True`; the norm's
    gain is 1 and its bias 0. A norm that cannot be folded is left.
    """
    if not any(isinstance(part, _NORMS) for part in module.modules()):
        return None
    layers, left = list[FoldedLayer](), list[LeftLayer]()
    for read in _read_norms(module):
        if read.norm.weight is None or not _acts(read.norm):
            continue
        reason = read.obstacle or _misfit(read)
        if reason is not None:
            left.append(LeftLayer(read.path, RULE, reason))
        else:
            layers.append(_folded(read))
    return Folding(module, tuple(layers), tuple(left)) if layers or left else None


@dataclass(frozen=True)
class _Read:
    """A norm whose gain or bias acts, the modules that read it, and why it cannot be folded, if so."""

    path: str
    norm: nn.LayerNorm | nn.RMSNorm
    readers: dict[str, nn.Module]
    obstacle: str | None


def _read_norms(module: nn.Module) -> Iterator[_Read]:
    flow = flow_of(module)
    for path in flow.paths(*_NORMS) if flow is not None else []:
        if flow is not None and flow.takers(path):
            yield _in_flow(flow, path)
    if type(module) is nn.TransformerEncoderLayer and module.norm_first:
        yield from _in_encoder_layer(module)


def _in_flow(flow: Flow, path: str) -> _Read:
    readers = {reader: flow.module(reader) for reader in flow.takers(path) or []}
    mixed = [reader for reader in readers if not _reads_alone(flow, reader)]
    obstacles = [f"{reader} takes something else too" for reader in mixed]
    obstacles += [why for part in (path, *readers) if (why := refusal(flow, part))]
    norm = cast("nn.LayerNorm | nn.RMSNorm", flow.module(path))
    return _Read(path, norm, readers, next(iter(obstacles), None))


def _reads_alone(flow: Flow, reader: str) -> bool:
    if not isinstance(flow.module(reader), nn.MultiheadAttention):
        return True
    projected = flow.inputs(reader)[:3]
    return len(projected) == 3 and len(set(projected)) == 1


def _in_encoder_layer(layer: nn.TransformerEncoderLayer) -> Iterator[_Read]:
    for path, reader in (("norm1", "self_attn"), ("norm2", "linear1")):
        norm, after = layer.get_submodule(path), layer.get_submodule(reader)
        parts = {path: norm, reader: after}
        obstacles = [f"{n} cannot be folded: {why}" for n, p in parts.items() if (why := obstacle_within(layer, p))]
        if type(norm) in _NORMS:
            norm = cast("nn.LayerNorm | nn.RMSNorm", norm)
            yield _Read(path, norm, {reader: after}, next(iter(obstacles), None))


def _acts(norm: nn.LayerNorm | nn.RMSNorm) -> bool:
    bias = _bias(norm)
    return bool(torch.any(norm.weight != 1)) or (bias is not None and bool(torch.any(bias != 0)))


def _bias(norm: nn.Module) -> Tensor | None:
    return cast("Tensor | None", getattr(norm, "bias", None))


def _weights(reader: nn.Module) -> tuple[Tensor, Tensor | None]:
    """Return the weight `(outputs, features)` that reads a norm, and its bias."""
    if isinstance(reader, nn.MultiheadAttention):
        return cast(Tensor, reader.in_proj_weight), reader.in_proj_bias
    layer = cast(nn.Linear, reader)
    return layer.weight, layer.bias


def _misfit(read: _Read) -> str | None:
    """Return why what reads a norm cannot take its gain and bias, in words; None if it can."""
    for path, reader in read.readers.items():
        if not isinstance(reader, nn.Linear) and type(reader) is not nn.MultiheadAttention:
            return f"it is read by {path}, a {type(reader).__name__}"
        weight, bias = _weights(reader)
        if weight is None:
            return f"{path} has no packed projection"
        if tuple(read.norm.normalized_shape) != (weight.shape[1],):
            return f"it is over {tuple(read.norm.normalized_shape)}, and {path} takes {weight.shape[1]} features"
        shift = _bias(read.norm)
        if bias is None and shift is not None and bool(torch.any(shift != 0)):
            return f"it has a bias, and {path} has none"
        if not all(bool(torch.isfinite(part.to(weight.dtype)).all()) for part in _folded_values(read.norm, reader)):
            return f"the weight of {path} would not be finite in its precision"
    return None


def _folded_values(norm: nn.Module, reader: nn.Module) -> tuple[Tensor, ...]:
    """Return the weight, and the bias if there is one, with the norm's gain and bias in them, in float64."""
    weight, bias = _weights(reader)
    scaled = wide(weight) * wide(cast(Tensor, norm.weight))
    if bias is None:
        return (scaled,)
    shift = _bias(norm)
    return scaled, wide(bias) if shift is None else wide(bias) + wide(weight) @ wide(shift)


def _folded(read: _Read) -> FoldedLayer:
    pairs, before = list[tuple[Tensor, Tensor]](), list[Tensor]()
    for reader in read.readers.values():
        tensors = [tensor for tensor in _weights(reader) if tensor is not None]
        pairs += list(zip(tensors, _folded_values(read.norm, reader), strict=True))
        before.append(wide(tensors[0]).flatten().clone())
    with torch.no_grad():
        for tensor, value in pairs:
            tensor.copy_(value)
        read.norm.weight.fill_(1)
        shift = _bias(read.norm)
        if shift is not None:
            shift.zero_()
    after = torch.cat([value.flatten() for tensor, value in pairs if tensor.ndim == 2])
    count = numbers(read.norm) + sum(tensor.numel() for tensor, _ in pairs)
    return FoldedLayer(
        read.path,
        RULE,
        f"the gain and bias of the norm into {', '.join(read.readers)}",
        relative(after - torch.cat(before), torch.cat(before)),
        parts=tuple(read.readers),
        error=_rounding(pairs),
        parameters_before=count,
        parameters_after=count,
    )


def _rounding(pairs: list[tuple[Tensor, Tensor]]) -> float:
    meant = torch.cat([value.flatten() for _, value in pairs])
    return relative(torch.cat([wide(tensor).flatten() for tensor, _ in pairs]) - meant, meant)
