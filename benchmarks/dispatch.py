"""What an absent image costs: the image encoder's part of the released digits graph, for none, half and all missing.

The part is everything between the graph's image input and the table of image features: gathering the present
rows, the encoder, and scattering. Ratios are medians of paired runs of one thread at batch 32, in one process; the
limits are those that the design sets.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx.utils import Extractor

from paired import median_ratio, save, thread_seconds

REPOSITORY = Path(__file__).parents[1] / "model_repository"
ROWS = 32
MISSING = {"none missing": 0, "half missing": ROWS // 2, "all but one missing": ROWS - 1, "all missing": ROWS}
LIMITS = {"half missing": 0.65, "all missing": 0.05}


def released_graph() -> Path:
    """Return the graph of the released digits pipeline."""
    (graph,) = REPOSITORY.glob("digits.*.graph/1/model.onnx")
    return graph


def encoder_part(graph: Path, modality: str) -> onnx.ModelProto:
    """Return the part of a graph from a modality's input to the table that its features are scattered into."""
    model = onnx.shape_inference.infer_shapes(onnx.load(graph))
    reached, table = {modality}, ""
    for node in model.graph.node:  # nodes are sorted: producers come first
        if reached & set(node.input):
            if node.op_type == "ScatterND":
                table = node.output[0]
                break
            reached |= set(node.output)
    states = [tensor.name for tensor in model.graph.input if tensor.name.endswith("_state")]
    return Extractor(model).extract_model([modality, *states], [table])


def feeds(session: ort.InferenceSession, modality: str, missing: int) -> dict[str, np.ndarray]:
    """Return 32 rows of random values, of which that many lack the modality, spread over the batch."""
    present = np.ones((ROWS, 1), np.uint8)
    present[np.linspace(0, ROWS - 1, missing).astype(int)] = 0
    values = {tensor.name: np.zeros((ROWS, 1), np.uint8) for tensor in session.get_inputs()}
    shape = next(tensor.shape for tensor in session.get_inputs() if tensor.name == modality)
    pixels = np.random.default_rng(0).integers(0, 256, [ROWS, *shape[1:]]).astype(np.uint8)
    return values | {modality: pixels, f"{modality}_state": present}


def shares(*, rounds: int = 100) -> dict[str, float]:
    """Return what missing images cost, as a share of what none missing costs in the same run."""
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    part = encoder_part(released_graph(), "image").SerializeToString()
    session = ort.InferenceSession(part, options, providers=["CPUExecutionProvider"])
    rows = {name: feeds(session, "image", missing) for name, missing in MISSING.items()}
    variants = {name: partial(session.run, None, values) for name, values in rows.items()}
    seconds = thread_seconds(variants, rounds=rounds, runs=3)
    return {name: median_ratio(seconds, name, "none missing") for name in MISSING}


def main() -> None:
    """Measure the released graph and hold it to the limits."""
    found = shares()
    save("dispatch", {"batch": ROWS, "share_of_none_missing": found, "limits": LIMITS})
    over = [name for name, limit in LIMITS.items() if found[name] > limit]
    if over:
        raise SystemExit(f"over the limit: {', '.join(over)}")


if __name__ == "__main__":
    main()
