"""The manifest: everything that the serving side knows of a bundle, and the proofs that it may be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from onepath.contract.tensors import PRESENCE, ROW_STATUS, Closed, TensorSpec, state_name, status_name

SCHEMA_VERSION: Literal[1] = 1

AbsentRule = Literal["remerge", "skip", "required"]
"""What an absent modality means: the model that merging only the present blocks would have given (`remerge`), a chain
that goes on without its steps (`skip`), or a failed row (`required`)."""

Step = Literal["merge", "collapse", "onnx"]
"""The steps of a proof chain, in their order; a model that was not merged has no first one."""

LOOSEST = 1.0
"""No tolerance may be above this: a proof with it would prove nothing of probabilities."""

BadPayloadRule = Literal["absent", "fail"]
"""What a payload that cannot be decoded does: count as absent, or fail its row. Its status says so either way."""

Name = r"^[a-z][a-z0-9_]*$"
BundleName = r"^[a-z0-9][a-z0-9_-]*$"


def reserved_names(modalities: Iterable[str]) -> set[str]:
    """Return the names that neither a modality nor an output may have beside these modalities.

    >>> sorted(reserved_names(["image"]))
    ['graph', 'image_state', 'image_status', 'presence', 'row_status']
    """
    own = {make(name) for name in modalities for make in (state_name, status_name)}
    return own | {"graph", PRESENCE, ROW_STATUS}


class ModalityEntry(Closed):
    """One modality of a bundle.

    Attributes:
        name: its name on the wire.
        kind: the plug-in that decodes it, of the group `onepath.modalities`.
        settings: the plug-in's settings, validated by its `settings_type`.
        limits: the plug-in's limits, validated by its `limits_type`.
        absent: what an absent row means.
        on_bad_payload: what a payload that cannot be decoded does.
        tensor: what the processor makes of one row; the graph's input of the same name.
    """

    name: str = Field(pattern=Name)
    kind: str
    settings: dict[str, Any] = Field(default_factory=dict)  # the plug-in's own model validates it
    limits: dict[str, Any] = Field(default_factory=dict)  # the plug-in's own model validates it
    absent: AbsentRule = "remerge"
    on_bad_payload: BadPayloadRule = "absent"
    tensor: TensorSpec


class FileEntry(Closed):
    """The size and digest of one file of a bundle."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    size_bytes: int = Field(ge=0)


class GraphEntry(Closed):
    """The ONNX graph of a bundle.

    Attributes:
        file: its path in the bundle.
        precision: the precision of its weights and activations.
        opset: the ONNX operator set version.
        ir_version: the ONNX file format version.
        max_batch_size: the most rows of one run; parity was proved up to here.
    """

    file: str
    precision: Literal["fp32", "bf16", "fp16", "int8"] = "fp32"
    opset: int
    ir_version: int
    max_batch_size: int = Field(ge=1)


class Measurement(Closed):
    """One comparison of a proof step.

    Attributes:
        inputs: what was compared on, in words.
        max_abs_error: the largest absolute difference; divided by the largest output, if that is above 1, where
            `relative`.
        tolerance: what it may be, chosen before measuring.
        relative: whether the difference was divided by the largest output.
    """

    inputs: str = Field(min_length=1)
    max_abs_error: float = Field(ge=0, allow_inf_nan=False)
    tolerance: float = Field(ge=0, le=LOOSEST)
    relative: bool = False


class ProofStep(Closed):
    """One link of the proof chain: what a step read, what it wrote, and how far the two are apart.

    Attributes:
        step: which step it proves.
        subject: the part of the model that it changed.
        reads: digest of what it started from.
        writes: digest of what it made.
        measurements: the comparisons; each is within its tolerance, or the bundle would not exist.
        notes: figures worth keeping, such as parameter counts.
    """

    step: Step
    subject: str
    reads: str = Field(pattern="^[0-9a-f]{64}$")
    writes: str = Field(pattern="^[0-9a-f]{64}$")
    measurements: tuple[Measurement, ...] = Field(min_length=1)
    notes: dict[str, str | int | float] = Field(default_factory=dict)


class Manifest(Closed):
    """The manifest of a bundle.

    Attributes:
        schema_version: the version of this format.
        name: the front door's name, which clients call.
        description: one line for a person.
        task: what the first output means: `scores` of the labels, or an `embedding`.
        labels: the labels, one per score; empty for other tasks.
        modalities: in the order of the presence columns.
        outputs: the task's tensors of one row, the first being the task's own.
        graph: the ONNX graph.
        weights: path of the collapsed weights, safetensors.
        probes: path of the golden probes.
        probe_tolerance: how far an engine's answer to a probe may be from the stored one.
        proofs: the chain; each step reads what an earlier one wrote.
        files: every file of the bundle but the manifest and its digest.
        tools: name and version of what built it.
        licence: SPDX expression of the weights' licence.
        details: figures of the build that a person asks for (scales, merge method, test accuracy).
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    name: str = Field(pattern=BundleName)
    description: str = ""
    task: Literal["classification", "embedding"]
    labels: tuple[str, ...] = ()
    modalities: tuple[ModalityEntry, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    graph: GraphEntry
    weights: str
    probes: str
    probe_tolerance: float = Field(gt=0, le=LOOSEST)
    proofs: tuple[ProofStep, ...] = Field(min_length=1)
    files: dict[str, FileEntry]
    tools: dict[str, str] = Field(default_factory=dict)
    licence: str = "Apache-2.0"
    details: dict[str, Any] = Field(default_factory=dict)  # free-form JSON, for people

    @property
    def modality_names(self) -> tuple[str, ...]:
        """The names of the modalities, in the order of the presence columns."""
        return tuple(modality.name for modality in self.modalities)

    @field_validator("modalities")
    @classmethod
    def _modalities_fit(cls, modalities: tuple[ModalityEntry, ...]) -> tuple[ModalityEntry, ...]:
        _refuse_twice("modality", [entry.name for entry in modalities])
        for entry in modalities:
            if entry.tensor.name != entry.name:
                raise ValueError(f"the tensor of the modality {entry.name!r} is named {entry.tensor.name!r}")
        return modalities

    @model_validator(mode="after")
    def _names_fit(self) -> Manifest:
        outputs = [output.name for output in self.outputs]
        _refuse_twice("output", outputs)
        _refuse_twice("label", self.labels)
        clash = sorted((reserved_names(self.modality_names) | {*self.modality_names}) & {*outputs})
        clash += sorted(reserved_names(self.modality_names) & {*self.modality_names})
        if clash:
            raise ValueError(f"the name {clash[0]!r} is taken by another tensor or model; choose another")
        return self

    @model_validator(mode="after")
    def _labels_fit_the_scores(self) -> Manifest:
        if self.task == "classification" and self.outputs[0].shape != (len(self.labels),):
            raise ValueError(f"{len(self.labels)} labels do not fit scores of shape {self.outputs[0].shape}")
        return self

    @model_validator(mode="after")
    def _files_fit(self) -> Manifest:
        parts = [self.graph.file, self.weights, self.probes]
        _refuse_twice("file", parts)
        missing = set(parts) - set(self.files)
        if missing:
            raise ValueError(f"files does not list {sorted(missing)[0]}")
        return self

    @model_validator(mode="after")
    def _steps_are_in_order(self) -> Manifest:
        steps = [proof.step for proof in self.proofs]
        if steps not in (["merge", "collapse", "onnx"], ["collapse", "onnx"]):
            raise ValueError(
                f"the proofs are of {', '.join(steps)}; they must be of merge, collapse and onnx in this order"
            )
        return self


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"the {what} {twice[0]!r} is declared twice")
