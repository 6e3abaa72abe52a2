"""The collapse rule for a Lego block on its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.collapse.constants import linear_after_norm
from onepath.export.collapse.lego_chain import CollapsedChain, has_half_rows
from onepath.export.collapse.lego_context import features_from_block
from onepath.export.collapse.lego_error import block_error
from onepath.export.collapse.report import FoldedLayer
from onepath.export.collapse.rules import Folding
from onepath.export.collapse.storing import numbers
from onepath.export.collapse.tracing import has_hooks
from onepath.merging.encoders import AttentionMIL
from onepath.merging.lego.block import LegoBlock
from onepath.merging.lego.description import Description, collapsed_description
from onepath.merging.lego.fourier import half_length
from onepath.merging.lego.layers import CrossAttention
from onepath.merging.lego.mixers import SelfAttention

RULE = "lego_block"


class CollapsedLegoBlock(nn.Module):
    """A block in one path: `values -> logits (rows, classes)`.

    Args:
        block: to take the encoder and the weights from.
    """

    def __init__(self, block: LegoBlock) -> None:
        super().__init__()
        self._source = block.description()
        self.features = features_from_block(block)
        self.chain = CollapsedChain(block)
        self.head = linear_after_norm(block.head.norm, block.head.linear)

    def description(self) -> Description:
        """Return the description of the block before its collapse, marked as `collapsed`."""
        return collapsed_description(self._source)

    def forward(self, values: Tensor) -> Tensor:
        """Return logits, `(rows, classes)`."""
        pooled = self.chain.pooled(self.features(values))
        return self.head(functional.layer_norm(pooled, pooled.shape[-1:]))  # type: ignore[no-any-return]


def lego_block(module: nn.Module) -> Folding | None:
    """Fold a `LegoBlock` into a `CollapsedLegoBlock`.

    Requires: no dropout that acts, as in eval mode; no `compat`, in its encoder neither; no hook and no other forward,
    except in its encoder.

    Ensures: the logits of eval mode, equal in real arithmetic, for any number of rows; the encoder is the block's own.
    """
    if not isinstance(module, LegoBlock):
        return None
    name = f"the LegoBlock around a {type(module.encoder).__name__}" if module.encoder else "the LegoBlock"
    refuse_unfoldable(name, module)
    with torch.no_grad():
        collapsed = CollapsedLegoBlock(module)
    entry = FoldedLayer(
        "",
        RULE,
        folded_parts(module),
        error=block_error(module, collapsed.features, collapsed.chain, collapsed.head),
        parameters_before=numbers(module),
        parameters_after=numbers(collapsed),
    )
    return Folding(collapsed, (entry,))


def folded_parts(block: LegoBlock) -> str:
    """Return what the collapse of a block folds, in words."""
    settings = block.settings
    parts = ["norms into the layers after them"]
    if has_half_rows(block):
        parts.insert(0, f"{settings.latents} spectrum rows to {half_length(settings.latents)}, transforms to scalings")
    elif settings.frequency_domain:
        parts.insert(0, "transforms of the latent to scalings")
    if settings.tokens == 1:
        parts.insert(0, f"cross-attention over one token to an affine map, {settings.depth} times")
    if settings.dropout:
        parts.append("dropout left out, as in eval mode")
    return "; ".join(parts)


def refuse_unfoldable(name: str, block: LegoBlock) -> None:
    """Check that a block has not the published form, nor its encoder, that no dropout acts in it, and no hook sees it.

    Dropout in its encoder is kept, and may act.

    Args:
        name: what to call the block in the message.
        block: to look into.

    Raises:
        UnsupportedModuleError: it has, or a layer of the block is in training mode and drops values there, or has a
            hook or another forward.
    """
    refuse_published(name, block.settings.compat)
    refuse_changed(name, LegoBlock, block, *_own_parts(block))
    for module in block.modules():
        if isinstance(module, AttentionMIL):
            refuse_published(f"the AttentionMIL of {name}", module.compat)
    _refuse_dropout(name, block)


def refuse_changed(name: str, kind: type[nn.Module], model: nn.Module, *parts: nn.Module) -> None:
    """Check that a model computes what its class does, and that no hook sees a part that the collapse takes apart.

    Args:
        name: what to call it in the message.
        kind: the class that is collapsed.
        model: of that class, or of a sub-class.
        parts: what the collapse takes apart besides.

    Raises:
        UnsupportedModuleError: its forward is another one, or it or a part has a hook.
    """
    same = all(getattr(type(model), name, None) is getattr(kind, name, None) for name in ("forward", "fuse"))
    if not same or any("forward" in vars(part) for part in (model, *parts)):
        raise UnsupportedModuleError(
            name, f"its forward is not that of {kind.__name__}", f"put what it does besides around a {kind.__name__}"
        )
    if any(has_hooks(part) for part in (model, *parts)):
        raise UnsupportedModuleError(
            name, "a hook sees values that a collapsed one no longer has", "remove the hook first"
        )


def refuse_published(name: str, compat: str | None) -> None:
    """Check that what is collapsed has not the published form.

    Args:
        name: what to call it in the message.
        compat: its form.

    Raises:
        UnsupportedModuleError: it has.
    """
    if compat is not None:
        raise UnsupportedModuleError(
            f"{name} with compat={compat!r}", "it is for comparisons only", "build it without compat"
        )


def _own_parts(block: LegoBlock) -> list[nn.Module]:
    """Return the modules of a block without its encoder, which is kept as it is."""
    parts = (block.layers, block.head, block.mixers)
    return [module for part in parts if part is not None for module in part.modules()]


def _refuse_dropout(name: str, block: LegoBlock) -> None:
    for module in (*block.layers.modules(), *(block.mixers.modules() if block.mixers is not None else ())):
        if module.training and _dropout(module) > 0:
            raise UnsupportedModuleError(
                name,
                f"it is in training mode with dropout {_dropout(module)}, and a collapsed block equals eval mode only",
                "call .eval() on the model first",
            )


def _dropout(module: nn.Module) -> float:
    if isinstance(module, nn.Dropout):
        return module.p
    return module.dropout if isinstance(module, (CrossAttention, SelfAttention)) else 0.0
