"""Proof that a collapse changed nothing: outputs, every layer against two matrix products, and every λ at work."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, cast

import torch
from torch import Tensor, nn

from onepath.contract.errors import ParityError, UnsupportedModuleError
from onepath.merging.reparameterization.attach import scales
from onepath.merging.reparameterization.folding import attached_weights, collapsed_state_dict
from onepath.merging.reparameterization.parametrization import CrossModalWeight
from onepath.merging.reparameterization.weights import WeightAddress, cross_modal_chain, parametrizations_of

Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""What a model is called with: one tensor, positional arguments, or named ones."""
Run = Callable[[nn.Module, Inputs], Tensor]

TOLERANCES: Mapping[torch.dtype, float] = {torch.float64: 1e-10, torch.float32: 1e-5}
"""Largest difference by precision, in parts of the largest output or of 1; of half precisions it is 1e-2."""
_HALF_TOLERANCE = 1e-2
_NUDGE = 1.0


@dataclass(frozen=True)
class CheckedWeight:
    """One re-parameterised weight.

    Attributes:
        weight: its path.
        scales: λ of each auxiliary.
        two_product_error: largest difference between x·Ŵ and x·W + Σ λ (x·W'), in parts of the largest of them or of 1.
        effects: of each auxiliary, the largest absolute gradient of its λ over the inputs, or the change of output from
            moving that by 1. Weights that share a λ have each their own; that of a bias is the largest of those that it
            shares its λ with, as attention does not notice the bias of its keys.
    """

    weight: str
    scales: tuple[float, ...]
    two_product_error: float
    effects: tuple[float, ...]


@dataclass(frozen=True)
class Verification:
    """What `verify` found to hold.

    Attributes:
        error: largest difference between the attached and the collapsed model's outputs, relative as the tolerance is.
        tolerance: that was allowed.
        weights: every re-parameterised weight.
    """

    error: float
    tolerance: float
    weights: tuple[CheckedWeight, ...]


def verify(
    attached: nn.Module,
    plain: nn.Module,
    inputs: Sequence[Inputs],
    *,
    tolerance: float | None = None,
    run: Run | None = None,
) -> Verification:
    """Return the proof that a re-parameterised model and its collapsed form compute the same; neither is changed.

    Args:
        attached: with auxiliaries, in any mode; it is compared in eval mode.
        plain: a model of the plain class, built afresh, on the same device; its weights do not matter.
        inputs: of several shapes, in the model's precision; see `random_inputs`.
        tolerance: the largest difference in parts of the largest output or of 1; by precision without it, see
            `TOLERANCES`.
        run: gives the tensor to compare; without it the model's own output, or the first of several.

    Raises:
        UnsupportedModuleError: the collapsed state has not exactly the plain model's keys, order, shapes and types; a λ
            has no effect on any output, so that the code goes past the weight; or there are no inputs.
        ParityError: an output or a layer differs by more than the tolerance.
    """
    if not inputs:
        raise UnsupportedModuleError("a verification", "there are no inputs", "give some, such as random_inputs(…)")
    call = run or _output
    state, _ = collapsed_state_dict(attached)
    _check_state(state, plain.state_dict())
    collapsed = copy.deepcopy(plain).eval()
    collapsed.load_state_dict(state, strict=True)
    subject = copy.deepcopy(attached).eval()
    allowed = _tolerance(attached_weights(subject)) if tolerance is None else tolerance
    errors = [_output_error(call, subject, collapsed, one) for one in inputs]
    worst = max(range(len(errors)), key=lambda index: errors[index])
    _refuse_above("the collapse", errors[worst], allowed, where=f"input {worst} of {len(inputs)}")
    return Verification(errors[worst], allowed, _checked_weights(subject, inputs, call, allowed))


def random_inputs(*shapes: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Return standard normal tensors of the given shapes, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)


def _output(model: nn.Module, inputs: Inputs) -> Tensor:
    if isinstance(inputs, Mapping):
        result = model(**inputs)
    else:
        result = model(*inputs) if isinstance(inputs, tuple) else model(inputs)
    parts = tuple(result.values()) if isinstance(result, Mapping) else result
    first = parts[0] if isinstance(parts, tuple) and parts else parts
    if not isinstance(first, Tensor):
        raise UnsupportedModuleError(
            f"the output of a {type(model).__name__}",
            f"it is a {type(result).__name__}",
            "say what to compare with run=lambda model, inputs: …",
        )
    return first


def _check_state(state: Mapping[str, Tensor], plain: Mapping[str, Tensor]) -> None:
    if list(state) != list(plain):
        pairs = zip_longest(state, plain, fillvalue="nothing")
        mine, theirs = next(pair for pair in pairs if pair[0] != pair[1])
        reason = f"its keys differ from the plain model's: {mine} where that has {theirs}"
        raise UnsupportedModuleError("the collapsed state", reason, "build the plain model with the same settings")
    for name, tensor in state.items():
        mine, theirs = (f"{tuple(part.shape)} {part.dtype}" for part in (tensor, plain[name]))
        if mine != theirs:
            raise UnsupportedModuleError(
                f"{name} of the collapsed state", f"it is {mine}, and the plain model's {theirs}", "build that alike"
            )


