"""Several operators made one, where ONNX has the one: Gemm, LayerNormalization, Gelu, one Transpose for two."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes import common
from onnxscript.rewriter import RewritePass, RewriteRule
from onnxscript.rewriter.rules import common as rules
from onnxscript.rewriter.rules.fusion import _layer_norm

from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.passes.gelu import gelu_rules
from onepath.export.passes.rewriting import rewritten

_LEAN: tuple[RewriteRule, ...] = (
    rules.no_op_cast_rule,
    rules.cast_cast_rule,
    rules.no_op_transpose_rule,
    rules.transpose_transpose_rule,
    rules.reshape_reshape_rule,
    rules.squeeze_reshape_1d_rule,
    rules.unsqueeze_unsqueeze_rule,
    rules.no_op_expand_rule,
    *rules.expand_before_binary_op_rules,
    rules.collapse_slice_rule,
    rules.collapse_slice2_rule,
    rules.successive_relu_rule,
)
"""Two operators that one replaces, or that do nothing."""

_FUSING: tuple[RewriteRule, ...] = (
    *_layer_norm.layer_normalization_rules,
    *gelu_rules,
    rules.two_reshapes_matmul_reshape_rule,
    rules.one_reshape_matmul_reshape_rule,
    rules.transpose_ab_matmul_add_to_gemm_rule,
    rules.transpose_a_matmul_add_to_gemm_rule,
    rules.transpose_b_matmul_add_to_gemm_rule,
    rules.matmul_add_to_gemm_rule,
    rules.normalize_pad_format_conv_rule,
    rules.fuse_pad_into_conv_rule,
    rules.fuse_batchnorm_into_conv_rule,
    rules.fuse_batchnorm_into_gemm_rule,
    rules.affine_conv_fusion_rule,
    rules.conv_affine_fusion_rule,
    rules.remove_optional_bias_from_conv_rule,
    rules.remove_optional_bias_from_gemm_rule,
)
"""Patterns of an operator that ONNX has. Left out of what onnxscript has are Min and Max into Clip, where NaN means
another thing in TensorRT; scatters that write everything, which row dispatch may look like; and operators of other
domains."""


def fuse(file: OnnxFile, path: Path) -> OnnxFile:
    """Return a graph in which patterns of operators are one operator of the ONNX standard each.

    Requires: a graph that ONNX's checker accepts. Ensures: the same inputs and outputs, and the gathers and scatters of
    row dispatch; results within rounding, because a fused operator may add in another order.

    Args:
        file: the graph.
        path: where to write the other one; its folder is there.
    """
    return rewritten(file, path, _fuse)


def _fuse(model: ir.Model) -> None:
    common.ShapeInferencePass()(model)
    ir.passes.PassManager(
        [RewritePass(_LEAN), RewritePass(_FUSING), common.RemoveUnusedNodesPass()], steps=2, early_stop=True
    )(model)
    ir.passes.Sequential(common.IdentityEliminationPass(), common.RemoveUnusedOpsetsPass())(model)
