"""What a graph must not hold: Fourier transforms, complex numbers, whatever depends on NaN, and recurrent operators.

Engines treat these differently or not at all: TensorRT has no complex numbers, and its `Clip` turns NaN into a bound;
ONNX Runtime's LSTM and GRU end the process of the server when they get no rows, as encoders of absent modalities do.
Infinite constants are looked at closer, because masks of attention are made of −inf: one may be moved, chosen, added
(−inf alone) and go into a softmax, which makes it 0; where it meets an operator that can make NaN of it, such as a
product, it is a finding. A row of which everything is masked is not seen here: the proofs on degenerate rows see it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from onepath.contract.errors import UnsupportedModuleError
from onepath.export.diagnosis.causes import UNROLLED
from onepath.export.diagnosis.infinities import infinities_that_meet
from onepath.export.diagnosis.lines import SourceLine, line_from_trace
from onepath.export.diagnosis.parts import WHOLE, part_in_words
from onepath.export.graphs.parts import nodes_of, tensors_of, weights_of

_TRACE = "pkg.torch.onnx.stack_trace"  # where torch's exporter keeps what a node comes from
_NAMES = "pkg.torch.onnx.name_scopes"
_CLASSES = "pkg.torch.onnx.class_hierarchy"
_SCOPES = re.compile(r"'([^']*)'")  # the two are lists of text, the last of them the operation itself
_COMPLEX = frozenset({ir.DataType.COMPLEX64, ir.DataType.COMPLEX128})
_TYPE_ATTRIBUTES = frozenset({"to", "dtype"})  # of Cast, EyeLike, RandomNormal and others, which name a type

_SHOWN = 5
_FOURIER = "write a Fourier transform of fixed length as real matrix products"
_REAL = "keep real and imaginary parts in real tensors"
_PRESENCE = (
    "mark what is missing by presence, choose with torch.where, and give attention a mask of numbers, 0 and "
    "torch.finfo(dtype).min, rather than of bools"
)
_ENDS = "ends the process of ONNX Runtime when it gets no rows"
_FINITE = "use a finite number, such as torch.finfo(dtype).min in a mask"

_REFUSED = {
    "DFT": ("is a Fourier transform", _FOURIER),
    "STFT": ("is a Fourier transform", _FOURIER),
    "Rfft": ("is a Fourier transform", _FOURIER),
    "Irfft": ("is a Fourier transform", _FOURIER),
    "ComplexMul": ("works on complex numbers", _REAL),
    "ComplexMulConj": ("works on complex numbers", _REAL),
    "LSTM": (_ENDS, UNROLLED),
    "GRU": (_ENDS, UNROLLED),
    "IsNaN": ("depends on NaN", _PRESENCE),
    "IsInf": ("depends on infinities", _PRESENCE),
}


@dataclass(frozen=True)
class Finding:
    """Something in a graph that engines treat differently.

    Attributes:
        name: of the node, weight, input or output.
        operator: the node's operator, or `weight`, `input`, `output`.
        problem: what it does.
        advice: what to do instead.
        line: the line of the model's code that it comes from, where the graph still says so.
        part: the module of the model that it comes from, in words, where the graph still says so.
    """

    name: str
    operator: str
    problem: str
    advice: str
    line: SourceLine | None = None
    part: str = ""

    def __str__(self) -> str:
        place = f", from {self.line}," if self.line else ""
        return f"{self.operator} {self.name!r}{place} {self.problem}"


def lint(model: ir.Model) -> list[Finding]:
    """Return what is wrong with a graph, its sub-graphs and its functions; weights on disk are read one by one."""
    findings = [finding for node in nodes_of(model) for finding in _node_findings(node)]
    findings += [finding for value in weights_of(model) for finding in _weight_findings(value)]
    findings += [
        Finding(value.name or "", kind, "is complex", _REAL)
        for kind, values in (("input", model.graph.inputs), ("output", model.graph.outputs))
        for value in values
        if value.dtype in _COMPLEX
    ]
    findings += [
        Finding(
            meeting.node.name or meeting.node.outputs[0].name or "",
            meeting.node.op_type,
            f"can make NaN of the infinite constant {meeting.constant!r}",
            _FINITE,
            *origin_of_node(meeting.node),
        )
        for meeting in infinities_that_meet(model)
    ]
    return findings


def check_graph_is_clean(model: ir.Model) -> None:
    """Check that a graph has nothing that engines treat differently.

    Raises:
        UnsupportedModuleError: it has; the first few findings are named.
    """
    findings = lint(model)
    if findings:
        parts = {finding.part for finding in findings if finding.part}
        shown = "; ".join(str(finding) for finding in findings[:_SHOWN])
        more = f"; and {len(findings) - _SHOWN} more" if len(findings) > _SHOWN else ""
        advice = ", and ".join(dict.fromkeys(finding.advice for finding in findings))
        name = parts.pop() if len(parts) == 1 else WHOLE
        raise UnsupportedModuleError(name, f"its graph is not portable: {shown}{more}", advice)


def _node_findings(node: ir.Node) -> Iterator[Finding]:
    name = node.name or (node.outputs[0].name if node.outputs else "") or ""

    def finding(problem: str, advice: str) -> Finding:
        return Finding(name, node.op_type, problem, advice, *origin_of_node(node))

    if node.op_type in _REFUSED:
        yield finding(*_REFUSED[node.op_type])
    to_complex = any(
        attribute.name in _TYPE_ATTRIBUTES
        and attribute.type == ir.AttributeType.INT
        and ir.DataType(attribute.as_int()) in _COMPLEX
        for attribute in node.attributes.values()
        if not attribute.is_ref()
    )
    if to_complex or any(value.dtype in _COMPLEX for value in node.outputs):
        yield finding("makes complex numbers", _REAL)
    if any(tensor.dtype in _COMPLEX for tensor in tensors_of(node)):
        yield finding("holds complex numbers", _REAL)
    if any(_has_nan(tensor) for tensor in tensors_of(node)):
        yield finding("holds NaN", _FINITE)


def _weight_findings(value: ir.Value) -> Iterator[Finding]:
    if value.const_value is not None and value.const_value.dtype in _COMPLEX:
        yield Finding(value.name or "", "weight", "is complex", _REAL)
    if _has_nan(value.const_value):
        yield Finding(value.name or "", "weight", "holds NaN", _FINITE)


def _has_nan(tensor: ir.TensorProtocol | None) -> bool:
    return tensor is not None and tensor.dtype.is_floating_point() and bool(np.isnan(tensor.numpy()).any())


def origin_of_node(node: ir.Node) -> tuple[SourceLine | None, str]:
    """Return the line and the module that a node comes from, as far as torch's exporter left them in the graph."""
    kept = node.metadata_props
    scopes, classes = (_SCOPES.findall(kept.get(key, "")) for key in (_NAMES, _CLASSES))
    part = part_in_words(scopes[-2], classes[-2]) if len(scopes) == len(classes) > 1 else ""
    return line_from_trace(kept.get(_TRACE, "")), part
