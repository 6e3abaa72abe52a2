"""`docs/precision.md`, from the figures in `benchmarks/results/` and the default table of gates."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onepath.export.precision.gates import PrecisionGate, PrecisionGates
from onepath.export.precision.speed import median_interval
from precision_vit import FP32, INT8, ON_THE_FLY, PLAIN, STATIC, TWO_PATH, ratios

PAGE = Path(__file__).parents[1] / "docs" / "precision.md"
Record = Mapping[str, Any]  # JSON

_FORMS = (TWO_PATH, ON_THE_FLY, PLAIN, FP32, STATIC, INT8)
_LIMITS_OF = {
    "max_abs": "largest difference of a probability",
    "mean_abs": "mean difference",
    "cosine_distance": "cosine distance of the worst row",
    "flips": "rows whose highest score is another",
    "accuracy_loss": "accuracy loss, row by row",
}
_HEAD = """# Precision

Written by `python benchmarks/precision.py`, which measures everything anew on your machine and rewrites this
page.

A bundle always keeps its float32 graph. `onepath build RECIPE --precision int8`, or `export.precision` in a
recipe, makes others beside it, each of which has to pass a gate and is deployed only where it pays:

```yaml
export:
  precision:
    - int8                                             # every encoder and the fusion
    - {default: int8, modalities: {audio: fp32}}       # the audio encoder stays in float32
    - {default: bf16, choose: passing}                 # deployed if it passes, timed or not
```

**int8** is ONNX Runtime's quantisation with signed weights and a scale for each output channel. Unsigned
weights miss the fast kernels and gain nothing. `dynamic` takes the range of activations from each batch as it
runs, so that a row's last digits depend on its company, and one row far outside the data can spoil the answers of
its whole batch; `static` takes it from held-out rows, and keeps a row's answer its own: ask for it where callers may
send what they like, such as numbers without bounds. `auto` tries both and keeps the faster one that passes,
`static` unless the other is 1.1 × as fast. Convolutions are quantised in the static form alone. Where the gate
fails, each product is computed in int8 alone to find those that it harms most (a spectrum before a logarithm, the
logits), and these stay in float32. On a CPU without VNNI, sums of uint8 by int8 products can saturate: build where
you serve, or mind the golden probes.

**bf16 and fp16** are written into the graph, because TensorRT 11 has no flags for them: products, and what is
element-wise between two of them, with `Cast` on every edge that crosses. Norms, softmax, reductions, what leads
into them, the residual stream, the logits, the row dispatch, inputs and outputs stay in float32. Products whose
activations float16 cannot hold are found on held-out rows and left out. A CPU lacks the kernels: there the gate
is measured with operands and results rounded to 16 bits and sums in float32, and the proof says *emulated on a
CPU*. No GPU has run these graphs yet.

