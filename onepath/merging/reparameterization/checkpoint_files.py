"""Files of weights with data about them: safetensors, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from onepath.contract.errors import MissingExtraError, UnsupportedModuleError
from onepath.contract.publication import publish_file

_KEY = "onepath"


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:  # about: JSON
    """Write tensors and JSON data to a file, in the place of one that is there; `read_tensors` gives their order back.

    Args:
        path: of the file.
        tensors: by name; those that share memory are written once each.
        about: JSON data.

    Raises:
        MissingExtraError: safetensors is not installed.
        OSError: the file cannot be written; what was there is as it was.
    """
    metadata = {_KEY: json.dumps({**about, "order": list(tensors)}, allow_nan=False)}
    apart = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    publish_file(path, _safetensors().save(apart, metadata=metadata))


def read_tensors(path: Path, form: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file in the order in which they were given, and its JSON data.

    Args:
        path: of the file.
        form: what its data must say that it is.

    Raises:
        UnsupportedModuleError: it cannot be read whole, or is a file of another form.
        MissingExtraError: safetensors is not installed.
    """
    package = _safetensors()
    try:
        tensors = package.load(path.read_bytes())
        with _opened(path) as file:
            about = json.loads((file.metadata() or {})[_KEY])
        found, order = about["form"], about.pop("order")
        ordered = {name: tensors[name] for name in order}
    except (OSError, ValueError, KeyError, TypeError, _error()) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise UnsupportedModuleError(
            f"the checkpoint {path}", f"it cannot be read ({reason})", "check the path, or save it again"
        ) from error
    if found != form or len(ordered) != len(tensors):
        raise UnsupportedModuleError(
            f"the checkpoint {path}", f"it is of the form {found!r}", f"give one of the form {form!r}"
        )
    return ordered, about


def as_tensor(values: tuple[float, ...]) -> Tensor:
    """Return numbers as a float64 vector, which holds a float32 scale exactly."""
    return torch.tensor(values, dtype=torch.float64)


def _safetensors() -> Any:  # a module
    try:
        import safetensors.torch
    except ImportError as error:
        raise MissingExtraError("safetensors", "export", purpose="a checkpoint") from error
    return safetensors.torch


def _opened(path: Path) -> Any:  # a context manager
    import safetensors

    return safetensors.safe_open(path, framework="pt")


def _error() -> type[Exception]:
    import safetensors

    return safetensors.SafetensorError
