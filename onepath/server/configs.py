"""The only place that writes `config.pbtxt`: the front door, preprocessing, and the graph or its engines.

The engines are TensorRT's: their configurations are written after Triton's documentation, and no Triton that onepath
starts by itself has the backend for them.
"""

from __future__ import annotations

from onepath.contract.deployment import CONFIG_PARAMETER, CardModality, PipelineCard
from onepath.contract.digests import canonical_json
from onepath.contract.dtypes import DType
from onepath.contract.engines import FEATURES, architecture, engine_dtype, features_name
from onepath.contract.manifest import Manifest, ModalityEntry
from onepath.contract.tensors import state_name, status_name
from onepath.server.config_parts import (
    STRING,
    UINT8,
    Column,
    Config,
    add_batching,
    add_step,
    add_tensors,
    add_warmup,
    column,
    graph_outputs,
    new_config,
)
from onepath.server.names import PAYLOAD, STATE, STATUS, VALUES, encoder_name, graph_name, preprocess_name
from onepath.server.settings import DeploySettings

WARMUP_PAYLOAD = "payload"
"""File of a preprocessing model's warm-up folder: one real payload, as Triton serialises BYTES."""
WARMUP_STATE = "state"
"""File of the graph's warm-up folder: the state of a present modality."""


def front_door_config(manifest: Manifest, bundle_id: str, pipeline: str) -> Config:
    """Return the configuration of the ensemble that clients call: BYTES in, the task's tensors and statuses out."""
    names = manifest.modality_names
    config = new_config(manifest.name, manifest.graph.max_batch_size)
    config.platform = "ensemble"
    add_tensors(config.input, ((name, STRING, (1,)) for name in names))
    add_tensors(config.output, graph_outputs(manifest))
    add_tensors(config.output, ((status_name(name), STRING, (1,)) for name in names))
    for name in names:
        add_step(
            config,
            preprocess_name(manifest.name, pipeline, name),
            inputs={PAYLOAD: name},
            outputs={VALUES: _between(name, VALUES), STATE: _between(name, STATE), STATUS: status_name(name)},
        )
    values = {name: _between(name, VALUES) for name in names}
    if is_split(manifest):
        for name in names:
            model, features = encoder_name(manifest.name, pipeline, name), {FEATURES: _between(name, FEATURES)}
            add_step(config, model, inputs={name: _between(name, VALUES)}, outputs=features)
        values = {features_name(name): _between(name, FEATURES) for name in names}
    states = {state_name(name): _between(name, STATE) for name in names}
    answers = {name: name for name, _, _ in graph_outputs(manifest)}
    add_step(config, graph_name(manifest.name, pipeline), inputs=values | states, outputs=answers)
    card = pipeline_card(manifest, bundle_id)
    config.parameters[CONFIG_PARAMETER].string_value = canonical_json(card.model_dump(mode="json")).decode()
    return config


def pipeline_card(manifest: Manifest, bundle_id: str) -> PipelineCard:
    """Return what clients read about a pipeline."""
    return PipelineCard(
        bundle_id=bundle_id,
        task=manifest.task,
        labels=manifest.labels,
        modalities=tuple(CardModality(name=entry.name, kind=entry.kind) for entry in manifest.modalities),
        outputs=tuple(spec.name for spec in manifest.outputs),
        max_batch_size=manifest.graph.max_batch_size,
    )


def preprocess_config(
    name: str, entry: ModalityEntry, manifest: Manifest, settings: DeploySettings, *, warm_up: bool
) -> Config:
    """Return the configuration of a modality's preprocessing model.

    Args:
        name: the model's name.
        entry: the modality.
        manifest: the pipeline's, as deployed.
        settings: instances and batching.
        warm_up: whether the model's folder holds `warmup/payload`.
    """
    config = new_config(name, manifest.graph.max_batch_size)
    config.backend = "python"
    values = column(VALUES, entry.tensor, _dtype_of_values(entry, manifest))
    add_tensors(config.input, [(PAYLOAD, STRING, (1,))])
    add_tensors(config.output, [values, (STATE, UINT8, (1,)), (STATUS, STRING, (1,))])
    add_batching(config, settings)
    config.instance_group.add(count=settings.preprocess_count, kind="KIND_CPU")
    if warm_up:
        add_warmup(config, [((PAYLOAD, STRING, (1,)), WARMUP_PAYLOAD)])
    return config


