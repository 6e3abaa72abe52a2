"""What the manifest says of executable files: ONNX graphs, one for each precision, and TensorRT engines."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from onepath.contract.tensors import Closed, TensorSpec

Precision = Literal["fp32", "bf16", "fp16", "int8"]
"""What matrix products and convolutions are computed in; norms, softmax and outputs stay in float32."""

PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16", "fp16", "int8")


class GraphEntry(Closed):
    """One ONNX graph of a bundle.

    Attributes:
        file: its path in the bundle.
        data: path of its external weights, for a graph over ONNX's limit of 2 GB in one file; beside `file`.
        precision: of its matrix products.
        modality_precision: modality to the precision of its encoder, where that differs from `precision`.
        opset: the ONNX operator set version.
        ir_version: the ONNX file format version.
        targets: names of the target profiles that it was checked against.
        max_batch_size: the most rows of one run; parity was proved up to here.
    """

    file: str
    data: str | None = None
    precision: Precision = "fp32"
    modality_precision: dict[str, Precision] = Field(default_factory=dict)
    opset: int
    ir_version: int
    targets: tuple[str, ...] = ()
    max_batch_size: int = Field(ge=1)

    @property
    def files(self) -> tuple[str, ...]:
        """The graph's files: itself, and its external weights where it has some."""
        return (self.file,) if self.data is None else (self.file, self.data)

    @property
    def precisions(self) -> str:
        """The precision in words.

        >>> GraphEntry(file="g", precision="int8", modality_precision={"text": "fp32"}, opset=20, ir_version=10,
        ...            max_batch_size=8).precisions
        'int8, text fp32'
        """
        return ", ".join([self.precision, *(f"{name} {kind}" for name, kind in self.modality_precision.items())])

    @property
    def has_16_bits(self) -> bool:
        """Whether some of it computes in 16 bits, which a CPU may lack the operators for.

        >>> GraphEntry(file="g", precision="int8", modality_precision={"text": "bf16"}, opset=20, ir_version=10,
        ...            max_batch_size=8).has_16_bits
        True
        """
        return bool({self.precision, *self.modality_precision.values()} & {"bf16", "fp16"})

    @property
    def is_reference(self) -> bool:
        """Whether everything in it is float32: the graph that the others were made of and are held against."""
        return {self.precision, *self.modality_precision.values()} == {"fp32"}


class EngineEntry(Closed):
    """A TensorRT engine, or the engines of a graph's parts, for one kind of GPU.

    Attributes:
        files: part to its path in the bundle: `graph` alone, or each modality's encoder and `fusion`.
        graph: path of the bundle's graph that the engine stands for.
        precision: of its matrix products, audited layer by layer after the build.
        compute_capability: of the GPU that it was built on and runs on, such as `9.0`.
        gpu: that GPU's name.
        tensorrt: the version that built it, which is the one that can load it.
        opt_rows: the number of rows that it was tuned for, at most `max_rows`.
        max_rows: the most rows of one run.
        features: what passes from each modality's encoder to the fusion, named as the modality, of one row; empty for
            an engine of one part.
    """

    files: dict[str, str] = Field(min_length=1)
    graph: str
    precision: Precision
    compute_capability: str = Field(pattern=r"^\d+\.\d+$")
    gpu: str
    tensorrt: str
    opt_rows: int = Field(ge=1)
    max_rows: int = Field(ge=1)
    features: tuple[TensorSpec, ...] = ()

    @model_validator(mode="after")
    def _parts_fit(self) -> EngineEntry:
        parts = {"fusion", *(spec.name for spec in self.features)} if self.features else {"graph"}
        if {*self.files} != parts:
            raise ValueError(f"the engine has the parts {sorted(self.files)} and not {sorted(parts)}")
        return self

    @model_validator(mode="after")
    def _rows_fit(self) -> EngineEntry:
        if self.opt_rows > self.max_rows:
            raise ValueError(f"the engine is tuned for {self.opt_rows} rows and takes at most {self.max_rows}")
        return self
