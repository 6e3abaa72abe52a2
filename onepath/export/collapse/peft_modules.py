"""Telling PEFT's modules by the names of their classes, and what each of them wraps."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse.tracing import has_hooks

_LORA_LAYERS = {f"peft.tuners.lora.layer.{kind}" for kind in ("Linear", "Embedding", "Conv1d", "Conv2d", "Conv3d")}
_MODELS = {"peft.peft_model.PeftModel", "peft.mixed_model.PeftMixedModel"}
_LORA_MODEL = "peft.tuners.lora.model.LoraModel"
_SAVED_MODULE = "peft.utils.other.ModulesToSaveWrapper"


def peft_kinds(module: nn.Module) -> list[str]:
    """Return the classes of PEFT that a module is of, the nearest first; none for a module of another origin."""
    names = [f"{cls.__module__}.{cls.__qualname__}" for cls in type(module).__mro__]
    return [name for name in names if name.startswith("peft.")]


def is_lora_layer(module: nn.Module) -> bool:
    """Tell a layer with LoRA adapters that can be folded."""
    kinds = peft_kinds(module)
    return bool(kinds) and f"{type(module).__module__}.{type(module).__qualname__}" in _LORA_LAYERS


def refuse_changed(path: str, module: nn.Module) -> None:
    """Refuse a module of PEFT, or a layer that it wraps, that is not as PEFT made it.

    Raises:
        UnsupportedModuleError: it has hooks, another forward, or a class of its own over one of PEFT's.
    """
    kind, kinds = type(module), peft_kinds(module)
    if has_hooks(module):
        raise UnsupportedModuleError(
            path or "this model",
            f"a hook is on its {kind.__name__}, and would see or change other values after the fold",
            "remove the hook, or put it on the plain layer afterwards",
        )
    if "forward" in vars(module):
        raise UnsupportedModuleError(
            path or "this model",
            f"the forward of its {kind.__name__} was replaced, and may compute something else",
            "undo that, as accelerate's remove_hook_from_submodules does for its own",
        )
    if kinds and not kind.__module__.startswith("peft."):
        raise UnsupportedModuleError(
            path or "this model",
            f"it is a {kind.__qualname__}, a class of its own over {_name(kinds[0])}, which may compute something else",
            "wrap the base model in PEFT's own class, or call merge_and_unload()",
        )


def refuse_passed_by(model: nn.Module, layer: nn.Module, path: str) -> None:
    """Refuse a layer that torch's own modules around it read and do not call, so that its adapters do not act yet.

    Raises:
        UnsupportedModuleError: it is one.
    """
    for parent in model.modules():
        if not any(child is layer for child in parent._modules.values()):
            continue
        if isinstance(parent, nn.MultiheadAttention):
            remedy = "merge it in PEFT if it is to act, or disable it"
        elif isinstance(parent, nn.TransformerEncoderLayer) and _has_fast_path(parent):
            remedy = "call torch.backends.mha.set_fastpath_enabled(False) first, so that it calls it"
        else:
            continue
        raise UnsupportedModuleError(
            path, f"the {type(parent).__name__} around it reads its weight and passes its adapter by", remedy
        )


def wrapped_module(path: str, module: Any) -> nn.Module:  # Any: a class of peft
    """Return the module that a wrapper of PEFT, other than a LoRA layer, calls.

    Raises:
        UnsupportedModuleError: it is not known to call one module and nothing else.
    """
    kinds = peft_kinds(module)
    if _MODELS & set(kinds):
        return _base_model(path, module)
    if kinds[0] == _LORA_MODEL:
        inner: nn.Module = module.model
        return inner
    if kinds[0] == _SAVED_MODULE:
        return _saved(module)
    raise UnsupportedModuleError(path or "this model", _reason(kinds[0]), "call merge_and_unload() on it first")


def _base_model(path: str, module: Any) -> nn.Module:  # Any: a class of peft
    inner: nn.Module = module.base_model
    if _LORA_MODEL not in peft_kinds(inner):
        raise UnsupportedModuleError(
            path or "this model",
            f"it is a {type(module).__name__} around a {type(inner).__name__}, which is no LoRA",
            "call merge_and_unload() on it first, where it has that",
        )
    return inner


def _saved(module: Any) -> nn.Module:  # Any: a class of peft
    active = module.active_adapters
    known = bool(active) and all(name in module.modules_to_save for name in active)
    chosen: nn.Module = (
        module.modules_to_save[active[0]] if known and not module.disable_adapters else module.original_module
    )
    return chosen


def _has_fast_path(layer: nn.TransformerEncoderLayer) -> bool:
    return torch.backends.mha.get_fastpath_enabled() and layer.self_attn.batch_first


def _name(kind: str) -> str:
    return f"PEFT's {kind.removeprefix('peft.')}"


def _reason(kind: str) -> str:
    if kind == "peft.tuners.lora.layer.MultiheadAttention":
        return (
            "PEFT's MultiheadAttention merges its adapters at every call, in some releases that of its output "
            "projection twice"
        )
    return f"{_name(kind)} is not a LoRA layer that can be folded exactly"
