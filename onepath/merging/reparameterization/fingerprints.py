"""Fingerprints of weights: SHA-256 of their names, precisions, shapes and bytes."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from onepath.contract.digests import sha256_from_bytes
from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.plan import Plan
from onepath.merging.reparameterization.weights import (
    WeightAddress,
    cross_modal_chain,
    parametrizations_of,
    plain_modules,
    weights_of,
)


def fingerprints(model: nn.Module) -> dict[str, str]:
    """Return that of each parameter and stored buffer of a model by its path, without what is attached to it."""
    found = {path: _fingerprint(_own_value(address)) for path, address in weights_of(model).items()}
    for prefix, module in plain_modules(model):
        for name, buffer in module.named_buffers(recurse=False):
            if name not in module._non_persistent_buffers_set:
                found[f"{prefix}.{name}" if prefix else name] = _fingerprint(buffer)
    return found


def auxiliary_fingerprint(auxiliary: nn.Module, plan: Plan) -> str:
    """Return that of the weights which a plan takes from an auxiliary, as they are used now.

    Raises:
        UnsupportedModuleError: it has no parameter of a path.
    """
    known, parts = weights_of(auxiliary), []
    for path in dict.fromkeys(pair.auxiliary for pair in plan.pairs):
        if path not in known:
            raise UnsupportedModuleError(
                path, "the auxiliary has no parameter of this path", "give the model of the plan"
            )
        parts.append(f"{path} {_fingerprint(known[path].value)}")
    return sha256_from_bytes("\n".join(parts).encode())


def _own_value(address: WeightAddress) -> Tensor:
    """Return the weight without its auxiliaries; as the module uses it where something else parametrises it."""
    if not cross_modal_chain(address.module, address.tensor_name):
        return address.value
    return cast(Tensor, parametrizations_of(address.module)[address.tensor_name].original)


def _fingerprint(tensor: Tensor) -> str:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return sha256_from_bytes(f"{tensor.dtype} {tuple(tensor.shape)} ".encode() + data)
