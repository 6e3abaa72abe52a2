"""Parameter groups for an optimiser: scales, biases and norms are never decayed."""

from __future__ import annotations

from typing import Any

from torch import nn

from onepath.merging.reparameterization.parametrization import CrossModalWeight


def parameter_groups(
    model: nn.Module, *, learning_rate: float, weight_decay: float, scale_learning_rate: float | None = None
) -> list[dict[str, Any]]:  # what torch optimisers take
    """Return the trainable parameters in three groups: decayed matrices, vectors without decay, and the scales λ.

    Args:
        model: re-parameterised or plain.
        learning_rate: of all but the scales.
        weight_decay: of matrices, the auxiliaries among them.
        scale_learning_rate: of the scales; the same as the others' without it.
    """
    scale_ids = {id(module.scale) for module in model.modules() if isinstance(module, CrossModalWeight)}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    others = [parameter for parameter in trained if id(parameter) not in scale_ids]
    rate = learning_rate if scale_learning_rate is None else scale_learning_rate
    groups = [
        {"params": [p for p in others if p.ndim > 1], "lr": learning_rate, "weight_decay": weight_decay},
        {"params": [p for p in others if p.ndim <= 1], "lr": learning_rate, "weight_decay": 0.0},
        {"params": [p for p in trained if id(p) in scale_ids], "lr": rate, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def train_scales_only(model: nn.Module, *, besides: tuple[str, ...] = ()) -> None:
    """Freeze all parameters but the scales λ, and those whose path begins with one of `besides`, such as `head.`."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for module in model.modules():
        if isinstance(module, CrossModalWeight):
            module.scale.requires_grad_(True)
    for name, parameter in model.named_parameters():
        if besides and name.startswith(besides):
            parameter.requires_grad_(True)
