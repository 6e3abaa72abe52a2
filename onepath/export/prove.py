"""The proofs of a bundle: merge → collapse → ONNX, each measured in float64 or at the precision that is served."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor, nn

from onepath.contract.digests import sha256_from_bytes
from onepath.contract.manifest import Measurement, ProofStep
from onepath.contract.presence import PRESENT, pattern_name
from onepath.contract.tensors import PRESENCE, ROW_STATUS
from onepath.export.collapse import CollapseReport, collapse
from onepath.export.dispatch import PresenceGraph
from onepath.export.proofs import Arrays, Batch, compare, digest_from_model, safetensors_from_model
from onepath.export.rows import RowSource, feeds_from_batch
from onepath.export.tolerances import Tolerances
from onepath.merging.multimodal import MultimodalModel, run_dense

_RAW = "embedding"  # the task whose outputs the graph leaves as the model gives them


@dataclass(frozen=True)
class Collapsed:
    """A collapsed model with its proof.

    Attributes:
        model: float32, in eval mode, of one path of weights.
        weights: its state dict as safetensors.
        report: what was folded.
        proof: the link of the chain.
    """

    model: MultimodalModel
    weights: bytes
    report: CollapseReport
    proof: ProofStep


def prove_merge(
    merged: nn.Module,
    parents: Mapping[str, nn.Module],
    merged_from: Callable[[tuple[str, ...]], nn.Module],
    *,
    source: RowSource,
    tolerance: float,
) -> ProofStep:
    """Return the proof that every presence pattern gives what merging only the present blocks would have given.

    A pattern of one modality is held against the block itself, as it was trained.

    Args:
        merged: the model merged from all blocks.
        parents: modality to block.
        merged_from: merges the blocks of a pattern alone.
        source: held-out rows.
        tolerance: relative, in float64.
    """
    wide = _double(merged)
    measurements: list[Measurement] = []
    for pattern in source.patterns:
        alone = _alone(pattern, parents, merged_from)
        batch = source.decoded(f"float64, only {pattern_name(pattern)}", source.pattern_rows(pattern, 4))
        measurements += compare(
            "merge",
            reference=alone,
            candidate=partial(_dense, wide),
            batches=[batch],
            tolerance=tolerance,
            relative=True,
        )
    return ProofStep(
        step="merge",
        subject="+".join(parents),
        reads=digest_from_model(*parents.values()),
        writes=digest_from_model(merged),
        measurements=tuple(measurements),
    )


def _alone(
    pattern: tuple[str, ...], parents: Mapping[str, nn.Module], merged_from: Callable[[tuple[str, ...]], nn.Module]
) -> Callable[[Batch], Arrays]:
    if len(pattern) > 1:
        return partial(_dense, _double(merged_from(pattern)))
    block = copy.deepcopy(parents[pattern[0]]).double().eval()

    @torch.inference_mode()
    def logits(batch: Batch) -> Arrays:
        return {"scores": block(_tensors(batch.values)[pattern[0]]).numpy()}

    return logits


def prove_collapse(model: nn.Module, *, source: RowSource, tolerances: Tolerances, seed: int) -> Collapsed:
    """Return the collapsed model, proved in float64 on random and held-out rows, then cast once and proved again.

    Raises:
        ParityError: a form is too far from the one before it.
        UnsupportedModuleError: a part of the model cannot be collapsed exactly.
    """
    original = _double(model)
    plain, report = collapse(cast(nn.Module, original))
    cast_model = cast(MultimodalModel, copy.deepcopy(plain).float().eval())
    batches = [source.random(3, seed), source.mixed(1), source.mixed(9), *source.each_pattern(2)]
    folded = compare(
        "collapse",
        reference=lambda batch: _dense(original, batch),
        candidate=lambda batch: _dispatched(cast(MultimodalModel, plain), batch),
        batches=[_titled(batch, "float64") for batch in batches],
        tolerance=tolerances.collapse,
        relative=True,
    )
    rounded = compare(
        "cast to float32",
        reference=lambda batch: _dispatched(cast(MultimodalModel, plain), batch),
        candidate=lambda batch: _dispatched(cast_model, batch),
        batches=[_titled(batch, "float32 against float64") for batch in batches],
        tolerance=tolerances.cast,
        relative=True,
    )
    apart = compare(
        "row independence",
        reference=partial(_row_by_row, partial(_dispatched, cast(MultimodalModel, plain))),
        candidate=partial(_dispatched, cast(MultimodalModel, plain)),
        batches=[_titled(source.mixed(9), "float64, together and each alone"), _whole(source, 3)],
        tolerance=tolerances.collapse,
        relative=True,
    )
    weights = safetensors_from_model(cast(nn.Module, cast_model))
    proof = ProofStep(
        step="collapse",
        subject="model",
        reads=digest_from_model(model),
        writes=sha256_from_bytes(weights),
        measurements=folded + apart + rounded,
        notes={
            "parameters_before": report.parameters_before,
            "parameters_after": report.parameters_after,
        },
    )
    return Collapsed(cast_model, weights, report, proof)


def prove_onnx(
    graph: PresenceGraph,
    onnx_bytes: bytes,
    *,
    source: RowSource,
    max_batch_size: int,
    tolerances: Tolerances,
    seed: int,
) -> ProofStep:
    """Return the proof that ONNX Runtime answers as torch does at batch sizes 1, 2, max−1 and max.

    Raises:
        ParityError: an answer is too far from torch's.
    """
    sizes = sorted({1, 2, max(1, max_batch_size - 1), max_batch_size})
    parity = partial(
        compare, "onnx", reference=partial(run_graph, graph), candidate=_onnx_runtime_from_bytes(onnx_bytes)
    )
    held_out = parity(
        batches=[*(source.mixed(size) for size in sizes), *source.each_pattern(2)], tolerance=tolerances.onnx
    )
    alone = compare(
        "row independence in ONNX Runtime",
        reference=partial(_row_by_row, partial(run_graph, graph)),
        candidate=_onnx_runtime_from_bytes(onnx_bytes),
        batches=[_titled(source.mixed(min(9, max_batch_size)), "together, against torch one by one")],
        tolerance=tolerances.onnx,
    )
    random = parity(batches=[source.random(max_batch_size, seed)], tolerance=tolerances.onnx_random)
    return ProofStep(
        step="onnx",
        subject="graph",
        reads=digest_from_model(graph.model),
        writes=sha256_from_bytes(onnx_bytes),
        measurements=held_out + alone + random,
        notes={"engine": f"onnxruntime {ort.__version__}"},
    )


def _onnx_runtime_from_bytes(onnx_bytes: bytes) -> Callable[[Batch], Arrays]:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda batch: dict(zip(names, session.run(None, feeds_from_batch(batch)), strict=True))


def _double(model: nn.Module) -> MultimodalModel:
    return cast(MultimodalModel, copy.deepcopy(model).double().eval())


def _whole(source: RowSource, size: int) -> Batch:
    """Return held-out rows with every modality: where all are required, no mixture has fewer."""
    rows = source.pattern_rows(source.names, size)
    return source.decoded(f"float64, together and each alone, {size} held-out rows with every modality", rows)


def _row_by_row(run: Callable[[Batch], Arrays], batch: Batch) -> Arrays:
    """Return what each row gets in a batch of its own."""
    answers = [run(_row(batch, index)) for index in range(batch.rows)]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def _row(batch: Batch, index: int) -> Batch:
    here = slice(index, index + 1)
    values = {name: array[here] for name, array in batch.values.items()}
    return Batch(batch.title, values, {name: state[here] for name, state in batch.states.items()})


def _titled(batch: Batch, prefix: str) -> Batch:
    return Batch(f"{prefix}, {batch.title}", batch.values, batch.states)


def _tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}


@torch.inference_mode()
def run_graph(graph: PresenceGraph, batch: Batch) -> Arrays:
    """Return a graph's outputs for a batch, run by torch."""
    return {name: output.numpy() for name, output in graph(_tensors(batch.values), _tensors(batch.states)).items()}


@torch.inference_mode()
def width_of_logits(encoder: nn.Module, source: RowSource) -> int:
    """Return how many logits an encoder of the source's first modality gives."""
    values = _tensors(source.decoded("one row", source.pattern_rows(source.names, 1)).values)
    return int(encoder(values[source.names[0]]).shape[-1])


def _dispatched(model: MultimodalModel, batch: Batch) -> Arrays:
    outputs = run_graph(PresenceGraph(model, _RAW).eval(), batch)
    return {name: output for name, output in outputs.items() if name not in (PRESENCE, ROW_STATUS)}


@torch.inference_mode()
def _dense(model: MultimodalModel, batch: Batch) -> Arrays:
    """Return what the model gives with every encoder run on every row; modalities that it lacks are ignored."""
    states = np.concatenate([batch.states[name] for name in model.modalities], axis=1)
    present = torch.from_numpy(states == PRESENT)
    usable = present.any(dim=1, keepdim=True)
    outputs = run_dense(model, _tensors(batch.values), present)
    return {name: torch.where(usable, value, 0.0).numpy() for name, value in outputs.items()}
