"""The only place that writes `config.pbtxt`: Triton's own protobuf message, printed by protobuf's text formatter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import text_format

from onepath.contract.deployment import CONFIG_PARAMETER, CardModality, PipelineCard
from onepath.contract.digests import canonical_json
from onepath.contract.dtypes import config_from_dtype
from onepath.contract.manifest import Manifest, ModalityEntry
from onepath.contract.tensors import PRESENCE, ROW_STATUS, TensorSpec, state_name, status_name
from onepath.server.names import PAYLOAD, STATE, STATUS, VALUES, graph_name, preprocess_name
from onepath.server.settings import DeploySettings

_STRING = "TYPE_STRING"
_UINT8 = "TYPE_UINT8"
WARMUP_PAYLOAD = "payload"
"""File of a preprocessing model's warm-up folder: one real payload, as Triton serialises BYTES."""
WARMUP_STATE = "state"
"""File of the graph's warm-up folder: the state of a present modality."""

Config = Any  # tritonclient's protobuf message, which has no types
Column = tuple[str, str, tuple[int, ...]]
"""Name, type name of `config.pbtxt`, and shape of one row of a tensor."""


def text_from_config(config: Config) -> bytes:
    """Return the content of `config.pbtxt`."""
    text: str = text_format.MessageToString(config)
    return f"# Written by onepath; deploy again rather than edit it.\n{text}".encode()


def same_config(first: bytes, second: bytes) -> bool:
    """Return whether two `config.pbtxt` files say the same; releases of protobuf may print it differently."""
    try:
        return bool(_parsed(first) == _parsed(second))
    except text_format.ParseError:
        return False


def _parsed(text: bytes) -> Config:
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


def front_door_config(manifest: Manifest, bundle_id: str, pipeline: str) -> Config:
    """Return the configuration of the ensemble that clients call: BYTES in, the task's tensors and statuses out."""
    names = manifest.modality_names
    config = _config(manifest.name, manifest.graph.max_batch_size)
    config.platform = "ensemble"
    _add_tensors(config.input, ((name, _STRING, (1,)) for name in names))
    _add_tensors(config.output, _graph_outputs(manifest))
    _add_tensors(config.output, ((status_name(name), _STRING, (1,)) for name in names))
    for name in names:
        _add_step(
            config,
            preprocess_name(manifest.name, pipeline, name),
            inputs={PAYLOAD: name},
            outputs={VALUES: _between(name, VALUES), STATE: _between(name, STATE), STATUS: status_name(name)},
        )
    values = {name: _between(name, VALUES) for name in names}
    states = {state_name(name): _between(name, STATE) for name in names}
    answers = {name: name for name, _, _ in _graph_outputs(manifest)}
    _add_step(config, graph_name(manifest.name, pipeline), inputs=values | states, outputs=answers)
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
    name: str, entry: ModalityEntry, max_batch_size: int, settings: DeploySettings, *, warm_up: bool
) -> Config:
    """Return the configuration of a modality's preprocessing model.

    Args:
        name: the model's name.
        entry: the modality.
        max_batch_size: the most rows of one batch.
        settings: instances and batching.
        warm_up: whether the model's folder holds `warmup/payload`.
    """
    config = _config(name, max_batch_size)
    config.backend = "python"
    _add_tensors(config.input, [(PAYLOAD, _STRING, (1,))])
    _add_tensors(config.output, [_column(VALUES, entry.tensor), (STATE, _UINT8, (1,)), (STATUS, _STRING, (1,))])
    _add_batching(config, settings)
    config.instance_group.add(count=settings.preprocess_count, kind="KIND_CPU")
    if warm_up:
        sample = config.model_warmup.add(name="one present row", batch_size=1)
        _add_warmup_input(sample, (PAYLOAD, _STRING, (1,)), file=WARMUP_PAYLOAD)
    return config


def graph_config(name: str, manifest: Manifest, settings: DeploySettings) -> Config:
    """Return the configuration of the graph; NVIDIA's `onnxruntime` backend and onepath's read the same one."""
    values = [_column(entry.name, entry.tensor) for entry in manifest.modalities]
    states: list[Column] = [(state_name(entry.name), _UINT8, (1,)) for entry in manifest.modalities]
    config = _config(name, manifest.graph.max_batch_size)
    config.backend = "onnxruntime"
    config.default_model_filename = "model.onnx"
    _add_tensors(config.input, values + states)
    _add_tensors(config.output, _graph_outputs(manifest))
    _add_batching(config, settings)
    config.instance_group.add(count=settings.graph_count, kind=f"KIND_{settings.kind.upper()}")
    for key, value in _session_parameters(settings).items():
        config.parameters[key].string_value = value
    sample = config.model_warmup.add(name="one present row", batch_size=1)
    for column in values:
        _add_warmup_input(sample, column)
    for column in states:
        _add_warmup_input(sample, column, file=WARMUP_STATE)
    return config


def _session_parameters(settings: DeploySettings) -> dict[str, str]:
    return {
        "intra_op_thread_count": str(settings.intra_op_threads),
        "inter_op_thread_count": str(settings.inter_op_threads),
        "session.intra_op.allow_spinning": str(int(settings.allow_spinning)),
    }


def _config(name: str, max_batch_size: int) -> Config:
    from tritonclient.grpc import model_config_pb2  # 0.2 s, and of no use to a caller of this package's other parts

    return model_config_pb2.ModelConfig(name=name, max_batch_size=max_batch_size)


def _between(modality: str, tensor: str) -> str:
    # A dot cannot be in a modality's name, so that no tensor of a client has this name.
    return f"{modality}.{tensor}"


def _column(name: str, spec: TensorSpec) -> Column:
    return name, config_from_dtype(spec.dtype), spec.shape


def _graph_outputs(manifest: Manifest) -> list[Column]:
    task = [_column(spec.name, spec) for spec in manifest.outputs]
    return [*task, (PRESENCE, _UINT8, (len(manifest.modalities),)), (ROW_STATUS, _UINT8, (1,))]


def _add_tensors(field: Any, columns: Iterable[Column]) -> None:  # field: a repeated protobuf field
    for name, data_type, shape in columns:
        field.add(name=name, data_type=data_type, dims=shape)


def _add_batching(config: Config, settings: DeploySettings) -> None:
    config.dynamic_batching.max_queue_delay_microseconds = settings.max_queue_delay_us
    sizes = sorted({size for size in settings.preferred_batch_sizes if size <= config.max_batch_size})
    config.dynamic_batching.preferred_batch_size.extend(sizes)


def _add_step(config: Config, model: str, *, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    step = config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
    step.input_map.update(inputs)
    step.output_map.update(outputs)


def _add_warmup_input(sample: Any, column: Column, *, file: str | None = None) -> None:  # sample: a protobuf message
    name, data_type, shape = column
    value = sample.inputs[name]
    value.data_type = value.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_name[data_type].number
    value.dims.extend(shape)
    if file:
        value.input_data_file = file
    else:
        value.zero_data = True
