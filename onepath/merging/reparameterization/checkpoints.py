"""The three checkpoints of a re-parameterised model: attached, light, and collapsed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from onepath.contract.digests import canonical_json, sha256_from_bytes
from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.attach import Training, attach, scales
from onepath.merging.reparameterization.checkpoint_files import as_tensor, read_tensors, write_tensors
from onepath.merging.reparameterization.checks import check_plan
from onepath.merging.reparameterization.folding import FoldedWeight, collapsed_state_dict
from onepath.merging.reparameterization.plan import Plan, plan_from_json
from onepath.merging.reparameterization.weights import cross_modal_chain, parametrizations_of, weights_of

_SCALES = "scales/"
_BESIDES = "besides/"


def save_attached(model: nn.Module, path: Path) -> None:
    """Write all of a re-parameterised model's state: its weights, the auxiliaries and the scales, to go on training.

    Args:
        model: with auxiliaries attached.
        path: of the safetensors file.

    Raises:
        UnsupportedModuleError: nothing is attached.
    """
    _check_attached(model)
    write_tensors(path, model.state_dict(), {"form": "attached"})


def load_attached(path: Path, model: nn.Module) -> None:
    """Load what `save_attached` wrote into a model to which the same auxiliaries' shapes are attached, in place.

    Raises:
        UnsupportedModuleError: the file cannot be read, or names or shapes differ; the model is then as it was.
    """
    state, _ = read_tensors(path, "attached")
    _load_strictly(path, state, model)


def save_light(
    model: nn.Module,
    path: Path,
    *,
    plans: Sequence[Plan],
    auxiliaries: Sequence[nn.Module],
    besides: Sequence[str] = (),
) -> None:
    """Write only the scales λ, the plans and fingerprints: a few kB that rebuild a model whose own weights are at hand.

    It is the checkpoint of a model of which only the scales were trained, and perhaps some parts besides.

    Args:
        model: with auxiliaries attached.
        path: of the safetensors file.
        plans: in the order in which they were attached.
        auxiliaries: one a plan.
        besides: beginnings of paths, such as `head.`, of parameters to write too.

    Raises:
        UnsupportedModuleError: nothing is attached, or the plans are not those of the model.
    """
    _check_attached(model)
    planned = Counter(pair.target for plan in plans for pair in plan.pairs)
    attached = scales(model)
    if planned != {path: len(values) for path, values in attached.items()} or len(plans) != len(auxiliaries):
        raise UnsupportedModuleError(
            f"{len(plans)} plans with {len(auxiliaries)} auxiliaries",
            "they are not what is attached to the model",
            "give every plan that was attached, in order, and the auxiliary of each",
        )
    state = {name: value for name, value in model.state_dict().items() if name.startswith(tuple(besides) or ("\0",))}
    about = {
        "form": "light",
        "plans": [asdict(plan) for plan in plans],
        "auxiliaries": [_fingerprint(a, [p.auxiliary for p in plan.pairs]) for plan, a in _zipped(plans, auxiliaries)],
        "target": _fingerprint(model, sorted(planned)),
    }
    tensors = {_SCALES + name: as_tensor(values) for name, values in attached.items()}
    write_tensors(path, tensors | {_BESIDES + name: value for name, value in state.items()}, about)


def load_light(
    path: Path, target: nn.Module, auxiliaries: Sequence[nn.Module], *, training: Training = "frozen"
) -> tuple[Plan, ...]:
    """Attach the auxiliaries as the checkpoint's plans say, set the scales, and return the plans; in place.

    Args:
        path: what `save_light` wrote.
        target: the plain model, with the weights that it had.
        auxiliaries: one a plan, with the weights that they had.
        training: see `attach`.

    Raises:
        UnsupportedModuleError: the file cannot be read, or the target or an auxiliary is not the one of the checkpoint;
            the target is then as it was.
    """
    tensors, about = read_tensors(path, "light")
    plans = tuple(plan_from_json(canonical_json(raw).decode()) for raw in about["plans"])
    _check_fingerprints(path, plans, about, target=target, auxiliaries=auxiliaries)
    for plan, auxiliary in _zipped(plans, auxiliaries):
        check_plan(plan, target, auxiliary)
    besides = _tensors_under(_BESIDES, tensors)
    _check_names(path, besides, dict(target.state_dict()), partial=True)
    for plan, auxiliary in _zipped(plans, auxiliaries):
        attach(plan, target, auxiliary, training=training)
    _set_scales(target, _tensors_under(_SCALES, tensors))
    target.load_state_dict(besides, strict=False)
    return plans


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
    _load_strictly(path, state, model)


def _load_strictly(path: Path, state: Mapping[str, Tensor], model: nn.Module) -> None:
    _check_names(path, state, dict(model.state_dict()), partial=False)
    model.load_state_dict(state, strict=True)


def _check_names(path: Path, state: Mapping[str, Tensor], own: Mapping[str, Tensor], *, partial: bool) -> None:
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


def _check_attached(model: nn.Module) -> None:
    if not scales(model):
        raise UnsupportedModuleError(
            "a checkpoint of this model", "no auxiliary weights are attached", "save its state dict, or attach some"
        )


def _check_fingerprints(
    path: Path, plans: Sequence[Plan], about: Mapping[str, Any], *, target: nn.Module, auxiliaries: Sequence[nn.Module]
) -> None:
    if len(auxiliaries) != len(plans):
        raise UnsupportedModuleError(
            f"{len(auxiliaries)} auxiliaries", f"the checkpoint {path} has {len(plans)} plans", "give one for each plan"
        )
    planned = sorted({pair.target for plan in plans for pair in plan.pairs})
    found = [("the target", target, planned, about["target"])]
    for index, (plan, auxiliary) in enumerate(_zipped(plans, auxiliaries)):
        paths = [pair.auxiliary for pair in plan.pairs]
        found.append((f"auxiliary {index}", auxiliary, paths, about["auxiliaries"][index]))
    for role, model, paths, expected in found:
        if _fingerprint(model, paths) != expected:
            raise UnsupportedModuleError(
                role,
                f"its weights are not those with which {path} was saved",
                "load the weights of then, or train again",
            )


def _fingerprint(model: nn.Module, paths: Sequence[str]) -> str:
    """Return the SHA-256 of some of a model's weights, without what is attached to them."""
    known, parts = weights_of(model), []
    for path in dict.fromkeys(paths):
        if path not in known:
            raise UnsupportedModuleError(path, "the model has no parameter of this path", "give the model of the plan")
        links = parametrizations_of(known[path].module)
        name = known[path].tensor_name
        weight = cast(Tensor, links[name].original if name in links else known[path].value).detach()
        data = weight.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        parts.append(f"{path} {weight.dtype} {tuple(weight.shape)} {sha256_from_bytes(data)}")
    return sha256_from_bytes("\n".join(parts).encode())


def _set_scales(model: nn.Module, values: Mapping[str, Tensor]) -> None:
    addresses = weights_of(model)
    with torch.no_grad():
        for path, numbers in values.items():
            chain = cross_modal_chain(addresses[path].module, addresses[path].tensor_name) or ()
            for link, number in zip(chain, numbers, strict=True):
                link.scale.fill_(number.item())


def _tensors_under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _zipped(plans: Sequence[Plan], auxiliaries: Sequence[nn.Module]) -> list[tuple[Plan, nn.Module]]:
    return list(zip(plans, auxiliaries, strict=True))
