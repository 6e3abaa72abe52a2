"""A bundle whose graph dispatches its rows as onepath's export does, small enough to check by hand.

Its scores are those of `tests.server.bundles`; in float16, each product is of 16-bit numbers.
"""

from pathlib import Path

from onepath.contract.bundle import Bundle
from tests.server.bundles import IMAGE_WEIGHT, TEXT_WEIGHT, modalities, probe_set, write_parts

ABSENT = 7.0
"""The value of every absent feature, which must never reach an output."""

_ENCODER = """
  {m}_used = Gather<axis = 1>(used, {m}_column)
  {m}_found = NonZero({m}_used)
  {m}_numbers = Transpose<perm = [1, 0]>({m}_found)
  {m}_index = Squeeze({m}_numbers, last)
  {m}_rows = Gather<axis = 0>({m}, {m}_index)
  {m}_floats = Cast<to = 1>({m}_rows)
  {m}_flat = Flatten<axis = 1>({m}_floats)
  {m}_mean = ReduceMean<keepdims = 1>({m}_flat, last)
  {m}_level = Div({m}_mean, {m}_scale)
  {product}
  {m}_places = Unsqueeze({m}_index, minus_one)
  {table}
  {m}_share = Gather<axis = 1>(shares, {m}_column)
  {m}_shares = Unsqueeze({m}_share, last)
  {m}_part = Mul({m}_features, {m}_shares)
"""
_LOW_PRODUCT = """{{m}}_low = Cast<to = {kind}>({{m}}_level)
  {{m}}_low_weight = Cast<to = {kind}>({{m}}_weight)
  {{m}}_product = MatMul({{m}}_low, {{m}}_low_weight)
  {{m}}_encoded = Cast<to = 1>({{m}}_product)"""
_PRODUCTS = {
    "fp32": "{m}_encoded = MatMul({m}_level, {m}_weight)",
    "fp16": _LOW_PRODUCT.format(kind=10),
    "bf16": _LOW_PRODUCT.format(kind=16),
}
_TABLES = {
    "fp32": "{m}_features = ScatterND(table, {m}_places, {m}_encoded)",
    "fp16": """{m}_half = Cast<to = 10>({m}_encoded)
  {m}_half_table = Cast<to = 10>(table)
  {m}_half_features = ScatterND({m}_half_table, {m}_places, {m}_half)
  {m}_features = Cast<to = 1>({m}_half_features)""",
}
_GRAPH = """
<ir_version: 10, opset_import: ["": 20], producer_name: "tests">
tiny (uint8[rows, 1, 4, 4] image, int32[rows, 8] text, uint8[rows, 1] image_state, uint8[rows, 1] text_state)
=> (float[rows, 3] scores, uint8[rows, 2] presence, uint8[rows, 1] row_status)
<
  float[1, 3] image_weight = {%s}, float[1, 3] text_weight = {%s}, float[3] absent = {%s},
  float image_scale = {255.0}, float text_scale = {100.0}, uint8 one = {1}, uint8 two = {2},
  int64 image_column = {0}, int64 text_column = {1},
  int64[1] last = {1}, int64[1] minus_one = {-1}, int64[1] three = {3}
>
{
  rows = Shape<start = 0, end = 1>(image_state)
  states = Concat<axis = 1>(image_state, text_state)
  failing = Equal(states, two)
  failing_codes = Cast<to = 7>(failing)
  failing_code = ReduceMax<keepdims = 1>(failing_codes, last)
  failed = Cast<to = 9>(failing_code)
  fine = Not(failed)
  sent = Equal(states, one)
  used = And(sent, fine)
  presence = Cast<to = 2>(used)
  shares = Cast<to = 1>(used)
  table_shape = Concat<axis = 0>(rows, three)
  table = Expand(absent, table_shape)
  %s
  scores = Add(image_part, text_part)
  used_codes = Cast<to = 7>(used)
  used_code = ReduceMax<keepdims = 1>(used_codes, last)
  usable = Cast<to = 9>(used_code)
  unusable = Not(usable)
  empty_code = Cast<to = 7>(unusable)
  code = Add(empty_code, failing_code)
  row_status = Cast<to = 2>(code)
}
"""


def graph_text(precision="fp32", image_weight=IMAGE_WEIGHT, features="fp32"):
    """Return the graph in onnx's text form, with products and dispatched features in some precision."""
    encoders = [
        _ENCODER.format(m=m, product=_PRODUCTS[precision].format(m=m), table=_TABLES[features].format(m=m))
        for m in ("image", "text")
    ]
    numbers = [", ".join(map(str, values)) for values in (image_weight, TEXT_WEIGHT, [ABSENT] * 3)]
    return _GRAPH % (*numbers, "".join(encoders))


def write_bundle(path: Path, *, low="fp16", gate=2e-3, probes=None, deployment=None) -> Bundle:
    """Write a bundle with the graph in float32 and in 16 bits."""
    return write_parts(
        path,
        name="tiny",
        graph=graph_text(),
        weights=b"by hand",
        probes=probes or probe_set(),
        modalities=modalities(),
        variants={low: graph_text(low)},
        gate=gate,
        deployment=deployment,
    )
