"""Why a rule leaves a layer of a fold as it is, in words that name the layer."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from onepath.export.collapse.dataflow import Flow

NO_SINGLE_TAKER = "no single layer reads its output, and nothing else"


def refusal(
    flow: Flow, path: str, unfit: Callable[[nn.Module], str | None] | None = None, *, title: str = "cannot be folded"
) -> str | None:
    """Return why a layer cannot take part in a fold, with its path; None if it can.

    Args:
        flow: that the layer is a leaf of.
        path: of the layer.
        unfit: what more a rule asks of the module: why it does not do, or None.
        title: what the layer cannot do, in words.
    """
    reason = flow.obstacle(path) or (None if unfit is None else unfit(flow.module(path)))
    return None if reason is None else f"{path} {title}: {reason}"


def other_class(layer: nn.Module) -> str | None:
    """Return that a layer is of a class of one's own, in words; None for torch's classes."""
    kind = type(layer)
    own = not kind.__module__.startswith("torch.nn.")
    return f"it is a {kind.__name__}, which may be more than its weight and bias" if own else None
