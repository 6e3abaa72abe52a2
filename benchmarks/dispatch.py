"""What an absent image costs: the image encoder's share of the released digits graph, for none, half and all missing.

The share is what the graph takes beyond a run in which no modality is present at all. Ratios are medians of paired runs
of one thread at batch 32; the limits are those that the design sets.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from paired import save, thread_seconds

REPOSITORY = Path(__file__).parents[1] / "model_repository"
ROWS = 32
LIMITS = {"half missing": 0.65, "all missing": 0.05}


def session_from_graph(path: Path) -> ort.InferenceSession:
    """Return a session that computes on the calling thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def feeds(session: ort.InferenceSession, images_present: int) -> dict[str, np.ndarray]:
    """Return 32 rows of random values in which only that many images are present, spread over the batch."""
    generator = np.random.default_rng(0)
    values = {}
    for tensor in session.get_inputs():
        shape = [ROWS, *tensor.shape[1:]]
        kind = tensor.type.removeprefix("tensor(").removesuffix(")")
        values[tensor.name] = generator.integers(0, 10, shape).astype(kind if kind != "float" else "float32")
        if tensor.name.endswith("_state"):
            values[tensor.name][:] = 0
    values["image_state"][np.linspace(0, ROWS - 1, images_present).astype(int)] = 1
    return values


def shares(path: Path, *, rounds: int = 60) -> dict[str, float]:
    """Return what half and all of the images missing cost, as a share of what none missing costs."""
    session = session_from_graph(path)
    mixes = {"none missing": ROWS, "half missing": ROWS // 2, "all missing": 0}
    runs = {name: feeds(session, count) for name, count in mixes.items()}
    seconds = thread_seconds(
        {name: lambda values=values: session.run(None, values) for name, values in runs.items()}, rounds=rounds, runs=3
    )
    median = {name: float(np.median(found)) for name, found in seconds.items()}
    print({name: f"{value * 1e3:.3f} ms" for name, value in median.items()})
    return {name: median[name] / median["none missing"] for name in LIMITS}


def main() -> None:
    """Measure the released graph and hold it to the limits."""
    (graph,) = REPOSITORY.glob("digits.*.graph/1/model.onnx")
    found = shares(graph)
    save("dispatch", {"batch": ROWS, "share_of_none_missing": found, "limits": LIMITS})
    over = [name for name, limit in LIMITS.items() if found[name] > limit]
    if over:
        raise SystemExit(f"over the limit: {', '.join(over)}")


if __name__ == "__main__":
    main()