@torch.no_grad()
def _output_error(call: Run, subject: nn.Module, collapsed: nn.Module, inputs: Inputs) -> float:
    return _difference(call(subject, inputs), call(collapsed, inputs))


def _difference(expected: Tensor, found: Tensor) -> float:
    if expected.shape != found.shape:
        return float("inf")
    wide, other = expected.detach().double(), found.detach().double()
    gap = ((wide - other).abs().max() / wide.abs().max().clamp(min=1.0)).item() if wide.numel() else 0.0
    return float("inf") if math.isnan(gap) else gap


def _tolerance(addresses: Sequence[WeightAddress]) -> float:
    return max(TOLERANCES.get(address.value.dtype, _HALF_TOLERANCE) for address in addresses)


def _refuse_above(step: str, error: float, tolerance: float, *, where: str) -> None:
    if not error <= tolerance:
        raise ParityError(step, error=error, tolerance=tolerance, where=where)


def _checked_weights(
    subject: nn.Module, inputs: Sequence[Inputs], call: Run, tolerance: float
) -> tuple[CheckedWeight, ...]:
    known, checked = scales(subject), []
    effects = _effects(subject, inputs, call)
    for address in attached_weights(subject):
        error = _two_product_error(address)
        _refuse_above("a layer's second path", error, tolerance, where=address.path)
        links = cross_modal_chain(address.module, address.tensor_name) or ()
        found = tuple(effects[id(link)] for link in links)
        if not all(found):
            raise UnsupportedModuleError(
                address.layer,
                "moving its λ changes no output: the code goes past this weight, or nothing depends on the layer",
                "leave the layer out of the plan, or let the code read the weight at every call",
            )
        checked.append(CheckedWeight(address.path, known[address.path], error, found))
    return tuple(checked)


@torch.no_grad()
def _two_product_error(address: WeightAddress) -> float:
    """Return how far x·Ŵ is from the literal x·W + Σ λ (x·W'), for a random x."""
    chain = cross_modal_chain(address.module, address.tensor_name) or ()
    original = cast(Tensor, parametrizations_of(address.module)[address.tensor_name].original).double()
    axis = chain[0].axis
    rows = original.movedim(axis, 0).flatten(1) if original.ndim > 1 else original.unsqueeze(1)
    values = random_inputs((rows.shape[1], 3), dtype=torch.float64)[0].to(rows.device)
    expected = rows @ values
    for link in chain:
        added = link.auxiliary.double()
        second = (added.movedim(link.axis, 0).flatten(1) if added.ndim > 1 else added.unsqueeze(1)) @ values
        first, last = link.rows or (0, expected.shape[0])
        expected[first:last] += link.scale.double() * second
    seen = address.value.double()
    seen = seen.movedim(axis, 0).flatten(1) if seen.ndim > 1 else seen.unsqueeze(1)
    return _difference(expected, seen @ values)


def _effects(subject: nn.Module, inputs: Sequence[Inputs], call: Run) -> dict[int, float]:
    """Return what moving λ does to the outputs, by the identity of each auxiliary, which has its own λ after this."""
    links = [module for module in subject.modules() if isinstance(module, CrossModalWeight)]
    shared = {id(link): id(link.scale) for link in links}
    for link in links:  # one λ at work in a layer says nothing about the others that share it
        link.scale = nn.Parameter(link.scale.detach().clone())
    gradients = _gradients(links, subject, inputs, call)
    own = {id(link): gradients[id(link.scale)] or _moved(subject, link, inputs, call) for link in links}
    largest = {scale: max(own[link] for link in shared if shared[link] == scale) for scale in shared.values()}
    return {id(link): largest[shared[id(link)]] if link.auxiliary.ndim == 1 else own[id(link)] for link in links}


def _gradients(
    links: Sequence[CrossModalWeight], subject: nn.Module, inputs: Sequence[Inputs], call: Run
) -> dict[int, float]:
    """Return the largest absolute gradient of each λ, by identity, of a random direction of each output."""
    params = {id(link.scale): link.scale for link in links}
    found = dict.fromkeys(params, 0.0)
    for parameter in params.values():
        parameter.requires_grad_(True)
    with torch.enable_grad():
        for one in inputs:
            output = call(subject, one)
            if not output.requires_grad:
                continue
            (direction,) = random_inputs(tuple(output.shape), dtype=output.dtype)
            loss = (output * direction.to(output.device)).sum()
            gradients = torch.autograd.grad(loss, list(params.values()), allow_unused=True)
            for key, gradient in zip(params, gradients, strict=True):
                if gradient is not None:
                    found[key] = max(found[key], gradient.abs().max().item())
    return found


@torch.no_grad()
def _moved(subject: nn.Module, link: CrossModalWeight, inputs: Sequence[Inputs], call: Run) -> float:
    """Return how far an output moves with λ; code that detaches a weight from its gradient still uses it."""
    before = [call(subject, one).clone() for one in inputs]
    link.scale.add_(_NUDGE)
    after = [call(subject, one) for one in inputs]
    link.scale.sub_(_NUDGE)
    return max((a.double() - b.double()).abs().max().item() for a, b in zip(before, after, strict=True))
