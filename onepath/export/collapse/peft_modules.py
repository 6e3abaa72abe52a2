"""Telling PEFT's modules by the names of their classes, and what each of them wraps."""

from __future__ import annotations

from typing import Any

from torch import nn

from onepath.contract.errors import UnsupportedModuleError

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


def _reason(kind: str) -> str:
    name = kind.removeprefix("peft.")
    if name == "tuners.lora.layer.MultiheadAttention":
        return (
            "PEFT's MultiheadAttention merges its adapters at every call, in some releases that of its output "
            "projection twice"
        )
    return f"PEFT's {name} is not a LoRA layer that can be folded exactly"
