"""The manifest: everything that the serving side knows of a bundle, and the proofs that it may be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from onepath.contract.graphs import EngineEntry, GraphEntry
from onepath.contract.proofs import LOOSEST_IN_FLOAT32, ProofStep, steps_problem
from onepath.contract.tensors import PRESENCE, ROW_STATUS, Closed, TensorSpec, state_name, status_name

SCHEMA_VERSION: Literal[2] = 2

AbsentRule = Literal["remerge", "skip", "required"]
"""What an absent modality means: the model that merging only the present blocks would have given (`remerge`), a chain
that goes on without its steps (`skip`), or a failed row (`required`)."""

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
        graph: the ONNX graph that is deployed unless another is asked for.
        variants: the other graphs, which passed the gates of their precision; the one in float32 is always among them
            or is `graph`.
        engines: TensorRT engines of these graphs.
        weights: path of the collapsed weights, safetensors.
        probes: path of the golden probes.
        answers: path of what each step's result answers to the probes, by which the proofs are measured again; bundles
            of the first schema have none.
        probe_tolerance: how far an engine's answer to a probe may be from the stored one.
        proofs: the chain; each step reads what an earlier one wrote.
        deployment: settings that deploying takes where it is told no others, such as those that `onepath tune` chose.
        files: every file of the bundle but the manifest and its digest.
        tools: name and version of what built it.
        licence: SPDX expression of the weights' licence.
        details: figures of the build that a person asks for (scales, merge method, test accuracy).
    """

    schema_version: Literal[2] = SCHEMA_VERSION
    name: str = Field(pattern=BundleName)
    description: str = ""
    task: Literal["classification", "embedding"]
    labels: tuple[str, ...] = ()
    modalities: tuple[ModalityEntry, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    graph: GraphEntry
    variants: tuple[GraphEntry, ...] = ()
    engines: tuple[EngineEntry, ...] = ()
    weights: str
    probes: str
    answers: str | None = None
    probe_tolerance: float = Field(gt=0, le=LOOSEST_IN_FLOAT32)
    proofs: tuple[ProofStep, ...] = Field(min_length=1)
    deployment: dict[str, Any] = Field(default_factory=dict)  # the server's own model validates it
    files: dict[str, FileEntry]
    tools: dict[str, str] = Field(default_factory=dict)
    licence: str = "Apache-2.0"
    details: dict[str, Any] = Field(default_factory=dict)  # free-form JSON, for people

    @property
    def modality_names(self) -> tuple[str, ...]:
        """The names of the modalities, in the order of the presence columns."""
        return tuple(modality.name for modality in self.modalities)

    @property
    def graphs(self) -> tuple[GraphEntry, ...]:
        """Every graph: the one that is deployed, then its variants."""
        return (self.graph, *self.variants)

    @property
    def reference(self) -> GraphEntry:
        """The graph in float32, which the others were made of."""
        return next(graph for graph in self.graphs if graph.is_reference)

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
        graphs = [file for graph in self.graphs for file in graph.files]
        engines = [file for engine in self.engines for file in engine.files.values()]
        answers = [] if self.answers is None else [self.answers]
        parts = [*graphs, *engines, self.weights, self.probes, *answers]
        _refuse_twice("file", parts)
        missing = set(parts) - set(self.files)
        if missing:
            raise ValueError(f"files does not list {sorted(missing)[0]}")
        return self

    @model_validator(mode="after")
    def _graphs_fit(self) -> Manifest:
        if sum(graph.is_reference for graph in self.graphs) != 1:
            raise ValueError("exactly one graph must be in float32 throughout, for the others to be held against")
        _refuse_twice("precision", [graph.precisions for graph in self.graphs])
        unknown = {name for graph in self.graphs for name in graph.modality_precision} - {*self.modality_names}
        if unknown:
            raise ValueError(f"a graph gives the precision of {sorted(unknown)[0]!r}, which is no modality")
        strange = {engine.graph for engine in self.engines} - {graph.file for graph in self.graphs}
        if strange:
            raise ValueError(f"an engine stands for {sorted(strange)[0]}, which is no graph of this bundle")
        return self

    @model_validator(mode="after")
    def _steps_are_in_order(self) -> Manifest:
        problem = steps_problem(self.proofs)
        if problem:
            raise ValueError(problem)
        return self


def _refuse_twice(what: str, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"the {what} {twice[0]!r} is declared twice")