**The gate** was chosen before anything was measured, from how coarsely a precision rounds, and a recipe may set
another under `tolerances.precision`. Every limit holds for every presence pattern. Flips and accuracy have a 95
% interval in the report (Wilson's, and Bonett and Price's for pairs); the figure itself must be within the
limit."""

_PAYS = """**It pays** where paired, interleaved timings on the machine that it is meant for (a CPU for int8, a GPU
for 16 bits) resolve a gain at batch 1 or at the largest batch, and a loss at neither, and the mean of both is 1.05 ×
at least. One that passes and does not pay, or could not be timed, stays in the bundle as a variant that
`onepath deploy --precision` can ask for; to a CPU, a graph with bf16 in it is not deployed.
`reports/precision.json` in the bundle has every attempt, figure and reason."""


def page(vit: Record | None, digits: Record | None) -> str:
    """Return the page, with a section for each of the figures that there are."""
    sections = [_HEAD, "\n".join(_gate_lines()), _PAYS]
    sections += ["\n".join(_vit_lines(vit))] if vit else []
    sections += ["\n".join(_digits_lines(digits))] if digits else []
    return "\n\n".join(sections) + "\n"


def _gate_lines() -> list[str]:
    gates = PrecisionGates()
    columns: dict[str, PrecisionGate] = {"fp16": gates.fp16, "bf16": gates.bf16, "int8": gates.int8}
    rows = [
        _row([words, *(f"{getattr(gate, name):g}" for gate in columns.values())]) for name, words in _LIMITS_OF.items()
    ]
    return [*_table(["at most", *columns]), *rows, "", f"On up to {gates.rows} held-out rows for each pattern."]


def _vit_lines(record: Record) -> list[str]:
    lines = [
        "## ViT-B/16",
        "",
        "Random weights, an auxiliary's attached to its 48 linear layers, 224 × 224 pixels out of uint8 images.",
        "Median wall time in ms; the forms take turns in a random order, so the ratios are of one run: the median over",
        "rounds, with its 95 % interval. *Two products* is the two-path model as it is written down: the input by each",
        "weight, and the sum of both results. Random weights say nothing of accuracy.",
    ]
    for threads, batches in record["wall_ms"].items():
        lines += ["", f"### {threads}", "", *_table(["", *batches])]
        for form in _FORMS:
            lines.append(_row([form, *(f"{statistics.median(times[form]):.0f}" for times in batches.values())]))
        lines += ["", *_table(["times as fast", *batches])]
        for slow, fast in ((PLAIN, INT8), (TWO_PATH, INT8), (ON_THE_FLY, INT8), (TWO_PATH, PLAIN), (PLAIN, FP32)):
            cells = [_ratio_words(ratios(times, slow, fast)) for times in batches.values()]
            lines.append(_row([f"{fast}, against {slow}", *cells]))
    limits = [
        f"{name}: {each['ratio']:.2f} ({_ends(each['interval'])}), at least {each['limit']:g}"
        for name, each in record["limits"].items()
    ]
    sizes = ", ".join(f"{form} {size / 2**20:.0f} MiB" for form, size in record["size_bytes"].items())
    held = "Limits set before measuring, of one thread" if record["limits_apply"] else _NO_LIMITS
    kept = f"{held} – {'; '.join(limits)}.{_other_threads(record)}"
    return [*lines, "", kept, "", f"Sizes: {sizes}.", "", _origin(record)]


def _other_threads(record: Record) -> str:
    """Return what the ratios that have limits are with other numbers of threads than one."""
    told = ""
    for threads, batches in list(record["wall_ms"].items())[1:]:
        found = []
        for name in record["limits"]:
            batch, slow = name.removeprefix("int8 at ").split(" against ")
            found.append(f"{statistics.median(ratios(batches[batch], slow, INT8)):.2f}")
        told += f" Of {threads}, for which none was set, these are {', '.join(found)}."
    return told


def _ratio_words(found: Sequence[float]) -> str:
    return f"{statistics.median(found):.2f} ({_ends(median_interval(list(found)))})"


def _ends(interval: Sequence[float]) -> str:
    low, high = interval
    return f"{low:.2f} to {high:.2f}"


_NO_LIMITS = "This CPU has neither VNNI nor AMX, so that no limit applies"


def _digits_lines(record: Record) -> list[str]:
    gate, speed = record["gate"], record["speed"]
    lines = [
        "## The digits, through Triton",
        "",
        f"The merged bundle, float32 and int8 each behind a server of its own, on {record['rows']} held-out rows:",
        "from encoded payloads to labels, decoding included. Loss in points, with its 95 % interval; p50 of one row",
        f"at a time; rows/s of {record['clients']} clients. Median of rounds in which the servers take turns.",
        "",
        *_table(["present", "fp32 %", "int8 %", "loss", "fp32 p50 ms", "int8 p50 ms", "fp32 rows/s", "int8 rows/s"]),
    ]
    for pattern, each in record["accuracy"].items():
        low, high = (100 * end for end in each["interval"])
        accuracy = [f"{100 * each[precision]:.1f}" for precision in ("fp32", "int8")]
        latency = [f"{speed[pattern][precision]['latency_p50_ms']:.1f}" for precision in ("fp32", "int8")]
        rate = [f"{speed[pattern][precision]['rows_per_s']:.0f}" for precision in ("fp32", "int8")]
        loss = f"{100 * each['loss']:+.2f} ({low:+.2f} to {high:+.2f})"
        lines.append(_row([pattern, *accuracy, loss, *latency, *rate]))
    return [
        *lines,
        "",
        *_gate_result_lines(gate),
        "",
        f"Deployed unless told otherwise: {record['deployed']}.",
        "",
        _origin(record),
    ]


def _gate_result_lines(gate: Record) -> list[str]:
    kept = next(attempt for attempt in gate["attempts"] if attempt["form"] == gate["form"])
    failed = [f"{attempt['form']} ({attempt['problem']})" for attempt in gate["attempts"] if not attempt["passes"]]
    rows = gate["rows"]
    lines = [
        f"The gate, on {rows['measured']} of these rows ({rows['calibration']} others to calibrate on):",
        f"{gate['form']}, {kept['computed']['int8_products']} of {kept['computed']['products']} products in int8.",
        "The graph alone against the float32 graph, one thread: "
        + ", ".join(_speed_words(each) for each in kept["speed"])
        + ".",
        *([f"What did not pass: {'; '.join(failed)}."] if failed else []),
        "",
        *_table(["present", *(words for words in _LIMITS_OF.values())]),
    ]
    patterns = dict.fromkeys(each["rows"] for each in kept["measured"] if each["metric"] == "flips")
    for pattern in patterns:
        found = {each["metric"]: each for each in kept["measured"] if each["rows"] == pattern}
        lines.append(_row([pattern, *(f"{found[name]['error']:.4f}" for name in _LIMITS_OF)]))
    return [*lines, _row(["*at most*", *(f"{gate['gate'][name]:g}" for name in _LIMITS_OF)])]


def _speed_words(each: Record) -> str:
    return f"{each['ratio']:.2f} × ({_ends(each['interval'])}) at batch {each['rows']}"


def _origin(record: Record) -> str:
    machine, load = record["machine"], record["load_before"]
    versions = ", ".join(f"{tool} {machine[tool]}" for tool in ("onnxruntime", "torch"))
    place = f"{machine['cores']} cores of {machine['cpu']}, load average {load:g} beforehand, {versions}"
    shared = " Others shared the cores, from which figures of two threads suffer most." if load > 1 else ""
    return f"`python benchmarks/precision.py`, {record['date']}, {place}.{shared}"


def _table(heads: Sequence[str]) -> list[str]:
    return [_row(heads), "|" + " --- |" * len(heads)]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
