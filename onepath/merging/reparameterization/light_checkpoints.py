"""The light checkpoint of a re-parameterised model: scales λ, plans and fingerprints, and no weight of the parents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from onepath.contract.digests import canonical_json
from onepath.contract.errors import UnsupportedModuleError
from onepath.contract.tensors import Closed
from onepath.merging.reparameterization.additions import additions, link_counts
from onepath.merging.reparameterization.attach import Training, attach, scales
from onepath.merging.reparameterization.checkpoint_files import as_tensor, read_tensors, write_tensors
from onepath.merging.reparameterization.checkpoints import check_attached, check_names
from onepath.merging.reparameterization.checks import check_plan
from onepath.merging.reparameterization.fingerprints import auxiliary_fingerprint, fingerprints
from onepath.merging.reparameterization.groups import plain_path
from onepath.merging.reparameterization.plan import Plan
from onepath.merging.reparameterization.weights import cross_modal_chain, weights_of

_SCALES = "scales/"
_BESIDES = "besides/"


class _About(Closed):
    form: Literal["light"]
    plans: tuple[Plan, ...]
    auxiliaries: tuple[str, ...]
    target: Mapping[str, str]


def save_light(
    model: nn.Module,
    path: Path,
    *,
    plans: Sequence[Plan],
    auxiliaries: Sequence[nn.Module],
    besides: Sequence[str] = (),
) -> None:
    """Write only the scales λ, the plans and fingerprints: a few kB that rebuild a model whose own weights are at hand.

    It is the checkpoint of a model of which only the scales were trained, and perhaps some parts besides. What else of
    the model differs when it is rebuilt is found by the fingerprints, and refused then.

    Args:
        model: with auxiliaries attached.
        path: of the safetensors file.
        plans: in the order in which they were attached.
        auxiliaries: one a plan.
        besides: beginnings of paths, such as `head.`, of what to write too; nothing that has an auxiliary.

    Raises:
        UnsupportedModuleError: nothing is attached; the plans are not those of the model; the attached auxiliary
            weights were trained; or `besides` names nothing, or a weight that has an auxiliary.
    """
    check_attached(model)
    _check_attachment(model, plans, auxiliaries)
    attached = scales(model)
    state = _besides(model, besides, attached)
    about = {
        "form": "light",
        "plans": [asdict(plan) for plan in plans],
        "auxiliaries": [auxiliary_fingerprint(auxiliary, plan) for plan, auxiliary in _zipped(plans, auxiliaries)],
        "target": {name: digest for name, digest in fingerprints(model).items() if name not in state},
    }
    tensors = {_SCALES + name: as_tensor(values) for name, values in attached.items()}
    write_tensors(path, tensors | {_BESIDES + name: value for name, value in state.items()}, about)


def load_light(
    path: Path,
    target: nn.Module,
    auxiliaries: Sequence[nn.Module],
    *,
    training: Training = "frozen",
    names: Sequence[str | None] = (),
) -> tuple[Plan, ...]:
    """Attach the auxiliaries as the checkpoint's plans say, set the scales, and return the plans; in place.

    Args:
        path: what `save_light` wrote.
        target: the plain model, with the weights that it had; what was written besides may differ.
        auxiliaries: one a plan, with the weights that they had.
        training: see `attach`.
        names: what reports call the auxiliaries, in order; those that are left out have no name.

    Raises:
        UnsupportedModuleError: the file cannot be read or was changed, the target or an auxiliary is not the one of
            the checkpoint, or there are more names than auxiliaries; the target is then as it was.
    """
    tensors, raw = read_tensors(path, "light")
    about = _about(path, raw)
    besides, values = _tensors_under(_BESIDES, tensors), _tensors_under(_SCALES, tensors)
    _check_scales(path, values, about.plans)
    _check_auxiliaries(path, about, auxiliaries)
    called = _called(names, len(auxiliaries))
    _check_target(path, about.target, target, besides=besides)
    check_names(path, besides, dict(target.state_dict()), partial=True)
    for plan, auxiliary in _zipped(about.plans, auxiliaries):
        check_plan(plan, target, auxiliary)
    for (plan, auxiliary), name in zip(_zipped(about.plans, auxiliaries), called, strict=True):
        attach(plan, target, auxiliary, training=training, name=name)
    _set_scales(target, values)
    target.load_state_dict(besides, strict=False)
    return about.plans


def _check_attachment(model: nn.Module, plans: Sequence[Plan], auxiliaries: Sequence[nn.Module]) -> None:
    if len(plans) != len(auxiliaries) or _planned(plans) != {path: len(v) for path, v in scales(model).items()}:
        raise UnsupportedModuleError(
            f"{len(plans)} plans with {len(auxiliaries)} auxiliaries",
            "they are not what is attached to the model",
            "give every plan that was attached, in order, and the auxiliary of each",
        )
    seen: Counter[str] = Counter()
    for plan, auxiliary in _zipped(plans, auxiliaries):
        check_plan(plan, model, auxiliary)
        for entry in additions(plan, model, auxiliary, share_storage=False):
            chain = cross_modal_chain(entry.address.module, entry.address.tensor_name) or ()
            link = chain[seen[entry.address.path]]
            seen[entry.address.path] += 1
            if link.rows != entry.rows or not torch.equal(link.auxiliary, entry.auxiliary):
                raise UnsupportedModuleError(
                    entry.address.layer,
                    "its attached weight is not the auxiliary's, from which a light checkpoint rebuilds it: it was "
                    "trained, or it comes from another model",
                    "use save_attached, or give the auxiliary that was attached",
                )


def _planned(plans: Sequence[Plan]) -> dict[str, int]:
    return dict(sum((Counter(link_counts(plan)) for plan in plans), Counter[str]()))


def _besides(model: nn.Module, besides: Sequence[str], attached: Mapping[str, object]) -> dict[str, Tensor]:
    state = model.state_dict()
    found: dict[str, Tensor] = {}
    for start in besides:
        part = {name: value for name, value in state.items() if name.startswith(start)}
        if not part:
            raise UnsupportedModuleError(
                f"besides {start!r}", "nothing of the model's state begins so", "see model.state_dict()"
            )
        for name in part:
            if plain_path(name) in attached:
                raise UnsupportedModuleError(
                    f"besides {start!r}",
                    f"{plain_path(name)} has an auxiliary, and is rebuilt from the target's own",
                    "leave it out, or use save_attached if it was trained",
                )
        found |= part
    return found


def _about(path: Path, raw: Mapping[str, Any]) -> _About:  # JSON
    try:
        about = _About.model_validate_json(canonical_json(raw))
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise _changed(path, f"{where}: {error.errors()[0]['msg']}") from error
    if len(about.auxiliaries) != len(about.plans):
        raise _changed(path, f"it has {len(about.plans)} plans and {len(about.auxiliaries)} auxiliaries")
    return about


def _check_scales(path: Path, values: Mapping[str, Tensor], plans: Sequence[Plan]) -> None:
    planned = _planned(plans)
    for name in dict.fromkeys([*planned, *values]):
        shape = tuple(values[name].shape) if name in values else (0,)
        if shape != (planned.get(name, 0),):
            raise _changed(path, f"{name} has scales of shape {shape} and {planned.get(name, 0)} are planned")
        if not values[name].isfinite().all():
            raise _changed(path, f"a scale of {name} is not finite")


def _changed(path: Path, problem: str) -> UnsupportedModuleError:
    return UnsupportedModuleError(
        f"the checkpoint {path}", f"it is not what save_light writes: {problem}", "save it again"
    )


def _check_auxiliaries(path: Path, about: _About, auxiliaries: Sequence[nn.Module]) -> None:
    if len(auxiliaries) != len(about.plans):
        raise UnsupportedModuleError(
            f"{len(auxiliaries)} auxiliaries",
            f"the checkpoint {path} has {len(about.plans)} plans",
            "give one for each plan",
        )
    for index, (plan, auxiliary) in enumerate(_zipped(about.plans, auxiliaries)):
        if auxiliary_fingerprint(auxiliary, plan) != about.auxiliaries[index]:
            raise _other(path, f"auxiliary {index}")


def _called(names: Sequence[str | None], count: int) -> list[str | None]:
    """Return a name, or None, for each of the auxiliaries."""
    if len(names) > count:
        raise UnsupportedModuleError(
            f"{len(names)} names", f"there are {count} auxiliaries", "give one for each at most, in their order"
        )
    return [*names, *[None] * (count - len(names))]


def _check_target(path: Path, expected: Mapping[str, str], target: nn.Module, *, besides: Mapping[str, Tensor]) -> None:
    if scales(target):
        raise UnsupportedModuleError(
            "the target", "auxiliary weights are attached to it already", "give the plain model"
        )
    found = {name: digest for name, digest in fingerprints(target).items() if name not in besides}
    differing = [name for name in {**expected, **found} if found.get(name) != expected.get(name)]
    if differing:
        more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
        raise _other(path, f"the target with this {', '.join(differing[:3])}{more}")


def _other(path: Path, model: str) -> UnsupportedModuleError:
    return UnsupportedModuleError(
        model,
        f"its weights are not those with which {path} was saved",
        "load the weights of then, or save again with besides=[…] for what was trained besides the scales",
    )


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
