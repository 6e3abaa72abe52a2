"""What collapsing a LegoMerge gives back, at the sizes of MM-Lego's quick start, in one run of one thread.

A table of 2189 columns through a self-normalising network and a bag of 100 instances of 1024 features through
attention-MIL; latents of 64 by 64, depth 2, 4 classes, merged by sum. Three forms of the same weights: the published
one, which runs every encoder once a depth and transforms back and forth in complex numbers, with its heads merged
beforehand; ours in many paths, which runs them once; and ours collapsed, in torch and as it is served, as a graph with
presence and probabilities in ONNX Runtime.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onepath.contract.tensors import TensorSpec, state_name
from onepath.export.collapse import collapse
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.graphs.exporter import onnx_file_from_graph
from onepath.merging.encoders import AttentionMIL, SelfNormalizingNetwork
from onepath.merging.lego import LegoBlock, LegoMerge, LegoSettings
from paired import median_ratio, save, thread_seconds

COLUMNS, INSTANCES, WIDTH = 2189, 100, 1024
SPECS = [
    TensorSpec(name="table", dtype="float32", shape=(COLUMNS,)),
    TensorSpec(name="bag", dtype="float32", shape=(INSTANCES, WIDTH)),
]
LIMITS = {"batch 1": 3.0, "batch 64": 2.5}
FASTER = ("collapsed", "served")
BATCHES = {1: 100, 10: 40, 64: 20}


def blocks() -> dict[str, LegoBlock]:
    """Return seeded blocks of the quick start's sizes, in eval mode."""
    torch.manual_seed(0)
    encoders: dict[str, nn.Module] = {"table": SelfNormalizingNetwork(COLUMNS), "bag": AttentionMIL(WIDTH)}
    return {name: LegoBlock(encoder, LegoSettings(256, 4)).eval() for name, encoder in encoders.items()}


def published_form(merge: LegoMerge) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """Return the published eager forward on the weights of a merge with equal, linearly merged heads."""
    copies = copy.deepcopy(merge.blocks)
    for block in copies.values():
        block.settings = replace(block.settings, compat="published")
    first, second = (block.head for block in copies.values())
    head = copy.deepcopy(first)
    for merged, other in zip(head.parameters(), second.parameters(), strict=True):
        merged.data.lerp_(other.data, 0.5)

    def forward(values: Mapping[str, Tensor]) -> Tensor:
        latents = [torch.complex(*block.encoded(values[name])) for name, block in copies.items()]
        return head(torch.stack(latents).sum(0).real.mean(1))

    return forward


def served_form(collapsed: nn.Module) -> Callable[[Mapping[str, Tensor]], Tensor]:
    """Return the collapsed model's probabilities in ONNX Runtime, with one thread."""
    graph = PresenceGraph(collapsed, "classification").eval()
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx_file_from_graph(graph, SPECS, outputs=["scores"], opset=20, ir_version=10, path=path)
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def forward(values: Mapping[str, Tensor]) -> Tensor:
        feeds: dict[str, NDArray[np.generic]] = {name: tensor.numpy() for name, tensor in values.items()}
        states = {state_name(name): np.ones((len(tensor), 1), np.uint8) for name, tensor in values.items()}
        return torch.from_numpy(session.run(["scores"], feeds | states)[0])

    return forward


def measured(
    forms: Mapping[str, Callable[[Mapping[str, Tensor]], Tensor]], batch: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Return how many times as fast the collapsed forms are, milliseconds, and differences of probabilities."""
    values = {"table": torch.randn(batch, COLUMNS), "bag": torch.randn(batch, INSTANCES, WIDTH)}
    with torch.inference_mode():
        seconds = thread_seconds({name: partial(form, values) for name, form in forms.items()}, rounds=rounds)
        results = {name: form(values) for name, form in forms.items()}
    expected = torch.softmax(results["published"], dim=1)
    scores = {name: result if name == "served" else torch.softmax(result, dim=1) for name, result in results.items()}
    return {
        "published_relative_to": {name: median_ratio(seconds, "published", name) for name in FASTER},
        "many_paths_relative_to": {name: median_ratio(seconds, "many paths", name) for name in FASTER},
        "milliseconds": {name: 1000 * statistics.median(times) for name, times in seconds.items()},
        "largest_difference": {name: (score - expected).abs().max().item() for name, score in scores.items()},
    }


def main() -> None:
    """Measure the forms at batch 1, 10 and 64, and hold the served one to the limits."""
    torch.set_num_threads(1)
    merge = LegoMerge(blocks(), method="sum", head="linear").eval()
    collapsed, _ = collapse(merge)
    forms = {
        "published": published_form(merge),
        "many paths": merge,
        "collapsed": collapsed,
        "served": served_form(collapsed),
    }
    found = {f"batch {batch}": measured(forms, batch, rounds) for batch, rounds in BATCHES.items()}
    sizes = {"columns": COLUMNS, "instances": INSTANCES, "width": WIDTH}
    save("lego", {**sizes, **found, "least_published_relative_to_served": LIMITS})
    under = [key for key, limit in LIMITS.items() if found[key]["published_relative_to"]["served"] < limit]
    if under:
        raise SystemExit(f"under the limit: {', '.join(under)}")


if __name__ == "__main__":
    main()
