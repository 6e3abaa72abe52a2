"""What of a re-parameterised model is trained, and how fast: modes, weight decay and block-wise learning rates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, get_args

from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.parametrization import CrossModalWeight
from onepath.merging.reparameterization.weights import block_index, block_template

TrainingMode = Literal["full", "auxiliary_frozen", "scales"]


def parameter_groups(
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    scale_learning_rate: float | None = None,
    block_decay: float = 1.0,
    head: Sequence[str] = (),
) -> list[dict[str, Any]]:  # what torch optimisers take
    """Return the trainable parameters in groups: decayed matrices, vectors without decay, and the scales λ.

    With a `block_decay` below 1, of a model of L blocks, what comes before them learns at `block_decay ** (L + 1)` of
    the learning rate, block i at `block_decay ** (L - i)`, and what comes after them at all of it. A scale and an
    auxiliary weight belong to the block of their layer. The blocks are the numbered list with most of the parameters,
    the first of two that have as many: of a model of several towers, take the groups of each tower.

    Args:
        model: re-parameterised or plain.
        learning_rate: of all but the scales.
        weight_decay: of matrices, the auxiliaries among them; vectors, scales, and what a module's `no_weight_decay()`
            names, as timm's models name their position table, have none.
        scale_learning_rate: of the scales; the same as the others' without it.
        block_decay: of the learning rate, from block to block towards the input.
        head: beginnings of paths, such as `head.`, of what counts as coming after the blocks wherever it is declared.

    Raises:
        UnsupportedModuleError: `block_decay` is not above 0 and at most 1, or nothing of the model begins with a path.
    """
    if not 0 < block_decay <= 1:
        raise UnsupportedModuleError(f"block_decay={block_decay}", "it is not above 0 and at most 1", "leave it at 1")
    _check_starts(model, "head", head)
    scale_ids = {id(module.scale) for module in model.modules() if isinstance(module, CrossModalWeight)}
    spared = _never_decayed(model)
    rate = learning_rate if scale_learning_rate is None else scale_learning_rate
    groups: dict[tuple[int, int], dict[str, Any]] = {}
    for parameter, distance in _distances(model, tuple(head)):
        kind = 2 if id(parameter) in scale_ids else int(parameter.ndim <= 1 or id(parameter) in spared)
        shrunk = (rate if kind == 2 else learning_rate) * block_decay**distance
        key = (kind, 0 if block_decay == 1 else distance)
        group = {"params": [], "lr": shrunk, "weight_decay": 0.0 if kind else weight_decay}
        groups.setdefault(key, group)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def _never_decayed(model: nn.Module) -> set[int]:
    """Return the identities of the parameters that a module names in `no_weight_decay()`, timm's convention."""
    found = set()
    for module in model.modules():
        named = getattr(module, "no_weight_decay", None)
        for name in named() if callable(named) else ():
            found.add(id(getattr(module, name, None)))
    return found - {id(None)}


def set_training_mode(model: nn.Module, mode: TrainingMode, *, besides: Sequence[str] = ()) -> None:
    """Choose, in place, which parameters of a re-parameterised model are trained.

    Args:
        model: with auxiliaries attached.
        mode: `full` trains everything, also what was frozen before; `auxiliary_frozen` everything but the auxiliary
            weights; `scales` the scales λ.
        besides: beginnings of paths, such as `head.`, of what is trained in the mode `scales` too.

    Raises:
        UnsupportedModuleError: the mode or a path is unknown, nothing is attached, or `full` is asked of auxiliaries
            that were attached as `frozen`; the model is then as it was.
    """
    links = [module for module in model.modules() if isinstance(module, CrossModalWeight)]
    _check_mode(model, mode, links, besides)
    scales = {id(link.scale) for link in links}
    auxiliaries = {id(link.auxiliary) for link in links}
    for name, parameter in model.named_parameters():
        if mode == "scales":
            trained = id(parameter) in scales or any(name.startswith(start) for start in besides)
        else:
            trained = mode == "full" or id(parameter) not in auxiliaries
        parameter.requires_grad_(trained and parameter.is_floating_point())


def _distances(model: nn.Module, head: tuple[str, ...]) -> Iterator[tuple[nn.Parameter, int]]:
    """Yield every trainable parameter once, and how many steps of decay lie between it and the head."""
    named = {plain_path(name): parameter for name, parameter in model.named_parameters()}
    blocks = _block_list(named)
    depth = max((index + 1 for index in map(blocks.get, named) if index is not None), default=0)
    begun = False
    for name, parameter in model.named_parameters():
        index = blocks.get(plain_path(name))
        begun = begun or index is not None
        if not parameter.requires_grad:
            continue
        if any(name.startswith(start) for start in head):
            yield parameter, 0
        elif index is not None:
            yield parameter, depth - index
        else:
            yield parameter, 0 if begun or not depth else depth + 1


def plain_path(name: str) -> str:
    """Return the path of the weight that a parameter of a re-parameterised model belongs to.

    >>> plain_path("blocks.0.mlp.fc1.parametrizations.weight.0.scale")
    'blocks.0.mlp.fc1.weight'
    """
    before, marked, after = name.partition("parametrizations.")
    return before + after.partition(".")[0] if marked else name


def _block_list(names: Iterable[str]) -> dict[str, int]:
    """Return the block index of each path in the model's repeated blocks: the list that holds most of the paths."""
    lists: dict[str, dict[str, int]] = {}
    for name in names:
        index = block_index(name)
        if index is not None:
            lists.setdefault(block_template(name).partition("{i}")[0], {})[name] = index
    repeated = [paths for paths in lists.values() if len(set(paths.values())) > 1]
    return max(repeated, key=len, default={})


def _check_mode(model: nn.Module, mode: str, links: Sequence[CrossModalWeight], besides: Sequence[str]) -> None:
    if mode not in get_args(TrainingMode):
        known = ", ".join(get_args(TrainingMode))
        raise UnsupportedModuleError(f"training mode {mode!r}", "it is not known", f"use one of {known}")
    if not links:
        raise UnsupportedModuleError(
            f"training mode {mode!r}", "no auxiliary weights are attached to the model", "attach some first"
        )
    if mode == "full" and not all(isinstance(link.auxiliary, nn.Parameter) for link in links):
        raise UnsupportedModuleError(
            "training mode 'full'", "auxiliary weights were attached as frozen", "attach them with training='trainable'"
        )
    _check_starts(model, "besides", besides)


def _check_starts(model: nn.Module, what: str, starts: Sequence[str]) -> None:
    names = [name for name, _ in model.named_parameters()]
    for start in starts:
        if not any(name.startswith(start) for name in names):
            raise UnsupportedModuleError(f"{what} {start!r}", "no parameter's path begins so", "see named_parameters()")
