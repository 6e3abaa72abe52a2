"""A ViT-B/16 with a pathway: two paths in torch, collapsed in torch, exported, and in int8, all timed in one run."""

from __future__ import annotations

import copy
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn
from torch.nn import functional

from onepath.contract.presence import PRESENT
from onepath.contract.tensors import TensorSpec, state_name
from onepath.export.bundles.single import SingleModality
from onepath.export.collapse import collapse
from onepath.export.graphs.dispatch import PresenceGraph
from onepath.export.graphs.exporter import onnx_file_from_graph
from onepath.export.graphs.onnx_file import OnnxFile
from onepath.export.passes import PASSES
from onepath.export.precision.int8 import DYNAMIC_PRODUCTS, STATIC_PRODUCTS, dynamic_int8, static_int8
from onepath.export.precision.nodes import name_nodes, weighted_products
from onepath.export.proofs import Batch
from onepath.merging.presets import PATHWAY_LAYERS, image_preset
from onepath.merging.reparameterization import reparameterize

CLASSES, SIDE = 1000, 256
ROUNDS = {1: 21, 8: 9}
"""Batch size to rounds, after one that does not count."""
PLAIN, TWO_PATH, ON_THE_FLY = "torch, collapsed", "torch, two products", "torch, weights summed on the fly"
FP32, INT8, STATIC = "ONNX Runtime, float32", "ONNX Runtime, int8 dynamic", "ONNX Runtime, int8 static"
_LARGEST_ERROR = 1e-6  # of a probability of 1000 classes, between all that computes in float32

Run = Callable[[], object]


class TwoProducts(nn.Module):
    """A linear layer of two paths, literally: the input by each weight, and the sum of both results."""

    def __init__(self, layer: nn.Linear, auxiliary: nn.Linear, scale: float) -> None:
        super().__init__()
        self.layer, self.scale = layer, scale
        self.auxiliary = nn.Parameter(auxiliary.weight.detach().clone())

    def forward(self, values: Tensor) -> Tensor:
        """Return `(…, outputs)` of `(…, inputs)`."""
        return self.layer(values) + self.scale * functional.linear(values, self.auxiliary)


def forms() -> dict[str, nn.Module]:
    """Return the three forms in torch: of one model with random weights, another's attached by λ of about 0.1."""
    torch.manual_seed(0)
    target, auxiliary = (image_preset("base", classes=CLASSES).model.eval() for _ in range(2))
    attached, two_products = copy.deepcopy(target), copy.deepcopy(target)
    reparameterize(attached, auxiliary)
    scales = {name: value for name, value in attached.named_parameters() if value.shape == (1,)}
    generator = torch.Generator().manual_seed(1)
    for value in scales.values():
        value.data = 0.1 * torch.randn(1, generator=generator)
    for name, value in scales.items():
        layer = name.split(".parametrizations.")[0]
        two_path = TwoProducts(two_products.get_submodule(layer), auxiliary.get_submodule(layer), value.item())
        two_products.set_submodule(layer, two_path)
    if len(scales) != 12 * len(PATHWAY_LAYERS):
        raise SystemExit(f"{len(scales)} layers have two paths, instead of {12 * len(PATHWAY_LAYERS)}")
    collapsed, _ = collapse(attached)
    return {PLAIN: collapsed.eval(), TWO_PATH: two_products.eval(), ON_THE_FLY: attached.eval()}


def graphs(collapsed: nn.Module, work: Path) -> dict[str, OnnxFile]:
    """Return the collapsed model's graphs, made as a build makes them."""
    spec = TensorSpec(name="image", dtype="uint8", shape=(3, SIDE, SIDE))
    graph = PresenceGraph(SingleModality("image", collapsed, CLASSES), "classification").eval()
    file = onnx_file_from_graph(
        graph, [spec], outputs=["scores"], opset=20, ir_version=10, path=_place(work, "exported")
    )
    for each in PASSES:
        file = each.run(file, _place(work, each.name))
    model = onnx.load(file.path)
    name_nodes(model)
    dynamic = dynamic_int8(file, weighted_products(model.graph, DYNAMIC_PRODUCTS), _place(work, "dynamic"))
    rows = [_batch(images(4, seed)) for seed in (1, 2)]
    products = weighted_products(model.graph, STATIC_PRODUCTS)
    static = static_int8(file, products, _place(work, "static"), rows=rows, machine="cpu")
    return {FP32: file, INT8: dynamic, STATIC: static}


