"""The collapse rule for LoRA adapters of PEFT: each is folded into the layer it adapts, and its wrappers are gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse.peft_layer import FoldedLora, folded_lora
from onepath.export.collapse.peft_modules import (
    is_lora_layer,
    peft_kinds,
    refuse_changed,
    refuse_passed_by,
    wrapped_module,
)
from onepath.export.collapse.report import FoldedLayer
from onepath.export.collapse.rules import Folding
from onepath.export.collapse.storing import numbers
from onepath.merging.adapters.checks import check_untied
from onepath.merging.reparameterization.weights import WeightAddress

_NOTES = ("peft_config", "_hf_peft_config_loaded")
"""What PEFT, and transformers where a model took adapters itself, note on the base model."""


def peft_lora(module: nn.Module) -> Folding | None:
    """Fold the LoRA adapters of PEFT in a module and its sub-modules, and put what they wrap in their place.

    Only the adapters that are active act, in their order; disabled ones are dropped, and ones that PEFT has merged
    already are not merged again. PEFT is told by the names of classes and never imported.

    Requires: LoRA, rsLoRA or DoRA on plain linear layers, convolutions of one group and embeddings, none of them tied;
    no dropout that acts, no hooks on what goes away, no forwards or classes of one's own, no other method of PEFT
    beside it; a
    model that calls its layers, and does not read their weights alone, as torch's attention does.

    Ensures: no class of PEFT is left; the keys, order, shapes, precisions and flags are the base model's; sums made in
    float64 and rounded once.
    """
    if not any(peft_kinds(part) for part in module.modules()):
        return None
    walk = _Unwrapping(module)
    plain = walk.unwrapped(module, "")
    walk.store()
    for part in plain.modules():
        for note in _NOTES:
            part.__dict__.pop(note, None)
    return Folding(plain, tuple(walk.layers()))


@dataclass(frozen=True)
class _Folded:
    path: str
    base: nn.Module
    values: FoldedLora | None
    title: str
    numbers: tuple[int, int]


class _Unwrapping:
    """A walk over a model that takes PEFT's modules out of it; values are stored only after all could be computed."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._done: dict[int, nn.Module] = {}
        self._wrappers: list[FoldedLayer] = []
        self._folded: list[_Folded] = []

    def unwrapped(self, module: nn.Module, path: str) -> nn.Module:
        if id(module) in self._done:
            return self._done[id(module)]
        result = self._plain(module, path)
        self._done[id(module)] = self._done[id(result)] = result
        for name, child in list(result._modules.items()):  # a shared child under each of its names
            if child is None:
                continue
            plain = self.unwrapped(child, f"{path}.{name}" if path else name)
            if plain is not child:
                result._modules[name] = plain
        return result

    def store(self) -> None:
        with torch.no_grad():
            for entry in self._folded:
                if entry.values is None:
                    continue
                base = cast(Any, entry.base)  # a layer with a weight, of whatever class
                base.weight.copy_(entry.values.weight)
                if entry.values.bias is not None:
                    base.bias.copy_(entry.values.bias)

    def layers(self) -> Iterator[FoldedLayer]:
        yield from self._wrappers
        for entry in self._folded:
            values = entry.values
            yield FoldedLayer(
                entry.path,
                "peft_lora",
                entry.title,
                values.relative_change if values else None,
                values.scales if values else (),
                error=values.error if values else None,
                parameters_before=entry.numbers[0],
                parameters_after=entry.numbers[1],
            )

    def _plain(self, module: nn.Module, path: str) -> nn.Module:
        while peft_kinds(module):
            refuse_changed(path, module)
            if is_lora_layer(module):
                self._fold(module, path)
                module = cast(Any, module).base_layer  # a class of peft
            else:
                self._wrappers.append(
                    FoldedLayer(path, "peft_lora", f"{type(module).__name__} replaced by what it wraps")
                )
                module = wrapped_module(path, module)
        return module

    def _fold(self, layer: Any, path: str) -> None:  # Any: a class of peft
        names = _acting(path, layer)
        values = None
        if names:
            _refuse_shared(self._model, layer, path)
            refuse_passed_by(self._model, layer, path)
            own = (layer.lora_A, layer.lora_B, layer.lora_dropout)
            for part in (layer.base_layer, *(part for group in own for part in group.modules())):
                refuse_changed(path, part)
            values = folded_lora(path, layer, names)
        counts = numbers(layer), numbers(layer.base_layer)
        self._folded.append(_Folded(path, layer.base_layer, values, _title(layer, names), counts))


def _acting(path: str, layer: Any) -> tuple[str, ...]:  # Any: a class of peft
    if layer.merged and layer.disable_adapters:
        raise UnsupportedModuleError(
            path, "its adapters are merged and disabled at once", "call unmerge_adapter() or enable them"
        )
    if layer.merged or layer.disable_adapters:
        return ()
    return tuple(name for name in layer.active_adapters if name in layer.scaling)


def _title(layer: Any, names: tuple[str, ...]) -> str:  # Any: a class of peft
    if names:
        return f"LoRA {'adapters' if len(names) > 1 else 'adapter'} {', '.join(names)} into one weight"
    if layer.merged:
        return f"LoRA adapters {', '.join(layer.merged_adapters)} were merged already, and are taken off"
    return f"LoRA adapters dropped, as they are {'disabled' if layer.disable_adapters else 'not active'}"


def _refuse_shared(model: nn.Module, layer: Any, path: str) -> None:  # Any: a class of peft
    base = layer.base_layer
    parents = [part for part in model.modules() if any(child is base for child in part._modules.values())]
    if len(parents) > 1:
        raise UnsupportedModuleError(
            path, "its base layer is also used without the adapter", "give each place a layer of its own"
        )
    names = [name for name in ("weight", "bias") if isinstance(getattr(base, name, None), nn.Parameter)]
    check_untied(model, [WeightAddress(f"{path}.{name}", base, name) for name in names])
