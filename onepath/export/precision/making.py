"""A graph in a wanted precision, made of the float32 one: int8 first, then 16 bits in what is left."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import onnx

from onepath.contract.errors import UnsupportedModuleError
from onepath.contract.graphs import Precision
from onepath.export.graphs.onnx_file import OnnxFile, onnx_file_from_model
from onepath.export.precision.element_types import element_types
from onepath.export.precision.forms import Form
from onepath.export.precision.held_out import Split, calibration_batches
from onepath.export.precision.int8 import DYNAMIC_PRODUCTS, STATIC_PRODUCTS, dynamic_int8, static_int8
from onepath.export.precision.low_nodes import LowNodes, low_nodes
from onepath.export.precision.lowering import emulate, lower
from onepath.export.precision.magnitudes import largest_magnitudes, overflowing
from onepath.export.precision.nodes import PRODUCTS, is_operator, name_nodes, precision_of_nodes, weighted_products
from onepath.export.proofs import Batch
from onepath.export.recipe.precision import WantedGraph
from onepath.export.rows import RowSource

EMULATED = "emulated on a CPU: 16-bit operands and results, float32 sums"
"""The note of a parity that was not measured with 16-bit arithmetic."""


@dataclass(frozen=True)
class Made:
    """A graph that was made in some form.

    Attributes:
        file: the graph.
        products: how many products it has in all.
        emulated: one that gives the same with operators that a CPU has; None where the graph itself runs on one.
        computed: precision to the products that compute in it.
        kept: products that stay in float32 against the wish, each with the reason.
        calibration: where the ranges of activations are from; empty where none were taken.
    """

    file: OnnxFile
    products: int
    emulated: OnnxFile | None = None
    computed: Mapping[Precision, Sequence[str]] = field(default_factory=dict)
    kept: Mapping[str, str] = field(default_factory=dict)
    calibration: str = ""

    @property
    def notes(self) -> dict[str, str | int | float]:
        """What the proof keeps of it."""
        counts = {f"{precision}_products": len(names) for precision, names in self.computed.items()}
        calibration = {"calibration": self.calibration} if self.calibration else {}
        return {**counts, "products": self.products, **calibration}

    def remove(self) -> None:
        """Remove its files, and their folder."""
        shutil.rmtree(self.file.path.parent, ignore_errors=True)


@dataclass(frozen=True)
class Maker:
    """Makes graphs of the float32 one.

    Attributes:
        reference: the float32 graph.
        source: rows to calibrate on.
        batch_size: the most rows of one run.
        work: a folder for files.
    """

    reference: OnnxFile
    source: RowSource
    batch_size: int
    work: Path

    def make(self, wanted: WantedGraph, form: Form, split: Split, *, name: str, partial: bool = False) -> Made:
        """Return a wanted graph in one form, in a folder of its own.

        Args:
            wanted: the precisions.
            form: how.
            split: has the rows to calibrate on.
            name: the file's name in the bundle, which external weights are found by.
            partial: whether a precision may be left without any product.

        Raises:
            UnsupportedModuleError: no product of the graph computes in a precision that is wanted.
        """
        named = self.named()
        graph = onnx.load(named.path, load_external_data=False).graph
        chosen = precision_of_nodes(graph, self.source.names, default=wanted.default, overrides=wanted.overrides)
        chosen |= dict.fromkeys(form.without, "fp32")
        folder = Path(tempfile.mkdtemp(prefix=f"{form.kind}-", dir=self.work))
        job = _Job(wanted, form, chosen, folder / name, self._calibration(split))
        made = job.lowered(job.quantised(Made(named, len(_products(graph)))))
        missing = wanted.precisions - {"fp32"} - made.computed.keys()
        if missing and not (partial and made.computed):
            shutil.rmtree(folder)
            reason = next(iter(made.kept.values()), "no product with a constant weight is left that it could take")
            what = f"{' and '.join(sorted(missing))} for any product"
            raise UnsupportedModuleError(what, reason, "leave it out of the recipe")
        return made

    def named(self) -> OnnxFile:
        """Return the float32 graph with a name for every node, and without what the exporter said of shapes."""
        path = self.work / "named.onnx"
        if not path.is_file():
            model = self.reference.model()
            name_nodes(model)
            del model.graph.value_info[:]
            onnx_file_from_model(model, path)
        return OnnxFile(path)

    def _calibration(self, split: Split) -> _Calibration:
        return _Calibration(self.source, split, self.batch_size)


@dataclass(frozen=True)
class _Calibration:
    source: RowSource
    split: Split
    batch_size: int

    @property
    def rows(self) -> Iterable[Batch]:
        return calibration_batches(self.source, self.split.calibration, self.batch_size)


@dataclass(frozen=True)
class _Job:
    wanted: WantedGraph
    form: Form
    chosen: Mapping[str, Precision]
    path: Path
    calibration: _Calibration

    def names(self, precision: Precision) -> frozenset[str]:
        return frozenset(name for name, chosen in self.chosen.items() if chosen == precision)

    def quantised(self, made: Made) -> Made:
        graph = onnx.load(made.file.path, load_external_data=False).graph
        able = weighted_products(graph, STATIC_PRODUCTS if self.form.ranges == "static" else DYNAMIC_PRODUCTS)
        nodes = [name for name in able if name in self.names("int8")]
        if not nodes or self.form.ranges is None:
            return made
        if self.form.ranges == "dynamic":
            return replace(made, file=dynamic_int8(made.file, nodes, self.path), computed={"int8": nodes})
        rows, note = self.calibration.rows, self.calibration.split.note
        file = static_int8(made.file, nodes, self.path, rows=rows, machine=self.wanted.target)
        return replace(made, file=file, computed={"int8": nodes}, calibration=note)

    def lowered(self, made: Made) -> Made:
        done: set[str] = set()
        for precision in sorted(self.wanted.precisions & {"bf16", "fp16"}):
            low = self._low_nodes(made.file, precision)
            made = replace(made, kept={**made.kept, **low.kept})
            if low.names:
                made = self._with_16_bits(made, low, precision)
                done |= low.names
        return replace(made, emulated=_emulated(made.file, done)) if done else made

    def _low_nodes(self, graph: OnnxFile, precision: Precision) -> LowNodes:
        model, names = onnx.load(graph.path, load_external_data=False), self.names(precision)
        types = element_types(model)
        low = low_nodes(model, names, precision, types=types, without={})
        if precision == "bf16":  # its largest number is that of float32
            return low
        tensors = {name for node in model.graph.node if node.name in low.names for name in (*node.input, *node.output)}
        floats = {name for name in tensors if types.get(name) == onnx.TensorProto.FLOAT}
        copy = self.path.with_name("magnitudes.onnx")
        magnitudes = largest_magnitudes(graph, floats, self.calibration.rows, copy)
        return low_nodes(model, names, precision, types=types, without=overflowing(model, low.names, magnitudes))

    def _with_16_bits(self, made: Made, low: LowNodes, precision: Precision) -> Made:
        model = made.file.model()
        products = [name for name in _products(model.graph) if name in low.names]
        lower(model, low.names, precision)
        file = onnx_file_from_model(model, self.path)
        onnx.checker.check_model(self.path, full_check=True)
        return replace(made, file=file, computed={**made.computed, precision: products})


def _products(graph: onnx.GraphProto) -> list[str]:
    return [node.name for node in graph.node if is_operator(node, PRODUCTS)]


def _emulated(graph: OnnxFile, names: Collection[str]) -> OnnxFile:
    model = graph.model()
    emulate(model, names)
    return onnx_file_from_model(model, graph.path.with_name("emulated.onnx"))
