"""Models and graphs run on batches of held-out rows: by torch, dense or dispatched, together or row by row."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from onepath.contract.presence import PRESENT
from onepath.contract.tensors import PRESENCE, ROW_STATUS
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.proofs import Arrays, Batch
from onepath.export.rows import RowSource
from onepath.merging.multimodal import MultimodalModel, run_dense

_RAW = "embedding"  # the task whose outputs the graph leaves as the model gives them


def in_float64(model: nn.Module) -> MultimodalModel:
    """Return a copy of a merged model in float64 and in eval mode."""
    return cast(MultimodalModel, copy.deepcopy(model).double().eval())


def whole_rows(source: RowSource, size: int) -> Batch:
    """Return held-out rows with every modality: where all are required, no mixture has fewer."""
    rows = source.pattern_rows(source.names, size)
    return source.decoded(f"float64, together and each alone, {size} held-out rows with every modality", rows)


def row_by_row(run: Callable[[Batch], Arrays], batch: Batch) -> Arrays:
    """Return what each row gets in a batch of its own."""
    answers = [run(_row(batch, index)) for index in range(batch.rows)]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _row(batch: Batch, index: int) -> Batch:
    here = slice(index, index + 1)
    values = {name: array[here] for name, array in batch.values.items()}
    return Batch(batch.title, values, {name: state[here] for name, state in batch.states.items()})


def titled(batch: Batch, prefix: str) -> Batch:
    """Return a batch whose title begins with some words."""
    return replace(batch, title=f"{prefix}, {batch.title}")


def tensors_from_arrays(arrays: Arrays) -> dict[str, Tensor]:
    """Return arrays as tensors, by name."""
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


@torch.inference_mode()
def run_graph(graph: PresenceGraph, batch: Batch) -> Arrays:
    """Return a graph's outputs for a batch, run by torch."""
    return {
        name: output.numpy()
        for name, output in graph(tensors_from_arrays(batch.values), tensors_from_arrays(batch.states)).items()
    }


@torch.inference_mode()
def width_of_logits(encoder: nn.Module, source: RowSource) -> int:
    """Return how many logits an encoder of the source's first modality gives."""
    values = tensors_from_arrays(source.decoded("one row", source.pattern_rows(source.names, 1)).values)
    return int(encoder(values[source.names[0]]).shape[-1])


def call_dispatched(model: MultimodalModel, batch: Batch) -> object:
    """Run the model as `run_dispatched` does, in the mode that is set; inference mode hides FLOPs from torch."""
    graph = PresenceGraph(model, _RAW).eval()
    return graph(tensors_from_arrays(batch.values), tensors_from_arrays(batch.states))


def run_dispatched(model: MultimodalModel, batch: Batch) -> Arrays:
    """Return what the model gives with each encoder run on the rows that have its modality."""
    outputs = run_graph(PresenceGraph(model, _RAW).eval(), batch)
    return {name: output for name, output in outputs.items() if name not in (PRESENCE, ROW_STATUS)}


@torch.inference_mode()
def run_every_row(model: MultimodalModel, batch: Batch) -> Arrays:
    """Return what the model gives with every encoder run on every row; modalities that it lacks are ignored."""
    states = np.concatenate([batch.states[name] for name in model.modalities], axis=1)
    present = torch.from_numpy(states == PRESENT)
    usable = present.any(dim=1, keepdim=True)
    outputs = run_dense(model, tensors_from_arrays(batch.values), present)
    return {name: torch.where(usable, value, 0.0).numpy() for name, value in outputs.items()}
