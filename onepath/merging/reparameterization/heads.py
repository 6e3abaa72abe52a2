"""Numbers of attention heads: rows that are paired should mean the same head."""

from __future__ import annotations

import warnings

from torch import nn

from onepath.contract.errors import UnsupportedModuleError
from onepath.merging.reparameterization.plan import Pair, Plan

_ATTRIBUTES = ("num_heads", "num_attention_heads", "n_heads", "n_head", "heads")


def check_heads(plan: Plan, target: nn.Module, auxiliary: nn.Module, *, strict: bool) -> None:
    """Warn if attention layers are paired whose numbers of heads differ: their rows then mean different heads.

    Raises:
        UnsupportedModuleError: they differ, and `strict` is set.
    """
    for pair in filter(_concerns_heads, plan.pairs):
        mine, theirs = head_count(target, pair.target), head_count(auxiliary, pair.auxiliary)
        if mine and theirs and mine != theirs:
            reason = (
                f"the target has {mine} heads there and the auxiliary {theirs}, so that their rows mean other heads"
            )
            if strict:
                raise UnsupportedModuleError(pair.target, reason, "choose an auxiliary with as many, or strict=False")
            warnings.warn(f"{pair.target}: {reason}", stacklevel=3)
            return


def head_count(model: nn.Module, path: str) -> int | None:
    """Return the number of heads of the attention that a parameter belongs to, or None if no module around says it."""
    parts = path.split(".")[:-1]
    for size in range(len(parts), -1, -1):
        module = model.get_submodule(".".join(parts[:size]))
        for holder in (module, getattr(module, "config", None)):
            for name in _ATTRIBUTES:
                value = getattr(holder, name, None)
                if isinstance(value, int):
                    return value
    return None


def _concerns_heads(pair: Pair) -> bool:
    return pair.role in ("q", "k", "v", "qkv", "out")
