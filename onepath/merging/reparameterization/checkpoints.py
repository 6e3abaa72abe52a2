"""The checkpoints of a re-parameterised model that hold its weights: attached, and collapsed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.attach import scales
from onepath.merging.reparameterization.checkpoint_files import read_tensors, write_tensors
from onepath.merging.reparameterization.folding import FoldedWeight, collapsed_state_dict
from onepath.merging.reparameterization.weights import cross_modal_chain, weights_of


def save_attached(model: nn.Module, path: Path) -> None:
    """Write all of a re-parameterised model's state: its weights, the auxiliaries and the scales, to go on training.

    Args:
        model: with auxiliaries attached.
        path: of the safetensors file.

    Raises:
        UnsupportedModuleError: nothing is attached.
    """
    check_attached(model)
    write_tensors(path, model.state_dict(), {"form": "attached", "attachment": _attachment(model)})


def load_attached(path: Path, model: nn.Module) -> None:
    """Load what `save_attached` wrote into a model to which auxiliaries are attached by the same plans, in place.

    The auxiliaries' values come from the file: any of the same shapes may have been attached.

    Raises:
        UnsupportedModuleError: the file cannot be read; or names, shapes, the rows that are added to, or which weights
            share a λ differ; the model is then as it was.
    """
    state, about = read_tensors(path, "attached")
    check_names(path, state, dict(model.state_dict()))
    _check_attachment(path, about.get("attachment"), _attachment(model))
    model.load_state_dict(state, strict=True)


def save_collapsed(model: nn.Module, path: Path) -> tuple[FoldedWeight, ...]:
    """Write the plain model's state, of one path of weights, and return what became of each weight.

    Raises:
        UnsupportedModuleError: see `collapse_in_place`.
    """
    state, folded = collapsed_state_dict(model)
    write_tensors(path, state, {"form": "collapsed"})
    return folded


def load_collapsed(path: Path, model: nn.Module) -> None:
    """Load what `save_collapsed` wrote into a model of the plain class, strictly, in place.

    Raises:
        UnsupportedModuleError: the file cannot be read, or a name, shape or precision differs; the model is then as it
            was.
    """
    state, _ = read_tensors(path, "collapsed")
    check_names(path, state, dict(model.state_dict()))
    model.load_state_dict(state, strict=True)


def check_names(path: Path, state: Mapping[str, Tensor], own: Mapping[str, Tensor], *, partial: bool = False) -> None:
    """Refuse the state of a checkpoint that is not of a model's names, shapes and precisions.

    Args:
        path: of the checkpoint.
        state: that it holds.
        own: the model's.
        partial: whether it may hold less than the model has.

    Raises:
        UnsupportedModuleError: a name is missing or unknown, or a shape or precision differs.
    """
    missing = [] if partial else [name for name in own if name not in state]
    unknown = [name for name in state if name not in own]
    differing = [n for n in state if n in own and (state[n].shape, state[n].dtype) != (own[n].shape, own[n].dtype)]
    for problem, names in (("lacks", missing), ("also has", unknown), ("has in another shape or type", differing)):
        if names:
            raise UnsupportedModuleError(
                f"the checkpoint {path} for this model",
                f"it {problem} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else ""),
                "build the model as it was when the checkpoint was saved",
            )


def check_attached(model: nn.Module) -> None:
    """Refuse a model without auxiliary weights.

    Raises:
        UnsupportedModuleError: it has none.
    """
    if not scales(model):
        raise UnsupportedModuleError(
            "a checkpoint of this model", "no auxiliary weights are attached", "save its state dict, or attach some"
        )


def _attachment(model: nn.Module) -> dict[str, Any]:  # JSON
    """Return, for each auxiliary of each weight, its rows and the first weight that has its λ."""
    firsts: dict[int, str] = {}
    found: dict[str, Any] = {}
    for path, address in weights_of(model).items():
        for index, link in enumerate(cross_modal_chain(address.module, address.tensor_name) or ()):
            scale = firsts.setdefault(id(link.scale), f"{path} {index}")
            found.setdefault(path, []).append([link.rows and list(link.rows), scale])
    return found


def _check_attachment(path: Path, stored: Any, own: Mapping[str, Any]) -> None:  # JSON
    known = stored if isinstance(stored, Mapping) else {}
    differing = [name for name in own if own[name] != known.get(name)]
    if differing:
        raise UnsupportedModuleError(
            f"the checkpoint {path} for this model",
            f"there {differing[0]} has its auxiliaries in other rows, or other weights share its λ",
            "attach by the plans with which the checkpoint was saved",
        )
