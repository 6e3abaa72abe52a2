"""Which parameters of a Lego model can change its scores: those that an optimiser should have."""

from __future__ import annotations

from torch import nn

from onepath.merging.lego.block import LegoBlock


def live_parameters(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a model that are trained and can change what it computes, each once.

    Left out are those that are frozen, and query, key and query norm of attention over a single token, whose softmax is
    1 whatever they are: an optimiser would only let them decay.

    Args:
        model: with any number of Lego blocks in it.
    """
    dead = {id(parameter) for module in model.modules() for parameter in _dead(module)}
    return [parameter for parameter in model.parameters() if parameter.requires_grad and id(parameter) not in dead]


def _dead(module: nn.Module) -> list[nn.Parameter]:
    if not isinstance(module, LegoBlock) or module.settings.tokens != 1:
        return []
    parts: list[nn.Module] = []
    for index in range(len(module.layers)):
        attention = module.layer(index).attention
        parts += [attention.query_norm, attention.query, attention.key]
    for index in range(len(module.layers) if module.mixers is not None else 0):
        parts += [module.mixer(index).attention.query, module.mixer(index).attention.key]
    return [parameter for part in parts for parameter in part.parameters()]