def images(rows: int, seed: int) -> np.ndarray:
    """Return random images, uint8 `(rows, 3, side, side)`."""
    return np.random.default_rng(seed).integers(0, 256, (rows, 3, SIDE, SIDE)).astype(np.uint8)


def figures() -> dict[str, Any]:  # JSON
    """Return the wall times of every form, at each number of threads and batch size, and how far they are apart."""
    models = forms()
    with tempfile.TemporaryDirectory(prefix="onepath-precision-") as work:
        files = graphs(models[PLAIN], Path(work))
        apart = _differences(models, files)
        over = {name: error for name, error in apart.items() if name not in (INT8, STATIC) and error > _LARGEST_ERROR}
        if over:
            raise SystemExit(f"these forms do not compute the same: {over}")
        measured = {
            f"{threads} threads" if threads > 1 else "1 thread": _measured(models, files, threads) for threads in (1, 2)
        }
        sizes = {name: file.size_bytes for name, file in files.items()}
    return {"wall_ms": measured, "difference_of_scores": apart, "size_bytes": sizes}


def _measured(models: Mapping[str, nn.Module], files: Mapping[str, OnnxFile], threads: int) -> dict[str, Any]:  # JSON
    torch.set_num_threads(threads)
    sessions = {name: _session(file, threads) for name, file in files.items()}
    found = {}
    for size, rounds in ROUNDS.items():
        pixels = images(size, 0)
        runs: dict[str, Run] = {name: _torch_run(model, pixels) for name, model in models.items()}
        runs |= {name: _onnx_run(session, pixels) for name, session in sessions.items()}
        found[f"batch {size}"] = _milliseconds(runs, rounds)
    return found


def _milliseconds(runs: Mapping[str, Run], rounds: int) -> dict[str, list[float]]:
    """Return wall times, one a round; the forms take turns in another order each round."""
    found: dict[str, list[float]] = {name: [] for name in runs}
    order = list(runs)
    for number in range(rounds + 1):
        random.Random(number).shuffle(order)
        for name in order:
            began = time.perf_counter()
            runs[name]()
            if number:
                found[name].append(round(1000 * (time.perf_counter() - began), 2))
    return found


def ratios(times: Mapping[str, list[float]], slow: str, fast: str) -> list[float]:
    """Return how many times as fast one form is as another, one figure a round."""
    return [a / b for a, b in zip(times[slow], times[fast], strict=True)]


def _differences(models: Mapping[str, nn.Module], files: Mapping[str, OnnxFile]) -> dict[str, float]:
    pixels = images(2, 3)
    with torch.inference_mode():
        answers = {name: torch.softmax(model(torch.from_numpy(pixels)), -1).numpy() for name, model in models.items()}
    answers |= {name: _session(file, 1).run(["scores"], _feeds(pixels))[0] for name, file in files.items()}
    return {name: float(np.abs(answer - answers[PLAIN]).max()) for name, answer in answers.items()}


def _torch_run(model: nn.Module, pixels: np.ndarray) -> Run:
    values = torch.from_numpy(pixels)

    def run() -> object:
        with torch.inference_mode():
            return model(values)

    return run


def _onnx_run(session: ort.InferenceSession, pixels: np.ndarray) -> Run:
    feeds = _feeds(pixels)
    return lambda: session.run(None, feeds)


def _session(file: OnnxFile, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would take the cores from torch
    return ort.InferenceSession(file.path, options, providers=["CPUExecutionProvider"])


def _feeds(pixels: np.ndarray) -> dict[str, np.ndarray]:
    return {"image": pixels, state_name("image"): np.full((len(pixels), 1), PRESENT, np.uint8)}


def _batch(pixels: np.ndarray) -> Batch:
    return Batch("random images", {"image": pixels}, {"image": np.full((len(pixels), 1), PRESENT, np.uint8)})


def _place(work: Path, name: str) -> Path:
    (work / name).mkdir()
    return work / name / "model.onnx"
