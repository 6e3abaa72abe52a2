"""What every `config.pbtxt` is made of: Triton's own protobuf message, printed by protobuf's text formatter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import text_format

from onepath.contract.dtypes import DType, config_from_dtype
from onepath.contract.manifest import Manifest
from onepath.contract.tensors import PRESENCE, ROW_STATUS, TensorSpec
from onepath.server.settings import DeploySettings

STRING = "TYPE_STRING"
UINT8 = "TYPE_UINT8"

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


def new_config(name: str, max_batch_size: int) -> Config:
    """Return a configuration that says no more than a model's name and its largest batch."""
    from tritonclient.grpc import model_config_pb2  # 0.2 s, and of no use to a caller of this package's other parts

    return model_config_pb2.ModelConfig(name=name, max_batch_size=max_batch_size)


def column(name: str, spec: TensorSpec, dtype: DType | None = None) -> Column:
    """Return a tensor under a name, in its own type unless another is given."""
    return name, config_from_dtype(dtype or spec.dtype), spec.shape


def graph_outputs(manifest: Manifest) -> list[Column]:
    """Return what a graph answers: the task's tensors, presence and row status."""
    task = [column(spec.name, spec) for spec in manifest.outputs]
    return [*task, (PRESENCE, UINT8, (len(manifest.modalities),)), (ROW_STATUS, UINT8, (1,))]


def add_tensors(field: Any, columns: Iterable[Column]) -> None:  # field: a repeated protobuf field
    """Add tensors to a model's inputs or outputs."""
    for name, data_type, shape in columns:
        field.add(name=name, data_type=data_type, dims=shape)


def add_batching(config: Config, settings: DeploySettings) -> None:
    """Let a model's requests share batches."""
    config.dynamic_batching.max_queue_delay_microseconds = settings.max_queue_delay_us
    sizes = sorted({size for size in settings.preferred_batch_sizes if size <= config.max_batch_size})
    config.dynamic_batching.preferred_batch_size.extend(sizes)


def add_step(config: Config, model: str, *, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
    """Add a model to an ensemble, its tensors by the names that they have there."""
    step = config.ensemble_scheduling.step.add(model_name=model, model_version=-1)
    step.input_map.update(inputs)
    step.output_map.update(outputs)


def add_warmup(config: Config, columns: Iterable[tuple[Column, str | None]]) -> None:
    """Let a model answer one row while it loads: zeros, or what a file of its warm-up folder holds."""
    sample = config.model_warmup.add(name="one present row", batch_size=1)
    for (name, data_type, shape), file in columns:
        value = sample.inputs[name]
        value.data_type = value.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_name[data_type].number
        value.dims.extend(shape)
        if file:
            value.input_data_file = file
        else:
            value.zero_data = True
