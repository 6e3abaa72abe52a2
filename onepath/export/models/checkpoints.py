"""Loading a parent's weights: a safetensors file, or a folder of shards with an index, that must fit the model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.presets.published_weights import weights_from_file

SUFFIX = ".safetensors"
INDEX = "*.safetensors.index.json"
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SHOWN = 5
"""How many tensors a message names of each kind of misfit."""


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a checkpoint into a model, in place; the model keeps its precision.

    Args:
        model: every tensor of its state dict must be in the checkpoint, but those that share memory with one that is;
            and nothing else may be in it.
        path: a safetensors file, or a folder with one, or with shards and their index as Hugging Face writes them.

    Raises:
        UnsupportedModuleError: there is no such file, it is pickled or damaged, or it does not fit; nothing is loaded.
    """
    tensors = tensors_from_checkpoint(path)
    state = model.state_dict(keep_vars=True)
    misfits = [*_misfits(tensors, state)]
    if misfits:
        raise UnsupportedModuleError(
            str(path), "; ".join(misfits), "give the weights of this very model, or other settings"
        )
    model.load_state_dict(dict(tensors), strict=False)  # what is missing shares memory with what is there


def tensors_from_checkpoint(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file or of a folder of shards.

    Raises:
        UnsupportedModuleError: there is none, or it is pickled, damaged, or incomplete.
    """
    tensors: dict[str, Tensor] = {}
    for shard, expected in _shards(path).items():
        found = _tensors_from_file(shard)
        if expected is not None and sorted(expected) != sorted(found):
            raise UnsupportedModuleError(
                str(shard), "it does not hold the tensors that the index names", "copy the whole checkpoint again"
            )
        tensors |= found
    return tensors


def _shards(path: Path) -> dict[Path, list[str] | None]:
    """Return the files of a checkpoint, and the names that the index says are in each."""
    if not path.is_dir():
        return {path: None}
    indices, files = sorted(path.glob(INDEX)), sorted(path.glob(f"*{SUFFIX}"))
    if len(indices) == 1:
        return _indexed(indices[0])
    if not indices and len(files) == 1:
        return {files[0]: None}
    raise UnsupportedModuleError(
        str(path),
        f"it has {len(files)} {SUFFIX} files and {len(indices)} indices",
        f"give a folder with one {SUFFIX} file, or with shards and one index, or the file itself",
    )


def _indexed(index: Path) -> dict[Path, list[str] | None]:
    names: dict[Path, list[str] | None] = {}
    for name, file in _weight_map(index).items():
        if not isinstance(file, str) or Path(file).name != file or not file.endswith(SUFFIX):
            raise UnsupportedModuleError(
                str(index), f"it names {file!r} for {name}, which is no {SUFFIX} file beside it", "write the index anew"
            )
        names[index.parent / file] = [*(names.get(index.parent / file) or []), name]
    gone = [file.name for file in names if not file.is_file()]
    if gone:
        raise UnsupportedModuleError(
            str(index), f"it names {', '.join(gone)}, and there is no such file", "copy the whole checkpoint again"
        )
    return names


def _weight_map(index: Path) -> Mapping[str, Any]:  # JSON
    try:
        found = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UnsupportedModuleError(str(index), f"it is no index ({error!r})", "copy the checkpoint again") from error
    if not isinstance(found, dict) or not found:
        raise UnsupportedModuleError(str(index), "its weight_map names no tensors", "copy the checkpoint again")
    return found


def _tensors_from_file(path: Path) -> dict[str, Tensor]:
    if path.suffix in _PICKLED:
        raise UnsupportedModuleError(
            str(path), "opening a pickled checkpoint runs what it holds", "convert it to safetensors where it was made"
        )
    return weights_from_file(path)


def _misfits(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Iterator[str]:
    loaded = {_memory(state[name]) for name in tensors if name in state}
    missing = [name for name, tensor in state.items() if name not in tensors and _memory(tensor) not in loaded]
    unknown = sorted(name for name in tensors if name not in state)
    shared = [name for name in tensors if name in state]
    shapes = [
        f"{name} {tuple(tensors[name].shape)} for {tuple(state[name].shape)}"
        for name in shared
        if tensors[name].shape != state[name].shape
    ]
    kinds = [
        f"{name} {_type(tensors[name])} for {_type(state[name])}"
        for name in shared
        if tensors[name].is_floating_point() != state[name].is_floating_point()
    ]
    titles = ("it lacks", "the model has no", "it has other shapes", "it has other types")
    for title, names in zip(titles, (missing, unknown, shapes, kinds), strict=True):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            yield f"{title}: {', '.join(names[:_SHOWN])}{more}"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _memory(tensor: Tensor) -> tuple[torch.device, int, torch.Size]:
    return tensor.device, tensor.data_ptr(), tensor.shape
