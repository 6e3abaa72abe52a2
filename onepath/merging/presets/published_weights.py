"""Weights as M2PT's checkpoints name them, renamed and fitted to a preset's model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from onepath.contract.errors import MissingExtraError, UnsupportedModuleError
from onepath.merging.presets.positions import resized_positions
from onepath.merging.presets.vision_transformer import VisionTransformer

WRAPPERS = ("model", "module", "state_dict", "base_model")
"""Under which a checkpoint may hold its weights, the first that it has; two in one another too."""


@dataclass(frozen=True)
class KeyRules:
    """How a pipeline's checkpoints name weights.

    Attributes:
        prefixes: taken off the front of a name as long as one fits.
        renamed: then, the beginning of a name and what stands for it in a preset's model, the first that fits.
        pointwise: beginnings of names in a preset's model whose kernels `(outputs, inputs, 1)` become matrices.
    """

    prefixes: tuple[str, ...] = ("module.",)
    renamed: tuple[tuple[str, str], ...] = ()
    pointwise: tuple[str, ...] = ()


_POINT_NAMES = (
    ("blocks.blocks.", "blocks."),
    ("encoder.first_conv.1.", "tokenizer.first.1.statistics."),
    ("encoder.first_conv.", "tokenizer.first."),
    ("encoder.second_conv.1.", "tokenizer.second.1.statistics."),
    ("encoder.second_conv.", "tokenizer.second."),
    ("cls_head_finetune.1.", "head.1.statistics."),
    ("cls_head_finetune.5.", "head.5.statistics."),
    ("cls_head_finetune.", "head."),
)
"""Point-MAE's names, of its classifier and of its pre-training."""


KEY_RULES: Mapping[str, KeyRules] = MappingProxyType(
    {
        "image": KeyRules(),
        "audio": KeyRules(),
        "video": KeyRules(("module.", "_orig_mod.", "backbone.", "encoder.")),
        "points": KeyRules(("module.", "MAE_encoder.", "base_model."), _POINT_NAMES, ("tokenizer.",)),
    }
)
"""Modality to the rules of its pipeline."""


def weights_from_file(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; pickled checkpoints are not opened, since that runs what they hold.

    Raises:
        MissingExtraError: safetensors is not installed.
        UnsupportedModuleError: the file cannot be read, or is something else.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingExtraError("safetensors", "export", purpose="reading weights") from error
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UnsupportedModuleError(
            str(path), f"it is not a readable safetensors file ({error})", "convert the checkpoint to safetensors"
        ) from error


def renamed_weights(checkpoint: Mapping[str, Any], rules: KeyRules) -> dict[str, Tensor]:
    """Return a checkpoint's weights by the names of a preset's model, in their order.

    Args:
        checkpoint: name to tensor, or a mapping of that kind under one of `WRAPPERS`; what stands beside it is left.
        rules: of the pipeline that wrote it.

    Raises:
        UnsupportedModuleError: an entry is no tensor, or two weights would have one name.
    """
    weights: dict[str, Tensor] = {}
    for key, tensor in _unwrapped(checkpoint).items():
        if not isinstance(tensor, Tensor):
            raise UnsupportedModuleError(
                f"the checkpoint's entry {key!r}", f"it is a {type(tensor).__name__}", "give a mapping of tensors"
            )
        name = _renamed(str(key), rules)
        if name in weights:
            raise UnsupportedModuleError(
                f"the checkpoint's entry {key!r}", f"another weight is named {name!r} too", "leave one of them out"
            )
        weights[name] = tensor.squeeze(2) if tensor.ndim == 3 and name.startswith(rules.pointwise) else tensor
    return weights


def fitted_weights(weights: Mapping[str, Tensor], model: VisionTransformer, grid: tuple[int, int]) -> dict[str, Tensor]:
    """Return weights fitted to a model with other patches or classes; load them with `strict=False` if a head is left.

    The position table is resized to the model's grid. A head of another number of classes is left out.

    Args:
        weights: by the model's names.
        model: of images or spectrograms.
        grid: rows and columns of patches that the table in `weights` is for.

    Raises:
        UnsupportedModuleError: that table is for another grid.
    """
    wanted = model.state_dict()
    rows, columns = model.patch_embed.grid
    fitted = {name: tensor for name, tensor in weights.items() if not _other_head(name, tensor, wanted)}
    table = fitted.get("pos_embed")
    if table is not None:
        extra = int(model.cls_token is not None)
        fitted["pos_embed"] = resized_positions(table, grid, (rows, columns), extra_tokens=extra)
    return fitted


def reordered_head(weights: Mapping[str, Tensor], classes: Sequence[int]) -> dict[str, Tensor]:
    """Return weights whose head gives only these classes, in this order, such as 400 of a head's 710.

    Raises:
        UnsupportedModuleError: there is no head, or it has no such class.
    """
    head = weights.get("head.weight")
    if head is None or not all(0 <= index < len(head) for index in classes):
        count = 0 if head is None else len(head)
        raise UnsupportedModuleError(
            "the checkpoint's head", f"it has {count} classes, and not all that are wanted", "choose others"
        )
    index = torch.tensor(list(classes), dtype=torch.int64)
    return {name: tensor[index] if name.startswith("head.") else tensor for name, tensor in weights.items()}


def _unwrapped(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    for wrapper in WRAPPERS:
        inner = checkpoint.get(wrapper)
        if isinstance(inner, Mapping):
            return _unwrapped(inner)
    return checkpoint


def _renamed(key: str, rules: KeyRules) -> str:
    shorter = next((key.removeprefix(prefix) for prefix in rules.prefixes if key.startswith(prefix)), None)
    if shorter is not None:
        return _renamed(shorter, rules)
    for old, new in rules.renamed:
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key


def _other_head(name: str, tensor: Tensor, wanted: Mapping[str, Tensor]) -> bool:
    return name.startswith("head.") and name in wanted and tensor.shape != wanted[name].shape
