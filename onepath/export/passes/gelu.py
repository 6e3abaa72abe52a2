"""The exact GELU, written with Erf, as the operator that ONNX has since operator set 20."""

from __future__ import annotations

import math
from typing import Any

import onnx_ir as ir
from onnxscript.rewriter import RewriteRule, RewriteRuleSet

_SINCE_OPSET = 20
_ROOT = math.sqrt(2.0)


# onnxscript's patterns are values of its own tracing, which it gives no type
def _by_division(op: Any, x: Any) -> Any:
    return op.Mul(op.Mul(x, 0.5), op.Add(op.Erf(op.Div(x, _ROOT)), 1.0))


def _by_product(op: Any, x: Any) -> Any:
    return op.Mul(op.Mul(x, 0.5), op.Add(op.Erf(op.Mul(x, 1 / _ROOT)), 1.0))


def _half_last_by_division(op: Any, x: Any) -> Any:
    return op.Mul(op.Mul(x, op.Add(op.Erf(op.Div(x, _ROOT)), 1.0)), 0.5)


def _half_last_by_product(op: Any, x: Any) -> Any:
    return op.Mul(op.Mul(x, op.Add(op.Erf(op.Mul(x, 1 / _ROOT)), 1.0)), 0.5)


def _gelu(op: Any, x: Any) -> Any:
    return op.Gelu(x)


def _has_gelu(context: Any, x: ir.Value, **_: Any) -> bool:
    """Return whether the graph's operator set has Gelu; `context` is the match."""
    model: ir.Model = context.model
    return model.opset_imports.get("", 0) >= _SINCE_OPSET


_FORMS = (_by_division, _by_product, _half_last_by_division, _half_last_by_product)

gelu_rules: tuple[RewriteRule, ...] = tuple(
    RewriteRuleSet([RewriteRule(form, _gelu, _has_gelu) for form in _FORMS], commute=True).rules
)
"""The ways in which it is written, with factors and summands in any order."""
