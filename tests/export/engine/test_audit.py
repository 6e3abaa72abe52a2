"""The audit of an engine's layers, on JSON as TensorRT's documentation shows it; none was made by a GPU here."""

import json
from collections import Counter

import onnx_ir as ir
import pytest

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.engine import EngineAuditError, UnreadableEngineError
from onepath.export.engine.audit import audit_layers, audit_parts, layers_from_json
from onepath.export.engine.products import products_of
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
    audit = audit_layers(layers(*TEN), "fp16", graph=Counter(fp16=6, fp32=2))
    assert (audit.counts, audit.share, audit.in_graph) == ({"fp16": 3, "fp32": 1}, 0.75, 8)


def test_an_engine_asked_for_in_bf16_that_is_fp32_fails_with_counts_and_names():
    silent = [layer(f"/fc{i}/MatMul", "gemm", "Float", "Float", key="DataType") for i in range(7)]
    with pytest.raises(
        EngineAuditError, match=r"asked for in bf16.*7 in fp32.*\n  /fc0/MatMul \(gemm\): fp32"
    ) as failed:
        audit_layers(layers(*silent), "bf16", graph=Counter(bf16=7))
    assert failed.value.counts == {"fp32": 7}
    assert len(failed.value.offenders) == 7
    assert str(failed.value).count("\n") == 5


def test_what_the_graph_keeps_in_float32_is_not_asked_of_the_engine():
    audit_layers(layers(*ELEVEN), "bf16", graph=Counter(bf16=1, fp32=1))
    with pytest.raises(EngineAuditError, match="1 in bf16, 1 in fp32"):
        audit_layers(layers(*ELEVEN), "bf16", graph=Counter(bf16=7))


def test_a_type_that_is_not_told_counts_against_the_engine():
    unknown = layer("/fc/MatMul", "gemm", "N/A due to dynamic shapes")
    with pytest.raises(EngineAuditError, match="1 in unknown"):
        audit_layers(layers(unknown), "fp16", graph=Counter(fp16=1))


def test_an_engine_without_any_product_shows_nothing():
    with pytest.raises(EngineAuditError, match="none at all"):
        audit_layers(layers(layer("__myl_Sum", "kgen", "Half")), "fp16", graph=Counter(fp16=1))


@pytest.mark.parametrize("text", ['{"Layers": ["/fc/MatMul", "/norm"]}', '{"Layers": []}', "{}", "[]", '{"Layers": 3}'])
def test_names_without_types_are_refused(text):
    with pytest.raises(UnreadableEngineError, match="detailed profiling"):
        layers_from_json(text)


def test_an_answer_that_is_no_json_is_refused():
    with pytest.raises(UnreadableEngineError, match="not JSON"):
        layers_from_json("Layer(Gemm): /fc/MatMul")


def test_a_graph_that_has_no_product_in_the_precision_lets_no_engine_pass():
    with pytest.raises(UnsupportedModuleError, match="said to be in bf16, and its products are 7 in fp32"):
        audit_layers(layers(*ELEVEN), "bf16", graph=Counter(fp32=7))


def test_a_product_of_the_graph_whose_type_is_not_known_is_asked_of_the_engine():
    with pytest.raises(EngineAuditError):
        audit_layers(layers(*ELEVEN), "bf16", graph=Counter(bf16=1, unknown=1))


def test_a_fully_connected_kernel_of_the_compiler_is_a_product_by_its_name():
    found = layers(
        *(layer(name, "kgen", "Float") for name in ("__myl_FcAddErf_myl0_1", "__myl_CastFc", "__myl_AddMul"))
    )
    assert [each.is_product for each in found] == [True, True, False]


class TestParts:
    @pytest.fixture
    def parts(self):
        """An engine of which one of 31 products is in float32, the only one of its part."""
        image = layers(*(layer(f"/image/{i}/MatMul", "gemm", "Half") for i in range(30)))
        text = layers(layer("/text/MatMul", "gemm", "Float"))
        return {"image": image, "text": text, "fusion": layers(layer("add", "kgen", "Half"))}

    @pytest.fixture
    def graphs(self):
        return {"image": Counter(fp16=30), "text": Counter(fp16=1), "fusion": Counter()}

    def test_each_has_to_be_in_the_precision_however_few_its_products_are(self, parts, graphs):
        audit_layers(parts["image"] + parts["text"], "fp16", graph=Counter(fp16=31))
        with pytest.raises(EngineAuditError, match=r"1 in fp32.*\n  /text/MatMul"):
            audit_parts(parts, graphs, "fp16")

    def test_but_one_that_the_graph_has_in_float32_or_without_products(self, parts, graphs):
        audit = audit_parts(parts, graphs | {"text": Counter(fp32=1)}, "fp16")
        assert (audit.counts, audit.in_graph) == ({"fp16": 30, "fp32": 1}, 31)


def test_the_graphs_own_products_are_counted_by_their_types():
    assert products_of(ir.from_onnx_text(graph_text("fp16"))) == {"fp16": 2}


def test_a_product_between_dequantized_numbers_is_int8():
    text = """<ir_version: 10, opset_import: ["": 20]> g (int8[4, 2] x, float[4, 2] y) => (float[4, 2] z)
    <float scale = {0.5}, int8[2, 2] w = {1, 2, 3, 4}> {
      a = DequantizeLinear(x, scale)  b = DequantizeLinear(w, scale)  c = MatMul(a, b)  z = MatMul(y, b)
    }"""
    model = ir.from_onnx_text(text)
    assert products_of(model) == {"int8": 1, "fp32": 1}
