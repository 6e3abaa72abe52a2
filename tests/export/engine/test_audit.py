"""The audit of an engine's layers, on JSON as TensorRT's documentation shows it; none was made by a GPU here."""

import json

import onnx_ir as ir
import pytest

from onepath.export.engine.audit import EngineAuditError, audit_layers, layers_from_json
from onepath.export.engine.products import product_share
from tests.export.engine.dispatched import graph_text

# The layer of the developer guide's page on the engine inspector, for an engine in int8 (TensorRT 8 to 10).
DOCUMENTED = {
    "Name": "node_of_gpu_0/res4_0_branch2a_1 + node_of_gpu_0/res4_0_branch2a_bn_1",
    "LayerType": "CaskConvolution",
    "Inputs": [
        {
            "Name": "gpu_0/res3_3_branch2c_bn_3",
            "Dimensions": [16, 512, 28, 28],
            "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format.",
        }
    ],
    "Outputs": [
        {
            "Name": "gpu_0/res4_0_branch2a_bn_2",
            "Dimensions": [16, 256, 28, 28],
            "Format/Datatype": "Thirty-two wide channel vectorized row major Int8 format.",
        }
    ],
    "ParameterType": "Convolution",
    "Weights": {"Type": "Int8", "Count": 131072},
    "Bias": {"Type": "Float", "Count": 256},
    "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs",
}


def tensor(kind, key="Format/Datatype"):
    return {"Name": "t", "Location": "Device", "Dimensions": [8, 64], key: kind}


def layer(name, kind, *inputs, key="Format/Datatype", tactic=""):
    tensors = [tensor(each, key) for each in inputs]
    return {"Name": name, "LayerType": kind, "Inputs": tensors, "Outputs": tensors[:1], "TacticName": tactic}


def layers(*described):
    return layers_from_json(json.dumps({"Layers": [*described], "Bindings": ["image", "scores"]}))


TEN = (
    layer("Reformatting CopyNode for Input Tensor 0 to /conv/Conv", "Reformat", "Row major linear FP32"),
    layer("/conv/Conv", "CaskConvolution", "Channel major FP16 format where channel % 8 == 0"),
    layer("__myl_CastMulSum_myl0_3", "kgen", "Half"),
    layer("/blocks.0/fc1/MatMul_myl0_4", "gemm", "Half", tactic="sm90_xmma_gemm_f16f16_f16f16_f16_tn_n"),
    layer("_gemm_mha_v2_myl0_5", "kgen", "Half", "Half", "Half"),
    layer("/head/Gemm", "MatrixMultiply", "Float"),
)
ELEVEN = (
    layer("/fc1/MatMul", "gemm", "BFloat16", "BFloat16", "Float", key="DataType"),  # the last is added to the product
    layer("/fc2/MatMul", "gemm", "Float", "Float", key="DataType"),
    layer("/norm", "kgen", "Float", key="DataType"),
)


def test_the_documented_layer_is_a_convolution_in_int8():
    (found,) = layers(DOCUMENTED)
    assert (found.is_product, found.precision) == (True, "int8")


def test_products_are_told_from_what_moves_and_adds():
    assert [found.name for found in layers(*TEN) if found.is_product] == [
        "/conv/Conv",
        "/blocks.0/fc1/MatMul_myl0_4",
        "_gemm_mha_v2_myl0_5",
        "/head/Gemm",
    ]


@pytest.mark.parametrize(
    ("described", "precisions"),
    [(TEN, ["fp32", "fp16", "fp16", "fp16", "fp16", "fp32"]), (ELEVEN, ["bf16", "fp32", "fp32"])],
)
def test_the_type_is_read_from_the_json_of_10_and_of_11(described, precisions):
    assert [found.precision for found in layers(*described)] == precisions


def test_the_share_is_of_the_products_alone():
    audit = audit_layers(layers(*TEN), "fp16", graph_share=0.75)
    assert (audit.counts, audit.share) == ({"fp16": 3, "fp32": 1}, 0.75)


def test_an_engine_asked_for_in_bf16_that_is_fp32_fails_with_counts_and_names():
    silent = [layer(f"/fc{i}/MatMul", "gemm", "Float", "Float", key="DataType") for i in range(7)]
    with pytest.raises(
        EngineAuditError, match=r"asked for in bf16.*7 in fp32.*\n  /fc0/MatMul \(gemm\): fp32"
    ) as failed:
        audit_layers(layers(*silent), "bf16", graph_share=1.0)
    assert failed.value.counts == {"fp32": 7}
    assert len(failed.value.offenders) == 7
    assert str(failed.value).count("\n") == 5


def test_what_the_graph_keeps_in_float32_is_not_asked_of_the_engine():
    audit_layers(layers(*ELEVEN), "bf16", graph_share=0.5)
    with pytest.raises(EngineAuditError, match="1 in bf16, 1 in fp32"):
        audit_layers(layers(*ELEVEN), "bf16", graph_share=1.0)


def test_a_type_that_is_not_told_counts_against_the_engine():
    unknown = layer("/fc/MatMul", "gemm", "N/A due to dynamic shapes")
    with pytest.raises(EngineAuditError, match="1 in unknown"):
        audit_layers(layers(unknown), "fp16", graph_share=1.0)


def test_an_engine_without_any_product_shows_nothing():
    with pytest.raises(EngineAuditError, match="none at all"):
        audit_layers(layers(layer("__myl_Sum", "kgen", "Half")), "fp16", graph_share=1.0)


@pytest.mark.parametrize("text", ['{"Layers": ["/fc/MatMul", "/norm"]}', '{"Layers": []}', "{}"])
def test_names_without_types_are_refused(text):
    with pytest.raises(ValueError, match="detailed profiling"):
        layers_from_json(text)


@pytest.mark.parametrize(("precision", "share"), [("fp16", 1.0), ("fp32", 0.0)])
def test_the_graphs_own_share_is_that_of_its_types(precision, share):
    assert product_share(ir.from_onnx_text(graph_text("fp16")), precision) == share


def test_a_product_between_dequantized_numbers_is_int8():
    text = """<ir_version: 10, opset_import: ["": 20]> g (int8[4, 2] x, float[4, 2] y) => (float[4, 2] z)
    <float scale = {0.5}, int8[2, 2] w = {1, 2, 3, 4}> {
      a = DequantizeLinear(x, scale)  b = DequantizeLinear(w, scale)  c = MatMul(a, b)  z = MatMul(y, b)
    }"""
    model = ir.from_onnx_text(text)
    assert (product_share(model, "int8"), product_share(model, "fp32")) == (0.5, 0.5)