def graph_config(name: str, manifest: Manifest, settings: DeploySettings) -> Config:
    """Return the configuration of the model that answers: the graph, its engine, or the fusion of an engine in parts.

    NVIDIA's `onnxruntime` backend and onepath's read the same one.
    """
    config = new_config(name, manifest.graph.max_batch_size)
    if is_split(manifest):
        values = [column(features_name(spec.name), spec) for spec in manifest.engines[0].features]
    else:
        values = [column(entry.name, entry.tensor, _dtype_of_values(entry, manifest)) for entry in manifest.modalities]
    states: list[Column] = [(state_name(entry.name), UINT8, (1,)) for entry in manifest.modalities]
    add_tensors(config.input, values + states)
    add_tensors(config.output, graph_outputs(manifest))
    _add_backend(config, manifest, settings)
    add_warmup(config, [*((each, None) for each in values), *((each, WARMUP_STATE) for each in states)])
    return config


def encoder_config(name: str, entry: ModalityEntry, manifest: Manifest, settings: DeploySettings) -> Config:
    """Return the configuration of a modality's encoder, of an engine in parts: it runs on every row of a batch.

    Args:
        name: the model's name.
        entry: the modality.
        manifest: the pipeline's, as deployed.
        settings: instances and batching.
    """
    config = new_config(name, manifest.graph.max_batch_size)
    values = column(entry.name, entry.tensor, _dtype_of_values(entry, manifest))
    add_tensors(config.input, [values])
    (features,) = (spec for spec in manifest.engines[0].features if spec.name == entry.name)
    add_tensors(config.output, [column(FEATURES, features)])
    _add_backend(config, manifest, settings)
    add_warmup(config, [(values, None)])
    return config


def is_split(manifest: Manifest) -> bool:
    """Return whether what is deployed is an engine in parts."""
    return bool(manifest.engines and manifest.engines[0].features)


def engine_file(compute_capability: str) -> str:
    """Return the name of an engine's file in its model's version folder.

    >>> engine_file("9.0")
    'sm90.plan'
    """
    return f"{architecture(compute_capability)}.plan"


def _add_backend(config: Config, manifest: Manifest, settings: DeploySettings) -> None:
    """Say what runs the model, and let its requests share batches."""
    if manifest.engines:
        config.backend = "tensorrt"
        for engine in manifest.engines:  # of a GPU of another capability, Triton finds no file, and does not load it
            config.cc_model_filenames[engine.compute_capability] = engine_file(engine.compute_capability)
    else:
        config.backend = "onnxruntime"
        config.default_model_filename = "model.onnx"
        for key, value in _session_parameters(settings).items():
            config.parameters[key].string_value = value
    add_batching(config, settings)
    config.instance_group.add(count=settings.graph_count, kind=f"KIND_{settings.kind.upper()}")


def _session_parameters(settings: DeploySettings) -> dict[str, str]:
    return {
        "intra_op_thread_count": str(settings.intra_op_threads),
        "inter_op_thread_count": str(settings.inter_op_threads),
        "session.intra_op.allow_spinning": str(int(settings.allow_spinning)),
    }


def _dtype_of_values(entry: ModalityEntry, manifest: Manifest) -> DType:
    """Return the type in which a modality's values pass from preprocessing to what runs on them."""
    return engine_dtype(entry.tensor.dtype) if manifest.engines else entry.tensor.dtype


def _between(modality: str, tensor: str) -> str:
    # A dot cannot be in a modality's name, so that no tensor of a client has this name.
    return f"{modality}.{tensor}"
